"""Environments of several players: which row is whose, ends, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from actor_client.environments import make_group, spaces
from actor_client.groups import BadEnvironmentError
from actor_client.players import PlayersGroup
from actor_client.settings import EnvironmentSettings
from corral.protocol import RowFlags
from tests.support.match import RockPaperScissors, Shrinking, Uneven, Unlike

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
    group = PlayersGroup([Uneven()])
    group.reset(None)
    with pytest.raises(BadEnvironmentError, match="ended for left and goes on for others"):
        group.step(np.array([0, 1], np.uint16), np.array([ROCK, ROCK]))
    with pytest.raises(BadEnvironmentError, match="no observation for right"):
        PlayersGroup([Shrinking()]).reset(None)
