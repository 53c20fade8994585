"""`corral run`: servers, a learner and actors as processes of this machine, from start to result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from corral.launch.clock import process_started
from corral.launch.companion import Companion
from corral.launch.errors import USER_ERROR, UserError
from corral.launch.evaluations import Evaluations
from corral.launch.experiment import Experiment
from corral.launch.folder import LOGS, RESULT, begin, hold, make_run_folder, relocate
from corral.launch.interrupts import Interrupts
from corral.launch.log_watch import LogWatch
from corral.launch.logs import log_to_file
from corral.launch.poller import Fetch, StatusPoller
from corral.launch.process import Process
from corral.launch.processes import describe_exit, end
from corral.launch.progress import Progress
from corral.launch.run_trace import RunTrace
from corral.launch.stage import Commands, LocalStage, Stage, child_command, ends_of
from corral.launch.summary import Outcome, conclude, learner_outcome
from corral.launch.view import View, open_view, say
from corral.launch.watcher import PERIOD_S, Watcher
from corral.telemetry.verdict import Judge

_PATIENCE_S = 0.02
"""Seconds between two looks at the processes."""


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

    Arguments as for `perform`; `commands` starts each process, `fetch` asks server and learner for their figures.
    """
    return perform(
        experiment,
        lambda: LocalStage(experiment, commands, fetch),
        resume=resume,
        summary=summary,
        plain=plain,
        companion=companion,
        source=source,
        trace_s=trace_s,
    )


def perform(
    experiment: Experiment,
    make_stage: Callable[[], Stage],
    *,
    resume: Path | None = None,
    summary: Path | None = None,
    plain: bool = False,
    companion: Companion | None = None,
    source: Path | None = None,
    trace_s: float | None = None,
) -> int:
    """Run an experiment wherever the stage is; see `run_locally`.

    Whatever happens, no process and no socket is left behind. Call it on the main thread.

    Args:
      make_stage: makes the place of the run's processes, which are ended when it is closed.
      resume: the folder of an earlier run, which goes on from its newest checkpoint; None makes a new one.
      summary: where to write the summary, beside the run's own folder.
      plain: print lines even on a terminal.
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
        return Run(experiment, resume, make_stage(), interrupts, companion, source, trace_s).run(summary, plain)


class Run:
    """The processes of one run and what is known of them, wherever they are."""

    def __init__(
        self,
        experiment: Experiment,
        resume: Path | None,
        stage: Stage,
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
        self._stage = stage
        try:
            self._folder = resume or make_run_folder(experiment)
            self._lock = hold(self._folder)
            self._undo = begin(self._folder, experiment, *ends_of(stage.addresses), source)
            log = self._folder / LOGS / "launcher.log"
            log_to_file(log, "launcher", run=self._folder.name)
            stage.open(self._folder, self._lock.fileno())
        except BaseException:
            stage.close()
            raise
        self._evaluations = Evaluations(self._folder)
        self._logs = {"launcher": LogWatch(log)}
        self._watch_logs()
        self._trace = RunTrace(self._folder, trace_s)
        self._servers = tuple(name for name in self._children if name.partition("-")[0] == "server")
        self._left: set[str] = set()
        self._asked = dict(stage.addresses)
        several = self._servers if len(self._servers) > 1 else ()
        self._poller = StatusPoller(self._asked, stage.fetch, servers=several)

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

    @property
    def _children(self) -> Mapping[str, Process]:
        return self._stage.children

    def _watch_logs(self) -> None:
        for name, child in self._children.items():
            if name not in self._logs:
                self._logs[name] = LogWatch(child.log)

    def _watch(self, watcher: Watcher) -> Outcome:
        """Keep the processes going and show it, until the run ends one way or another."""
        self._poller.start()
        due = 0.0
        while True:
            if self._interrupts.number:
                watcher.view.note("stopping; the learner writes its last checkpoint (once more: at once, without)")
                return Outcome(128 + self._interrupts.number, "stopped")
            try:
                self._look_at_stage(watcher.view)
            except UserError as error:
                return Outcome(1, "failed", str(error))
            for child in list(self._children.values()):
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

    def _look_at_stage(self, view: View) -> None:
        """Tell what has happened where the processes are, and ask where they are now."""
        for text in self._stage.look():
            view.note(text)
        if self._stage.addresses != self._asked:
            self._asked = dict(self._stage.addresses)
            self._poller.move(self._asked)
            relocate(self._folder, *ends_of(self._asked))
        self._watch_logs()

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

    def _look_at(self, child: Process, view: View) -> Outcome | None:
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

    def _drained(self, server: Process, view: View) -> Outcome | None:
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
            if trained and name in self._asked and self._children[name].alive:
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
        try:
            for group in groups:
                end(group, lambda: self._interrupts.hurried)
        finally:
            self._stage.close()


def _crash(child: Process, code: int) -> str:
    lines = "".join(f"\n  | {line}" for line in child.last_lines())
    return (
        f"{child.name} ended ({describe_exit(code)}); its log is {child.log}{':' if lines else ' (empty)'}{lines}"
    )


def _told(child: Process) -> str | None:
    """The error that a process told, and where the rest of it stands."""
    error = child.last_error()
    return error and f"{error}\n  ({child.name}; its log is {child.log})"
