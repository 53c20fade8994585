import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { curveKeyPair } from "zeromq";
import { readKeys } from "../src/keys.js";

const folder = mkdtempSync(join(tmpdir(), "corral-keys-"));
const secret = join(folder, "actors", "node-7.key_secret");
const { publicKey, secretKey } = curveKeyPair();
after(() => rmSync(folder, { recursive: true }));

mkdirSync(join(folder, "actors"));
writeFileSync(join(folder, "server.key"), `# public\n\nmetadata\ncurve\n    public-key = "${"s".repeat(40)}"\n`);
writeFileSync(secret, `curve\n    public-key = "${publicKey}"\n    secret-key = "${secretKey}"\n`, { mode: 0o600 });

test("an actor's folder", () => {
  const wanted = { curveServerKey: "s".repeat(40), curvePublicKey: publicKey, curveSecretKey: secretKey };
  assert.deepEqual(readKeys(folder), wanted);
});

test("no folder, no keys", () => assert.deepEqual(readKeys(undefined), {}));

test("a secret that others can read is refused", () => {
  chmodSync(secret, 0o640);
  assert.throws(() => readKeys(folder), /others can read .*chmod 600/);
  chmodSync(secret, 0o600);
});

test("a folder with two actors' secrets does not say whose to use", () => {
  writeFileSync(join(folder, "actors", "other.key_secret"), "", { mode: 0o600 });
  assert.throws(() => readKeys(folder), /has 2 actors with secrets/);
  rmSync(join(folder, "actors", "other.key_secret"));
});
