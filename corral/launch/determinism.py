"""Runs that can be repeated bit by bit (`run.determinism`): what they cannot have, and what follows for each room
(docs/determinism.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from corral.launch.errors import UserError

if TYPE_CHECKING:
    from corral.agents import AgentSpec
    from corral.launch.experiment import Experiment
    from inference_server.lockstep import Lockstep


def check_determinism(experiment: Experiment) -> None:
    """Raises `ValueError` where a run that shall be deterministic has what cannot be."""
    if not experiment.run.determinism:
        return
    # Not at the top: every command reads an experiment, and few of them need what these bring along.
    from actor_client.envpool_vector import is_envpool
    from corral.protocol.limits import MAX_ROWS

    server, learner = experiment.server, experiment.learner
    wrong = {
        "[policies]: each has a pace of its own": bool(experiment.policies),
        "servers: there can be one": experiment.servers != 1 and len(_addresses(experiment)) != 1,
        "server.replicas: there can be 1": server.replicas != 1,
        "learner.devices: there can be 1": learner.devices != 1,
        "learner.max_policy_lag: every unroll counts, so that it is 0": learner.max_policy_lag != 0,
        'server.batching.timeout_us: "auto" learns from clocks': server.batching.timeout_us == "auto",
        'environment.vectorization: in the "native" form environments share their chances; "none" steps single '
        "ones": experiment.environment.vectorization == "native",
        "environment.id: environments of EnvPool's share the seed of their pool; gymnasium has many of them, "
        "too": is_envpool(experiment.environment.id),
        f"actor.processes x actor.environments: one batch takes all {environments_of(experiment)}, and at most "
        f"{MAX_ROWS}": environments_of(experiment) > MAX_ROWS,
    }
    if problems := [text for text, is_so in wrong.items() if is_so]:
        raise ValueError(f"run.determinism = true does not go with {'; nor with '.join(problems)}")


def check_one_player(experiment: Experiment) -> None:
    """Raises `UserError` where a run that shall be deterministic has several players, which come and go: one batch
    has a row for each environment. Makes an environment to see."""
    from actor_client.environments import players

    if experiment.run.determinism and players(experiment.environment):
        raise UserError(f"run.determinism = true does not go with several players: {experiment.environment.id} has")


def _addresses(experiment: Experiment) -> tuple[str, ...]:
    servers = experiment.servers
    return ("",) * servers if isinstance(servers, int) else servers


def environments_of(experiment: Experiment) -> int:
    """Environments of all actors together."""
    return experiment.actor.processes * experiment.actor.environments


def in_lockstep(experiment: Experiment) -> Experiment:
    """The experiment with the settings that follow from `run.determinism`; itself where that is off."""
    if not experiment.run.determinism:
        return experiment
    rows, server, learner = environments_of(experiment), experiment.server, experiment.learner
    batching = replace(server.batching, timeout_us=0, max_size=rows, buckets=(rows,))
    unrolls = replace(server.unrolls, when_full="block")
    return replace(
        experiment,
        environment=replace(experiment.environment, vectorization="none"),
        server=replace(server, max_environments=rows, batching=batching, unrolls=unrolls),
        learner=replace(learner, replay=replace(learner.replay, checkpoint=True)),
    )


def chunk_of(experiment: Experiment, spec: AgentSpec) -> int:
    """Unrolls from one policy version to the next: of a replay one of each environment, else what is trained on
    meanwhile. 0 where the run is not deterministic."""
    if not experiment.run.determinism:
        return 0
    if spec.replay:
        return environments_of(experiment)
    return experiment.learner.batch_unrolls * experiment.learner.publish_every


def lockstep_of(experiment: Experiment, spec: AgentSpec) -> Lockstep:
    """How the server of a deterministic run steps."""
    from inference_server.lockstep import Lockstep

    spacing = experiment.learner.checkpoint_every_versions
    return Lockstep(environments_of(experiment), chunk_of(experiment, spec), spacing)
