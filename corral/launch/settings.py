"""The run's settings: plain values. The experiment file's `[run]` table."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

_OFFSETS = {"server": 0, "learner": 1, "evaluator": 2}
_FIRST_OF_MORE = 3
"""Of the second server; the tenth belongs to the first actor, unless there are more servers than fit before."""
_FIRST_ACTOR = 10


@dataclass(frozen=True)
class EvaluationSettings:
    """Greedy episodes beside training, by a process of their own. The experiment file's `[evaluation]` table."""

    episodes: int = 0
    """Episodes of each evaluation, all by one policy version; 0 evaluates nothing."""
    every_s: float = 10.0
    """Seconds from the end of one evaluation to the next, of a newer version."""

    def __post_init__(self) -> None:
        if not 0 <= self.episodes <= 100_000:
            raise ValueError(f"episodes must be 0 to 100000, not {self.episodes}")
        if not 0 <= self.every_s <= 1e6:
            raise ValueError(f"every_s must be 0 to 1000000 seconds, not {self.every_s}")


@dataclass(frozen=True)
class SecuritySettings:
    """Who may take part. The experiment file's `[security]` table."""

    keys: str = ""
    """The folder of this process's keys, as `corral keys` makes it; empty uses none. `corral run` needs none: its
    sockets lie in a folder that only its user can enter."""


@dataclass(frozen=True)
class MetricsSettings:
    """Where Prometheus finds each process. The experiment file's `[metrics]` table."""

    port: int = 0
    """Port of /metrics, /livez and /readyz; 0 listens nowhere. In `corral run` the server has it, the learner the
    next one, further servers those from the third on, and actors those from the tenth on, behind all servers'."""
    host: str = "127.0.0.1"
    """Address to listen on. There are no keys here: whoever reaches it can read every figure."""

    sink: str = ""
    """A function of yours that takes every line of the run's figures, a dictionary, as "my_module:function": for
    W&B, MLflow and their like (examples/sink.py). Called by `corral run` and `corral learner`."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise ValueError(f"port must be 0 to 65535, not {self.port}")
        if self.sink and not all(self.sink.partition(":")):
            raise ValueError(f'sink must be "my_module:function", not {self.sink!r}')

    def of(self, role: str, number: int, servers: int = 1) -> MetricsSettings:
        """Those of one process of a local run with so many servers; the number counts within the role."""
        if not self.port:
            return self
        offset = _OFFSETS.get(role, 0)
        if role == "actor":
            offset = max(_FIRST_ACTOR, _FIRST_OF_MORE + servers - 1) + number
        elif role == "server" and number:
            offset = _FIRST_OF_MORE + number - 1
        return replace(self, port=min(self.port + offset, 65_535))


@dataclass(frozen=True)
class RaySettings:
    """What the processes of a run ask of a Ray cluster (docs/ray.md). The experiment file's `[ray]` table."""

    address: str = ""
    """The cluster's head, HOST:PORT; empty takes RAY_ADDRESS, or the cluster that this machine is a node of."""
    server_cpus: float = 1.0
    """Processors that each server reserves; Ray counts them, and nothing keeps a process from using more."""
    server_gpus: float | Literal["auto"] = "auto"
    """GPUs that each server reserves, also a part of one; "auto" takes one where the cluster has enough for all
    servers and the learner, else none."""
    learner_cpus: float = 1.0
    """Processors that the learner reserves."""
    learner_gpus: float | Literal["auto"] = "auto"
    """GPUs that the learner reserves, as for servers."""
    actor_cpus: float = 1.0
    """Processors that each actor process reserves, and the evaluator: this says how many a node takes."""
    wait_s: float = 120.0
    """Seconds to wait until the cluster has room for servers and learner, at the start and after a node was lost;
    then the run fails. Actors are waited for as long as it takes."""
    working_dir: str = ""
    """A folder of yours that travels to every node and is the working directory there, for environments and
    networks that are not installed; empty sends none. `ray job submit --working-dir` does the same."""

    def __post_init__(self) -> None:
        for name in ("server_cpus", "learner_cpus", "actor_cpus", "server_gpus", "learner_gpus"):
            number = getattr(self, name)
            if number != "auto" and not 0 <= number <= 1e6:
                raise ValueError(f"{name} must be 0 to 1000000, not {number}")
        if not 0 < self.wait_s <= 1e6:
            raise ValueError(f"wait_s must be above 0 and at most 1000000 seconds, not {self.wait_s}")
        if self.address.startswith("ray://"):
            raise ValueError(
                "address must be HOST:PORT of the head, on one of the cluster's nodes: Ray's client (ray://) is "
                "not supported; ray job submit starts a run from elsewhere"
            )


@dataclass(frozen=True)
class RunSettings:
    """What is run, until when, and where its results go."""

    name: str = ""
    """What the run is called; empty takes the experiment file's name."""
    seed: int = 0
    """Seeds the networks, the environments and the exploration."""
    determinism: bool = False
    """Run in lockstep, so that the same seed gives the same weights, bit by bit, with whatever number of actor
    processes the environments are shared among, and after a resume too (docs/determinism.md). It costs speed."""
    target_return: float | None = None
    """Solved when the mean return of the last 100 training episodes reaches this; without it, the run goes
    on to its step limit."""
    max_env_steps: int = 10_000_000
    """Environment steps, over all actors, after which the run ends."""
    target_policy: str = ""
    """Of several policies the one whose return and steps these are; empty takes the first that is trained."""
    folder: str = "runs"
    """Where each run makes a folder of its own."""

    def __post_init__(self) -> None:
        if any(mark in self.name for mark in "/\\\0") or self.name in (".", ".."):
            raise ValueError(f"name must be a plain name that a folder can have, not {self.name!r}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be 0 to {2**32 - 1}, not {self.seed}")
        if self.target_return is not None and math.isnan(self.target_return):
            raise ValueError("target_return must be a number, not nan")
        if not 1 <= self.max_env_steps <= 10**15:
            raise ValueError(f"max_env_steps must be 1 to {10**15}, not {self.max_env_steps}")
        if not self.folder:
            raise ValueError("folder must name a folder, such as runs")
