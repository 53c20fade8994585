"""A scripted server and its actors as processes, and the caller as their learner, with a witness of every step."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from corral.launch.cast import following
from learner import UnrollSource, WeightPublisher
from tests.support.bad_network import BadNetwork
from tests.support.processes import Process, process
from tests.support.scripted_agent import ScriptedAgent
from tests.support.scripted_environment import Witness


class ScriptedRun:
    """A scripted server, actors as the caller starts them, and the caller itself as the learner.

    Args:
      folder: takes the sockets.
      stack: ends everything.
      queue: unrolls that may wait for the witness.
      pipeline: parts in which actors step their environments, where nothing else is said.
      witness: another one than for a single server.
    """

    def __init__(
        self,
        folder: Path,
        stack: ExitStack,
        *,
        queue: int = 64,
        pipeline: int = 1,
        witness: Witness | None = None,
    ) -> None:
        self.address, self.intake, self.weights = (
            f"ipc://{folder}/{name}" for name in ("server", "unrolls", "weights")
        )
        self._stack = stack
        self._pipeline = pipeline
        self._agent = ScriptedAgent()
        self.source = stack.enter_context(UnrollSource(self.intake, queue=queue))
        self.publisher = stack.enter_context(WeightPublisher(self.weights))
        self.witness = witness or Witness()
        self.ledgers = folder / "ledgers"

    def start_server(self, lease_s: float = 10, drain_s: float = 5, number: int = 0, replicas: int = 1) -> Process:
        """A server that looks for its learner at `intake` and `weights`, the first at `address`."""
        module = "tests.support.scripted_server"
        where = (following(self.address, number), self.intake, self.weights)
        more = (lease_s, drain_s, self.ledgers, number, replicas)
        arguments = (*where, *map(str, more))
        return self._stack.enter_context(process("-m", module, *arguments))

    def start_actor(
        self,
        mode: str,
        environments: int = 4,
        address: str = "",
        resend_after_s: float = 0.5,
        pipeline: int = 0,
        leave_after_s: float = 3.0,
    ) -> Process:
        """An actor whose environments reset themselves as `mode` says; `address` may be several, with commas."""
        module = "tests.support.scripted_actor"
        numbers = map(str, (environments, resend_after_s, pipeline or self._pipeline, leave_after_s))
        return self._stack.enter_context(process("-m", module, address or self.address, mode, *numbers))

    def bad_network(self, back: str, **faults: float) -> BadNetwork:
        """A bad network in front of `back`, at the same address with "-bad" behind it."""
        network = BadNetwork(f"{back}-bad", back, **faults)  # type: ignore[arg-type]
        return self._stack.enter_context(network)

    def publish(self) -> None:
        """The next version, which stamps its own number."""
        self.publisher.publish(self._agent.weights(self.publisher.version + 1))

    def see(self, steps: int, *, unrolls: int = 8) -> None:
        """Let the witness check `steps` further transitions, `unrolls` at a time, while versions go on changing."""
        goal = self.witness.steps + steps
        while self.witness.steps < goal:
            unroll = self.source.next(unrolls, timeout_s=60)
            assert unroll is not None, "no unrolls any more"
            self.witness.see(unroll)
            self.publish()
