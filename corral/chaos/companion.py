"""What goes with a run and hits its processes, until time is up and all have recovered."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corral.chaos.invariants import Invariants
from corral.chaos.plan import Injury, Plan
from corral.chaos.recovery import Patient
from corral.launch.process import Process
from corral.launch.progress import Goal

PATIENCE_S = 300.0
"""Seconds within which whatever was hit must have recovered."""


@dataclass(frozen=True)
class Recovery:
    """One injury that was recovered from, within `seconds` of the kill or of the end of the freeze."""

    injury: Injury
    seconds: float


@dataclass
class _Frozen:
    injury: Injury
    until: float


class Chaos:
    """Hits one process after the other. A `corral.launch.local.Companion`.

    Nobody is hit before all have worked together once, and no process before it has recovered from what was done
    to it last; but others may be, so that several are down at once.

    Args:
      plan: whom to hit, and when.
      minutes: for how long, from the first moment when all work.
      kills: after how many injuries to stop, however much time is left; 0 for any number.
      environments: of all actors.
      target: the mean return at which it has solved; None for none.
      clock: seconds, monotonic.

    Attributes:
      injuries: all that was done, in order.
      recoveries: all that was recovered from.
      invariants: what was looked at meanwhile.
      solved_s, solved_after: seconds and injuries until the target was reached; None and 0 where it was not.
      mean_return: the latest.
      folder: the run's.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        minutes: float,
        kills: int,
        environments: int,
        target: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.injuries: list[Injury] = []
        self.recoveries: list[Recovery] = []
        self.invariants = Invariants()
        self.solved_s: float | None = None
        self.solved_after = 0
        self.mean_return = 0.0
        self.folder = Path()
        self._plan = plan
        self._minutes = minutes
        self._kills = kills
        self._environments = environments
        self._target = target
        self._clock = clock
        self._frozen: list[_Frozen] = []
        self._patients: list[Patient] = []
        self._children: Mapping[str, Process] = {}
        self._figures: Mapping[str, Mapping[str, Any]] = {}
        self._note: Callable[[str], None] = print
        self._began = self._due = self._ends = 0.0
        self._whole = False

    def begin(
        self,
        folder: Path,
        children: Mapping[str, Process],
        figures: Mapping[str, Mapping[str, Any]],
        note: Callable[[str], None],
    ) -> None:
        """See `corral.launch.local.Companion`."""
        self.folder = folder
        self._children, self._figures, self._note = children, figures, note
        self._began = self._clock()

    def look(self) -> bool:
        """See `corral.launch.local.Companion`: True when it is done, or somebody does not recover."""
        now = self._clock()
        self._see(now)
        self._thaw(now)
        if not self._whole:
            self._wait_for_all(now)
            return self._gave_up(now)
        self._look_at_patients(now)
        over = now >= self._ends or (self._kills > 0 and len(self.injuries) >= self._kills)
        if over or self._gave_up(now):
            return self._gave_up(now) or not (self._frozen or self._patients)
        if now >= self._due:
            self._hit(now)
        return False

    def goal(self) -> Goal | None:
        """See `corral.launch.local.Companion`: the time, or the injuries, whichever is over first."""
        if not self._whole:
            return None
        done, began = len(self.injuries), self._ends - self._minutes * 60
        passed_s, left_s = self._clock() - began, max(0.0, self._ends - self._clock())
        fraction = passed_s / (self._minutes * 60)
        text = f"{done:,} injuries in {passed_s / 60:.1f} of {self._minutes:g} min"
        if self._kills:
            text = f"{done:,} of {self._kills:,} injuries"
            fraction = max(fraction, done / self._kills)
            left_s = min(left_s, passed_s * (self._kills - done) / done) if done else left_s
        return Goal(text, min(1.0, fraction), left_s)

    def end(self) -> None:
        """See `corral.launch.local.Companion`: nobody stays frozen."""
        for frozen in self._frozen:
            self._children[frozen.injury.name].signal(signal.SIGCONT)
        self._frozen.clear()

    def _see(self, now: float) -> None:
        for name in list(self._figures):
            if name == "learner" or name in self._children:  # not of all servers together
                self.invariants.see(name, self._figures[name])
        learner = self._figures.get("learner", {})
        self.mean_return = float(learner.get("mean_return", 0.0))
        full = learner.get("episodes", 0) >= 100
        if self.solved_s is None and self._target is not None and full and self.mean_return >= self._target:
            self.solved_s, self.solved_after = now - self._began, len(self.injuries)
            self._note(f"solved: mean return {self.mean_return:.1f} after {self.solved_after} injuries; going on")

    def _wait_for_all(self, now: float) -> None:
        server, learner = self._figures.get("server", {}), self._figures.get("learner", {})
        if server.get("environments", 0) >= self._environments and learner.get("training_steps", 0) > 0:
            self._whole = True
            self._ends, self._due = now + self._minutes * 60, now + self._plan.pause_s()

    def _gave_up(self, now: float) -> bool:
        since = {patient.injury.kind: patient.hurt_at for patient in self._patients}
        if not self._whole:
            since = {"the start": self._began}
        for what, at in since.items():
            if now - at > PATIENCE_S:
                self.invariants.blame("comes back", f"after {what}, not everything works within {PATIENCE_S:g} s")
                return True
        return False

    def _thaw(self, now: float) -> None:
        for frozen in [frozen for frozen in self._frozen if now >= frozen.until]:
            self._frozen.remove(frozen)
            self._children[frozen.injury.name].signal(signal.SIGCONT)
            self._watch(frozen.injury, now)

    def _watch(self, injury: Injury, now: float) -> None:
        log = self._children[injury.name].log
        self._patients.append(Patient(injury, now, dict(self._figures), log, self._environments))

    def _look_at_patients(self, now: float) -> None:
        for patient in [patient for patient in self._patients if patient.recovered(self._figures)]:
            self._patients.remove(patient)
            self.recoveries.append(Recovery(patient.injury, now - patient.hurt_at))

    def _hit(self, now: float) -> None:
        busy = {frozen.injury.name for frozen in self._frozen} | {each.injury.name for each in self._patients}
        healthy = {name for name, child in self._children.items() if child.alive and name not in busy}
        injury = self._plan.next(healthy, now)
        if injury is None:
            return  # everybody is down: soon again
        self._due = now + self._plan.pause_s()
        self.injuries.append(injury)
        child = self._children[injury.name]
        if injury.frozen_s:
            child.signal(signal.SIGSTOP)
            self._frozen.append(_Frozen(injury, now + injury.frozen_s))
            self._note(f"{len(self.injuries)}: {injury.name} is frozen for {injury.frozen_s:.1f} s")
        else:
            self._watch(injury, now)
            child.signal(signal.SIGKILL)
            self._note(f"{len(self.injuries)}: {injury.name} is killed")
