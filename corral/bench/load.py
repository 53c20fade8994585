"""What clients do to a server: plain values, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

EPISODE_STEPS = 100
"""Steps of each made-up episode: its end brings a final observation along."""


@dataclass(frozen=True)
class Load:
    """One workload.

    Raises:
      ValueError: a value is out of bounds; the text begins with its name.
    """

    request: Literal["step", "infer"] = "step"
    """STEP, with sessions and unrolls and a learner that takes these; or INFER, stateless."""
    clients: int = 64
    """Connections, each with one request outstanding at most."""
    processes: int = 2
    """Processes that the clients are spread over."""
    rows: int = 1
    """Observations in one request."""
    transport: Literal["ipc", "tcp", "curve"] = "ipc"
    """How clients of this machine reach a server that was started for them; "curve" is tcp with keys."""
    rate: float = 0.0
    """Requests per second of all clients together, whatever the answers do (open loop); 0: each client asks again
    as soon as it has its answer (closed loop)."""
    think_us: float = 0.0
    """Closed loop: microseconds from an answer to the next request, on average; what an environment takes."""
    busy: bool = False
    """Whether clients compute for as long as they think, as environments do, instead of sleeping; one client in
    each process."""
    idle: int = 0
    """Actors beside the clients that are connected and send signs of life only."""
    push_every_s: float = 0.0
    """Seconds between two policy versions that the learner pushes meanwhile; 0 pushes none."""

    def __post_init__(self) -> None:
        if self.request not in ("step", "infer"):
            raise ValueError(f"request must be step or infer, not {self.request}")
        if self.transport not in ("ipc", "tcp", "curve"):
            raise ValueError(f"transport must be ipc, tcp or curve, not {self.transport}")
        _bound("clients", self.clients, 1, 100_000)
        _bound("processes", self.processes, 1, self.clients)
        _bound("rows", self.rows, 1, 65_535)
        _bound("rate", self.rate, 0, 10_000_000)
        _bound("think_us", self.think_us, 0, 60_000_000)
        _bound("idle", self.idle, 0, 100_000)
        _bound("push_every_s", self.push_every_s, 0, 3_600)
        if self.rate and self.think_us:
            raise ValueError("think_us has no meaning in an open loop: give rate or think_us, not both")
        if self.busy and self.processes != self.clients:
            raise ValueError(
                "busy clients compute, each in a process of its own: give as many processes as clients"
            )
        if self.idle and self.request == "infer":
            raise ValueError("idle actors have sessions: they need request step")

    def share(self, process: int) -> int:
        """How many of the clients process number `process` plays."""
        return self.clients // self.processes + (process < self.clients % self.processes)


def _bound(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"{name} must be {low:,} to {high:,}, not {value:,}")
