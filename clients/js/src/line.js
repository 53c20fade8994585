// Asking: one request at a time, sent again until its answer comes (docs/protocol.md, "Asking").
import { setTimeout as sleep } from "node:timers/promises";
import { Dealer } from "zeromq";
import { ServerError, Type, VERSION, readControl, readHeader } from "./protocol.js";

const RESEND_MS = 2000;
const LATER = ["NOT_READY", "BUSY", "DRAINING"];
const NOT_READY_MS = 50;
const BUSY_MS = [20, 1000];
const MAX_FRAME_BYTES = 2 ** 30;

export class Line {
  #socket;

  /** `curve` are the options that `readKeys` gives. */
  constructor(address, curve) {
    // Nothing queues up for a server that is away (immediate), and a broken connection is given up early.
    this.#socket = new Dealer({
      ...curve, immediate: true, sendTimeout: RESEND_MS, linger: 1000, maxMessageSize: MAX_FRAME_BYTES,
      connectTimeout: 5000, tcpMaxRetransmitTimeout: 5000,
    });
    this.#socket.connect(address);
  }

  /** Sends without an answer; false where nobody was there to take it. */
  tell(frames) {
    return this.#socket.send(frames).then(() => true, unlessLate);
  }

  /**
   * The frame of type `wanted` that answers `frames`. Throws ServerError where an ERROR does, and the signal's reason
   * once it is aborted, which is looked at before every sending.
   */
  async ask(frames, wanted, signal) {
    const asked = readHeader(frames[0]);
    for (;;) {
      signal?.throwIfAborted();
      if (!(await this.tell(frames))) continue;
      const until = performance.now() + RESEND_MS;
      for (let left; (left = until - performance.now()) > 0; ) {
        const frame = await this.#receive(left);
        const header = frame && readHeader(frame);
        if (header?.type === Type.ERROR && answers(header, asked)) throw readError(frame);
        if (header?.type === wanted && header.version === VERSION && answers(header, asked)) return frame;
      }
    }
  }

  /** Like `ask`, but waits for a server that is not ready, busy or about to leave. `frames` makes each request. */
  async askPatiently(frames, wanted, signal) {
    for (let busy = BUSY_MS[0]; ; ) {
      try {
        return await this.ask(frames(), wanted, signal);
      } catch (error) {
        if (!LATER.includes(error.code)) throw error;
        await sleep(error.code === "BUSY" ? busy * (0.5 + Math.random() / 2) : NOT_READY_MS);
        if (error.code === "BUSY") busy = Math.min(2 * busy, BUSY_MS[1]);
      }
    }
  }

  close() {
    this.#socket.close();
  }

  // May give up early: the loop's clock, and so its timers, are late by as long as an environment has computed.
  #receive(milliseconds) {
    this.#socket.receiveTimeout = Math.ceil(milliseconds);
    return this.#socket.receive().then(([frame]) => frame, unlessLate);
  }
}

// An ERROR with neither session nor sequence answers a header that the server could not read: its version, say.
function answers(header, asked) {
  const isNobodys = header.session === 0n && header.sequence === 0n && header.type === Type.ERROR;
  return isNobodys || (header.session === asked.session && header.sequence === asked.sequence);
}

function readError(frame) {
  const { code, text } = readControl(frame);
  return new ServerError(String(code), String(text));
}

function unlessLate(error) {
  if (error.code !== "EAGAIN") throw error;
}
