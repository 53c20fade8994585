"""Replay: steps of long ago, kept in bounded memory and drawn again and again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from corral.protocol import Spec, StepType, Unroll
from corral.protocol.unrolls import Leaves, to_unroll, unrolls_in
from learner.settings import ReplaySettings
from learner.sum_tree import SumTree

_LEAST_PRIORITY = 1e-6
"""What nothing is left to be learned from is still drawn once in a while."""


class Sample(NamedTuple):
    """Sequences that were drawn.

    Attributes:
      unroll: `[sample_length + 1, B, ...]`.
      weights: float32 `[B]`, at most 1: what each counts, against its being drawn more often than others.
      keys: int64 `[B]`, for `Replay.update`.
    """

    unroll: Unroll
    weights: np.ndarray
    keys: np.ndarray


class Replay:
    """The newest unrolls, and sequences within them to draw.

    A sequence begins at any transition of an unroll that leaves room for it. With `overlap` of the agent's spec as
    long as a sequence every transition begins exactly one; recurrent state is kept for the first index alone, so
    that who needs it draws whole unrolls. Sequences are drawn with probability p_i^alpha / sum p^alpha and
    weigh (N P(i))^-beta, over the largest of their batch (Schaul et al. 2016, section 3); alpha 0 draws all alike.

    Args:
      settings: how much, and how to draw.
      parts: specs of the unrolls' leaves, as `unroll_spec` gives them.
      length: transitions of an unroll.
      sample_length: transitions of a sequence.
      overlap: indices that an unroll shares with the next one.
      context: indices at the start of a sequence that only come before its first transition.

    Attributes:
      capacity: unrolls that it holds at most.
      starts: sequences that an unroll holds at most.
      nbytes: memory for observations, actions and all else, when it is full; it is taken as it fills.
      sequences: that can be drawn now.
      inserted: sequences that have been put in, over all of the replay's life.
      sampled: sequences that have been drawn.
    """

    def __init__(
        self,
        settings: ReplaySettings,
        parts: Mapping[str, Spec],
        length: int,
        sample_length: int,
        overlap: int = 1,
        context: int = 0,
    ) -> None:
        if not 1 <= sample_length <= length:
            raise ValueError(f"unrolls of {length} transitions hold no sequences of {sample_length}")
        self._settings = settings
        self._context = context
        self._window = np.arange(sample_length + 1)[:, None]
        self.starts = starts = length - sample_length + 1
        self._new_steps = length + 1 - overlap  # of an unroll; the one before it has the others
        self.capacity = capacity = -(-settings.capacity // self._new_steps)
        self._time = {name: leaf.zeros(capacity, length + 1) for name, leaf in parts["time"].items()}
        self._state = {name: leaf.zeros(capacity) for name, leaf in parts["state"].items()}
        self._tree = SumTree(capacity * starts)
        self._added = 0  # unrolls, over all of its life
        self._drawable = np.zeros(capacity, np.int64)
        self._most = 1.0
        leaves = (*self._time.values(), *self._state.values())
        self.nbytes = sum(leaf.nbytes for leaf in leaves) + self._tree.nbytes
        self.sequences = 0
        self.inserted = 0
        self.sampled = 0

    @property
    def steps(self) -> int:
        """Transitions that are held."""
        return self._filled * self._new_steps

    @property
    def _filled(self) -> int:
        return min(self._added, self.capacity)

    def add(self, leaves: Leaves) -> None:
        """Put unrolls in, in place of the oldest; new sequences are as urgent as the most urgent so far."""
        count = unrolls_in(leaves)
        if count > self.capacity:
            raise ValueError(f"{count} unrolls at once do not fit a replay of {self.capacity}")
        places = (self._added + np.arange(count)) % self.capacity
        for name, leaf in self._time.items():
            leaf[places] = np.moveaxis(leaves[name], 0, 1)
        for name, leaf in self._state.items():
            leaf[places] = leaves[name]
        # What leaves a final observation joins two episodes: nothing to learn begins there.
        begins = leaves["step_type"][self._context : self._context + self.starts].T != StepType.LAST
        if self.starts == 1 and len(self._window) - self._context > 2:
            begins = np.ones((count, 1), bool)  # a whole unroll has more to it than its first transition
        nodes = places[:, None] * self.starts + np.arange(self.starts)
        self._tree.set(nodes.ravel(), np.where(begins, self._most, 0.0).ravel())
        self.sequences += int(begins.sum() - self._drawable[places].sum())
        self._drawable[places] = begins.sum(1)
        self.inserted += int(begins.sum())
        self._added += count

    def sample(self, size: int, random: np.random.Generator | np.random.RandomState) -> Sample:
        """`size` sequences, one from each of `size` equal shares of all priority. There must be one at least."""
        total = self._tree.total
        mass = (np.arange(size) + random.uniform(size=size)) * (total / size)
        nodes = self._tree.find(np.minimum(mass, np.nextafter(total, 0.0)))
        probability = self._tree[nodes] / total
        weights = probability**-self._settings.beta  # N of the paper falls out below
        place, start = np.divmod(nodes, self.starts)
        index = start + self._window
        leaves = {name: leaf[place, index] for name, leaf in self._time.items()}
        leaves |= {name: leaf[place] for name, leaf in self._state.items()}
        self.sampled += size
        # A key counts unrolls from the first one on: what takes a place later has other keys.
        unroll = self._added - 1 - (self._added - 1 - place) % self.capacity
        return Sample(to_unroll(leaves), (weights / weights.max()).astype(np.float32), unroll * self.starts + start)

    def update(self, keys: np.ndarray, priorities: np.ndarray) -> None:
        """What drawn sequences are worth now. What is no number, or for one gone since, changes nothing."""
        if not self._settings.alpha:
            return
        value = (np.maximum(priorities, 0.0).astype(np.float64) + _LEAST_PRIORITY) ** self._settings.alpha
        known = np.isfinite(value) & (keys // self.starts >= self._added - self.capacity)
        self._tree.set(keys[known] % (self.capacity * self.starts), value[known])
        self._most = max(self._most, float(value[known].max(initial=0.0)))

    def state(self) -> dict[str, np.ndarray]:
        """All that drawing goes on from, for a checkpoint."""
        held = slice(0, self._filled)
        nodes = np.arange(self._filled * self.starts).reshape(-1, self.starts)
        return {
            **{name: leaf[held] for name, leaf in (*self._time.items(), *self._state.items())},
            "priority": self._tree[nodes],
            "counts": np.array([self._added, self.inserted, self.sampled], np.int64),
            "most": np.array(self._most),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned. Raises `ValueError`, changing nothing, where it is another's."""
        own = {**self._time, **self._state}
        rows = {name: (leaf.shape[1:], leaf.dtype) for name, leaf in own.items()}
        rows["priority"] = ((self.starts,), np.dtype(np.float64))
        if missing := (rows.keys() | {"counts", "most"}) - state.keys():
            raise ValueError(f"the replay was of other unrolls: it had no {', '.join(sorted(missing))}")
        added, inserted, sampled = (int(count) for count in state["counts"])
        filled = min(added, self.capacity)
        for name, (shape, dtype) in rows.items():
            if state[name].shape != (filled, *shape) or state[name].dtype != dtype:
                raise ValueError(f"the replay was of another size, or of other unrolls ({name})")
        for name, leaf in own.items():
            leaf[:filled] = state[name]
        priority = state["priority"]
        if not self._settings.alpha:
            priority = np.where(priority > 0, 1.0, 0.0)  # whatever alpha was: now all are drawn alike
        self._tree.set(np.arange(filled * self.starts), priority.ravel())
        self._drawable[:filled] = (priority > 0).sum(1)
        self.sequences = int(self._drawable[:filled].sum())
        self._added, self.inserted, self.sampled = added, inserted, sampled
        self._most = float(state["most"]) if self._settings.alpha else 1.0
