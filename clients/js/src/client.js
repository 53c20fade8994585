import { readKeys } from "./keys.js";
import { Line } from "./line.js";
import { Type, packHello, packInfer, readAnswer, readControl } from "./protocol.js";

/** Asks for a policy's outputs: no session, no memory, nothing learned from it. Questions wait for each other. */
export class Client {
  #line; #welcome;
  #sequence = 0n;
  #turn = Promise.resolve();

  /** `keys` is a folder made by `corral keys bundle`. */
  constructor(address, { keys } = {}) {
    this.#line = new Line(address, readKeys(keys));
  }

  /**
   * `{policyVersion, name of an output: typed array of all rows}` for observations as `packTensors` takes them.
   * Throws ServerError where the server refuses, and the reason of `signal` once that is aborted.
   */
  infer(observations, signal) {
    const answer = this.#turn.then(() => this.#infer(observations, signal));
    this.#turn = answer.catch(() => {});
    return answer;
  }

  close() {
    this.#line.close();
  }

  async #infer(observations, signal) {
    this.#welcome ??= await this.#greet(signal);
    const { observation, output, max_rows } = this.#welcome;
    if (observations.length < 1 || observations.length > max_rows) {
      throw new RangeError(`${observations.length} rows; the server takes 1 to ${max_rows} at once`);
    }
    const request = () => packInfer(observation, ++this.#sequence, observations);
    return readAnswer(output, await this.#line.askPatiently(request, Type.OUTPUTS, signal), observations.length);
  }

  async #greet(signal) {
    const hello = () => [packHello({ sequence: ++this.#sequence })];
    return readControl(await this.#line.askPatiently(hello, Type.WELCOME, signal));
  }
}
