"""PettingZoo's turn-based environments: whose turn it is, what it earned meanwhile, and ends that come in turn."""

from __future__ import annotations

import numpy as np
import pytest

from actor_client.environments import make_group, players, spaces
from actor_client.pettingzoo_turns import TurnsGroup
from actor_client.settings import EnvironmentSettings
from corral.protocol import RowFlags

TICTACTOE = EnvironmentSettings("pettingzoo.classic.tictactoe_v3:env")
FIRST, DIED = int(RowFlags.FIRST), int(RowFlags.FIRST | RowFlags.TERMINATED)


def test_each_in_turn_and_nothing_twice() -> None:
    """Tic-tac-toe, in which the first player takes the left column. Cells are numbered column by column."""
    group = make_group(TICTACTOE, 1)
    assert isinstance(group, TurnsGroup)
    assert group.players == players(TICTACTOE) == ("player_1", "player_2")
    assert spaces(TICTACTOE) == (group.observation, group.action)
    rows = group.reset([0])
    told = []
    for cell in (0, 3, 1, 4, 2, 8, 5):
        told.append((rows.environment.tolist(), rows.flags.tolist(), rows.reward.tolist()))
        assert rows.observation["action_mask"][0, cell] == 1
        rows = group.step(rows.environment, np.array([cell]))
    assert told[:2] == [([0], [FIRST], [0.0]), ([1], [FIRST], [0.0])]
    assert told[2:5] == [([0], [0], [0.0]), ([1], [0], [0.0]), ([0], [0], [0.0])]
    # The fifth move won. Each hears of it, and of what it saw last, when its first turn of the next game comes.
    assert told[5:] == [([0], [DIED], [1.0]), ([1], [DIED], [-1.0])]


def test_what_was_seen_last_comes_with_the_end() -> None:
    group = make_group(TICTACTOE, 1)
    rows = group.reset(None)
    for cell in (0, 3, 1, 4, 2):
        rows = group.step(rows.environment, np.array([cell]))
    mine, others = np.zeros((3, 3)), np.zeros((3, 3))
    mine[0], others[1, :2] = 1, 1
    np.testing.assert_array_equal(rows.final["observation"][0], np.stack([mine, others], axis=-1))
    assert not rows.observation["observation"].any()
    rows = group.step(rows.environment, np.array([8]))
    np.testing.assert_array_equal(rows.final["observation"][0], np.stack([others, mine], axis=-1))
    assert rows.observation["observation"][0, 2, 2].tolist() == [0, 1]


@pytest.mark.parametrize("name", ["connect_four_v3", "rps_v2"])
def test_whole_games_of_many(name: str) -> None:
    group = make_group(EnvironmentSettings(f"pettingzoo.classic.{name}:env"), 4)
    rows = group.reset([1, 2, 3, 4])
    drawn = np.random.default_rng(0)
    ends, total = np.zeros(group.size, int), 0.0
    for _ in range(200):
        assert len(rows.environment) == 4
        assert len(set(rows.environment // 2)) == 4, "one row of each environment"
        masks = rows.observation.get("action_mask", np.ones((4, group.action.num_values)))
        action = np.array([drawn.choice(np.flatnonzero(mask)) for mask in masks])
        rows = group.step(rows.environment, action)
        ended = rows.flags & RowFlags.TERMINATED != 0
        ended |= rows.flags & RowFlags.TRUNCATED != 0
        ends[rows.environment[ended]] += 1
        total += float(rows.reward.sum())
    assert ends.min() > 1
    assert abs(total) <= 4, "what one wins the other loses, but for games whose end the second has not heard of yet"
