import assert from "node:assert/strict";
import { test } from "node:test";
import { CartPole } from "../examples/cartpole.js";

test("one push from rest, worked by hand", () => {
  const cart = new CartPole();
  cart.reset();
  cart.state = [0, 0, 0, 0];
  const { observation, reward, terminated, truncated } = cart.step([1n]);
  // drift 10 / 1.1; swing -drift / (0.5 * (4/3 - 0.1/1.1)); acceleration drift - 0.05 * swing / 1.1; 0.02 s of each
  const wanted = [0, 0.195122, 0, -0.292683];
  observation.forEach((number, i) => assert.ok(Math.abs(number - wanted[i]) < 1e-6, `${observation}`));
  assert.deepEqual([reward, terminated, truncated], [1, false, false]);
});

test("an episode ends when the pole has fallen, and says how long it was", () => {
  let length;
  const cart = new CartPole((steps) => (length = steps));
  cart.reset();
  let taken = 1;
  while (!cart.step([0n]).terminated) taken += 1;
  assert.equal(length, taken);
  assert.ok(taken > 5 && taken < 15, `${taken} steps`);
});
