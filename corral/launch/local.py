"""`corral run`: servers, a learner and actors as processes of this machine, from start to result."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from corral.launch.cast import Part, cast, server_addresses
from corral.launch.clock import process_started
from corral.launch.errors import USER_ERROR
from corral.launch.evaluations import Evaluations
from corral.launch.experiment import Experiment
from corral.launch.folder import LOGS, RESULT, begin, hold, make_run_folder
from corral.launch.interrupts import Interrupts
from corral.launch.lifeline import grace_of
from corral.launch.log_watch import LogWatch
from corral.launch.logs import log_to_file
from corral.launch.poller import Fetch, StatusPoller
from corral.launch.processes import Child, describe_exit, end
from corral.launch.progress import Goal, Progress
from corral.launch.run_trace import RunTrace
from corral.launch.sockets import local_addresses, make_socket_folder
from corral.launch.summary import Outcome, conclude, learner_outcome
from corral.launch.view import View, open_view, say
from corral.launch.watcher import PERIOD_S, Watcher
from corral.telemetry.verdict import Judge

_PATIENCE_S = 0.02
"""Seconds between two looks at the processes."""


class Companion(Protocol):
    """Whoever goes with a run, and does something to it."""

    def begin(
        self,
        folder: Path,
        children: Mapping[str, Child],
        figures: Mapping[str, Mapping[str, Any]],
        note: Callable[[str], None],
    ) -> None:
        """The processes have been started.

        Args:
          folder: the run's.
          children: by name.
          figures: as `StatusPoller` has them, kept new.
          note: says something to the person who watches.
        """
        ...

    def look(self) -> bool:
        """Called again and again on the main thread, and must not block. True ends the run, as a signal does."""
        ...

    def goal(self) -> Goal | None:
        """How far it is; None before it has begun."""
        ...

    def end(self) -> None:
        """The processes will be ended now."""
        ...


Commands = Callable[[Part, Path, Path], list[str]]
"""A process of a run, the run's folder and that of its sockets, to the command that starts it."""


def child_command(part: Part, run_folder: Path, socket_folder: Path) -> list[str]:
    """The command of one process of a run."""
    folders = [str(run_folder), str(socket_folder)]
    return [sys.executable, "-m", "corral.launch.child", part.role, *folders, str(part.number)]


def run_locally(
    experiment: Experiment,
    *,
    resume: Path | None = None,
    summary: Path | None = None,
    plain: bool = False,
    commands: Commands = child_command,
    fetch: Fetch | None = None,
    companion: Companion | None = None,
    source: Path | None = None,
    trace_s: float | None = None,
) -> int:
    """Run an experiment to its end and return the exit code: 0 solved (or no target, and the step limit
    reached), 1 not solved or a process failed, 2 the user can mend it, 128 + n after signal n.

    Whatever happens, no process and no socket is left behind. Call it on the main thread.

    Args:
      resume: the folder of an earlier run, which goes on from its newest checkpoint; None makes a new one.
      summary: where to write the summary, beside the run's own folder.
      plain: print lines even on a terminal.
      commands: what starts each process.
      fetch: how to ask server and learner for their figures.
      companion: told of the processes, and asked at every look at them; a run that it ends counts as stopped.
      source: the experiment file that it was read from, for whoever writes settings back.
      trace_s: seconds of which to record a trace, from the first training step on; None records none.

    Raises:
      OSError: the run's folder or the summary's cannot be made.
      UserError: another run goes on in the folder.
    """
    if summary is not None:
        summary.parent.mkdir(parents=True, exist_ok=True)
        with open(summary, "a"):
            pass  # better to fail now than when all is done
    # From here on there are things to take away again, whatever signal comes.
    with Interrupts() as interrupts:
        return LocalRun(experiment, resume, commands, fetch, interrupts, companion, source, trace_s).run(
            summary, plain
        )


