"""Assembling unrolls: every step of every slot, time-major, exactly once (docs/protocol.md, "Unrolls")."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from corral.protocol import RowFlags, Spec, StepType
from corral.protocol.unrolls import Columns, Leaves
from corral.telemetry.tracer import span


@dataclass(frozen=True)
class Steps:
    """One batch of steps, `n` rows; `m` of them with a final observation before the current one.

    Attributes:
      slots: int64 `[n]`, each at most once.
      flags: uint16 `[n]`, `RowFlags`.
      reward: float32 `[n]`, earned by the step that led to the row.
      observation: leaf -> `[n, ...]`.
      output: leaf -> `[n, ...]`, what the agent put out for `observation`.
      state: leaf -> `[n, ...]`, the recurrent state that preceded `observation`, after any reset.
      ended: int64 `[m]`: the rows whose episode ended, in the order of `final`.
      final: leaf -> `[m, ...]`: their final observations.
      final_state: leaf -> `[m, ...]`: the recurrent state that preceded those.
      version: the policy version that acted.
    """

    slots: np.ndarray
    flags: np.ndarray
    reward: np.ndarray
    observation: Leaves
    output: Leaves
    state: Leaves
    ended: np.ndarray
    final: Leaves
    final_state: Leaves
    version: int


class UnrollAssembler:
    """Arrays `[length + 1, slots, ...]` that fill up step by step; a full column leaves and starts anew.

    A final observation takes an index of its own (LAST), the observation after the reset the next (FIRST). A
    column that leaves carries its last `overlap` indices over as the first of the next, and the recurrent state
    that preceded them.
    """

    def __init__(self, capacity: int, spec: Mapping[str, Spec], length: int, overlap: int = 1) -> None:
        if not 1 <= overlap <= length:
            raise ValueError(f"unrolls of {length} transitions overlap by 1 to {length} indices, not {overlap}")
        self.length = length
        self._overlap = overlap
        self._stride = stride = length + 1 - overlap  # the index that becomes the first of the next column
        self._time = {name: leaf.zeros(length + 1, capacity) for name, leaf in spec["time"].items()}
        # The same memory with time and slot in one index: numpy scatters along one axis twice as fast as along two.
        self._flat = {name: leaf.reshape(-1, *leaf.shape[2:]) for name, leaf in self._time.items()}
        self._capacity = capacity
        # The states that precede index 0, the stride, twice the stride and so on: more than one index of those that
        # are carried over may be the first of a column some day.
        self._state = {name: leaf.zeros(length // stride + 1, capacity) for name, leaf in spec["state"].items()}
        self._cursor = np.zeros(capacity, np.int64)
        # Environment steps in each open column that no unroll has held yet: what joins two episodes is none.
        self._fresh = np.zeros(capacity, np.int64)
        self.abandoned_steps = 0

    def forget(self, slots: np.ndarray) -> None:
        """Drop what these slots have begun: their session has ended. The environment steps lost are counted."""
        self.abandoned_steps += int(self._fresh[slots].sum())
        self._cursor[slots] = 0
        self._fresh[slots] = 0

    @property
    def open_steps(self) -> int:
        """Environment steps that no unroll has held yet."""
        return int(self._fresh.sum())

    @span("collect unrolls")
    def append(self, steps: Steps) -> list[Columns]:
        """Take a batch of steps in; the columns that it filled, each with `[length + 1, k, ...]` leaves
        (`state/...`: `[k, ...]`), copied."""
        first = (steps.flags & RowFlags.FIRST) != 0
        ended = (steps.flags & (RowFlags.TERMINATED | RowFlags.TRUNCATED)) != 0
        if first.any():
            # An episode that begins without the end of the one before (an environment was replaced) leaves
            # transitions that nothing can bootstrap.
            self.forget(steps.slots[first & ~ended])
        full = []
        if len(steps.ended):
            full += self._append_finals(steps)
        full += self._append_current(steps, first)
        return full

    def _append_finals(self, steps: Steps) -> list[Columns]:
        slots = steps.slots[steps.ended]
        terminated = (steps.flags[steps.ended] & RowFlags.TERMINATED) != 0
        # No action follows a final observation: its outputs stay zero.
        output = {name: np.zeros_like(leaf[: len(slots)]) for name, leaf in steps.output.items()}
        self._write(
            slots,
            steps.final,
            output,
            steps.final_state,
            reward=steps.reward[steps.ended],
            discount=np.where(terminated, np.float32(0), np.float32(1)),
            step_type=StepType.LAST,
            version=steps.version,
        )
        self._fresh[slots] += 1
        return self._emit_full(slots)

    def _append_current(self, steps: Steps, first: np.ndarray) -> list[Columns]:
        self._write(
            steps.slots,
            steps.observation,
            steps.output,
            steps.state,
            reward=np.where(first, np.float32(0), steps.reward),
            discount=np.float32(1),
            step_type=np.where(first, StepType.FIRST, StepType.MID),
            version=steps.version,
        )
        self._fresh[steps.slots] += ~first
        return self._emit_full(steps.slots)

    def _write(
        self, slots: np.ndarray, observation: Leaves, output: Leaves, state: Leaves, **scalars: object
    ) -> None:
        index = self._cursor[slots]
        where = index * self._capacity + slots
        for name, values in observation.items():
            self._flat[f"observation/{name}"][where] = values
        for name, values in output.items():
            self._flat[f"output/{name}"][where] = values
        for name, value in scalars.items():
            self._flat[name][where] = value
        if state:
            column, rest = np.divmod(index, self._stride)
            begins = rest == 0
            for name, values in state.items():
                self._state[f"state/{name}"][column[begins], slots[begins]] = values[begins]
        self._cursor[slots] = index + 1

    def _emit_full(self, slots: np.ndarray) -> list[Columns]:
        is_full = self._cursor[slots] == self.length + 1
        if not is_full.any():
            return []
        full = slots[is_full]
        columns = {name: leaf[:, full] for name, leaf in self._time.items()}
        columns |= {name: leaf[0, full] for name, leaf in self._state.items()}
        for leaf in self._time.values():
            leaf[: self._overlap, full] = leaf[self._stride :, full]
        for leaf in self._state.values():
            leaf[:-1, full] = leaf[1:, full]
        fresh = int(self._fresh[full].sum())
        self._fresh[full] = 0
        self._cursor[full] = self._overlap
        return [Columns(columns, fresh)]
