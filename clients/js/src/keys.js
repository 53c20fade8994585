// The folder that `corral keys bundle KEYS actor NAME FOLDER` makes: server.key and actors/NAME.key_secret.
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/** CURVE options for a socket; none without a folder. */
export function readKeys(folder) {
  if (!folder) return {};
  const secrets = readdirSync(join(folder, "actors")).filter((name) => name.endsWith(".key_secret"));
  if (secrets.length !== 1) throw new Error(`${folder} has ${secrets.length} actors with secrets, not one: see corral keys bundle --help`);
  const secret = join(folder, "actors", secrets[0]);
  if (statSync(secret).mode & 0o077) throw new Error(`others can read ${secret}: chmod 600 ${secret}`);
  return {
    curveServerKey: read(join(folder, "server.key"), "public-key"),
    curvePublicKey: read(secret, "public-key"),
    curveSecretKey: read(secret, "secret-key"),
  };
}

function read(file, name) {
  const match = readFileSync(file, "latin1").match(new RegExp(`^ *${name} *= *"(.{40})"`, "m"));
  if (!match) throw new Error(`${file} holds no ${name}: it is no key file`);
  return match[1];
}
