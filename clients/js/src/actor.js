import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { hostname } from "node:os";
import { Worker } from "node:worker_threads";
import { Place, SHARED_BYTES } from "./heartbeat.js";
import { readKeys } from "./keys.js";
import { Line } from "./line.js";
import { Type, packHeader, packHello, packStep, readAnswer, readControl } from "./protocol.js";

const MAX_HOST = 64;
const LONGEST_SILENCE_MS = 2000;

/** The session is over: `join` again, and reset every environment. */
export class Rejoin extends Error {}

/** One actor's sessions with one server: joins, steps, and keeps its session alive. */
export class Actor {
  #line; #hello; #welcome; #heartbeat; #figures; #tokens; #answeredAt; #beating;
  #session = 0n;
  #sequence = 0n;

  /**
   * `environments` says how many it steps; `observation` and `action` are specs, from leaf name to [shape, dtype,
   * minimum, maximum]; `environment` is what it runs, as the server names it (empty says nothing); `firstEnvironment`
   * the run-wide number of its first (-1 lets the server choose); `keys` a folder made by `corral keys bundle`.
   */
  constructor(address, { environments, observation, action, environment = "", firstEnvironment = -1, keys }) {
    const curve = readKeys(keys);
    this.#line = new Line(address, curve);
    const host = hostname().slice(0, MAX_HOST);
    this.#hello = { role: "actor", environments, environment, first_environment: firstEnvironment, host, observation, action };
    const shared = new SharedArrayBuffer(SHARED_BYTES);
    this.#figures = new Float64Array(shared);
    this.#tokens = new BigUint64Array(shared);
    this.#figures[Place.EVERY_MS] = 100; // until a session says more
    const workerData = { corralHeartbeat: { address, curve, shared } };
    this.#heartbeat = new Worker(new URL("./heartbeat.js", import.meta.url), { workerData });
    this.#beating = once(this.#heartbeat, "message");
  }

  /** Opens a session. Waits for the server as long as it takes, or until `signal` is aborted, and throws its reason. */
  async join(signal) {
    await this.#beating;
    Atomics.store(this.#tokens, Place.SESSION, 0n);
    const session = randomBytes(8).readBigUInt64LE();
    const hello = packHello({ session }, this.#hello);
    this.#welcome = readControl(await this.#line.askPatiently(() => [hello], Type.WELCOME, signal));
    this.#session = BigInt(this.#welcome.session);
    this.#sequence = 0n;
    this.#figures.fill(0, Place.ENVIRONMENT_S, Place.SESSION);
    this.#figures[Place.EVERY_MS] = Math.min(Number(this.#welcome.lease_s) * 250, LONGEST_SILENCE_MS);
    Atomics.store(this.#tokens, Place.SESSION, this.#session);
    this.#answeredAt = performance.now();
  }

  /**
   * Sends rows as `packStep` takes them; `{policyVersion, action: typed array of all rows}`. Throws Rejoin where the
   * session is over, ServerError where the server refuses, and the reason of `signal` once that is aborted.
   */
  async step(rows, signal) {
    const askedAt = performance.now();
    const frames = packStep(this.#welcome.observation, this.#session, this.#sequence + 1n, rows);
    const frame = await this.#line.ask(frames, Type.ACTIONS, signal).catch((error) => {
      throw error.code === "EXPIRED" || error.code === "DRAINING" ? new Rejoin(error.message) : error;
    });
    this.#sequence += 1n;
    this.#figures[Place.ENVIRONMENT_S] += (askedAt - this.#answeredAt) / 1000;
    this.#answeredAt = performance.now();
    this.#figures[Place.WAIT_S] += (this.#answeredAt - askedAt) / 1000;
    this.#figures[Place.REQUESTS] += 1;
    this.#figures[Place.STEPS] += rows.length;
    return readAnswer(this.#welcome.output, frame, rows.length);
  }

  /** Ends the session, so that its places are free at once. */
  async leave() {
    await this.#heartbeat.terminate();
    if (this.#session) await this.#line.tell([packHeader({ type: Type.BYE, session: this.#session })]);
    this.#line.close();
  }
}
