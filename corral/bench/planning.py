"""What a run of any size needs and comes to: servers, cores, bandwidth, from what was measured at small sizes.

Arithmetic only; docs/scaling.md goes through it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from corral.bench.closed_loop import Curve, Flow, closed_loop
from corral.bench.result import Result
from corral.bench.traffic import Sizes, in_a_stream
from corral.bench.training import Training

MOST_BUSY = 0.8
"""Share of a server's highest rate that a plan uses: with more, answers wait for each other, and nothing is left
for the actors of a server that has gone."""
_CONNECTIONS = 2
"""Of each actor: its requests and its signs of life have a socket each."""
_ROUNDS = 20


@dataclass(frozen=True)
class Demand:
    """Who wants to be served.

    Attributes:
      actors: processes.
      environments: that each of them steps together: rows of a request.
      think_s: seconds from an answer to the next request: one step of all of them.
      computing: processors that an actor keeps busy meanwhile.
      timeout_s: `server.batching.timeout_us`.
      max_size: rows at which a batch is full.
      publish_every: training steps between two policy versions.
    """

    actors: int
    environments: int
    think_s: float
    computing: float = 1.0
    timeout_s: float = 0.0
    max_size: int = 256
    publish_every: int = 1


@dataclass(frozen=True)
class Serving:
    """What one server was measured to do, with requests of so many rows.

    Attributes:
      curve: answers per second by requests at once.
      server_s, client_s: processor seconds of a request, at the server and at whoever asks.
      intake_s: processor seconds that a learner takes to accept the unrolls of one request.
    """

    curve: Curve
    server_s: float
    client_s: float
    intake_s: float

    @classmethod
    def of(cls, results: Sequence[Result], rows: int) -> Serving:
        """From rows of `corral bench`: closed loop, no thinking, requests of `rows`.

        Raises:
          ValueError: there are none such.
        """
        fitting = [
            each
            for each in results
            if each.request == "step" and each.rows == rows and not each.rate and not each.think_us
        ]
        if not fitting:
            raise ValueError(f"no measurement of STEPs of {rows} rows in a closed loop without thinking")
        fullest = max(fitting, key=lambda each: each.clients)
        return cls(
            Curve((each.clients, each.answers_per_s) for each in fitting),
            fullest.server_cpu / fullest.answers_per_s,
            fullest.client_cpu / fullest.answers_per_s,
            fullest.learner_cpu / fullest.answers_per_s,
        )


@dataclass(frozen=True)
class RunPlan:
    """What it takes. Rates are environment steps per second, traffic is bytes per second.

    Attributes:
      servers: how many.
      acting_per_s: what actors and servers do when nothing else holds them up.
      trained_per_s: what one learner like the measured one keeps up with.
      wait_s: from a request to its answer, on average.
      waiting: the share of their time that actors wait.
      busy: the share of a server's highest rate that is used.
      environments: of one server.
      connections: of one server, at least.
      actor_cores, server_cores, learner_cores: processors, of all of them.
      requests, answers: traffic between all actors and all servers.
      unrolls, weights: traffic between all servers and the learner.
      intake_per_s: what a learner can accept at most, without training.
    """

    servers: int
    acting_per_s: float
    trained_per_s: float
    wait_s: float
    waiting: float
    busy: float
    environments: int
    connections: int
    actor_cores: float
    server_cores: float
    learner_cores: float
    requests: float
    answers: float
    unrolls: float
    weights: float
    intake_per_s: float

    @property
    def steps_per_s(self) -> float:
        """What the run comes to where actors wait for the learner (`server.unrolls.when_full = "block"`)."""
        return min(self.acting_per_s, self.trained_per_s)

    @property
    def learners(self) -> float:
        """How many times the measured learner all of them would keep busy."""
        return self.acting_per_s / self.trained_per_s


def plan(
    demand: Demand, serving: Serving, training: Training, sizes: Sizes, *, servers: int | None = None
) -> RunPlan:
    """What `demand` takes.

    Args:
      servers: how many there are; None takes as few as keep each within `MOST_BUSY`.
    """
    servers = servers or fewest_servers(demand, serving)
    each = math.ceil(demand.actors / servers)
    flow = serve(demand, each, serving)
    requests_per_s = flow.answers_per_s * demand.actors / each
    steps_per_s = requests_per_s * demand.environments
    think_s = demand.think_s + serving.client_s
    kept = min(steps_per_s, training.steps_per_s)
    versions_per_s = kept / training.steps / demand.publish_every
    intake_s = serving.intake_s / demand.environments
    return RunPlan(
        servers=servers,
        acting_per_s=steps_per_s,
        trained_per_s=training.steps_per_s,
        wait_s=flow.wait_s,
        waiting=flow.wait_s / (flow.wait_s + think_s),
        busy=flow.busy,
        environments=each * demand.environments,
        connections=each * _CONNECTIONS,
        actor_cores=requests_per_s * (demand.think_s * demand.computing + serving.client_s),
        server_cores=requests_per_s * serving.server_s,
        learner_cores=kept / training.steps_per_s * training.cores + kept * intake_s,
        requests=requests_per_s * sizes.request,
        answers=requests_per_s * sizes.answer,
        unrolls=steps_per_s * in_a_stream(sizes.unrolled),
        weights=versions_per_s * servers * in_a_stream(sizes.weights),
        intake_per_s=1 / intake_s if intake_s else math.inf,
    )


def fewest_servers(demand: Demand, serving: Serving) -> int:
    """As few as keep each within `MOST_BUSY` of its highest rate."""
    low, high = 0, 1  # `low` are too few
    while not _bearable(demand, serving, high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _bearable(demand, serving, middle) else (middle, high)
    return high


def serve(demand: Demand, actors: int, serving: Serving) -> Flow:
    """`actors` of the demand at one server; what `timeout_s` holds back counts as waiting."""
    think_s = demand.think_s + serving.client_s
    held_s = 0.0
    flow = closed_loop(actors, think_s, serving.curve)
    for _ in range(_ROUNDS if demand.timeout_s else 0):
        # Half of what is found at the pace so far: the longer requests are held, the slower they come.
        held_s = (held_s + _held_s(demand, actors, flow.answers_per_s)) / 2
        flow = closed_loop(actors, think_s + held_s, serving.curve)
    return Flow(flow.answers_per_s, flow.wait_s + held_s, flow.busy)


def _bearable(demand: Demand, serving: Serving, servers: int) -> bool:
    if servers >= demand.actors:
        return True  # one server for each actor: more help nobody
    return serve(demand, math.ceil(demand.actors / servers), serving).busy <= MOST_BUSY


def _held_s(demand: Demand, actors: int, answers_per_s: float) -> float:
    """How long a request is held back on average for a fuller batch: the first of a batch until it is full, or
    `timeout_s` have passed; those that follow it by so much less."""
    most = min(demand.max_size // demand.environments, actors)
    first_s = min(demand.timeout_s, (most - 1) / answers_per_s)
    together = min(1 + answers_per_s * first_s, most)
    return first_s * (together + 1) / (2 * together)