class LocalRun:
    """The processes of one run and what is known of them."""

    def __init__(
        self,
        experiment: Experiment,
        resume: Path | None,
        commands: Commands,
        fetch: Fetch | None,
        interrupts: Interrupts,
        companion: Companion | None = None,
        source: Path | None = None,
        trace_s: float | None = None,
    ) -> None:
        self._experiment = experiment
        self._companion = companion
        self._interrupts = interrupts
        self._judge = Judge()
        self._steps_before: int | None = None
        self._sockets = make_socket_folder()
        try:
            local = local_addresses(experiment, self._sockets)
            self._folder = resume or make_run_folder(experiment)
            self._lock = hold(self._folder)
            self._undo = begin(
                self._folder, experiment, server_addresses(local), local.learner.unrolls_address, source
            )
            log = self._folder / LOGS / "launcher.log"
            log_to_file(log, "launcher", run=self._folder.name)
        except BaseException:
            shutil.rmtree(self._sockets, ignore_errors=True)
            raise
        self._cast = cast(local)
        self._children = self._make_children(commands)
        self._evaluations = Evaluations(self._folder)
        logs = {"launcher": log} | {name: child.log for name, child in self._children.items()}
        self._logs = {name: LogWatch(path) for name, path in logs.items()}
        self._trace = RunTrace(self._folder, trace_s)
        self._servers = tuple(part.name for part in self._cast if part.role == "server")
        self._left: set[str] = set()
        several = self._servers if len(self._servers) > 1 else ()
        addresses = {part.name: part.address for part in self._cast if part.address}
        self._poller = StatusPoller(addresses, fetch, servers=several)

    def run(self, summary: Path | None, plain: bool) -> int:
        """See `run_locally`."""
        watcher = Watcher(self._folder, open_view(plain), self._experiment.metrics.sink)
        try:
            watcher.view.note(f"everything goes to {self._folder}")
            for child in self._children.values():
                child.start()
            if self._companion is not None:
                self._companion.begin(self._folder, self._children, self._poller.figures, watcher.view.note)
            outcome = self._watch(watcher)
            progress = self._final_progress()
        finally:
            watcher.view.close()
            self._end()
            if text := self._trace.end():
                say(text)
        watcher.end(progress)
        if outcome.code == USER_ERROR:
            self._undo()
        return conclude(self._folder, progress, outcome, summary)

    def _make_children(self, commands: Commands) -> dict[str, Child]:
        return {
            part.name: Child(
                part.name,
                commands(part, self._folder, self._sockets),
                self._folder / LOGS / f"{part.name}.log",
                grace_s=grace_of(part.role, self._experiment.server.drain_s),
                lock=self._lock.fileno(),
            )
            for part in self._cast
        }

    def _watch(self, watcher: Watcher) -> Outcome:
        """Keep the processes going and show it, until the run ends one way or another."""
        self._poller.start()
        due = 0.0
        while True:
            if self._interrupts.number:
                watcher.view.note("stopping; the learner writes its last checkpoint (once more: at once, without)")
                return Outcome(128 + self._interrupts.number, "stopped")
            for child in self._children.values():
                outcome = self._look_at(child, watcher.view)
                if outcome is not None:
                    return outcome
            if self._companion is not None and self._companion.look():
                return Outcome(0, "finished")
            if time.monotonic() >= due:
                self._tell_of_resumption(watcher.view)
                progress = self._progress(time.monotonic() - process_started())
                watcher.tell(progress)
                if text := self._trace.look(self._children, progress):
                    watcher.view.note(text)
                self._show_errors(watcher.view)
                for text in self._evaluations.news():
                    watcher.view.note(text)
                due = time.monotonic() + PERIOD_S
            time.sleep(_PATIENCE_S)

    def _tell_of_resumption(self, view: View) -> None:
        """Say once from where an earlier life is gone on with."""
        if self._steps_before is None and (
            steps := self._poller.figures.get("learner", {}).get("env_steps_before")
        ):
            view.note(f"going on from {steps:,} steps")

    def _show_errors(self, view: View) -> None:
        """Show what processes logged as errors, and went on after."""
        for name, watch in self._logs.items():
            for text in watch.errors():
                view.note(f"{name}: {text}; see {watch.log}")

    def _look_at(self, child: Child, view: View) -> Outcome | None:
        """Restart a process that crashed; the run's outcome where that ends it."""
        code = child.poll()
        if code is None:
            return None
        # It leaves no result where the disk is full, and only a learner that has ended well exits with 0.
        if child.name == "learner" and (code == 0 or (code == 1 and (self._folder / RESULT).exists())):
            return learner_outcome(code, self._experiment.run, self._folder)
        if child.name in self._servers and code == 0:
            return self._drained(child, view)
        if code == USER_ERROR:
            return Outcome(USER_ERROR, "failed", _told(child) or _crash(child, code))
        words = child.last_words() if code >= 0 else ""
        if not child.restart():
            return Outcome(1, "failed", _crash(child, code))
        last = f": {words}" if words else ""
        view.note(f"{child.name} ended ({describe_exit(code)}) and was started again; see {child.log}{last}")
        return None

    def _drained(self, server: Child, view: View) -> Outcome | None:
        """An operator told a server to drain, and it has left: the run goes on with the others."""
        if server.name not in self._left:
            self._left.add(server.name)
            if len(self._left) < len(self._servers):
                view.note(f"{server.name} was told to drain, and has left; the others go on")
        return Outcome(0, "stopped") if len(self._left) == len(self._servers) else None

    def _progress(self, elapsed_s: float) -> Progress:
        figures = self._poller.figures
        learner = figures.get("learner", {})
        if self._steps_before is None and "env_steps_before" in learner:
            # Those of our first learner: what comes after is done in our time, by whichever.
            self._steps_before = int(learner["env_steps_before"])
        run, before = self._experiment.run, self._steps_before or 0
        restarts = sum(child.restarts for child in self._children.values())
        goal = self._companion.goal() if self._companion is not None else None
        server = figures.get("server", {})
        verdict = self._judge.hear(server, learner)
        return Progress(run, elapsed_s, server, learner, before, restarts, verdict, goal)

    def _final_progress(self) -> Progress:
        """How the run stands at its end: the servers still know, but not for long."""
        elapsed = time.monotonic() - process_started()
        self._poller.stop()
        trained = (self._folder / RESULT).exists() or "server" in self._poller.figures
        for name in self._servers:
            if trained and self._children[name].alive:
                self._poller.ask(name, 1.0)
        return self._progress(elapsed)

    def _end(self) -> None:
        """End every process: actors first, then the servers, which bring the learner what is complete, then it."""
        self._poller.stop()
        if self._companion is not None:
            self._companion.end()
        learner, servers = self._children["learner"], [self._children[name] for name in self._servers]
        actors = [child for child in self._children.values() if child not in (learner, *servers)]
        # Without a learner there is nothing to save, and so no order to keep.
        groups = [actors, servers, [learner]] if learner.alive else [[*actors, learner, *servers]]
        for group in groups:
            end(group, lambda: self._interrupts.hurried)
        shutil.rmtree(self._sockets, ignore_errors=True)


def _crash(child: Child, code: int) -> str:
    lines = "".join(f"\n  | {line}" for line in child.last_lines())
    return (
        f"{child.name} ended ({describe_exit(code)}); its log is {child.log}{':' if lines else ' (empty)'}{lines}"
    )


def _told(child: Child) -> str | None:
    """The error that a process told, and where the rest of it stands."""
    error = child.last_error()
    return error and f"{error}\n  ({child.name}; its log is {child.log})"
