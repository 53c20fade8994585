"""PettingZoo's parallel environments: which row is whose, who ends when, and what is refused."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from actor_client.environments import make_group, make_single, spaces
from actor_client.groups import BadEnvironmentError
from actor_client.pettingzoo_parallel import PlayersGroup
from actor_client.rows import Rows
from actor_client.settings import EnvironmentSettings
from corral.protocol import ENDED, RowFlags, TensorSpec
from tests.support.match import Deserting, RockPaperScissors, Shrinking, Unlike

ROCK, PAPER, SCISSORS, NOTHING = range(4)
GAME = EnvironmentSettings(id="tests.support.match:RockPaperScissors")


def test_every_player_of_every_environment_is_a_row() -> None:
    group = make_group(GAME, 2)
    assert isinstance(group, PlayersGroup)
    assert group.players == ("left", "right")
    assert group.size == 4
    assert spaces(GAME) == (group.observation, group.action)

    rows = group.reset([1, 2])
    assert rows.environment.tolist() == [0, 1, 2, 3]
    assert rows.flags.tolist() == [RowFlags.FIRST] * 4
    assert rows.observation["observation"].tolist() == [NOTHING] * 4

    rows = group.step(rows.environment, np.array([ROCK, PAPER, SCISSORS, PAPER]))
    assert rows.observation["observation"].tolist() == [PAPER, ROCK, PAPER, SCISSORS]
    assert rows.reward.tolist() == [-1.0, 1.0, 1.0, -1.0]
    assert rows.flags.tolist() == [0] * 4
    group.close()


@pytest.mark.parametrize(("cut", "flag"), [(False, RowFlags.TERMINATED), (True, RowFlags.TRUNCATED)])
def test_all_players_end_together_and_each_has_its_final_observation(cut: bool, flag: RowFlags) -> None:
    group = PlayersGroup([RockPaperScissors(length=2, cut=cut), RockPaperScissors(length=3, cut=cut)])
    group.reset(None)
    every = np.arange(4, dtype=np.uint16)
    group.step(every, np.array([ROCK, ROCK, ROCK, ROCK]))
    rows = group.step(every, np.array([PAPER, SCISSORS, ROCK, PAPER]))
    assert rows.flags.tolist() == [RowFlags.FIRST | flag, RowFlags.FIRST | flag, 0, 0]
    assert rows.final["observation"].tolist() == [SCISSORS, PAPER]
    assert rows.observation["observation"].tolist() == [NOTHING, NOTHING, PAPER, ROCK]
    assert rows.reward.tolist() == [-1.0, 1.0, -1.0, 1.0]


def test_some_of_the_environments_can_be_stepped() -> None:
    group = PlayersGroup([RockPaperScissors(), RockPaperScissors()])
    group.reset(None)
    rows = group.step(np.array([2, 3], np.uint16), np.array([ROCK, PAPER]))
    assert rows.environment.tolist() == [2, 3]
    assert rows.reward.tolist() == [-1.0, 1.0]


def test_the_first_seeds_are_the_environments() -> None:
    class Seeded(RockPaperScissors):
        def reset(self, seed=None, options=None):
            seeds.append(seed)
            return super().reset(seed)

    seeds: list[int | None] = []
    PlayersGroup([Seeded(), Seeded()]).reset([5, 6, 7, 8])
    assert seeds == [5, 6]


def test_what_players_cannot_do_is_said() -> None:
    with pytest.raises(BadEnvironmentError, match=r"left \(here\) and right \(there\) see or do different things"):
        PlayersGroup([Unlike()])
    group = PlayersGroup([Deserting()])
    group.reset(None)
    with pytest.raises(BadEnvironmentError, match="left left the environment's agents without a termination"):
        group.step(np.array([0, 1], np.uint16), np.array([ROCK, ROCK]))
    with pytest.raises(BadEnvironmentError, match="no observation for right"):
        PlayersGroup([Shrinking()]).reset(None)


class Rounds:
    """A script by PettingZoo's parallel API: in each round who sees what, earns what, and whose episode ends how.

    Args:
      rounds: of an episode, the reset first: player -> `(observation, reward, "" | "dies" | "cut")`. Who is left
        out is not there.
    """

    def __init__(self, rounds: list[dict[str, tuple[int, float, str]]], tell_ends: bool = True) -> None:
        self.possible_agents = ["a", "b", "c"]
        self.asked: list[dict[str, int]] = []
        self._rounds = rounds
        self._tell_ends = tell_ends

    def observation_space(self, agent: str) -> gymnasium.Space:
        return gymnasium.spaces.Discrete(1000)

    def action_space(self, agent: str) -> gymnasium.Space:
        return gymnasium.spaces.Discrete(10)

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self._round = -1
        return self._play()[0], {}

    def step(self, actions: dict[str, int]) -> Any:
        self.asked.append(actions)
        return self._play()

    def close(self) -> None:
        pass

    def _play(self) -> Any:
        self._round += 1
        told = self._rounds[self._round]
        self.agents = [agent for agent, (_, _, end) in told.items() if not end]
        seen = {agent: each[0] for agent, each in told.items() if self._tell_ends or not each[2]}
        ends = ({agent: each[2] == how for agent, each in told.items()} for how in ("dies", "cut"))
        return seen, {agent: each[1] for agent, each in told.items()}, *ends, {}


def shown(rows: Rows) -> list[tuple[Any, ...]]:
    """`(row, flags, reward, observation, final observation or None)` of each row."""
    finals = iter(rows.final["observation"].tolist())
    told = zip(rows.environment, rows.flags, rows.reward, rows.observation["observation"], strict=True)
    return [
        (int(row), int(flags), float(reward), int(seen), next(finals) if flags & ENDED else None)
        for row, flags, reward, seen in told
    ]


FIRST, DIED, CUT = (
    int(flags)
    for flags in (RowFlags.FIRST, RowFlags.FIRST | RowFlags.TERMINATED, RowFlags.FIRST | RowFlags.TRUNCATED)
)


def test_who_dies_is_silent_until_the_next_episode() -> None:
    game = Rounds(
        [
            {"a": (10, 0, ""), "b": (20, 0, ""), "c": (30, 0, "")},
            {"a": (11, 1, ""), "b": (21, 2, "dies"), "c": (31, 3, "")},
            {"a": (12, 4, ""), "c": (32, 5, "cut")},
            {"a": (13, 6, "dies")},
        ]
    )
    group = PlayersGroup([game])
    rows = group.reset(None)
    assert shown(rows) == [(0, FIRST, 0, 10, None), (1, FIRST, 0, 20, None), (2, FIRST, 0, 30, None)]
    rows = group.step(rows.environment, np.array([1, 2, 3]))
    assert shown(rows) == [(0, 0, 1, 11, None), (2, 0, 3, 31, None)]
    rows = group.step(rows.environment, np.array([4, 6]))
    assert shown(rows) == [(0, 0, 4, 12, None)]
    rows = group.step(rows.environment, np.array([7]))
    # Each with its own end, reward and last observation, and the first of the next episode.
    assert shown(rows) == [(0, DIED, 6, 10, 13), (1, DIED, 2, 20, 21), (2, CUT, 5, 30, 32)]
    assert game.asked == [{"a": 1, "b": 2, "c": 3}, {"a": 4, "c": 6}, {"a": 7}]
    rows = group.step(rows.environment, np.array([1, 2, 3]))
    assert shown(rows) == [(0, 0, 1, 11, None), (2, 0, 3, 31, None)]


def test_who_is_born_later_begins_then_and_may_come_again() -> None:
    game = Rounds(
        [
            {"a": (10, 0, "")},
            {"a": (11, 1, ""), "b": (20, 9, "")},
            {"a": (12, 1, ""), "b": (21, 2, "dies")},
            {"a": (13, 1, ""), "b": (25, 9, "")},
            {"a": (14, 1, "dies"), "b": (26, 3, "dies")},
        ]
    )
    group = PlayersGroup([game])
    rows = group.reset(None)
    seen = [shown(rows)]
    for _ in range(5):
        rows = group.step(rows.environment, np.zeros(len(rows.environment), np.int64))
        seen.append(shown(rows))
    assert seen == [
        [(0, FIRST, 0, 10, None)],
        [(0, 0, 1, 11, None), (1, FIRST, 0, 20, None)],
        [(0, 0, 1, 12, None)],
        [(0, 0, 1, 13, None), (1, DIED, 2, 25, 21)],
        [(0, DIED, 1, 10, 14)],
        [(0, 0, 1, 11, None), (1, DIED, 3, 20, 26)],
    ]


def test_who_dies_without_a_last_observation_keeps_the_one_before() -> None:
    def played(how: str) -> list[tuple[Any, ...]]:
        group = PlayersGroup(
            [Rounds([{"a": (10, 0, ""), "b": (20, 0, "")}, {"a": (11, 1, how), "b": (21, 2, how)}], False)]
        )
        rows = group.reset(None)
        return shown(group.step(rows.environment, np.zeros(2, np.int64)))

    assert played("dies") == [(0, DIED, 1, 10, 10), (1, DIED, 2, 20, 20)]
    with pytest.raises(BadEnvironmentError, match="a is truncated without a last observation"):
        played("cut")


def test_a_reset_forgets_ends_that_were_not_told() -> None:
    game = Rounds(
        [{"a": (10, 0, ""), "b": (20, 0, "")}, {"a": (11, 1, ""), "b": (21, 2, "dies")}, {"a": (12, 1, "")}]
    )
    group = PlayersGroup([game])
    rows = group.reset(None)
    group.step(rows.environment, np.array([1, 2]))
    assert shown(group.reset(None)) == [(0, FIRST, 0, 10, None), (1, FIRST, 0, 20, None)]


def test_masks_come_from_infos() -> None:
    class Masked(RockPaperScissors):
        def reset(self, seed=None, options=None):
            seen, _ = super().reset(seed)
            return seen, {"left": {"action_mask": [1, 0, 1]}, "right": {"action_mask": np.array([0, 1, 0])}}

        def step(self, actions):
            *told, _ = super().step(actions)
            return *told, {} if not self.agents else {
                "left": {"action_mask": [0, 0, 1]},
                "right": {"action_mask": [1, 1, 1]},
            }

    group = PlayersGroup([Masked(length=2)], action_mask=True)
    assert group.observation["action_mask"] == TensorSpec((3,), "int8", 0.0, 1.0)
    rows = group.reset(None)
    assert rows.observation["action_mask"].tolist() == [[1, 0, 1], [0, 1, 0]]
    rows = group.step(rows.environment, np.array([ROCK, PAPER]))
    assert rows.observation["action_mask"].tolist() == [[0, 0, 1], [1, 1, 1]]
    rows = group.step(rows.environment, np.array([SCISSORS, PAPER]))
    assert rows.observation["action_mask"].tolist() == [[1, 0, 1], [0, 1, 0]]
    assert rows.final["action_mask"].tolist() == [[1, 1, 1], [1, 1, 1]]
    with pytest.raises(BadEnvironmentError, match=r'gives no info\["action_mask"\]'):
        PlayersGroup([RockPaperScissors()], action_mask=True).reset(None)


def test_knights_die_one_by_one() -> None:
    """The real library: rows follow what the environment itself says, step by step, beside a copy of it."""
    game = EnvironmentSettings(
        "pettingzoo.butterfly.knights_archers_zombies_v11:parallel_env", {"max_cycles": 100, "line_death": True}
    )
    group, copy = make_group(game, 1), make_single(game)
    rows = group.reset([3])
    seen, _ = copy.reset(seed=3)
    agents = copy.possible_agents
    ends: dict[int, tuple[float, Any]] = {}
    alone, episodes = 0, 0
    drawn = np.random.default_rng(0)
    for _ in range(250):
        acts = drawn.integers(0, 6, len(rows.environment))
        chosen = {agents[row]: int(act) for row, act in zip(rows.environment, acts, strict=True)}
        assert set(chosen) == set(copy.agents)
        seen, reward, died, cut, _ = copy.step(chosen)
        ends |= {agents.index(agent): (reward[agent], seen[agent]) for agent in chosen if died[agent] or cut[agent]}
        rows = group.step(rows.environment, acts)
        if copy.agents:
            assert [agents[row] for row in rows.environment] == [agent for agent in agents if agent in copy.agents]
            alone += len(copy.agents) < len(agents)
            assert rows.reward.tolist() == [reward[agents[row]] for row in rows.environment]
            assert not rows.flags.any()
        else:
            seen, _ = copy.reset()
            assert (rows.flags & ENDED != 0).all()
            assert rows.reward.tolist() == [ends[row][0] for row in range(4)]
            np.testing.assert_array_equal(rows.final["observation"], [ends[row][1] for row in range(4)])
            episodes += 1
        for row, observation in zip(rows.environment, rows.observation["observation"], strict=True):
            np.testing.assert_array_equal(observation, seen[agents[row]])
    assert episodes > 1
    assert alone > 20, "nobody died before the others"
