"""Playing episodes: each counts once, long ones no less than short ones, and a policy remembers what it saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from actor_client.environments import spaces
from actor_client.settings import EnvironmentSettings
from corral.launch.evaluation import MOST_ENVIRONMENTS, play_episodes, shares_of, start_seeds
from corral.launch.policy import Act, GreedyPolicy
from tests.support.painted_environment import LONG, SHORT, PaintedEnvironment
from tests.support.run_folder import PAINTED
from tests.support.scripted_environment import episode_length, reward_of

SETTINGS = EnvironmentSettings(PAINTED)


def naming_the_door(rows: int) -> Act:
    def act(observation: Mapping[str, np.ndarray], first: np.ndarray, shown: np.ndarray) -> np.ndarray:
        assert len(first) == rows
        assert (first == (observation["where/x"][:, 0] == 0)).all()
        return observation["door"]

    return act


def lengths_one_by_one(shares: list[int], seed: int) -> list[int]:
    """The lengths of the same episodes, one environment after the other."""
    lengths = []
    for share, start in zip(shares, start_seeds(seed, len(shares)), strict=True):
        environment = PaintedEnvironment()
        for episode in range(share):
            environment.reset(seed=None if episode else start)
            length, over = 0, False
            while not over:
                _, _, over, _, _ = environment.step(0)
                length += 1
            lengths.append(length)
    return lengths


@pytest.mark.parametrize("episodes", [1, 7, MOST_ENVIRONMENTS, MOST_ENVIRONMENTS + 1, 100])
def test_every_episode_counts_once(episodes: int) -> None:
    played = play_episodes(SETTINGS, naming_the_door, episodes, seed=4)
    assert sorted(played.lengths) == sorted(lengths_one_by_one(shares_of(episodes), 4))
    assert played.returns.tolist() == played.lengths.tolist()  # every step named the door


def test_long_episodes_count_no_less_than_short_ones() -> None:
    played = play_episodes(SETTINGS, naming_the_door, 400, seed=0)
    # Half of them are long. The first 400 to end in 32 environments would hold many more short ones.
    assert set(played.lengths) == {SHORT, LONG}
    assert 160 <= (played.lengths == LONG).sum() <= 240


@pytest.mark.parametrize("episodes", [1, 2, 31, 32, 33, 64, 65, 100, 1_000])
def test_shares_are_even(episodes: int) -> None:
    shares = shares_of(episodes)
    assert sum(shares) == episodes
    assert len(shares) <= MOST_ENVIRONMENTS
    assert max(shares) - min(shares) <= 1
    assert max(shares) == -(-episodes // MOST_ENVIRONMENTS)


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    played = play_episodes(SETTINGS, naming_the_door, 5, seed=0, on_step=lambda *so_far: told.append(so_far))
    assert told == sorted(told)
    assert told[-1] == (5, played.lengths.sum())


def test_the_seed_decides() -> None:
    first, again, other = (
        play_episodes(SETTINGS, naming_the_door, 40, seed=seed).lengths.tolist() for seed in (1, 1, 2)
    )
    assert first == again != other


def test_a_policy_remembers_until_the_episode_ends() -> None:
    import keras

    where, door = keras.Input((1,), name="where.x"), keras.Input((), dtype="int64", name="door")
    seen = keras.Input((1,), name="seen")
    after = seen + 1.0
    # It names the door as long as it has seen exactly as much as the episode has steps.
    off = keras.ops.cast(keras.ops.abs(seen[:, 0] - where[:, 0]) > 0.5, "int64")
    outputs = {"action": keras.ops.mod(door + off, 3), "seen": after}
    policy = GreedyPolicy(keras.Model({"where.x": where, "door": door, "seen": seen}, outputs), *spaces(SETTINGS))
    played = play_episodes(SETTINGS, policy.player, 40, seed=0)
    assert played.returns.tolist() == played.lengths.tolist()


def test_a_policy_remembers_nothing_of_others_turns() -> None:
    """It counts what it sees, which is as much as the script has shown it: its steps so far, and one."""
    import keras

    script, seen = keras.Input((4,), dtype="int64", name="observation"), keras.Input((), name="seen")
    right = keras.ops.equal(keras.ops.cast(seen, "int64"), script[:, 2])
    outputs = {"action": keras.ops.cast(keras.ops.logical_not(right), "int64"), "seen": seen + 1.0}
    settings = EnvironmentSettings("tests.support.scripted_apis:turns")
    model = keras.Model({"observation": script, "seen": seen}, outputs)
    player = GreedyPolicy(model, *spaces(settings)).player
    wrong: list[np.ndarray] = []

    def watched(rows: int) -> Act:
        inner = player(rows)

        def act(observation: Mapping[str, np.ndarray], first: np.ndarray, shown: np.ndarray) -> np.ndarray:
            action = inner(observation, first, shown)
            wrong.append(action[shown])
            return action

        return act

    play_episodes(settings, watched, 4, seed=0)
    assert len(wrong) > 10
    assert not np.concatenate(wrong).any()


def test_figures_of_one_episode_leave_its_error_open() -> None:
    figures = play_episodes(SETTINGS, naming_the_door, 1, seed=0).figures()
    assert figures["std_return"] is figures["standard_error"] is figures["confidence_interval_95"] is None


def greedy(action: int) -> Callable[[int], Act]:
    return lambda rows: lambda observation, first, shown: np.full(rows, action)


@pytest.mark.parametrize("identifier", ["DyingMatch", "turns"])
def test_players_whose_episodes_end_apart_play_as_many(identifier: str) -> None:
    """Against the script: what two episodes of each player of thirty-two environments earn."""
    settings = EnvironmentSettings(f"tests.support.scripted_apis:{identifier}")
    whos: set[int] = set()

    def watching(rows: int) -> Act:
        def act(observation: Mapping[str, np.ndarray], first: np.ndarray, shown: np.ndarray) -> np.ndarray:
            whos.update(observation["observation"][:, 0].tolist())
            return np.zeros(rows, np.int64)

        return act

    played = play_episodes(settings, watching, 64, seed=0)
    whos.discard(0)  # rows that nothing was shown of yet
    assert len(whos) == 3 * len(shares_of(64))
    lengths = [episode_length(who, episode) for who in whos for episode in range(64 // len(shares_of(64)))]
    assert sorted(played.lengths.tolist()) == sorted(lengths)
    returns = [
        sum(reward_of(episode, step + 1) for step in range(episode_length(who, episode)))
        for who in whos
        for episode in range(64 // len(shares_of(64)))
    ]
    assert sorted(played.returns.tolist()) == sorted(returns)


def test_a_pool_of_envpools_plays_each_share() -> None:
    """CartPole earns 1 a step; a pool steps all of its environments, those that are done too."""
    settings = EnvironmentSettings("envpool:CartPole-v1", {"max_episode_steps": 9})
    played = play_episodes(settings, greedy(1), 40, seed=1)
    assert len(played.returns) == 40
    assert played.returns.tolist() == played.lengths.tolist()
    assert played.lengths.max() <= 9
    assert played.lengths.min() >= 8, "always pushed to one side, the pole falls after eight to ten steps"
    again = play_episodes(settings, greedy(1), 40, seed=1)
    assert again.lengths.tolist() == played.lengths.tolist()
