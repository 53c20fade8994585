// This client under the conformance suite (tests/conformance/README.md): node conformance.js ADDRESS TASK COUNT SLOW_MS
import { Client, play } from "./src/index.js";

const ROWS = 3;
const observation = {
  count: [[2], "int32", null, null],
  echo: [[3], "float32", null, null],
  mark: [[2, 2], "uint8", null, null],
};
const action = { action: [[], "int64", 0, 4] };

function observe(environment, episode, step, action = 0, reward = 0) {
  return { count: [episode, step], echo: [environment, action, reward], mark: [step % 256, episode % 256, environment, action] };
}

class Counter {
  constructor(number, slowMs) {
    Object.assign(this, { number, slowMs, episode: 0, count: 0 });
  }

  reset() {
    this.episode += 1;
    this.count = 0;
    return observe(this.number, this.episode, 0);
  }

  step([action]) {
    // Nothing else runs in this thread meanwhile, as with an environment that computes.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, this.slowMs);
    this.count += 1;
    const reward = Number(action) + this.number / 2;
    const ended = this.count === 3 + this.number;
    const odd = this.episode % 2 === 1;
    const seen = observe(this.number, this.episode, this.count, Number(action), reward);
    return { observation: seen, reward, terminated: ended && odd, truncated: ended && !odd };
  }
}

async function infer(address, count) {
  const client = new Client(address);
  let last = { value: Array(ROWS).fill(0), action: Array(ROWS).fill(0) };
  for (let asked = 1; asked <= count; asked++) {
    const rows = Array.from(last.value, (value, row) => observe(row, row + 1, asked, Number(last.action[row]), value));
    last = await client.infer(rows);
  }
  client.close();
}

const [address, task, count, slowMs] = process.argv.slice(2);
if (task === "infer") await infer(address, Number(count));
else {
  const counters = [new Counter(0, Number(slowMs)), new Counter(1, 0)];
  await play(address, counters, { environment: "Counter", observation, action, steps: Number(count) });
}
