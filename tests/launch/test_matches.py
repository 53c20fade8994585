"""Evaluating one policy of several: who plays whom, and whose returns count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import pytest

from actor_client.settings import EnvironmentSettings
from corral.launch.errors import UserError
from corral.launch.evaluation import play_episodes
from corral.launch.matches import Match, opponents
from corral.launch.policy import Act
from corral.launch.policy_settings import PolicySettings
from tests.support.match import LENGTH

GAME = EnvironmentSettings("tests.support.match:RockPaperScissors")
ROCK, PAPER, SCISSORS = range(3)
SIDES = ("left", "right")


class Stubborn:
    """Always the same, and counts whom it acts for."""

    def __init__(self, action: int) -> None:
        self._action = action
        self.rows = 0

    def player(self, rows: int) -> Act:
        self.rows = rows

        def act(observation: Mapping[str, np.ndarray], first: np.ndarray, shown: np.ndarray) -> np.ndarray:
            assert len(first) == rows == len(observation["observation"])
            return np.full(rows, self._action)

        return act


def trained(*players: str) -> PolicySettings:
    return PolicySettings(players=players)


def past(of: str, *players: str) -> PolicySettings:
    return PolicySettings(past=of, players=players)


@pytest.mark.parametrize(
    ("policies", "against", "expected"),
    [
        ({"main": trained("left"), "past": past("main", "right")}, None, ["main", "past"]),
        ({"main": trained(), "past": past("main", "right")}, None, ["main", "past"]),
        ({"main": trained(), "past": past("main")}, None, ["main", "main"]),
        ({"main": trained("left"), "a": past("main", "right"), "b": past("main", "right")}, None, ["main", "a"]),
        ({"main": trained("left"), "a": past("main", "right"), "b": past("main", "right")}, "b", ["main", "b"]),
    ],
)
def test_who_plays(policies: dict[str, PolicySettings], against: str | None, expected: list[str]) -> None:
    assert opponents(policies, "main", SIDES, against) == expected


@pytest.mark.parametrize(
    ("policies", "against", "text"),
    [
        ({"main": trained("left")}, None, "nobody plays right"),
        (
            {"main": trained("left"), "past": past("main", "right")},
            "pst",
            "--against pst: the run's policies are main",
        ),
        (
            {"main": trained(), "all": past("main", "left", "right")},
            "all",
            "--policy main plays none of left, right",
        ),
    ],
)
def test_what_cannot_be_played(policies: dict[str, PolicySettings], against: str | None, text: str) -> None:
    with pytest.raises(UserError, match=text):
        opponents(policies, "main", SIDES, against)


@pytest.mark.parametrize(("name", "earned"), [("paper", LENGTH), ("rock", -LENGTH)])
def test_the_returns_of_the_evaluated_policy_count(name: str, earned: int) -> None:
    policies: dict[str, Any] = {"paper": Stubborn(PAPER), "rock": Stubborn(ROCK)}
    match = Match(cast(Any, policies), ["rock", "paper"], name)
    played = play_episodes(GAME, match.player, 40, seed=0, counted=match.counted)
    assert played.returns.tolist() == [earned] * 40
    assert played.lengths.tolist() == [LENGTH] * 40
    assert policies["rock"].rows == policies["paper"].rows == 20  # of 40 episodes, two in each environment


def test_one_policy_for_everybody_counts_all() -> None:
    played = play_episodes(GAME, Stubborn(SCISSORS).player, 3, seed=0)
    assert played.returns.tolist() == [0.0] * 6
