"""`corral run`: servers, a learner and actors as processes of this machine, from start to result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from corral.launch.cast import cast
from corral.launch.clock import process_started
from corral.launch.companion import Companion
from corral.launch.errors import USER_ERROR, UserError
from corral.launch.experiment import Experiment
from corral.launch.folder import LOGS, RESULT, hold, make_run_folder, relocate
from corral.launch.interrupts import Interrupts
from corral.launch.log_watch import LogWatch
from corral.launch.logs import log_to_file
from corral.launch.policies import members
from corral.launch.poller import Fetch
from corral.launch.process import Process
from corral.launch.processes import describe_exit, end
from corral.launch.progress import Progress
from corral.launch.run_trace import RunTrace
from corral.launch.stage import Commands, LocalStage, Stage, child_command
from corral.launch.standing import Standing
from corral.launch.summary import Outcome, conclude, learner_outcome
from corral.launch.view import View, open_view, say
from corral.launch.watcher import PERIOD_S, Watcher

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
        self._stage = stage
        try:
            self._folder = resume or make_run_folder(experiment)
            self._lock = hold(self._folder)
            parts = cast(experiment)
            self._standings = [Standing(each, self._folder, parts) for each in members(experiment)]
            self._undo = self._begin(source)
            log = self._folder / LOGS / "launcher.log"
            log_to_file(log, "launcher", run=self._folder.name)
            stage.open(self._folder, self._lock.fileno())
        except BaseException:
            stage.close()
            raise
        self._logs = {"launcher": LogWatch(log)}
        self._watch_logs()
        self._trace = RunTrace(self._folder, trace_s)
        self._left: set[str] = set()
        self._asked = dict(stage.addresses)
        for standing in self._standings:
            standing.watch(self._asked, stage.fetch)

    @property
    def _target(self) -> Standing:
        """The policy whose target ends the run; the only one where there are not several."""
        return self._standings[0]

    def _begin(self, source: Path | None) -> list[Callable[[], None]]:
        """Write down that the run begins; what makes that undone."""
        addresses = self._stage.addresses
        undo = [self._target.begin(self._folder, self._experiment, addresses, source)]
        for standing in self._standings if self._experiment.policies else ():
            undo.append(standing.begin(standing.folder, standing.member.experiment, addresses))
        return undo

    def run(self, summary: Path | None, plain: bool) -> int:
        """See `run_locally`."""
        watcher = Watcher(self._folder, open_view(plain), self._experiment.metrics.sink)
        try:
            watcher.view.note(f"everything goes to {self._folder}")
            for child in self._children.values():
                child.start()
            if self._companion is not None:
                figures = self._target.poller.figures
                self._companion.begin(self._folder, self._children, figures, watcher.view.note)
            outcome = self._watch(watcher)
            progress = self._final_progress()
        finally:
            watcher.view.close()
            self._end()
            if text := self._trace.end():
                say(text)
        watcher.end(progress)
        if outcome.code == USER_ERROR:
            for undo in self._undo:
                undo()
        ends = {each.member.name: (each.folder, each.end(progress)) for each in self._standings if each.member.name}
        return conclude(self._folder, progress, outcome, summary, policies=ends)

    @property
    def _children(self) -> Mapping[str, Process]:
        return self._stage.children

    def _watch_logs(self) -> None:
        for name, child in self._children.items():
            if name not in self._logs:
                self._logs[name] = LogWatch(child.log)

    def _watch(self, watcher: Watcher) -> Outcome:
        """Keep the processes going and show it, until the run ends one way or another."""
        for standing in self._standings:
            standing.poller.start()
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
                for text in [text for standing in self._standings for text in standing.news()]:
                    watcher.view.note(text)
                progress = self._progress(time.monotonic() - process_started())
                watcher.tell(progress)
                if text := self._trace.look(self._children, progress):
                    watcher.view.note(text)
                self._show_errors(watcher.view)
                due = time.monotonic() + PERIOD_S
            time.sleep(_PATIENCE_S)

    def _look_at_stage(self, view: View) -> None:
        """Tell what has happened where the processes are, and ask where they are now."""
        for text in self._stage.look():
            view.note(text)
        if self._stage.addresses != self._asked:
            self._asked = dict(self._stage.addresses)
            for standing in self._standings:
                standing.move(self._asked)
            relocate(self._folder, *self._target.ends(self._asked))
        self._watch_logs()

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
        for standing in self._standings:
            # It leaves no result where the disk is full, and only a learner that has ended well exits with 0.
            well = code == 0 or (code == 1 and (standing.folder / RESULT).exists())
            if child.name == standing.learner and well:
                return learner_outcome(code, standing.member.experiment.run, standing.folder)
            if child.name in standing.servers and code == 0:
                return self._drained(child, standing, view)
        if code == USER_ERROR:
            return Outcome(USER_ERROR, "failed", _told(child) or _crash(child, code))
        words = child.last_words() if code >= 0 else ""
        if not child.restart():
            return Outcome(1, "failed", _crash(child, code))
        last = f": {words}" if words else ""
        view.note(f"{child.name} ended ({describe_exit(code)}) and was started again; see {child.log}{last}")
        return self._go_back(child, view) if self._experiment.run.determinism else None

    def _go_back(self, lost: Process, view: View) -> Outcome | None:
        """Have a deterministic run go on from its last checkpoint: what a lost process had begun is gone."""
        learner = self._children[self._target.learner or ""]
        if lost.name in (learner.name, self._target.member.called("evaluator")) or not learner.alive:
            return None
        if not learner.restart():
            return Outcome(1, "failed", f"{lost.name} ended again and again, each time with the learner's work")
        view.note("the learner was started again, too, and goes on from its last checkpoint (run.determinism)")
        return None

    def _drained(self, server: Process, standing: Standing, view: View) -> Outcome | None:
        """An operator told a server to drain, and it has left: the run goes on with the policy's others."""
        if server.name not in self._left:
            self._left.add(server.name)
            if not self._left.issuperset(standing.servers):
                view.note(f"{server.name} was told to drain, and has left; the others go on")
        return Outcome(0, "stopped") if self._left.issuperset(standing.servers) else None

    def _progress(self, elapsed_s: float) -> Progress:
        """How the run stands: how its target does, and a few words of every other policy."""
        restarts = sum(child.restarts for child in self._children.values())
        goal = self._companion.goal() if self._companion is not None else None
        for other in self._standings[1:]:
            other.tell(other.progress(elapsed_s))
        progress = self._target.progress(elapsed_s, restarts, goal)
        self._target.tell(progress)
        return replace(progress, others=tuple(other.words() for other in self._standings[1:]))

    def _final_progress(self) -> Progress:
        """How the run stands at its end: the servers still know, but not for long."""
        elapsed = time.monotonic() - process_started()
        for standing in self._standings:
            standing.poller.stop()
            standing.ask_again([name for name in standing.servers if self._children[name].alive])
        return self._progress(elapsed)

    def _end(self) -> None:
        """End every process: actors first, then servers, which bring learners what is complete, then these."""
        for standing in self._standings:
            standing.poller.stop()
        if self._companion is not None:
            self._companion.end()
        children = self._children
        servers = [children[name] for standing in self._standings for name in standing.servers]
        learners = [children[standing.learner] for standing in self._standings if standing.learner]
        actors = [child for child in children.values() if child not in (*learners, *servers)]
        groups = [actors, servers, learners]
        if not any(learner.alive for learner in learners):
            groups = [[*actors, *learners, *servers]]  # nothing to save, and so no order to keep
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
