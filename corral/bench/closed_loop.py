"""Many actors and one server as a closed queueing network: how much comes through, and how long answers take.

An actor is either in its environments or at the server. What the server does with `n` requests at once was
measured: `n` clients without any pause between answer and request get so many answers a second. Norton's theorem
for queueing networks says that the server may be replaced by a station that works at just these rates (Chandy,
Herzog and Woo 1975, "Parametric Analysis of Queuing Networks"; Lazowska et al. 1984, "Quantitative System
Performance", chapter 8), which leaves a birth and death process over the number of requests at the server.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Curve:
    """Answers per second with so many requests at the server at once.

    Args:
      points: (requests, answers per second), in any order; between two of them a straight line, beyond the last one
        its rate. Rates that fall with more requests are taken as they are.

    Raises:
      ValueError: there is none, or one is not above 0.
    """

    points: tuple[tuple[int, float], ...]

    def __init__(self, points: Iterable[tuple[int, float]]) -> None:
        object.__setattr__(self, "points", tuple(sorted(points)))
        if not self.points or any(requests < 1 or not rate > 0 for requests, rate in self.points):
            raise ValueError(f"a curve needs measured rates above 0, not {list(self.points)}")

    @property
    def most_per_s(self) -> float:
        """The highest rate."""
        return max(rate for _, rate in self.points)

    def rates(self, most: int) -> np.ndarray:
        """Answers a second with 1, 2, ... `most` requests, `[most]`. Fewer than were measured share that rate."""
        requests, rates = np.array(self.points, float).T
        wanted = np.arange(1, most + 1, dtype=float)
        found = np.interp(wanted, requests, rates)
        shared: np.ndarray = np.where(wanted < requests[0], found * wanted / requests[0], found)
        return shared


@dataclass(frozen=True)
class Flow:
    """What comes of it.

    Attributes:
      answers_per_s: of all actors together.
      wait_s: from a request to its answer, on average.
      busy: the share of the server's highest rate that is used.
    """

    answers_per_s: float
    wait_s: float
    busy: float


def closed_loop(actors: int, think_s: float, curve: Curve) -> Flow:
    """`actors` that take `think_s` from each answer to their next request, at one server.

    Raises:
      ValueError: there are no actors, or `think_s` is below 0.
    """
    if actors < 1 or think_s < 0:
        raise ValueError(f"a closed loop needs actors and no negative times, not {actors} and {think_s}")
    rates = curve.rates(actors)
    if think_s == 0:
        answers = float(rates[-1])
    else:
        arriving = np.arange(actors, 0, -1) / think_s  # with 0, 1, ... at the server
        weights = np.concatenate(([0.0], np.cumsum(np.log(arriving) - np.log(rates))))
        chances = np.exp(weights - weights.max())
        answers = float(chances[1:] @ rates / chances.sum())
    return Flow(answers, actors / answers - think_s, answers / curve.most_per_s)
