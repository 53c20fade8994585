// The recorded exchanges of tests/conformance: what Python packed, packed and read here.
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { Type, packControl, packHeader, packInfer, packStep, packTensors, readAnswer, readControl, readHeader } from "../src/protocol.js";

const FOLDER = new URL("../../../tests/conformance/exchanges/", import.meta.url);

for (const file of readdirSync(FOLDER)) {
  const { topic, specs, exchanges } = JSON.parse(readFileSync(new URL(file, FOLDER), "utf8"));
  for (const { name, messages } of exchanges) {
    test(`${topic}: ${name}`, () => messages.forEach((message) => agrees(message, specs)));
  }
}

function agrees({ frames, header, rows, body, output, policy_version }, specs) {
  const [first, ...others] = frames.map((frame) => Buffer.from(frame, "hex"));
  const session = BigInt(header.session);
  const sequence = BigInt(header.sequence);
  assert.deepEqual(readHeader(first), { version: 1, type: header.code, session, sequence });
  if (header.type === "STEP") {
    const FLAGS = { first: 1, terminated: 2, truncated: 4 };
    const packed = rows.map(({ flags, ...row }) => {
      const named = Object.entries(FLAGS).map(([flag, bit]) => [flag, (flags & bit) !== 0]);
      return { ...row, ...Object.fromEntries(named) };
    });
    assert.deepEqual(packStep(specs.observation, session, sequence, packed), [first, ...others]);
  } else if (header.type === "INFER") {
    const observations = rows.map((row) => row.observation);
    assert.deepEqual(packInfer(specs.observation, sequence, observations), [first, ...others]);
  } else if (output) {
    const spec = Object.fromEntries(Object.keys(output).map((leaf) => [leaf, specs.output[leaf]]));
    const { policyVersion, ...leaves } = readAnswer(spec, first, header.rows);
    assert.equal(policyVersion, BigInt(policy_version));
    for (const [leaf, values] of Object.entries(output)) assert.deepEqual(Array.from(leaves[leaf], Number), values);
  } else if (body) {
    const read = readControl(first);
    if ("session" in read) read.session = String(read.session);
    assert.deepEqual(read, body);
    // Maps may be packed in more ways than one; what is packed here must be read alike.
    assert.deepEqual(readControl(packControl({ type: header.code, session, sequence }, readControl(first))), readControl(first));
  } else assert.deepEqual(packHeader({ type: Type[header.type] ?? header.code, session, sequence }), first);
}

test("integers of 64 bits are neither rounded nor signed", () => {
  const spec = { big: [[2], "uint64", null, null] };
  const [frame] = packTensors(spec, [[2n ** 64n - 1n, 7]]);
  assert.equal(frame.toString("hex"), "ffffffffffffffff0700000000000000");
  const answer = Buffer.concat([packHeader({ type: Type.OUTPUTS, rows: 1 }), Buffer.alloc(8), frame]);
  assert.deepEqual(readAnswer(spec, answer, 1).big, BigUint64Array.of(2n ** 64n - 1n, 7n));
});

test("what does not fit is refused before it is sent", () => {
  const spec = { seen: [[3], "float32", null, null] };
  assert.throws(() => packTensors(spec, [[1, 2, 3], [1, 2]]), /observation 1: "seen" has 2 numbers, where \[3\] means 3/);
  assert.throws(() => packTensors(spec, [{ sight: [1, 2, 3] }]), /"seen" has no numbers/);
  assert.throws(() => packTensors({ seen: [[3], "text", null, null] }, []), /there is no dtype text/);
});

test("an answer of another length is none", () => {
  const spec = { action: [[], "int64", 0, 1] };
  for (const bytes of [32, 39, 41]) {
    assert.throws(() => readAnswer(spec, Buffer.alloc(bytes), 1), new RegExp(`an answer of ${bytes} bytes, where its spec means 40`));
  }
});

test("bytes that are no header", () => {
  assert.equal(readHeader(Buffer.alloc(3)), undefined);
  assert.equal(readHeader(Buffer.alloc(24)), undefined);
});
