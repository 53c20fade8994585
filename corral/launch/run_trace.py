"""The trace of a whole local run: its processes record the same seconds, and the launcher joins what they wrote."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from corral.launch.process import Process
from corral.launch.progress import Progress, number
from corral.launch.recorder import TRACE, Recorder
from corral.telemetry.trace_file import join_parts

log = logging.getLogger(__name__)

_PARTS = ".trace"
_PATIENCE_S = 10.0
"""Seconds that processes may take to write their parts, until the trace is made without those that are missing."""


class RunTrace:
    """Asks the processes of a run to record, from the moment when all of them work.

    Args:
      folder: the run's.
      seconds: how long to record; None records nothing.
      clock: seconds, monotonic.
    """

    def __init__(self, folder: Path, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = folder / TRACE
        self._folder = folder / _PARTS
        self._seconds = seconds
        self._clock = clock
        self._steps: float | None = None
        self._ends: float | None = None
        self._parts: dict[tuple[str, int | None], Path] = {}
        self._done = seconds is None

    def look(self, children: Mapping[str, Process], progress: Progress) -> str:
        """Call it again and again: what there is to say now, or nothing."""
        if self._done or self._seconds is None:
            return ""
        if self._ends is None:
            if not self._all_work(progress):
                return ""
            self._folder.mkdir(exist_ok=True)
            self._ends = self._clock() + self._seconds
            self._ask(children, self._seconds)
            return f"recording a trace for {self._seconds:g} s"
        left = self._ends - self._clock()
        if left > 0:
            self._ask(children, left)  # whoever was started again
            return ""
        living = {(name, child.pid) for name, child in children.items() if child.alive}
        missing = [part for who, part in self._parts.items() if who in living and not part.exists()]
        return "" if missing and left > -_PATIENCE_S else self._join()

    def end(self) -> str:
        """The processes have ended: make a trace of what they left, unless there is one. What there is to say."""
        if self._done:
            return ""
        self._done = True
        return "no trace: the run ended before all its processes worked" if self._ends is None else self._join()

    def _all_work(self, progress: Progress) -> bool:
        steps = number(progress.learner, "training_steps")
        if self._steps is None:
            self._steps = steps
        return progress.state == "training" and steps is not None and steps > (self._steps or 0)

    def _ask(self, children: Mapping[str, Process], seconds: float) -> None:
        for name, child in children.items():
            who = (name, child.pid)
            if child.alive and who not in self._parts:
                part = self._parts[who] = self._folder / f"{len(self._parts):05}-{name}"
                child.tell(trace_order(part.absolute(), seconds))

    def _join(self) -> str:
        self._done = True
        try:
            parts = [part for part in self._parts.values() if part.exists()]
            join_parts(parts, self._path)
            self._folder.rmdir()
        except OSError as error:
            log.error("the trace could not be written: %s", error)
            return ""
        return f"the trace is in {self._path}: open it at https://ui.perfetto.dev"


def trace_order(part: Path, seconds: float) -> str:
    """What a process is told through its lifeline, so that it records."""
    return json.dumps({"trace": str(part), "seconds": seconds})


def obey(order: str, process: str) -> Recorder | None:
    """Begin to record as `trace_order` says; None for any other order."""
    try:
        told = json.loads(order)
        part, seconds = Path(told["trace"]), float(told["seconds"])
    except (ValueError, KeyError, TypeError):
        return None
    recorder = Recorder(process, part, seconds)
    recorder.start()
    return recorder
