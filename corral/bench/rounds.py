"""One run of the clients under the clock: what each process told, and the gauges before and after."""

from __future__ import annotations

from collections import Counter

import numpy as np

from corral.bench.child import Message
from corral.bench.result import Result

SWAP_MARGIN_S = 0.02
"""Seconds after a version's first answer that still count as taking it up."""

Gauges = dict[str, float]


class Round:
    """One run of the clients: the gauges before and after, and what each process told."""

    def __init__(self, before: Gauges, after: Gauges, told: list[Message]) -> None:
        self._before, self._after = before, after
        self.told = told
        self._arrays = [np.load(message["file"]) for message in told]

    def collect(self, name: str) -> np.ndarray:
        """An array of every process' answers, one behind the other."""
        return np.concatenate([arrays[name] for arrays in self._arrays])

    def gained(self, gauge: str) -> float:
        """How much a gauge has gone up."""
        return self._after[gauge] - self._before[gauge]

    def per_s(self, gauge: str) -> float:
        """How much it has gone up each second."""
        return self.gained(gauge) / self.gained("moment")

    def errors(self) -> Counter[str]:
        """Text -> how often."""
        found: Counter[str] = Counter()
        for message in self.told:
            found.update(message["errors"])
        return found


def add_pushes(result: Result, round_: Round, published: list[list[float]]) -> None:
    answered, latency = round_.collect("answered"), round_.collect("latency_s")
    version = round_.collect("version")
    result.checked, result.pushes = len(version), len(published)
    swapping = np.zeros(len(answered), bool)
    for number, moment in published:
        newer = answered[version >= number]
        if not len(newer):
            continue
        first = float(newer.min())
        result.in_use_ms = max(result.in_use_ms, (first - moment) * 1e3)
        swapping |= (answered > moment) & (answered - latency < first + SWAP_MARGIN_S)
    result.swap_max_ms = float(latency[swapping].max(initial=0.0)) * 1e3
    result.quiet_max_ms = float(latency[~swapping].max(initial=0.0)) * 1e3
