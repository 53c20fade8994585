"""Which batch timeout and size to take, from figures alone: nothing here measures anything."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LEAST_NOISE = 0.02
"""Differences below this share of the rows are never taken for real: no machine repeats itself more closely."""
TOO_NOISY = 0.1
"""With more noise than this, what was found is worth no change of a file."""


@dataclass(frozen=True, order=True)
class Setting:
    """What a server can be set to."""

    max_size: int
    timeout_us: int


@dataclass(frozen=True)
class Found:
    """What was measured with one setting.

    Attributes:
      rows_per_s: of each round, in the order of the rounds; those of all settings have the same length.
      mean_batch, p50_ms, p99_ms: medians of the rounds.
    """

    setting: Setting
    rows_per_s: tuple[float, ...]
    mean_batch: float
    p50_ms: float
    p99_ms: float

    @property
    def typical(self) -> float:
        """The median of the rounds, in rows per second."""
        return statistics.median(self.rows_per_s)


@dataclass(frozen=True)
class Recommendation:
    """A setting, and why.

    Attributes:
      times_shortest: its rows per second over those of the shortest timeout at the same `max_size`.
      noise: the share of the rows below which a difference counted as chance.
      reason: one sentence for a person.
    """

    setting: Setting
    times_shortest: float
    noise: float
    reason: str

    @property
    def is_worth_writing(self) -> bool:
        """Whether the rounds agreed well enough to tell settings apart."""
        return self.noise <= TOO_NOISY


def noise(found: Sequence[Found]) -> float:
    """How far apart the rounds of one setting lie, as a share of its rows: what the median setting has, or
    `LEAST_NOISE` where that is more.

    Each round is compared with its own mean first: a machine that is slower for one whole round favours nobody.
    """
    levels = [statistics.mean(column) for column in zip(*(each.rows_per_s for each in found), strict=True)]
    relative = [[rate / level for rate, level in zip(each.rows_per_s, levels, strict=True)] for each in found]
    noise: float = statistics.median(max(rates) - min(rates) for rates in relative)
    return max(LEAST_NOISE, noise)


def recommend(found: Sequence[Found], *, max_size: int, environments: int) -> Recommendation:
    """The experiment's `max_size` unless another's best is better by more than the noise; with it, the shortest
    timeout that comes within the noise of the best.

    So the answer is the shortest timeout, 0 where that was measured, wherever no other wins clearly.

    Args:
      found: at least one; no setting twice.
      max_size: what the experiment has now.
      environments: rows that all actors have together.
    """
    margin = noise(found)
    size = _size(found, max_size, margin)
    rivals = sorted((each for each in found if each.setting.max_size == size), key=lambda each: each.setting)
    best, shortest = _best(rivals), rivals[0]
    chosen = next(each for each in rivals if _reaches(each, best, margin))
    others = [_best_of_size(found, other) for other in _sizes(found) if other != size]
    words = [_about_timeout(chosen, best, shortest, min(size, environments))]
    words += [_about_size(best, other, max_size, environments) for other in others] or [f"max_size stays {size}"]
    reason = f"{'; '.join(words)} (noise: {margin:.0%})"
    return Recommendation(chosen.setting, chosen.typical / shortest.typical, margin, reason)


def _size(found: Sequence[Found], now: int, margin: float) -> int:
    best = _best(found)
    if now not in _sizes(found):
        return best.setting.max_size
    return now if _reaches(_best_of_size(found, now), best, margin) else best.setting.max_size


def _sizes(found: Iterable[Found]) -> list[int]:
    return sorted({each.setting.max_size for each in found})


def _best(found: Iterable[Found]) -> Found:
    return max(found, key=lambda each: each.typical)


def _best_of_size(found: Iterable[Found], size: int) -> Found:
    return _best(each for each in found if each.setting.max_size == size)


def _reaches(each: Found, best: Found, margin: float) -> bool:
    return each.typical >= best.typical * (1 - margin)


def _about_timeout(chosen: Found, best: Found, shortest: Found, full: int) -> str:
    timeout, least, longest = (each.setting.timeout_us for each in (chosen, shortest, best))
    batch = f"mean batch {chosen.mean_batch:.0f} of {full}"
    if chosen is not shortest:
        text = f"timeout_us = {timeout}: {_times(chosen, shortest)} the rows of {least}, {batch}"
        return text if chosen is best else f"{text}, and {longest} gives no more than chance may"
    if chosen is not best:
        return f"timeout_us = {timeout}: waiting wins no more than chance may ({_gives(best, chosen)}), {batch}"
    return f"timeout_us = {timeout}: no longer wait gives more rows, {batch}"


def _about_size(best: Found, other: Found, now: int, environments: int) -> str:
    size, theirs = best.setting.max_size, other.setting.max_size
    if size == now:
        return f"max_size stays {size} ({theirs} gives {_times(other, best)} its rows)"
    every = ", every environment at once" if size == environments else ""
    return f"max_size = {size}{every}: {_times(best, other)} the rows of {theirs}"


def _gives(best: Found, chosen: Found) -> str:
    return f"{best.setting.timeout_us} gives {_times(best, chosen)} the rows"


def _times(one: Found, other: Found) -> str:
    return f"{one.typical / other.typical:.2f} times"
