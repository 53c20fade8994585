"""`corral run --on ray`: a run whose processes are on the nodes of a Ray cluster."""

from __future__ import annotations

from pathlib import Path

from corral.cluster import ray_calls
from corral.cluster.stage import RayStage
from corral.launch.errors import UserError
from corral.launch.experiment import Experiment
from corral.launch.local import perform


def run_on_ray(
    experiment: Experiment,
    *,
    address: str = "",
    resume: Path | None = None,
    summary: Path | None = None,
    plain: bool = False,
    source: Path | None = None,
) -> int:
    """Run an experiment in a cluster; arguments and exit code as for `perform`.

    Args:
      address: of the cluster's head, HOST:PORT; empty takes the experiment's `ray.address`.

    Raises:
      UserError: there is no such cluster, or the experiment has several policies.
    """
    if experiment.policies:
        raise UserError("--on ray takes experiments without [policies]: run this one on one machine, or by hand")
    if experiment.run.determinism:
        raise UserError("--on ray does not go with run.determinism: run this one on one machine, or by hand")
    # Before any signal is taken over: Ray takes them, too.
    where = ray_calls.connect(address or experiment.ray.address, experiment.ray.working_dir)
    return perform(
        experiment,
        lambda: RayStage(experiment, where),
        resume=resume,
        summary=summary,
        plain=plain,
        source=source,
    )


def scale(name: str, actors: int, address: str = "") -> int:
    """Let the run called `name` have so many actor processes; how many it was to have before.

    Raises:
      UserError: there is no such cluster, or no such run in it.
    """
    ray_calls.connect(address)
    try:
        return ray_calls.scale(name, actors)
    finally:
        ray_calls.disconnect()
