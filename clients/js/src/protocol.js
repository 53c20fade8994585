// What goes over the wire: docs/protocol.md, "Frames" to "Answers". No sockets here.
import { endianness } from "node:os";
import { decode, encode } from "@msgpack/msgpack";

export const VERSION = 1;
export const Type = { HELLO: 1, WELCOME: 2, STEP: 3, ACTIONS: 4, INFER: 5, OUTPUTS: 6, ERROR: 7, HEARTBEAT: 8, BYE: 9 };
const Flag = { FIRST: 1, TERMINATED: 2, TRUNCATED: 4 };
const HEADER_BYTES = 24;
const ROW_BYTES = 8;
const POLICY_VERSION_BYTES = 8;
const MAX_CONTROL_BYTES = 1 << 20;

// float16 travels as its bits: Node 20 has no array for it.
const ARRAYS = {
  bool: Uint8Array, int8: Int8Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array,
  uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, uint64: BigUint64Array,
  float16: Uint16Array, float32: Float32Array, float64: Float64Array,
};

if (endianness() !== "LE") throw new Error("typed arrays are sent as they lie in memory, which must be little-endian");

/** What the server answered instead: `code` is one of docs/protocol.md, "Errors". */
export class ServerError extends Error {
  constructor(code, text) {
    super(`${code}: ${text}`);
    this.name = "ServerError";
    this.code = code;
  }
}

export function packHeader({ type, rows = 0, ended = 0, session = 0n, sequence = 0n }, frameBytes = HEADER_BYTES) {
  const frame = Buffer.alloc(frameBytes);
  frame.write("CR", "latin1");
  frame[2] = VERSION;
  frame[3] = type;
  frame.writeUInt16LE(rows, 4);
  frame.writeUInt16LE(ended, 6);
  frame.writeBigUInt64LE(session, 8);
  frame.writeBigUInt64LE(sequence, 16);
  return frame;
}

/** `{version, type, session, sequence}` of a first frame, or undefined where it is none. */
export function readHeader(frame) {
  if (frame.length < HEADER_BYTES || frame.toString("latin1", 0, 2) !== "CR") return undefined;
  return { version: frame[2], type: frame[3], session: frame.readBigUInt64LE(8), sequence: frame.readBigUInt64LE(16) };
}

export function packControl(header, body) {
  return Buffer.concat([packHeader(header), encode(body, { useBigInt64: true })]);
}

/** HELLO with these fields; the others are a client's. */
export function packHello(header, fields) {
  const others = {
    role: "client", versions: [VERSION], environments: 0, environment: "", first_environment: -1, host: "", epoch: 0,
    observation: {}, action: {},
  };
  return packControl({ type: Type.HELLO, ...header }, { ...others, ...fields });
}

/** The map behind a header. Its integers that were packed in eight bytes are BigInts. */
export function readControl(frame) {
  if (frame.length > MAX_CONTROL_BYTES) throw new RangeError(`a control message of ${frame.length} bytes`);
  return decode(frame.subarray(HEADER_BYTES), { useBigInt64: true });
}

/**
 * The frames of a STEP. A row is `{environment, reward, first, terminated, truncated, observation, final}`; what is
 * left out is 0, false or none. An observation is as in `packTensors`.
 */
export function packStep(spec, session, sequence, rows) {
  const finals = rows.filter((row) => row.terminated || row.truncated).map((row) => row.final);
  const header = { type: Type.STEP, rows: rows.length, ended: finals.length, session, sequence };
  const first = packHeader(header, HEADER_BYTES + ROW_BYTES * rows.length);
  rows.forEach((row, i) => {
    const at = HEADER_BYTES + ROW_BYTES * i;
    const flags = (row.first && Flag.FIRST) | (row.terminated && Flag.TERMINATED) | (row.truncated && Flag.TRUNCATED);
    first.writeFloatLE(row.reward ?? 0, at);
    first.writeUInt16LE(row.environment, at + 4);
    first.writeUInt16LE(flags, at + 6);
  });
  return [first, ...packTensors(spec, rows.map((row) => row.observation)), ...(finals.length ? packTensors(spec, finals) : [])];
}

export function packInfer(spec, sequence, observations) {
  return [packHeader({ type: Type.INFER, rows: observations.length, sequence }), ...packTensors(spec, observations)];
}

/**
 * One frame for each leaf of `spec`, in its order. An observation is an object from leaf name to a flat array in
 * row-major order or, where there is one leaf, that array itself.
 */
export function packTensors(spec, observations) {
  const names = Object.keys(spec);
  return names.map((name) => {
    const [shape, dtype] = spec[name];
    const size = count(shape);
    const frame = new (arrayOf(dtype))(size * observations.length);
    const isBig = frame instanceof BigInt64Array || frame instanceof BigUint64Array;
    observations.forEach((observation, i) => {
      const isBare = names.length === 1 && (Array.isArray(observation) || ArrayBuffer.isView(observation));
      const values = isBare ? observation : observation?.[name];
      if (values?.length !== size) {
        throw new RangeError(`observation ${i}: "${name}" has ${values?.length ?? "no"} numbers, where [${shape}] means ${size}`);
      }
      frame.set(isBig ? Array.from(values, BigInt) : values, i * size);
    });
    return Buffer.from(frame.buffer);
  });
}

/** ACTIONS or OUTPUTS as `{policyVersion, leaf: typed array of all rows}`. */
export function readAnswer(spec, frame, rows) {
  const sizes = Object.values(spec).map(([shape, dtype]) => count(shape) * rows * arrayOf(dtype).BYTES_PER_ELEMENT);
  const bytes = sizes.reduce((sum, size) => sum + size, HEADER_BYTES + POLICY_VERSION_BYTES);
  if (frame.length !== bytes) throw new RangeError(`an answer of ${frame.length} bytes, where its spec means ${bytes}`);
  const answer = { policyVersion: frame.readBigUInt64LE(HEADER_BYTES) };
  let at = HEADER_BYTES + POLICY_VERSION_BYTES;
  Object.entries(spec).forEach(([name, [, dtype]], i) => {
    // A copy, since a typed array must begin at a multiple of its element's size.
    answer[name] = new (arrayOf(dtype))(Uint8Array.prototype.slice.call(frame, at, (at += sizes[i])).buffer);
  });
  return answer;
}

function arrayOf(dtype) {
  if (!Object.hasOwn(ARRAYS, dtype)) throw new TypeError(`there is no dtype ${dtype}`);
  return ARRAYS[dtype];
}

const count = (shape) => shape.reduce((product, size) => product * Number(size), 1);
