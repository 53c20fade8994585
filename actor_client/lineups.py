"""Who acts for whom: which policy each environment's players have, the same in every actor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from actor_client.groups import BadEnvironmentError
from actor_client.settings import Entrant

_ALONE = ""
"""The only player of an environment that has no players."""


@dataclass(frozen=True)
class Lineup:
    """Environments in which every player has the same policy.

    Attributes:
      environments: which of the actor's they are.
      entrants: the policy of each player, in the environment's order.
    """

    environments: range
    entrants: tuple[Entrant, ...]


def line_up(entrants: Sequence[Entrant], players: Sequence[str], environments: int) -> list[Lineup]:
    """Share an actor's environments out.

    A player's policies get their shares in the order of `entrants`, one block of environments after the other, to
    the nearest whole number of them.

    Args:
      players: of one environment; empty where it has not several, or the only policy acts for whoever there is.
      environments: of one actor.

    Raises:
      BadEnvironmentError: there is no such player, one that nobody plays, or a policy without an environment.
    """
    if not players:
        named = next((each for each in entrants if each.players), None)
        if named is not None:
            raise BadEnvironmentError(
                f"policies.{named.name}.players = {list(named.players)}: the environment has no players "
                "(possible_agents, as PettingZoo's parallel environments have)"
            )
        players = (_ALONE,)
    for each in entrants:
        if unknown := sorted(set(each.players) - set(players)):
            raise BadEnvironmentError(
                f"policies.{each.name}.players: the environment has no {', '.join(unknown)}, "
                f"but {', '.join(players)}"
            )
    chosen = [_shared_out(entrants, player, environments) for player in players]
    tables = list(zip(*chosen, strict=True))
    starts = [0, *(index for index in range(1, environments) if tables[index] != tables[index - 1]), environments]
    lineups = [Lineup(range(start, stop), tables[start]) for start, stop in pairwise(starts)]
    for each in entrants:
        if not any(each in lineup.entrants for lineup in lineups):
            raise BadEnvironmentError(
                f"policies.{each.name}: its share of an actor's {environments} environments is less than one; "
                "raise actor.environments"
            )
    return lineups


def divide(lineups: Sequence[Lineup], parts: Sequence[range]) -> list[Lineup]:
    """Lineups divided further, so that none reaches over two of an actor's parts."""
    pieces = [
        Lineup(
            range(max(each.environments.start, part.start), min(each.environments.stop, part.stop)), each.entrants
        )
        for each in lineups
        for part in parts
    ]
    return [piece for piece in pieces if piece.environments]


def _shared_out(entrants: Sequence[Entrant], player: str, environments: int) -> list[Entrant]:
    """The policy that a player has in each of an actor's environments."""
    able = [each for each in entrants if not each.players or player in each.players]
    if not able:
        names = ", ".join(each.name for each in entrants)
        raise BadEnvironmentError(f"nobody plays {player}: name it in the players of one of policies.{{{names}}}")
    open_ones = sum(each.share is None for each in able)
    left = 1.0 - sum(each.share or 0.0 for each in able)
    shares = [left / open_ones if each.share is None else each.share for each in able]
    ends = np.rint(np.cumsum(shares) * environments).astype(int)
    ends[-1] = environments
    return [able[int(np.searchsorted(ends, index, side="right"))] for index in range(environments)]
