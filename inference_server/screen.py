"""Observations that are none: NaN, infinity, booleans that are neither 0 nor 1. Looked for a batch at a time."""

from __future__ import annotations

from typing import Literal

import numpy as np

from corral.protocol import ErrorCode, ProtocolError, Spec
from inference_server.batch import Batch, Request

NonFinite = Literal["refuse", "pass"]


class Screen:
    """Says which requests of a batch hold values that no model should see.

    Args:
      observation: spec of the rows.
      non_finite: "refuse" looks at every float leaf, "pass" at none.

    Attributes:
      names: the leaves that are looked at; none of them costs anything where there are none.
    """

    def __init__(self, observation: Spec, non_finite: NonFinite) -> None:
        kinds = "fb" if non_finite == "refuse" else "b"
        checks = {"f": _are_finite, "b": _are_booleans}
        looked_at = {name: np.dtype(leaf.dtype).kind for name, leaf in observation.items()}
        self._checks = [(name, checks[kind]) for name, kind in looked_at.items() if kind in kinds]
        self.names = [name for name, _ in self._checks]

    def is_clean(self, batch: Batch) -> bool:
        """Whether there is nothing to refuse: what is asked of every batch."""
        rows, finals = batch.rows, batch.finals
        for name, check in self._checks:
            if not check(batch.observation[name][:rows]) or (finals and not check(batch.final[name][:finals])):
                return False
        return True

    def refusals(self, batch: Batch) -> dict[int, ProtocolError]:
        """Number of each request to refuse in `batch.requests` -> MALFORMED, naming the first leaf and row."""
        found: dict[int, ProtocolError] = {}
        finals = np.cumsum([0, *(request.finals for request in batch.requests)]).tolist()
        for number, request in enumerate(batch.requests):
            error = self._refusal(batch, request, finals[number])
            if error is not None:
                found[number] = error
        return found

    def _refusal(self, batch: Batch, request: Request, first_final: int) -> ProtocolError | None:
        for name, check in self._checks:
            for title, leaf in (
                (name, batch.observation[name][request.start : request.stop]),
                (f"final {name}", batch.final[name][first_final : first_final + request.finals]),
            ):
                if not check(leaf):
                    return _refusal(title, leaf)
        return None


def _are_finite(leaf: np.ndarray) -> bool:
    return bool(np.isfinite(leaf).all())


def _are_booleans(leaf: np.ndarray) -> bool:
    return bool((leaf.view(np.uint8) <= 1).all())


def _refusal(title: str, leaf: np.ndarray) -> ProtocolError:
    if leaf.dtype == bool:
        return ProtocolError(ErrorCode.MALFORMED, f"a byte of {title!r} is neither 0 nor 1: no boolean")
    row, *place = (int(index) for index in np.argwhere(~np.isfinite(leaf))[0])
    return ProtocolError(
        ErrorCode.MALFORMED,
        f"{title!r} holds {leaf[(row, *place)]} in row {row}{f' at {place}' if place else ''}: mend the "
        'environment, or let such values through with server.non_finite = "pass"',
    )
