import { Actor, Rejoin } from "./actor.js";

/**
 * Steps environments with the server's policy until `signal` is aborted or `steps` STEPs have been answered.
 *
 * An environment has `reset()`, which returns an observation, and `step(action)`, which returns `{observation, reward,
 * terminated, truncated}`, or promises of these; `action` is the typed array of its own action. The other options are
 * those of Actor.
 */
export async function play(address, environments, { signal, steps = Infinity, ...options }) {
  const actor = new Actor(address, { ...options, environments: environments.length });
  const all = (row) => Promise.all(environments.map(row));
  try {
    for (let rows; steps > 0; ) {
      if (!rows) {
        await actor.join(signal);
        rows = await all(firstRow);
      }
      try {
        const { action } = await actor.step(rows, signal);
        const size = action.length / rows.length;
        steps -= 1;
        rows = await all((environment, i) => nextRow(environment, i, action.subarray(i * size, (i + 1) * size)));
      } catch (error) {
        if (!(error instanceof Rejoin)) throw error;
        rows = undefined;
      }
    }
  } catch (error) {
    if (!signal?.aborted) throw error;
  } finally {
    await actor.leave();
  }
}

async function firstRow(environment, i) {
  return { environment: i, first: true, observation: await environment.reset() };
}

async function nextRow(environment, i, action) {
  const { observation, reward, terminated, truncated } = await environment.step(action);
  if (!terminated && !truncated) return { environment: i, reward, observation };
  return { ...(await firstRow(environment, i)), reward, terminated, truncated, final: observation };
}
