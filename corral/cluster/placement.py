"""What a run asks of a cluster, as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from corral.launch.cast import Part
from corral.launch.settings import RaySettings

Bundle = dict[str, float]
"""Name of a resource -> how much of it one process reserves."""


def asked(part: Part, settings: RaySettings, gpus: float) -> Bundle:
    """What a process reserves.

    Args:
      gpus: that each server and the learner takes where it is told "auto".
    """
    cpus = {"server": settings.server_cpus, "learner": settings.learner_cpus}.get(part.role, settings.actor_cpus)
    told = {"server": settings.server_gpus, "learner": settings.learner_gpus}.get(part.role, 0.0)
    bundle = {"CPU": cpus, "GPU": gpus if told == "auto" else float(told)}
    return {name: amount for name, amount in bundle.items() if amount}


def automatic_gpus(parts: Sequence[Part], settings: RaySettings, cluster: Mapping[str, float]) -> Literal[0, 1]:
    """GPUs for each process that is told "auto": 1 where the cluster has enough for them all, else 0."""
    told = [settings.learner_gpus]
    told += [settings.server_gpus for part in parts if part.role == "server"]
    fixed = sum(float(number) for number in told if number != "auto")
    return 1 if "auto" in told and told.count("auto") <= cluster.get("GPU", 0.0) - fixed else 0


def missing(bundles: Sequence[Bundle], cluster: Mapping[str, float]) -> str:
    """What the whole cluster, empty as it may be, has too little of for `bundles`, for a person; or nothing."""
    texts = []
    for name in ("CPU", "GPU"):
        wanted, there = sum(bundle.get(name, 0.0) for bundle in bundles), cluster.get(name, 0.0)
        if wanted > there:
            texts.append(f"{wanted:g} {name} wanted, {there:g} there")
    return ", ".join(texts)
