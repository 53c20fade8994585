import assert from "node:assert/strict";
import { test } from "node:test";
import { Router } from "zeromq";
import { Client } from "../src/index.js";
import { Type, packControl, packHeader, readHeader } from "../src/protocol.js";

const SEEN = { seen: [[1], "float32", null, null] };

/** Answers HELLO, and each INFER with the numbers that it brought; `asked` gathers these. */
async function echo(router, asked) {
  for await (const [route, first, rows] of router) {
    const { type, sequence } = readHeader(first);
    const header = { type: type === Type.HELLO ? Type.WELCOME : Type.OUTPUTS, sequence };
    const body = { observation: SEEN, output: SEEN, max_rows: 2 };
    if (type === Type.INFER) asked.push(rows.readFloatLE());
    await router.send([route, type === Type.HELLO ? packControl(header, body) : Buffer.concat([packHeader(header), Buffer.alloc(8), rows])]);
  }
}

test("questions asked at once are answered each by its own answer", { timeout: 20_000 }, async () => {
  const router = new Router();
  await router.bind("tcp://127.0.0.1:*");
  const asked = [];
  const echoing = echo(router, asked);
  const client = new Client(router.lastEndpoint);
  const answers = await Promise.all([1, 2, 3].map((number) => client.infer([[number]])));
  assert.deepEqual(answers.map(({ seen }) => seen[0]), [1, 2, 3]);
  assert.deepEqual(asked, [1, 2, 3]);
  await assert.rejects(client.infer([[1], [2], [3]]), /3 rows; the server takes 1 to 2 at once/);
  client.close();
  router.close();
  await echoing;
});

test("a wait for a server that never comes can be ended", { timeout: 20_000 }, async () => {
  const client = new Client("tcp://127.0.0.1:1");
  await assert.rejects(client.infer([[1]], AbortSignal.timeout(10)), { name: "TimeoutError" });
  client.close();
});
