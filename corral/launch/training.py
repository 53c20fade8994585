"""`corral learner`: a learner that is watched, and recorded in its run's folder, by its own process."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from corral.launch.cast import cast, server_addresses
from corral.launch.clock import process_started
from corral.launch.experiment import Experiment
from corral.launch.folder import LOGS, begin, hold
from corral.launch.logs import log_to_file
from corral.launch.poller import StatusPoller
from corral.launch.progress import Progress
from corral.launch.roles import run_learner
from corral.launch.stopping import StopRequest
from corral.launch.summary import Outcome, conclude, learner_outcome
from corral.launch.view import PlainView, say
from corral.launch.watcher import PERIOD_S, Watcher
from corral.protocol import fetch_status
from corral.protocol.keys import Role, caller
from corral.telemetry.verdict import Judge

if TYPE_CHECKING:
    from learner import Learner


def train(
    experiment: Experiment,
    folder: Path,
    stop: StopRequest,
    source: Path | None = None,
    ledgers: Path | None = None,
) -> int:
    """Run the learner to its end, show how it goes, and leave everything in `folder`; the exit code.

    A folder with checkpoints in it goes on from the newest.

    Args:
      source: the experiment file that `experiment` was read from.
      ledgers: where the servers keep their counts; None where nobody knows.

    Raises:
      UserError: another run goes on in the folder.
      AddressError, CheckpointError: see `Learner`.
    """
    with hold(folder):
        log_to_file(folder / LOGS / "learner.log", "learner", run=folder.name)
        say(f"everything goes to {folder}")
        watch = _Watch(experiment, folder)

        def on_start(learner: Learner) -> None:
            # Not before it is known to fit what lies there.
            begin(folder, experiment, server_addresses(experiment), experiment.learner.unrolls_address, source)
            say(f"waiting for servers at {experiment.learner.unrolls_address}")
            watch.start(learner)

        try:
            code = run_learner(experiment, folder, stop, on_start)
        finally:
            progress = watch.end()
        outcome = Outcome(code, "stopped") if stop.asked else learner_outcome(code, experiment.run, folder)
        return conclude(folder, progress, outcome, ledgers=ledgers)


class _Watch:
    """Looks at the learner, and at servers where they answer, on a thread of its own."""

    def __init__(self, experiment: Experiment, folder: Path) -> None:
        self._experiment = experiment
        self._watcher = Watcher(folder, PlainView(), experiment.metrics.sink)
        own = caller(experiment.security.keys, Role.LEARNER, towards=Role.SERVER)
        addresses = {part.name: part.address for part in cast(experiment) if part.role == "server"}
        self._poller = StatusPoller(
            addresses,
            lambda address, timeout_s: fetch_status(address, timeout_s, keys=own),
            servers=tuple(addresses) if len(addresses) > 1 else (),
        )
        self._judge = Judge()
        self._learner: Learner | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self, learner: Learner) -> None:
        """Begin to look."""
        self._learner = learner
        self._poller.start()
        self._thread.start()

    def end(self) -> Progress:
        """Look a last time."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(5)
        self._poller.stop()
        progress = self._progress()
        self._watcher.end(progress)
        return progress

    def _run(self) -> None:
        while not self._ended.wait(PERIOD_S):
            self._watcher.tell(self._progress())

    def _progress(self) -> Progress:
        elapsed_s = time.monotonic() - process_started()
        learner = self._learner.figures() if self._learner else {}
        before = int(learner.get("env_steps_before", 0))
        server = self._poller.figures.get("server", {})
        verdict = self._judge.hear(server, learner)
        return Progress(self._experiment.run, elapsed_s, server, learner, before, verdict=verdict)
