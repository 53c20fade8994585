"""`corral run`: a server, a learner and actors as processes of this machine, from start to result."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from corral.launch.clock import process_started
from corral.launch.errors import USER_ERROR, print_error
from corral.launch.experiment import Experiment
from corral.launch.folder import SUMMARY, make_run_folder
from corral.launch.poller import Fetch, StatusPoller
from corral.launch.processes import Child, describe_exit, end
from corral.launch.progress import Progress
from corral.launch.roles import RESULT, write_json
from corral.launch.sockets import local_addresses, make_socket_folder
from corral.launch.summary import result_line, summarize
from corral.launch.view import View, open_view, say

_PATIENCE_S = 0.02
"""Seconds between two looks at the processes."""

Commands = Callable[[str, Path, Path, int], list[str]]
"""Role, run folder, socket folder and number, to the command that starts the process."""


def child_command(role: str, run_folder: Path, socket_folder: Path, number: int) -> list[str]:
    """The command of one process of a run."""
    return [sys.executable, "-m", "corral.launch.child", role, str(run_folder), str(socket_folder), str(number)]


def run_locally(
    experiment: Experiment,
    *,
    summary: Path | None = None,
    plain: bool = False,
    commands: Commands = child_command,
    fetch: Fetch | None = None,
) -> int:
    """Run an experiment to its end and return the exit code: 0 solved (or no target, and the step limit
    reached), 1 not solved or a process failed, 2 the user can mend it, 128 + n after signal n.

    Whatever happens, no process and no socket is left behind. Call it on the main thread.

    Args:
      summary: where to write the summary, beside the run's own folder.
      plain: print lines even on a terminal.
      commands: what starts each process.
      fetch: how to ask server and learner for their figures.

    Raises:
      OSError: the run's folder or the summary's cannot be made.
    """
    if summary is not None:
        summary.parent.mkdir(parents=True, exist_ok=True)
        with open(summary, "a"):
            pass  # better to fail now than when all is done
    return LocalRun(experiment, commands, fetch).run(summary, plain)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
      code: the exit code.
      word: what the line of result begins with.
      error: what went wrong, for a person; empty where nothing did.
    """

    code: int
    word: str
    error: str = ""


class LocalRun:
    """The processes of one run and what is known of them."""

    def __init__(self, experiment: Experiment, commands: Commands, fetch: Fetch | None) -> None:
        self._experiment = experiment
        self._signal = 0
        self._hurry = threading.Event()
        self._woken = threading.Event()
        self._sockets = make_socket_folder()
        try:
            self._folder = make_run_folder(experiment)
        except BaseException:
            shutil.rmtree(self._sockets, ignore_errors=True)
            raise
        self._children = self._make_children(commands)
        local = local_addresses(experiment, self._sockets)
        addresses = {"server": local.server.address, "learner": local.learner.unrolls_address}
        self._poller = StatusPoller(addresses, fetch)

    def run(self, summary: Path | None, plain: bool) -> int:
        """See `run_locally`."""
        with self._signals():
            try:
                for child in self._children.values():
                    child.start()
                outcome = self._watch(plain)
                progress = self._final_progress()
            finally:
                self._end()
        return self._report(outcome, progress, summary)

    def _make_children(self, commands: Commands) -> dict[str, Child]:
        # The two that import TensorFlow first: everything waits for them.
        processes = range(self._experiment.actor.processes)
        names = [("server", "server", 0), ("learner", "learner", 0)]
        names += [(f"actor-{number}", "actor", number) for number in processes]
        return {
            name: Child(
                name,
                commands(role, self._folder, self._sockets, number),
                self._folder / "logs" / f"{name}.log",
            )
            for name, role, number in names
        }

    def _watch(self, plain: bool) -> Outcome:
        """Keep the processes going and show it, until the run ends one way or another."""
        self._poller.start()
        view = open_view(plain)
        try:
            due = 0.0
            while True:
                if self._signal:
                    return Outcome(128 + self._signal, "stopped")
                for child in self._children.values():
                    outcome = self._look_at(child, view)
                    if outcome is not None:
                        return outcome
                if time.monotonic() >= due:
                    view.show(self._progress())
                    due = time.monotonic() + view.period_s
                self._woken.wait(_PATIENCE_S)
        finally:
            view.close()

    def _look_at(self, child: Child, view: View) -> Outcome | None:
        """Restart a process that crashed; the run's outcome where that ends it."""
        code = child.poll()
        if code is None:
            return None
        if child.name == "learner" and code in (0, 1) and (self._folder / RESULT).exists():
            return self._finished(code)
        if code == USER_ERROR:
            return Outcome(USER_ERROR, "failed", child.last_error() or _crash(child, code))
        if child.name == "learner" or not child.restart():
            return Outcome(1, "failed", _crash(child, code))
        view.note(f"{child.name} ended ({describe_exit(code)}) and was started again; see {child.log}")
        return None

    def _finished(self, code: int) -> Outcome:
        run = self._experiment.run
        if code == 0:
            return Outcome(0, "solved" if run.target_return is not None else "finished")
        return Outcome(1, f"not solved (target {run.target_return:g}, step limit {run.max_env_steps:,})")

    def _progress(self) -> Progress:
        figures = self._poller.figures
        elapsed = time.monotonic() - process_started()
        run = self._experiment.run
        return Progress(run, elapsed, figures.get("server", {}), figures.get("learner", {}))

    def _final_progress(self) -> Progress:
        """How the run stands at its end: the server still knows, but not for long."""
        elapsed = time.monotonic() - process_started()
        self._poller.stop()
        trained = (self._folder / RESULT).exists() or "server" in self._poller.figures
        if trained and self._children["server"].alive:
            self._poller.ask("server", 1.0)
        run, figures = self._experiment.run, self._poller.figures
        return Progress(run, elapsed, figures.get("server", {}), figures.get("learner", {}))

    def _end(self) -> None:
        """End every process: actors first, then the learner with all that it got, then the server."""
        self._poller.stop()
        learner, server = self._children["learner"], self._children["server"]
        actors = [child for child in self._children.values() if child not in (learner, server)]
        # Without a learner there is nothing to save, and so no order to keep.
        groups = [actors, [learner], [server]] if learner.alive else [[*actors, learner, server]]
        for group in groups:
            end(group, self._hurry)
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _report(self, outcome: Outcome, progress: Progress, summary: Path | None) -> int:
        result = _read_result(self._folder / RESULT)
        figures = summarize(progress, result)
        for path in filter(None, (self._folder / SUMMARY, summary)):
            write_json(path, figures)
        if outcome.error:
            print_error(outcome.error)
        say(result_line(figures, outcome.word, self._folder))
        return outcome.code

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Take SIGINT, SIGTERM and SIGHUP as requests to end; a second one ends the processes at once."""

        def note(number: int, frame: FrameType | None) -> None:
            if self._signal:
                self._hurry.set()
            self._signal = self._signal or number
            self._woken.set()

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        previous = {number: signal.signal(number, note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def _crash(child: Child, code: int) -> str:
    lines = "".join(f"\n  | {line}" for line in child.last_lines())
    return (
        f"{child.name} ended ({describe_exit(code)}); its log is {child.log}{':' if lines else ' (empty)'}{lines}"
    )


def _read_result(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
