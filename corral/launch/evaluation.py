"""How well a trained policy plays: episodes of the run's environment, with greedy actions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from actor_client.environments import make_group
from actor_client.groups import EnvironmentGroup
from actor_client.rows import Rows
from actor_client.seeds import environment_seeds
from actor_client.settings import EnvironmentSettings
from corral.launch.interval import confidence_interval, standard_error
from corral.launch.policy import Act
from corral.protocol import ENDED

MOST_ENVIRONMENTS = 32
"""Environments that are stepped together."""
_FIRST_NUMBER = 2**32
"""The number of the first environment, behind all that training has, so that it begins from other starts."""


@dataclass(frozen=True)
class Episodes:
    """What was played, an entry for each episode.

    Attributes:
      returns: float64 `[n]`: sums of rewards.
      lengths: int64 `[n]`: steps.
    """

    returns: np.ndarray
    lengths: np.ndarray

    def figures(self) -> dict[str, Any]:
        """The figures, as JSON takes them; what one episode alone cannot say is None."""
        returns = self.returns
        interval = confidence_interval(returns)
        return {
            "episodes": len(returns),
            "mean_return": float(np.mean(returns)),
            "std_return": float(np.std(returns, ddof=1)) if len(returns) > 1 else None,
            "standard_error": standard_error(returns),
            "confidence_interval_95": None if interval is None else list(interval),
            "min_return": float(np.min(returns)),
            "max_return": float(np.max(returns)),
            "mean_length": float(np.mean(self.lengths)),
        }


def play_episodes(
    settings: EnvironmentSettings,
    player: Callable[[int], Act],
    episodes: int,
    *,
    seed: int,
    on_step: Callable[[int, int], object] = lambda episodes, steps: None,
    counted: Sequence[bool] = (True,),
) -> Episodes:
    """Play `episodes` episodes in several environments at once, each in its own share of them.

    The shares are fixed before the first step. Whoever stops at the first `episodes` that end counts too many short
    ones.

    Args:
      settings: the environment.
      player: makes what chooses the actions of so many rows.
      episodes: how many, over all environments.
      seed: of the environments; the same number of episodes meets the same starts.
      counted: of an environment with several players, for each whether its returns count; one entry stands for all.
      on_step: called with the episodes and steps so far, after each step of all environments.

    Raises:
      BadEnvironmentError: the environment cannot be made.
    """
    shares = shares_of(episodes)
    group = make_group(replace(settings, vectorization="none"), len(shares))
    try:
        # Each player of an environment plays as many episodes as the environment.
        players = group.size // len(shares)
        rows = [share for share in shares for _ in range(players)]
        counts = np.resize(np.array(counted), players * len(shares))
        return _play(group, player(group.size), rows, start_seeds(seed, len(shares)), counts, players, on_step)
    finally:
        group.close()


def shares_of(episodes: int) -> list[int]:
    """How many episodes each environment plays: as few environments as keep the longest share short."""
    longest = -(-episodes // MOST_ENVIRONMENTS)
    count = -(-episodes // longest)
    return [episodes // count + (index < episodes % count) for index in range(count)]


def start_seeds(seed: int, count: int) -> list[int]:
    """The seed of each environment's first episode."""
    return environment_seeds(seed, _FIRST_NUMBER, count)


def _play(
    group: EnvironmentGroup,
    act: Act,
    shares: list[int],
    seeds: list[int],
    counts: np.ndarray,
    players: int,
    on_step: Callable[[int, int], object],
) -> Episodes:
    rows = group.reset(seeds)
    # All rows go to the model every time, those that show nothing too: one size, compiled once.
    observation = {name: leaf.zeros(group.size) for name, leaf in group.observation.items()}
    left, first = np.array(shares), np.ones(group.size, bool)
    earned, length = np.zeros(group.size), np.zeros(group.size, np.int64)
    returns: list[float] = []
    lengths: list[int] = []
    steps = 0
    _keep(rows, observation, first)
    while left.any():
        # An environment goes on for all of its players, until each has played its share.
        goes_on = np.repeat(left.reshape(-1, players).any(axis=1), players)
        playing = rows.environment[goes_on[rows.environment]]
        shown = np.zeros(group.size, bool)
        shown[rows.environment] = True
        rows = group.step(playing, act(observation, first, shown)[playing])
        _keep(rows, observation, first)
        ends = (rows.flags & ENDED) != 0
        stepped = (left[rows.environment] > 0) & (ends | (rows.flags == 0))
        index, ended = rows.environment[stepped], rows.environment[stepped & ends]
        earned[index] += rows.reward[stepped]
        length[index] += 1
        told = ended[counts[ended]]
        returns += earned[told].tolist()
        lengths += length[told].tolist()
        earned[ended], length[ended] = 0.0, 0
        left[ended] -= 1
        steps += len(index)
        on_step(len(returns), steps)
    return Episodes(np.array(returns), np.array(lengths))


def _keep(rows: Rows, observation: Mapping[str, np.ndarray], first: np.ndarray) -> None:
    """What is to be acted on next."""
    first[rows.environment] = rows.flags != 0
    for name, leaf in rows.observation.items():
        observation[name][rows.environment] = leaf
