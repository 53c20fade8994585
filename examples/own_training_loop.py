"""Your own training loop around Corral's server and actors: an advantage actor-critic in plain Keras.

In other terminals: `corral server examples/cartpole.toml` and `corral actor examples/cartpole.toml`, as many as you
like. This script takes the place of `corral learner`. Stop it with Ctrl-C.
"""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from actor_client.environments import spaces
from corral.agents import build_agent, weights_of
from corral.launch import load_experiment
from corral.protocol import StepType
from learner import UnrollSource, WeightPublisher

experiment = load_experiment("examples/cartpole.toml")
policy = build_agent(experiment.agent, *spaces(experiment.environment)).nets["policy"]
optimizer = keras.optimizers.Adam(1e-3, global_clipnorm=0.5)


LENGTH, DISCOUNT = experiment.agent.unroll_length, 0.99


@tf.function
def train(observation, action, reward, discount, last):
    """One step on `B` unrolls: every argument is `[T + 1, B, ...]`."""
    with tf.GradientTape() as tape:
        out = policy({"observation": tf.reshape(observation, (-1, observation.shape[-1]))})
        value = tf.reshape(out["value"], tf.shape(reward))
        logits = tf.reshape(out["logits"], (LENGTH + 1, -1, out["logits"].shape[-1]))
        log_prob = -tf.nn.sparse_softmax_cross_entropy_with_logits(action[:-1], logits[:-1])
        target, targets = value[-1], []
        for index in reversed(range(LENGTH)):
            # What follows a final observation is another episode: the return ends with its value, times 0 where
            # the episode terminated.
            follows = discount[index + 1] * tf.where(last[index + 1], value[index + 1], target)
            target = reward[index + 1] + DISCOUNT * follows
            targets.insert(0, target)
        advantage = tf.stop_gradient(tf.stack(targets)) - value[:-1]
        losses = 0.5 * advantage**2 - tf.stop_gradient(advantage) * log_prob
        # A transition that leaves a final observation joins two episodes: it is none.
        loss = tf.reduce_mean(tf.boolean_mask(losses, ~last[:-1]))
    optimizer.apply(tape.gradient(loss, policy.trainable_variables), policy.trainable_variables)


with (
    contextlib.suppress(KeyboardInterrupt),
    UnrollSource("tcp://127.0.0.1:5556") as source,
    WeightPublisher("tcp://127.0.0.1:5557") as publisher,
):
    publisher.publish(weights_of({"policy": policy}))
    returns = []
    for unroll in source.batches(32):
        last = unroll.step_type == StepType.LAST
        leaves = unroll.observation["observation"], unroll.output["action"], unroll.reward, unroll.discount, last
        train(*map(tf.constant, leaves))
        version = publisher.publish(weights_of({"policy": policy}))
        returns += [episode_return for episode_return, _ in source.episodes()]
        if version % 50 == 0 and returns:
            print(
                f"version {version}: {source.env_steps} steps, mean return {np.mean(returns[-100:]):.1f}",
                flush=True,
            )
