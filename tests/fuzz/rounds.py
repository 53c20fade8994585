"""Round after round of inputs to every line, each with a seed of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.giants import giants
from tests.fuzz.lines import Line
from tests.fuzz.messages import CHANCES, Chance
from tests.fuzz.stage import Stage

EXAMPLES = 25
"""Handfuls of inputs to each line in a round."""
SETTLED = 4
"""Rounds after which a process has allocated what it allocates once."""
GIANTS_EVERY = 20
"""Rounds from one visit of the giants to the next."""


class Rounds:
    """Plays every line in turn, and looks after those who behave.

    Args:
      seed_: of the first round; the ones that follow count on.

    Attributes:
      inputs: how many have been sent.
    """

    def __init__(self, stage: Stage, lines: Sequence[Line], seed_: int, examples: int = EXAMPLES) -> None:
        self._stage = stage
        self._lines = lines
        self._seed = seed_
        self._examples = examples
        self._rounds = 0
        self._figures: dict[str, float] = {}
        self.sent = {line.name: 0 for line in lines}

    @property
    def inputs(self) -> int:
        return sum(self.sent.values())

    def play(self) -> None:
        """One round. Raises `AssertionError` where anything is not as it should be."""
        if self._rounds and self._rounds % GIANTS_EVERY == 0:
            giants(self._stage)
            self._stage.check()
        for line in self._lines:
            try:
                self._play(line)
                self._figures = self._stage.check()
            except BaseException:
                print(f"--- {line.name}: repeat it with --seed {self._seed + self._rounds}", flush=True)
                raise
        self._rounds += 1
        if self._rounds == SETTLED:
            self._stage.settle()

    def summary(self, seconds: float) -> str:
        """What has been sent, how those fare who behave, and what memory the servers hold."""
        sent = ", ".join(f"{name} {count:,}" for name, count in self.sent.items())
        rest = ", ".join(f"{name} {value:,.0f}" for name, value in self._figures.items())
        return f"{self.inputs:,} inputs in {seconds:,.0f} s ({sent}); {rest}"

    def _play(self, line: Line) -> None:
        @seed(self._seed + self._rounds)
        @settings(
            max_examples=self._examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(CHANCES)
        def handful(chance: Chance) -> None:
            # What was sent cannot be taken back: hypothesis must not try it again, nor go on after it.
            if not failures:
                try:
                    self.sent[line.name] += line.play(chance)
                except Exception as error:
                    failures.append(error)

        failures: list[Exception] = []
        play: Callable[[], None] = handful
        play()
        for failure in failures:
            raise failure
