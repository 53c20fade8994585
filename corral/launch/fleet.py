"""The servers of a run seen as one: counts add up, and of the rest the one that matters is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

from corral.launch.progress import number

Figures: TypeAlias = Mapping[str, Any]

SERVERS = "servers"
"""The figure of the whole that has each server's own, by name."""

_COUNTS = (
    "rows", "batches", "padding_rows", "env_steps", "steps_accepted", "steps_dropped", "steps_underway", "episodes",
    "traces", "answers_dropped", "unrolls_accepted", "unrolls_shed", "weights_refused", "keys_refused",
    "actor_environment_s", "actor_wait_s", "actor_requests",
    "step_requests", "step_engine_s", "step_gather_s", "step_learner_s",
)  # fmt: skip
_MOMENTARY = ("rows_per_s", "steps_per_s", "actors", "environments", "waiting_rows", "unrolls_waiting")
"""What a server that answers no more does not do any more."""
_SLOWEST = (
    "latency_p50_ms", "latency_p99_ms", "queue_p50_ms", "queue_p99_ms", "compute_p50_ms", "compute_p99_ms",
)  # fmt: skip
_LIST_ENDS = 5


def whole(servers: Mapping[str, Figures], silent: Collection[str] = ()) -> dict[str, Any]:
    """The figures of several servers as those of one; names as in docs/protocol.md, and `SERVERS` beside them.

    Latencies are the slowest one's, the policy version is the oldest that acts, and one that is ready is enough.

    Args:
      servers: name -> what it answered last.
      silent: names of those that do not answer now.
    """
    if not servers:
        return {}
    awake = {name: figures for name, figures in servers.items() if name not in silent}
    everyone, now = list(servers.values()), list(awake.values()) or list(servers.values())
    ready = [figures for figures in awake.values() if figures.get("ready")]
    rows, batches = _sum(everyone, "rows"), _sum(everyone, "batches")
    # What is said once for all is said by one that is there, such as settings.
    return {
        **(ready or now)[0],
        **{name: _sum(everyone, name) for name in _COUNTS if _known(everyone, name)},
        **{name: _sum(list(awake.values()), name) for name in _MOMENTARY if _known(everyone, name)},
        **{name: max(_numbers(now, name)) for name in _SLOWEST if _known(now, name)},
        "ready": bool(ready),
        "identity": "+".join(str(figures.get("identity", "")) for figures in everyone),
        "uptime_s": min(_numbers(now, "uptime_s"), default=0.0),
        # Of one engine, as all that it is compared with.
        "compute_s": _sum(everyone, "compute_s") / len(everyone),
        "policy_version": min(_numbers(ready, "policy_version"), default=0),
        "epoch": min(_numbers(ready, "epoch"), default=0),
        "mean_batch": rows / batches if batches else 0.0,
        "recent_batch": _weighted(now, "recent_batch", "rows_per_s"),
        "mean_return": _weighted(everyone, "mean_return", "episodes"),
        "blocked": any(figures.get("blocked") for figures in awake.values()),
        "local": all(figures.get("local") for figures in now),
        "learner_found": all(figures.get("learner_found", True) for figures in now),
        "learner_failure": next((text for each in now if (text := each.get("learner_failure"))), ""),
        "batch_reasons": _added(everyone, "batch_reasons"),
        "errors": _added(everyone, "errors"),
        "last_errors": _labelled(awake, "last_errors"),
        "batch_rows_histogram": _histogram(everyone),
        "actor_table": [row for figures in awake.values() for row in figures.get("actor_table") or ()],
        SERVERS: {name: {**figures, "silent": name in silent} for name, figures in servers.items()},
    }


def rows_of(figures: Figures) -> dict[str, Figures]:
    """Each server's own figures, by name, where `figures` are of several; else nothing."""
    return dict(figures.get(SERVERS) or {})


def standing(figures: Figures) -> str:
    """How one server of several stands, in one word."""
    if figures.get("silent"):
        return "silent"
    return "ready" if figures.get("ready") else "waiting"


def words(figures: Figures) -> str:
    """One server of several, in a few words: how it stands, its load, speed and policy version."""
    told: Sequence[tuple[str, Callable[[float], str]]] = (
        ("actors", lambda value: f"{value:,.0f} actors"),
        ("environments", lambda value: f"{value:,.0f} environments"),
        ("rows_per_s", lambda value: f"{value:,.0f} steps/s"),
        ("recent_batch", lambda value: f"batch {value:.1f}"),
        ("policy_version", lambda value: f"policy {value:.0f}"),
    )
    if (stands := standing(figures)) != "ready":
        return stands
    return "  ".join(say(value) for name, say in told if (value := number(figures, name)) is not None)


def _numbers(servers: Collection[Figures], name: str) -> list[float]:
    return [value for figures in servers if (value := number(figures, name)) is not None]


def _known(servers: Collection[Figures], name: str) -> bool:
    return any(name in figures for figures in servers)


def _sum(servers: Collection[Figures], name: str) -> float:
    return sum(_numbers(servers, name))


def _weighted(servers: Collection[Figures], name: str, weight: str) -> float:
    pairs = [(number(figures, name) or 0.0, number(figures, weight) or 0.0) for figures in servers]
    total = sum(each for _, each in pairs)
    return sum(value * each for value, each in pairs) / total if total else 0.0


def _added(servers: Collection[Figures], name: str) -> dict[str, int]:
    total: Counter[str] = Counter()
    for figures in servers:
        total.update(figures.get(name) or {})
    return dict(total)


def _labelled(servers: Mapping[str, Figures], name: str) -> list[str]:
    ends = [(server, list(figures.get(name) or ())[-_LIST_ENDS:]) for server, figures in servers.items()]
    return [f"{server}: {text}" for server, texts in ends for text in texts]


def _histogram(servers: Collection[Figures]) -> list[list[float]]:
    total: Counter[float] = Counter()
    for figures in servers:
        for bound, count in figures.get("batch_rows_histogram") or ():
            total[bound] += count
    return [[bound, count] for bound, count in sorted(total.items())]
