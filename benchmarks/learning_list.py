"""Which runs there are, by task: the experiment, what is changed in it, the seeds, and what is published of it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
REFERENCES = HERE / "learning_references.toml"


class Run(NamedTuple):
    """One algorithm on one task.

    Attributes:
      name: what it is called here.
      label: the algorithm, in tables and pictures.
      example: the experiment, in `examples/`.
      options: keys that are changed in it, as `KEY=VALUE`.
      episodes: greedy episodes that the last policy plays when all is over; 0: none.
    """

    name: str
    label: str
    example: str
    options: tuple[str, ...] = ()
    episodes: int = 100

    def command(self, seed: int) -> list[str]:
        """What begins it, without `corral`."""
        options = [part for option in self.options for part in ("--set", option)]
        return ["run", f"examples/{self.example}", "--seed", str(seed), *options]


class Task(NamedTuple):
    """What several algorithms try.

    Attributes:
      name: of its section and its picture.
      title: for people.
      seeds: how many, counted from 0.
      runs: who tries.
      frames: of the game in one environment step, where figures are published by frames.
    """

    name: str
    title: str
    seeds: int
    runs: tuple[Run, ...]
    frames: int = 1


class Reference(NamedTuple):
    """What others published.

    Attributes:
      task, run: which task and which of its runs it belongs to.
      label: who, what, and how it was measured.
      source: where it stands.
      points: `(environment steps, return)`: a curve, or one figure.
      note: what is not the same there.
    """

    task: str
    run: str
    label: str
    source: str
    points: list[tuple[float, float]]
    note: str = ""


_EVALUATED = ("evaluation.episodes=10", "evaluation.every_s=120")
_SELDOM = ("evaluation.episodes=10", "evaluation.every_s=600")
"""Greedy games of pictures take a core for a minute."""
_OFTEN = ("evaluation.episodes=20", "evaluation.every_s=2")
"""A run of half a minute: what is published is greedy, too."""
_NO_MEMORY = ("agent.name=dqn", 'agent.network.core=""', "agent.r2d2.burn_in=8", "run.max_env_steps=100000")
_R2D2_ON_CARTPOLE = (
    "agent.name=r2d2", "agent.network.core=lstm", "agent.network.core_units=64", "agent.r2d2.burn_in=4",
    "learner.batch_unrolls=32", "learner.replay.samples_per_insert=32", "learner.replay.min_size=1000",
)  # fmt: skip

TASKS = (
    Task(
        "pong",
        "Pong",
        1,
        (
            Run("pong_vtrace", "V-trace", "pong.toml", _SELDOM, episodes=30),
            Run("pong_ppo", "PPO", "pong_ppo.toml", _SELDOM, episodes=30),
        ),
        frames=4,
    ),
    Task(
        "breakout", "Breakout", 1, (Run("breakout_vtrace", "V-trace", "breakout.toml", episodes=10),), frames=4
    ),
    Task(
        "halfcheetah",
        "HalfCheetah-v5",
        3,
        (
            Run("halfcheetah_sac", "SAC", "halfcheetah_sac.toml", _EVALUATED, episodes=10),
            Run("halfcheetah_td3", "TD3", "halfcheetah_td3.toml", _EVALUATED, episodes=10),
        ),
    ),
    Task("pendulum", "Pendulum-v1", 3, (Run("pendulum_ddpg", "DDPG", "pendulum_ddpg.toml", _OFTEN),)),
    Task(
        "memory",
        "Recall: a task that needs memory",
        3,
        (
            Run("memory_r2d2", "R2D2", "memory_r2d2.toml"),
            Run("memory_vtrace", "recurrent V-trace", "memory_vtrace.toml"),
            Run("memory_dqn", "DQN, which has none", "memory_r2d2.toml", _NO_MEMORY),
            Run(
                "memory_feed_forward", "V-trace, feed-forward", "memory_vtrace.toml",
                ('agent.network.core=""', "run.max_env_steps=300000"),
            ),
        ),
    ),
    Task(
        "cartpole",
        "CartPole-v1",
        10,
        (
            Run("cartpole_vtrace", "V-trace", "cartpole.toml"),
            Run("cartpole_a2c", "A2C", "cartpole.toml", ("agent.name=a2c",)),
            Run("cartpole_ppo", "PPO", "cartpole_ppo.toml"),
            Run("cartpole_dqn", "DQN", "cartpole_dqn.toml"),
            Run("cartpole_r2d2", "R2D2", "cartpole_dqn.toml", _R2D2_ON_CARTPOLE),
        ),
    ),
)  # fmt: skip


def references(path: Path = REFERENCES) -> list[Reference]:
    """What is published."""
    found = tomllib.loads(path.read_text())["reference"]
    return [Reference(**{**each, "points": [tuple(point) for point in each["points"]]}) for each in found]
