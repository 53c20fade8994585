"""Which policy plays in which of an actor's environments."""

from __future__ import annotations

import pytest

from actor_client.groups import BadEnvironmentError
from actor_client.lineups import Lineup, divide, line_up
from actor_client.settings import Entrant

MAIN, OTHER = Entrant("main", ("a",)), Entrant("other", ("b",))


def entrant(name: str, share: float | None = None, *players: str) -> Entrant:
    return Entrant(name, (name,), share, players)


def counts(lineups: list[Lineup]) -> list[tuple[int, str]]:
    return [(len(each.environments), "/".join(entrant.name for entrant in each.entrants)) for each in lineups]


def test_one_policy_has_everything() -> None:
    assert counts(line_up([MAIN], (), 5)) == [(5, "main")]
    assert counts(line_up([MAIN], ("left", "right"), 5)) == [(5, "main/main")]


@pytest.mark.parametrize(
    ("shares", "environments", "expected"),
    [
        ((0.5, 0.5), 4, [2, 2]),
        ((None, None), 4, [2, 2]),
        ((None, 0.25), 4, [3, 1]),
        ((0.25, None, None), 8, [2, 3, 3]),
        ((0.5, 0.5), 5, [2, 3]),
        ((0.1, 0.9), 16, [2, 14]),
        ((1 / 3, 1 / 3, 1 / 3), 3, [1, 1, 1]),
    ],
)
def test_shares_are_met_to_the_nearest_environment(
    shares: tuple[float | None, ...], environments: int, expected: list[int]
) -> None:
    entrants = [entrant(f"p{index}", share) for index, share in enumerate(shares)]
    assert [len(each.environments) for each in line_up(entrants, (), environments)] == expected


def test_players_have_policies_of_their_own() -> None:
    main, past = entrant("main", None, "left"), entrant("past", None, "right")
    assert counts(line_up([main, past], ("left", "right"), 3)) == [(3, "main/past")]


def test_a_player_may_have_several_policies() -> None:
    entrants = [entrant("main", None, "left"), entrant("past", 0.75, "right"), entrant("frozen", None, "right")]
    assert counts(line_up(entrants, ("left", "right"), 8)) == [(6, "main/past"), (2, "main/frozen")]


def test_shares_of_several_players_are_cut_where_any_changes() -> None:
    entrants = [
        entrant("a", 0.5, "left"),
        entrant("b", 0.5, "left"),
        entrant("c", 0.25, "right"),
        entrant("d", 0.75, "right"),
    ]
    expected = [(2, "a/c"), (2, "a/d"), (4, "b/d")]
    assert counts(line_up(entrants, ("left", "right"), 8)) == expected


def test_lineups_are_divided_among_the_parts_of_a_pipeline() -> None:
    lineups = line_up([entrant("main", 0.75), entrant("other", 0.25)], (), 8)
    pieces = divide(lineups, [range(0, 4), range(4, 8)])
    assert [each.environments for each in pieces] == [range(0, 4), range(4, 6), range(6, 8)]
    assert counts(pieces) == [(4, "main"), (2, "main"), (2, "other")]


@pytest.mark.parametrize(
    ("entrants", "players", "environments", "text"),
    [
        ([entrant("main", None, "left")], (), 4, r"the environment has no players \(possible_agents"),
        ([entrant("main", None, "up")], ("left", "right"), 4, "the environment has no up, but left, right"),
        ([entrant("main", None, "left")], ("left", "right"), 4, "nobody plays right: .*policies.{main}"),
        ([entrant("main"), entrant("rare", 0.1)], (), 4, "policies.rare: its share of an actor's 4 environments"),
    ],
)
def test_what_does_not_go_together_is_said(
    entrants: list[Entrant], players: tuple[str, ...], environments: int, text: str
) -> None:
    with pytest.raises(BadEnvironmentError, match=text):
        line_up(entrants, players, environments)
