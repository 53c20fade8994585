"""A witness for environments that go from server to server, each of which delivers at its own pace."""

from __future__ import annotations

import numpy as np

from corral.protocol import Unroll
from tests.support.scripted_environment import Witness


class RovingWitness(Witness):
    """Checks that no step comes twice, and that those of one session are whole and in order, as are its versions.

    What an environment did at one server may come after what it did at the next. So every unroll either goes on
    where another one ended that nothing has gone on from yet, or begins with an episode that no other one began.

    Attributes:
      unrolls: columns seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unrolls = 0
        self._ends: dict[tuple[int, int, int], tuple[int, float]] = {}
        self._begun: set[tuple[int, int]] = set()

    def _see_start(self, who: int, episode: int, step: int) -> None:
        self.versions.clear()
        self.numbers.clear()  # each session has its own
        if (who, episode, step) in self._ends:
            self.versions[who], self.numbers[who] = self._ends.pop((who, episode, step))
            return
        assert step == 0, "a session begins in the middle of an episode: steps were lost, doubled or spliced"
        assert (who, episode) not in self._begun, "an episode came twice"

    def _see_column(self, unroll: Unroll, column: int) -> None:
        super()._see_column(unroll, column)
        who, episodes, steps, _ = unroll.observation["observation"][:, column].T
        name = int(who[0])
        self._ends[name, int(episodes[-1]), int(steps[-1])] = self.versions[name], self.numbers[name]
        self._begun |= {(name, episode) for episode in np.unique(episodes).tolist()}
        self.unrolls += 1
