"""Your own DDPG around Corral's server and actors: your networks, your replay, your updates.

In other terminals, a server with the networks of this file, and actors, as many as you like:

    corral server examples/pendulum_ddpg.toml --set agent.network.build=examples.ddpg_own_loop:networks
    corral actor examples/pendulum_ddpg.toml

This script takes the place of `corral learner`. It ends after `--steps` environment steps, or with Ctrl-C.
docs/own_loop.md tells how a program that calls `model.predict` becomes this one.
"""

import argparse
import contextlib
import random
from collections import deque
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from actor_client.environments import spaces
from corral.agents import weights_of
from corral.launch import load_experiment
from corral.protocol import Spec, StepType, TensorSpec, Unroll
from learner import UnrollSource, WeightPublisher

GAMMA, TAU, LEARNING_RATE, REWARD_SCALE = 0.98, 0.005, 1e-3, 0.1
MEMORY, WARM_UP, BATCH, STEPS_PER_UPDATE = 100_000, 1_000, 64, 2


class Net:
    """A model, its optimizer, and `target`: the slow copy that goals are made with."""

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        self.optimizer = keras.optimizers.Adam(LEARNING_RATE)
        self.target = keras.models.clone_model(model)
        self.target.set_weights(model.get_weights())

    def descend(self, tape: tf.GradientTape, loss: tf.Tensor) -> None:
        """Take the model one step down a loss, and the slow copy a small way after it."""
        variables = self.model.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        for slow, fast in zip(self.target.variables, self.model.variables, strict=True):
            slow.assign(slow + TAU * (fast - slow))


class Actor(Net):
    """States to "mean": the action before tanh. The server adds tanh, noise, and the action's bounds."""

    def __init__(self, states: int, actions: int) -> None:
        state = keras.Input((states,), name="observation")
        hidden = layers.Dense(64, "relu")(layers.Dense(64, "relu")(state))
        super().__init__(keras.Model(state, {"mean": layers.Dense(actions)(hidden)}))


class Critic(Net):
    """States and actions, these from -1 to 1, to "q"."""

    def __init__(self, states: int, actions: int) -> None:
        state, action = keras.Input((states,), name="observation"), keras.Input((actions,), name="action")
        both = layers.Concatenate()([state, action])
        hidden = layers.Dense(64, "relu")(layers.Dense(64, "relu")(both))
        super().__init__(keras.Model([state, action], {"q": layers.Dense(1)(hidden)}))


Transition = tuple[np.ndarray, np.ndarray, float, float, np.ndarray]
"""State, action, the rewards from there to an end, what a value there is worth now, and the state there."""


def transitions(unroll: Unroll, steps: int) -> Iterator[Transition]:
    """The transitions of `steps` steps, or to the end of their episode, that begin in an unroll."""
    state, action = unroll.observation["observation"], unroll.output["action"]
    last = unroll.step_type == StepType.LAST
    for start, column in np.argwhere(~last[:-steps]):  # what leaves a final state joins two episodes: it is none
        reward, discount = 0.0, 1.0
        for end in range(start + 1, start + steps + 1):
            reward += discount * REWARD_SCALE * unroll.reward[end, column]
            # 0 where the episode terminated; where it was truncated, its final state has a value like any other.
            discount *= GAMMA * unroll.discount[end, column]
            if last[end, column]:
                break
        yield state[start, column], action[start, column], reward, discount, state[end, column]


class DDPG:
    """Deep deterministic policy gradients (Lillicrap et al. 2016) for one vector of states, and one of actions."""

    def __init__(self, observation: Spec, action: TensorSpec) -> None:
        sizes = observation["observation"].size, action.size
        self.actor, self.critic = Actor(*sizes), Critic(*sizes)
        self.limit = float(np.max(action.maximum))  # unrolls hold actions from minus this to this
        self.memory: deque[Transition] = deque(maxlen=MEMORY)

    def learn(self) -> None:
        """One update of all networks, on a batch that is drawn from memory."""
        batch = zip(*random.sample(self.memory, BATCH), strict=True)
        self._update(*(np.array(each, np.float32) for each in batch))

    @tf.function
    def _update(self, *batch: tf.Tensor) -> None:
        state, action, reward, discount, end = batch
        following = tf.tanh(self.actor.target(end)["mean"])
        goal = reward + discount * self.critic.target([end, following])["q"][:, 0]
        with tf.GradientTape() as tape:
            value = self.critic.model([state, action / self.limit])["q"][:, 0]
            loss = tf.reduce_mean((goal - value) ** 2)
        self.critic.descend(tape, loss)
        with tf.GradientTape() as tape:
            best = tf.tanh(self.actor.model(state)["mean"])
            loss = -tf.reduce_mean(self.critic.model([state, best])["q"])
        self.actor.descend(tape, loss)


def networks(observation: Spec, action: TensorSpec) -> dict[str, keras.Model]:
    """What the server builds, since its `agent.network.build` names this function."""
    agent = DDPG(observation, action)
    return {"actor": agent.actor.model, "critic": agent.critic.model}


def main(steps: int) -> None:
    """Train until servers have delivered `steps` environment steps."""
    experiment = load_experiment("examples/pendulum_ddpg.toml")
    keras.utils.set_random_seed(experiment.run.seed)
    agent = DDPG(*spaces(experiment.environment))
    returns: deque[float] = deque(maxlen=100)
    with (
        contextlib.suppress(KeyboardInterrupt),
        UnrollSource(experiment.learner.unrolls_address) as source,
        WeightPublisher(experiment.learner.weights_address) as publisher,
    ):
        publisher.publish(weights_of({"actor": agent.actor.model}))  # nobody acts before the first version
        for unroll in source.batches(8):
            # Unrolls overlap by n_step indices, so that each step begins one transition of that many.
            new = list(transitions(unroll, experiment.agent.ddpg.n_step))
            agent.memory.extend(new)
            if len(agent.memory) >= WARM_UP:
                for _ in range(len(new) // STEPS_PER_UPDATE):
                    agent.learn()
                publisher.publish(weights_of({"actor": agent.actor.model}))
            if ended := source.episodes():
                returns.extend(episode_return for episode_return, _ in ended)
                print(f"{source.env_steps} steps, mean return {np.mean(returns):.1f}", flush=True)
            if source.env_steps >= steps:
                break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40_000, help="environment steps to train for")
    main(parser.parse_args().steps)
