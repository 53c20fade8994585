// CartPole-v1 in JavaScript, stepped with a Corral server's policy:
//
//     node examples/cartpole.js tcp://127.0.0.1:5555 [ENVIRONMENTS] [KEYS]
//
// The server and the learner are those of examples/cartpole.toml; they take these steps like anybody's.
import { realpathSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { play } from "../src/index.js";

const GRAVITY = 9.8;
const CART_MASS = 1.0;
const POLE_MASS = 0.1;
const POLE_HALF = 0.5; // metres from the pivot to the pole's centre
const FORCE = 10.0;
const SECONDS = 0.02; // of one step
const MOST_STEPS = 500;
const TRACK_HALF = 2.4;
const MOST_TILT = (12 * Math.PI) / 180;

export const observation = {
  observation: [[4], "float32", [-2 * TRACK_HALF, -Infinity, -2 * MOST_TILT, -Infinity].map(Math.fround),
    [2 * TRACK_HALF, Infinity, 2 * MOST_TILT, Infinity].map(Math.fround)],
};
export const action = { action: [[], "int64", 0, 1] };

/** A cart on a track and a pole hinged to it (Barto, Sutton and Anderson, 1983): 0 pushes to the left, 1 to the right. */
export class CartPole {
  /** @param {(steps: number) => void} [onEnd] hears how long each episode was, which is its return too */
  constructor(onEnd = () => {}) {
    this.onEnd = onEnd;
  }

  reset() {
    this.steps = 0;
    this.state = Array.from({ length: 4 }, () => (Math.random() - 0.5) / 10);
    return this.state;
  }

  step([push]) {
    const [x, speed, tilt, turn] = this.state;
    const mass = CART_MASS + POLE_MASS;
    const sin = Math.sin(tilt);
    const cos = Math.cos(tilt);
    // What both bodies would be accelerated by if the pole did not swing.
    const drift = ((push ? FORCE : -FORCE) + POLE_MASS * POLE_HALF * turn ** 2 * sin) / mass;
    const swing = (GRAVITY * sin - cos * drift) / (POLE_HALF * (4 / 3 - (POLE_MASS * cos ** 2) / mass));
    const acceleration = drift - (POLE_MASS * POLE_HALF * swing * cos) / mass;
    this.state = [x + SECONDS * speed, speed + SECONDS * acceleration, tilt + SECONDS * turn, turn + SECONDS * swing];
    this.steps += 1;
    const terminated = Math.abs(this.state[0]) > TRACK_HALF || Math.abs(this.state[2]) > MOST_TILT;
    const truncated = !terminated && this.steps >= MOST_STEPS;
    if (terminated || truncated) this.onEnd(this.steps);
    return { observation: this.state, reward: 1, terminated, truncated };
  }
}

if (process.argv[1] && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
  const [address = "tcp://127.0.0.1:5555", environments = "12", keys] = process.argv.slice(2);
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => stop.abort());
  const returns = [];
  const onEnd = (steps) => {
    if (returns.push(steps) % 100) return;
    const mean = returns.splice(0).reduce((sum, each) => sum + each) / 100;
    console.log(`mean return of 100 episodes: ${mean}`);
  };
  const carts = Array.from({ length: Number(environments) }, () => new CartPole(onEnd));
  await play(address, carts, { environment: "CartPole-v1", observation, action, keys, signal: stop.signal });
}
