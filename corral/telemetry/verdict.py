"""The verdict: what holds a run back, from two readings of its server's figures, and of its learner's.

Actors tell how much of their time goes into their environments and into waiting; the server knows what held their
requests up once it had read them. What is left of the waiting went by between the two.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeAlias

Figures: TypeAlias = Mapping[str, Any]
"""What a server or learner reports; names as in docs/protocol.md."""

SPAN_S = 10.0
"""Seconds over which a run is judged while it goes on."""
WASTED = 0.2
"""Part of the unrolls that nobody trains on, from which the learner is what holds the run back."""
_PADDED = 0.3
"""Part of the computed rows that are nobody's, from which the buckets are at fault."""


class Bound(StrEnum):
    """What a run is bound by."""

    ENVIRONMENT = "environment-bound"
    NETWORK = "network-bound"
    BATCH = "batch-bound"
    ENGINE = "engine-bound"
    LEARNER = "learner-bound"


@dataclass(frozen=True)
class Verdict:
    """What holds a run back.

    Attributes:
      bound: by what.
      shares: where the actors' time goes, by each `Bound`; they add up to 1.
      numbers: what it was judged by, for people.
      setting: the one setting most worth changing, as in an experiment file.
      advice: how.
    """

    bound: Bound
    shares: Mapping[Bound, float]
    numbers: str
    setting: str
    advice: str

    @property
    def sentence(self) -> str:
        """All of it in one line."""
        return f"{self.bound}: {self.numbers}; most worth changing: {self.setting} ({self.advice})"

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        shares = {bound.removesuffix("-bound"): round(share, 3) for bound, share in self.shares.items()}
        return {**asdict(self), "bound": str(self.bound), "shares": shares, "sentence": self.sentence}


class Judge:
    """Judges a run again and again, by its last seconds."""

    def __init__(self, span_s: float = SPAN_S) -> None:
        self._span_s = span_s
        self._readings: deque[tuple[Figures, Figures]] = deque()

    def hear(self, server: Figures, learner: Figures) -> Verdict | None:
        """The verdict, with these readings as the newest; None where there is nothing yet to judge by."""
        readings = self._readings
        if readings and not _goes_on(readings[-1][0], server):
            readings.clear()  # another server, which counts from 0
        readings.append((server, learner))
        while len(readings) > 2 and _uptime(server) - _uptime(readings[1][0]) >= self._span_s:
            readings.popleft()
        before, learner_before = readings[0]
        if not _goes_on(learner_before, learner):
            learner_before = {}
        return judge(server, learner, before, learner_before) if len(readings) > 1 else None


def judge(
    server: Figures, learner: Figures, server_before: Figures | None = None, learner_before: Figures | None = None
) -> Verdict | None:
    """What held a run back between two readings, or since the start; None where no actor has told of its time.

    Args:
      learner: empty where it is not known.
    """
    since, learner_since = _Since(server, server_before or {}), _Since(learner, learner_before or {})
    shares = _shares(since)
    if shares is None:
        return None
    wasted = since("unrolls_shed") + learner_since("unrolls_too_old")
    unrolls = since("unrolls_accepted") + since("unrolls_shed")
    wasted_share = min(wasted / unrolls, 1.0) if unrolls > 0 else 0.0
    bound = max(shares, key=lambda each: shares[each])
    if learner.get("paused") or wasted_share >= WASTED:
        bound = Bound.LEARNER
    return _VERDICTS[bound](_Case(shares, since, learner, learner_since, wasted_share))


class _Since:
    """How much a figure has grown between two readings."""

    def __init__(self, now: Figures, before: Figures) -> None:
        self.now = now
        self._before = before

    def __call__(self, name: str) -> float:
        return max(float(self.now.get(name) or 0) - float(self._before.get(name) or 0), 0.0)


@dataclass(frozen=True)
class _Case:
    shares: Mapping[Bound, float]
    since: _Since
    learner: Figures
    learner_since: _Since
    wasted: float

    def share(self, bound: Bound) -> str:
        return f"{100 * self.shares[bound]:.0f} %"

    def per(self, name: str, count: str) -> float:
        return self.since(name) / max(self.since(count), 1.0)

    @property
    def busy(self) -> str:
        replicas = len(self.since.now.get("replica_busy_s") or ()) or 1
        share = self.since("compute_s") / max(replicas * self.since("uptime_s"), 1e-9)
        return f"{100 * min(share, 1.0):.0f} %"


def _shares(since: _Since) -> dict[Bound, float] | None:
    """Where the actors' time goes; None where they have told of none."""
    environment, wait = since("actor_environment_s"), since("actor_wait_s")
    if environment + wait <= 0:
        return None
    told, answered = since("actor_requests"), since("step_requests")
    # What actors tell comes a little later than what the server counts: as much of the one as of the other.
    scale = told / answered if told and answered else 1.0
    held = {
        Bound.BATCH: since("step_gather_s") * scale,
        Bound.ENGINE: since("step_engine_s") * scale,
        Bound.LEARNER: since("step_learner_s") * scale,
    }
    if not answered and since.now.get("blocked"):
        held = {Bound.BATCH: 0.0, Bound.ENGINE: 0.0, Bound.LEARNER: wait}
    known = sum(held.values())
    if known > wait:
        held = {bound: seconds * wait / known for bound, seconds in held.items()}
    seconds = {Bound.ENVIRONMENT: environment, Bound.NETWORK: max(wait - known, 0.0), **held}
    total = environment + wait
    return {bound: each / total for bound, each in seconds.items()}


