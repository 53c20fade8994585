"""One process of a benchmark: `python -m corral.bench.child`, told what to be in JSON lines on standard input.

The first line names the role and its settings; those that follow, what to do. Every answer is a JSON line on
standard output. The process ends when its standard input does, so that none outlives the benchmark.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

Message = dict[str, Any]


class Wire:
    """The child's side of the line to its parent."""

    def __init__(self) -> None:
        # What libraries print must not come between the messages.
        self._out = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def read(self) -> Message | None:
        """The next message; None where the parent has gone."""
        line = sys.stdin.readline()
        return json.loads(line) if line else None

    def messages(self) -> Iterator[Message]:
        """Every message until the parent has gone."""
        while (message := self.read()) is not None:
            yield message

    def tell(self, **message: Any) -> None:
        """Send a message to the parent."""
        self._out.write(json.dumps(message) + "\n")


def main() -> int:
    """Play one role to its end."""
    from corral.launch.errors import guarded
    from corral.launch.scheduling import wake_without_preempting
    from corral.launch.workdir import put_working_directory_on_path

    wire = Wire()
    settings = wire.read()
    if settings is None:
        return 0
    if settings["cores"]:
        os.sched_setaffinity(0, settings["cores"])  # before a framework counts its cores
    wake_without_preempting()
    put_working_directory_on_path()
    return guarded(lambda: _play(settings, wire))


def _play(settings: Message, wire: Wire) -> int:
    match settings["role"]:
        case "clients":
            from corral.bench.players import play_clients

            play_clients(settings, wire)
        case "crowd":
            from corral.bench.players import play_crowd

            play_crowd(settings, wire)
        case "server":
            from corral.bench.hosts import host_server

            return host_server(settings, wire)
        case "learner":
            from corral.bench.hosts import host_learner

            host_learner(settings, wire)
        case "environment":
            from corral.bench.think import host_environment

            host_environment(settings, wire)
        case "training":
            from corral.bench.training import host_training

            host_training(settings, wire)
        case "echo":
            from corral.bench.floors import host_echo

            host_echo(settings, wire)
        case "alone":
            from corral.bench.floors import host_model

            host_model(settings, wire)
    return 0


if __name__ == "__main__":
    from corral.launch.leaving import leave

    leave(main())
