"""One process of a run: `python -m corral.launch.child ROLE RUN_FOLDER SOCKET_FOLDER [NUMBER [POLICY]]`.

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


def sockets_of(role: str, number: str = "0", policy: str = "") -> list[str]:
    """The names of the socket files of one process of a local run."""
    behind = [part for part in (policy, "" if number == "0" else number) if part]
    return ["-".join([name, *behind]) for name in _SOCKETS[role]]


def main(arguments: list[str]) -> int:
    """Run one role to its end; see the module."""
    role, run_folder, socket_folder, *which = arguments
    folder = Path(socket_folder)
    lost = False

    def clean() -> None:
        if lost and socket_folder:
            sweep(folder, sockets_of(role, *which))

    def on_lost() -> None:
        nonlocal lost
        lost = True

    recorders: list[Recorder] = []

    def on_line(line: str) -> None:
        if recorder := obey(line, " ".join([role, *(which if role == "actor" or which != ["0"] else [])])):
            recorders.append(recorder)

    stop = StopRequest(last_act=clean)
    stop.install()
    # The experiment, which says how long the grace is, is not read yet.
    watch(stop, on_lost, grace_of(role, MOST_DRAIN_S), on_line=on_line)
    put_working_directory_on_path()
    named = int(which[0]) if role == "actor" and which else None
    log_to_stderr(role, run=Path(run_folder).name, actor=named, owns_stderr=True)
    try:
        return _run(role, Path(run_folder), folder if socket_folder else None, stop, *which)
    except Exception as error:
        log.critical("this process ends by a defect: %s: %s", type(error).__name__, error, exc_info=True)
        return 1
    finally:
        for recorder in recorders:
            recorder.close()
        clean()


def _run(
    role: str, run_folder: Path, sockets: Path | None, stop: StopRequest, number: str = "0", policy: str = ""
) -> int:
    from corral.launch.errors import guarded
    from corral.launch.experiment import Experiment
    from corral.launch.folder import EXPERIMENT, life
    from corral.launch.seeds import seed_of_life
    from corral.launch.sockets import local_addresses

    experiment = Experiment.read(run_folder / EXPERIMENT)
    if sockets is not None:
        experiment = local_addresses(experiment, sockets)
    if role != "learner" and not experiment.run.determinism:
        seed = seed_of_life(experiment.run.seed, life(run_folder))
        experiment = replace(experiment, run=replace(experiment.run, seed=seed))
    return guarded(lambda: _play(role, experiment, run_folder, stop, int(number), policy))


def _play(role: str, whole: Experiment, run_folder: Path, stop: StopRequest, number: int, policy: str) -> int:
    from corral.launch import roles
    from corral.launch.cast import as_server, server_addresses
    from corral.launch.folder import LEDGERS
    from corral.launch.policies import member, members
    from corral.launch.quiet import import_keras
    from corral.launch.threads import choose_threads_for

    if role == "actor":
        servers = len(server_addresses(members(whole)[0].experiment))
        whole = replace(whole, metrics=whole.metrics.of(role, number, servers))
        return roles.run_actor(whole, stop, first_environment=number * whole.actor.environments)
    which = member(whole, policy)
    experiment = replace(
        which.experiment, metrics=which.experiment.metrics.of(role, number, len(server_addresses(which.experiment)))
    )
    folder = which.folder(run_folder)
    choose_threads_for(experiment)
    limits = {"server": experiment.server.gpu_memory_mb, "learner": experiment.learner.gpu_memory_mb}
    import_keras(limits.get(role, 0))
    if role == "server":
        which = replace(which, experiment=as_server(experiment, number))
        return roles.run_server(which, stop, ledgers=folder / LEDGERS, number=number)
    if role == "learner":
        return roles.run_learner(experiment, folder, stop)
    from corral.launch.evaluator import run_evaluator

    return run_evaluator(experiment, folder, stop)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
