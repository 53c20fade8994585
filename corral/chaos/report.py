"""What a trial came to: for a person, and as JSON."""

from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from corral.chaos.companion import Recovery
from corral.chaos.invariants import CHECKED
from corral.chaos.plan import KINDS, Injury
from corral.launch.books import Books


@dataclass(frozen=True)
class Report:
    """How a run did whose processes were hit.

    Attributes:
      seed: of the plan.
      wall_s: seconds, start-up included.
      injuries: all that was done.
      recoveries: all that was recovered from.
      broken: invariant -> what was seen.
      looks: figures that were looked at.
      books: where the environment steps are; None where the run left none.
      solved_s, solved_after: seconds and injuries until the target was reached; None where it was not.
      target, mean_return: the target, and the latest mean return.
      code: with which the run itself ended.
    """

    seed: int
    wall_s: float
    injuries: list[Injury]
    recoveries: list[Recovery]
    broken: dict[str, str]
    looks: int
    books: Books | None
    solved_s: float | None
    solved_after: int
    target: float | None
    mean_return: float
    code: int

    @property
    def holds(self) -> bool:
        """Whether every invariant does, and the run ended as it should."""
        return not self.broken and self.code == 0

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        counts = Counter(injury.kind for injury in self.injuries)
        return {
            "holds": self.holds,
            "seed": self.seed,
            "wall_s": round(self.wall_s, 1),
            "injuries": {kind: counts[kind] for kind in KINDS if counts[kind]},
            "recovery_s": {kind: self._times(kind) for kind in KINDS if counts[kind]},
            "steps": asdict(self.books) | {"lost": self.books.lost} if self.books else None,
            "solved_s": None if self.solved_s is None else round(self.solved_s, 1),
            "solved_after_injuries": None if self.solved_s is None else self.solved_after,
            "target_return": self.target,
            "mean_return": round(self.mean_return, 1),
            "invariants": {name: self.broken.get(name, "holds") for name in CHECKED},
            "looks": self.looks,
            "exit_code_of_run": self.code,
        }

    def lines(self) -> list[str]:
        """For a person; the last line says it all."""
        told = self.as_dict()
        lines = [f"{'what was done':16} {'times':>6} {'recovered':>10} {'median':>9} {'worst':>9}"]
        for kind, count in told["injuries"].items():
            times = told["recovery_s"][kind]
            median, worst = (f"{times[name]:.1f} s" if times["times"] else "-" for name in ("median", "worst"))
            lines.append(f"{kind:16} {count:>6} {times['times']:>10} {median:>9} {worst:>9}")
        lines += self._steps()
        for name, text in CHECKED.items():
            lines.append(f"{'BROKEN' if name in self.broken else 'holds':7} {name}: {self.broken.get(name, text)}")
        return [*lines, self._last_line()]

    def _times(self, kind: str) -> dict[str, Any]:
        times = [recovery.seconds for recovery in self.recoveries if recovery.injury.kind == kind]
        if not times:
            return {"times": 0, "median": None, "worst": None}
        return {"times": len(times), "median": round(statistics.median(times), 2), "worst": round(max(times), 2)}

    def _steps(self) -> list[str]:
        if self.books is None:
            return ["steps: the run left no books"]
        books = self.books
        share = books.lost / max(books.completed, 1)
        return [
            f"steps: {books.completed:,} taken in, {books.accepted:,} accepted, {books.unfinished:,} unfinished "
            f"at the end, {books.lost:,} lost ({share:.2%}): {books.dropped:,} with actors, "
            f"{books.lost_with_server:,} with servers, {books.lost_with_learner:,} with learners"
        ]

    def _last_line(self) -> str:
        hit, back = len(self.injuries), len(self.recoveries)
        wrong = [f"{name} ({text})" for name, text in self.broken.items()]
        if self.code != 0:
            wrong.append(f"the run ended with exit code {self.code}")
        verdict = f"BROKEN: {'; '.join(wrong)}" if wrong else "everything holds"
        target = ""
        if self.target is not None and self.solved_s is None:
            target = f", not solved (mean return {self.mean_return:.1f}, target {self.target:g})"
        elif self.target is not None:
            target = f", solved after {self.solved_s:.0f} s and {self.solved_after} injuries"
        return f"{verdict}: {hit} injuries, {back} recoveries{target}; seed {self.seed}"