def _environment(case: _Case) -> Verdict:
    each = 1e3 * case.per("actor_environment_s", "actor_requests")
    numbers = (
        f"actors spend {case.share(Bound.ENVIRONMENT)} of their time in their environments, {each:.1f} ms a step, "
        f"and the model is busy {case.busy} of the time"
    )
    return Verdict(
        Bound.ENVIRONMENT, case.shares, numbers, "actor.processes", "more of them, or more machines with actors"
    )


def _network(case: _Case) -> Verdict:
    each = 1e3 * case.shares[Bound.NETWORK] * _seconds(case) / max(case.since("actor_requests"), 1.0)
    numbers = (
        f"actors wait {case.share(Bound.NETWORK)} of their time for messages under way, {each:.1f} ms a step, and "
        f"the model is busy {case.busy} of the time"
    )
    cores, load = case.since.now.get("cores") or 0, case.since.now.get("load") or 0.0
    setting, advice = "actor.environments", "more rows in each message"
    if case.since.now.get("local") and load > cores > 0:
        # Nothing is slow between processes of one machine, but that they wait for their turn.
        numbers += f" on a machine of {cores} cores with a load of {load:.1f}"
        setting, advice = "actor.processes", "fewer, with more actor.environments each, or more cores"
    return Verdict(Bound.NETWORK, case.shares, numbers, setting, advice)


def _batch(case: _Case) -> Verdict:
    each = 1e3 * case.per("step_gather_s", "step_requests")
    timeout = int(case.since.now.get("timeout_us") or 0)
    numbers = (
        f"actors wait {case.share(Bound.BATCH)} of their time for a fuller batch, {each:.1f} ms a step, with a "
        f"timeout of {timeout / 1e3:g} ms, and the model is busy {case.busy} of the time"
    )
    return Verdict(Bound.BATCH, case.shares, numbers, "server.batching.timeout_us", f"less than {timeout}, or auto")


def _engine(case: _Case) -> Verdict:
    rows, batches, padding = case.since("rows"), case.since("batches"), case.since("padding_rows")
    batch = rows / max(batches, 1.0)
    each = 1e3 * case.per("compute_s", "batches")
    numbers = (
        f"actors wait {case.share(Bound.ENGINE)} of their time for the engine, which is busy {case.busy} of the "
        f"time: {each:.1f} ms for a batch of {batch:.1f} rows"
    )
    largest, environments = case.since.now.get("max_size") or 0, case.since.now.get("environments") or 0
    if padding / max(rows + padding, 1.0) >= _PADDED:
        share = 100 * padding / (rows + padding)
        setting, advice = "server.batching.buckets", f"{share:.0f} % of the computed rows are padding"
    elif batch >= 0.9 * largest and environments > largest:
        setting, advice = "server.batching.max_size", f"more than {largest}: batches are full"
    elif batch < environments / 4:
        setting, advice = "server.batching.timeout_us", "more, so that batches are fuller; corral tune finds it"
    else:
        setting, advice = "agent.network", "a smaller one, or an accelerator for the server"
    return Verdict(Bound.ENGINE, case.shares, numbers, setting, advice)


def _learner(case: _Case) -> Verdict:
    if case.learner.get("paused"):
        numbers, setting, advice = "training is paused", "nothing", "resume it"
        return Verdict(Bound.LEARNER, case.shares, numbers, setting, advice)
    parts = [f"actors wait {case.share(Bound.LEARNER)} of their time for the learner"]
    if case.wasted >= WASTED:
        parts.append(f"{100 * case.wasted:.0f} % of the unrolls are never trained on")
    if case.learner_since("uptime_s") > 0:
        busy = 1 - min(case.learner_since("wait_s") / case.learner_since("uptime_s"), 1.0)
        parts.append(f"it trains {100 * busy:.0f} % of the time")
    if case.since.now.get("learner_found") is False:
        setting, advice = "learner.unrolls_address", "no learner is connected: see that one runs there"
    else:
        setting, advice = "learner.batch_unrolls", "larger batches cost less each; else a smaller agent.network"
    return Verdict(Bound.LEARNER, case.shares, ", ".join(parts), setting, advice)


_VERDICTS = {
    Bound.ENVIRONMENT: _environment,
    Bound.NETWORK: _network,
    Bound.BATCH: _batch,
    Bound.ENGINE: _engine,
    Bound.LEARNER: _learner,
}


def _seconds(case: _Case) -> float:
    return case.since("actor_environment_s") + case.since("actor_wait_s")


def _uptime(figures: Figures) -> float:
    return float(figures.get("uptime_s") or 0)


def _goes_on(before: Figures, now: Figures) -> bool:
    """Whether both readings are of one life of one process."""
    return before.get("identity") == now.get("identity") and _uptime(before) <= _uptime(now)
