"""One process of a run: `python -m corral.launch.child ROLE RUN_FOLDER SOCKET_FOLDER [NUMBER]`.

What the launcher starts in place of `corral server` and its like: the same roles without the command line
around them, which would take two cores a second to import in every process together. It ends when the
launcher does, because its standard input then ends. Where SOCKET_FOLDER is empty, the addresses and keys are
those of the experiment in RUN_FOLDER.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from corral.launch.leaving import leave
from corral.launch.lifeline import grace_of, sweep, watch
from corral.launch.logs import log_to_stderr
from corral.launch.recorder import Recorder
from corral.launch.run_trace import obey
from corral.launch.stopping import StopRequest
from corral.launch.workdir import put_working_directory_on_path
from inference_server.settings import MOST_DRAIN_S

if TYPE_CHECKING:
    from corral.launch.experiment import Experiment

log = logging.getLogger(__name__)

# As in corral.launch.sockets, which only roles need to import.
_SOCKETS = {"server": ("actors",), "learner": ("unrolls", "weights"), "evaluator": (), "actor": ()}


def sockets_of(role: str, number: str = "0") -> list[str]:
    """The names of the socket files of one process of a local run."""
    return [name if number == "0" else f"{name}-{number}" for name in _SOCKETS[role]]


def main(arguments: list[str]) -> int:
    """Run one role to its end; see the module."""
    role, run_folder, socket_folder, *number = arguments
    folder = Path(socket_folder)
    lost = False

    def clean() -> None:
        if lost and socket_folder:
            sweep(folder, sockets_of(role, *number))

    def on_lost() -> None:
        nonlocal lost
        lost = True

    recorders: list[Recorder] = []

    def on_line(line: str) -> None:
        if recorder := obey(line, " ".join([role, *(number if role == "actor" or number != ["0"] else [])])):
            recorders.append(recorder)

    stop = StopRequest(last_act=clean)
    stop.install()
    # The experiment, which says how long the grace is, is not read yet.
    watch(stop, on_lost, grace_of(role, MOST_DRAIN_S), on_line=on_line)
    put_working_directory_on_path()
    named = int(number[0]) if role == "actor" and number else None
    log_to_stderr(role, run=Path(run_folder).name, actor=named, owns_stderr=True)
    try:
        return _run(role, Path(run_folder), folder if socket_folder else None, stop, *number)
    except Exception as error:
        log.critical("this process ends by a defect: %s: %s", type(error).__name__, error, exc_info=True)
        return 1
    finally:
        for recorder in recorders:
            recorder.close()
        clean()


def _run(role: str, run_folder: Path, sockets: Path | None, stop: StopRequest, number: str = "0") -> int:
    from corral.launch.cast import as_server, server_addresses
    from corral.launch.errors import guarded
    from corral.launch.experiment import Experiment
    from corral.launch.folder import EXPERIMENT, life
    from corral.launch.seeds import seed_of_life
    from corral.launch.sockets import local_addresses

    experiment = Experiment.read(run_folder / EXPERIMENT)
    if sockets is not None:
        experiment = local_addresses(experiment, sockets)
    experiment = replace(
        experiment, metrics=experiment.metrics.of(role, int(number), len(server_addresses(experiment)))
    )
    seed = seed_of_life(experiment.run.seed, life(run_folder))
    if role == "server":
        experiment = as_server(experiment, int(number))
    if role != "learner":
        experiment = replace(experiment, run=replace(experiment.run, seed=seed))
    return guarded(lambda: _play(role, experiment, run_folder, stop, number))


def _play(role: str, experiment: Experiment, run_folder: Path, stop: StopRequest, number: str) -> int:
    from corral.launch import roles
    from corral.launch.folder import LEDGERS
    from corral.launch.quiet import import_keras
    from corral.launch.threads import choose_threads_for

    if role == "actor":
        first = int(number) * experiment.actor.environments
        return roles.run_actor(experiment, stop, first_environment=first)
    choose_threads_for(experiment)
    limits = {"server": experiment.server.gpu_memory_mb, "learner": experiment.learner.gpu_memory_mb}
    import_keras(limits.get(role, 0))
    if role == "server":
        return roles.run_server(experiment, stop, ledgers=run_folder / LEDGERS, number=int(number))
    if role == "learner":
        return roles.run_learner(experiment, run_folder, stop)
    from corral.launch.evaluator import run_evaluator

    return run_evaluator(experiment, run_folder, stop)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
