// A thread with a socket of its own that keeps a session alive while an environment takes its time.
import { setTimeout as sleep } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { Line } from "./line.js";
import { Type, packControl } from "./protocol.js";

/** What actor and heartbeat share: floats, and behind them the session's token, 0 where there is none. */
export const Place = { EVERY_MS: 0, ENVIRONMENT_S: 1, WAIT_S: 2, REQUESTS: 3, STEPS: 4, SESSION: 5 };
export const SHARED_BYTES = 48;

if (workerData?.corralHeartbeat) {
  const { address, curve, shared } = workerData.corralHeartbeat;
  const line = new Line(address, curve);
  const figures = new Float64Array(shared);
  const tokens = new BigUint64Array(shared);
  // Ends by its own doing: a thread that is ended from outside takes the process along when its socket is at work.
  const stop = new AbortController();
  parentPort.once("message", () => stop.abort());
  parentPort.postMessage("beating");
  while (!stop.signal.aborted) {
    const session = Atomics.load(tokens, Place.SESSION);
    const [, environment_s, wait_s, requests, steps] = figures;
    if (session) await line.tell([packControl({ type: Type.HEARTBEAT, session }, { environment_s, wait_s, requests, steps })]);
    await sleep(figures[Place.EVERY_MS], undefined, { signal: stop.signal }).catch(() => {});
  }
  line.close();
}
