"""A scripted run whose server, actors and witness are on hosts of their own."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from learner import UnrollSource, WeightPublisher
from tests.support.hosts import Host, HostProcess
from tests.support.processes import ROOT, until
from tests.support.scripted_agent import ScriptedAgent
from tests.support.scripted_environment import Witness
from tests.support.scripted_run import ScriptedRun


class FarRun(ScriptedRun):
    """As a `ScriptedRun`, without keys, between hosts.

    Args:
      journals: where the environments count their own steps.
      stack: ends everything.
      learner: the host of the witness.
    """

    def __init__(self, journals: Path, stack: ExitStack, server: Host, actors: Host, learner: Host) -> None:
        self.address, self.intake, self.weights = (
            f"tcp://{host.address}:{port}" for host, port in ((server, 5555), (learner, 5556), (learner, 5557))
        )
        self._server, self._actors = server, actors
        self._stack = stack
        self._agent = ScriptedAgent()
        self._environment = os.environ | {"SCRIPTED_JOURNAL": str(journals), "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.source = stack.enter_context(learner.call(lambda: UnrollSource(self.intake, queue=256, insecure=True)))
        self.publisher = stack.enter_context(learner.call(lambda: WeightPublisher(self.weights, insecure=True)))
        self.witness = Witness()

    def start(self, host: Host, module: str, *arguments: object) -> HostProcess:
        """A module of `tests.support` as a process on a host."""
        command = [sys.executable, "-m", f"tests.support.{module}", *map(str, arguments)]
        return self._stack.enter_context(host.process(*command, folder=ROOT, environment=self._environment))

    def start_server(self, lease_s: float = 10, drain_s: float = 5) -> HostProcess:  # type: ignore[override]
        return self.start(
            self._server, "scripted_server", self.address, self.intake, self.weights, lease_s, drain_s
        )

    def start_actor(  # type: ignore[override]
        self, mode: str, environments: int = 8, pipeline: int = 2, resend_after_s: float = 0.5
    ) -> HostProcess:
        return self.start(
            self._actors, "scripted_actor", self.address, mode, environments, resend_after_s, pipeline
        )

    def until_serving(self) -> None:
        """Until the server has weights, which the caller has published."""
        until(lambda: self.figures().get("ready"), 240, "a server that is ready")

    def see_rest(self) -> None:
        """Let the witness check what is still to come, where nobody steps any more."""
        while (unroll := self.source.next(1, timeout_s=2)) is not None:
            self.witness.see(unroll)

    def figures(self) -> dict[str, Any]:
        """What the server says of itself, asked from its own host; empty where it does not answer."""
        return self._server.status(self.address, 5) or {}
