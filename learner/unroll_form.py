"""What an unroll has to be: which leaves it has, how long it is, and which values can be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import zmq

from corral.protocol import ErrorCode, ProtocolError, Spec, StepType, UnrollManifest, mismatch, spec_from_wire
from corral.protocol.limits import MAX_COUNT
from corral.protocol.tensors import from_frame
from corral.protocol.unrolls import TIME_SPEC, Leaves

MAX_STEPS = 1 << 40
"""Most environment steps that one parcel can stand for: years of them."""


class UnrollForm:
    """What all unrolls have in common that come in.

    Args:
      parts: "time" and "state", each with its leaves; None takes them from the first server.
      length: transitions in an unroll; 0 takes it from the first server.
    """

    def __init__(self, parts: Mapping[str, Spec] | None, length: int) -> None:
        self._parts = parts
        self._length = length

    def take(self, wire: Mapping[str, Any]) -> None:
        """What a server says of its unrolls, for all that follow. Raises `ProtocolError` where it does not fit."""
        if wire.keys() != {"time", "state", "length"} or type(wire["length"]) is not int or wire["length"] < 1:
            raise ProtocolError(
                ErrorCode.MALFORMED, "a server says the time, state and length (1 or more) of its unrolls"
            )
        parts: dict[str, Spec] = {part: spec_from_wire(wire[part]) for part in ("time", "state")}
        for part, ours in (self._parts or parts).items():
            wrong = mismatch(ours, parts[part])
            if wrong:
                raise ProtocolError(ErrorCode.SPEC, f"unrolls differ (here: the learner): {wrong}")
        if self._length not in (0, wire["length"]):
            raise ProtocolError(
                ErrorCode.SPEC, f"unrolls have {self._length} transitions here and {wire['length']} there"
            )
        _check_names(parts)
        # Only what fits in every way is what the servers that follow are measured by.
        self._parts, self._length = self._parts or parts, wire["length"]

    def leaves(self, unrolls: int, frames: list[zmq.Frame]) -> Leaves:
        """The leaves of a parcel, as views of its frames. Raises `ProtocolError` for what is none."""
        assert self._parts is not None
        leading = {"time": (self._length + 1, unrolls), "state": (unrolls,)}
        names = [(part, name, leaf) for part, leaves in self._parts.items() for name, leaf in leaves.items()]
        if unrolls < 1 or len(frames) != len(names):
            raise ProtocolError(ErrorCode.SPEC, f"{len(names)} tensors make an unroll; got {len(frames)} frames")
        leaves = {
            name: from_frame(frame.buffer, leaf, *leading[part], name=name)
            for frame, (part, name, leaf) in zip(frames, names, strict=True)
        }
        _check_values(leaves)
        return leaves

    def ordered(self, leaves: Leaves) -> Leaves:
        """Unrolls of an earlier life, in the order of those that come in now.

        Agents take leaves by their place, and a file has an order of its own.

        Raises:
          ValueError: they are of another shape.
        """
        if not self._parts:
            return leaves
        ordered = {}
        for part, expected in self._parts.items():
            for name, leaf in expected.items():
                shape = leaves[name].shape if name in leaves else ()
                leading = 2 if part == "time" else 1
                if shape[leading:] != leaf.shape or (part == "time" and shape[:1] != (self._length + 1,)):
                    raise ValueError(f"{name} is {list(shape)}, which fits no unroll of this experiment")
                ordered[name] = leaves[name]
        return ordered


def check_manifest(manifest: UnrollManifest) -> None:
    """Raises `ProtocolError` (MALFORMED) for counts and episodes that cannot be."""
    if any(len(episode) != 2 or not all(map(math.isfinite, episode)) for episode in manifest.episodes):
        raise ProtocolError(ErrorCode.MALFORMED, "an episode is [return, length], both finite")
    counts = (manifest.steps, manifest.held)
    if not all(0 <= count <= MAX_STEPS for count in counts) or not 0 <= manifest.held_before <= MAX_COUNT:
        raise ProtocolError(
            ErrorCode.MALFORMED,
            f"{manifest.steps} steps were completed, {manifest.held} held: 0 to {MAX_STEPS} can be; or "
            f"{manifest.held_before} before: 0 to {MAX_COUNT}",
        )


def _check_values(leaves: Leaves) -> None:
    """Raises `ProtocolError` (MALFORMED) for what no step can have earned, or be."""
    if not np.isfinite(leaves["reward"]).all():
        raise ProtocolError(ErrorCode.MALFORMED, "a reward is not finite")
    discount = leaves["discount"]
    if not ((discount >= 0) & (discount <= 1)).all():
        raise ProtocolError(ErrorCode.MALFORMED, "a discount is 0 to 1")
    if (leaves["step_type"] > StepType.LAST).any():
        raise ProtocolError(ErrorCode.MALFORMED, f"a step type is 0 to {int(StepType.LAST)}")


def _check_names(parts: dict[str, Spec]) -> None:
    """Raises `ProtocolError` (SPEC) for parts whose leaves an `Unroll` has no place for."""
    time = {name: leaf for name, leaf in parts["time"].items() if not name.startswith(("observation/", "output/"))}
    if wrong := mismatch(TIME_SPEC, time):
        raise ProtocolError(ErrorCode.SPEC, f"beside observations and outputs, {wrong}")
    if strange := [name for name in parts["state"] if not name.startswith("state/")]:
        raise ProtocolError(ErrorCode.SPEC, f'the leaves of the state begin with "state/", not {strange}')
