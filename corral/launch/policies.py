"""The policies of a run, each as an experiment by itself: what its server and its learner read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from corral.launch.errors import UserError
from corral.launch.experiment import Experiment
from corral.launch.folder import POLICIES, experiment_file
from corral.launch.policy_settings import PolicySettings
from corral.launch.whereabouts import find_server, find_servers

PORTS = 1000
"""Ports from one policy's addresses to the next one's."""
_ENDLESS = 10**15


@dataclass(frozen=True)
class Member:
    """One policy of a run, or all that there is of a run without policies.

    Attributes:
      name: empty where the experiment has no policies.
      index: which one it is, from 0.
      settings: what is said of it alone.
      experiment: the experiment as if there were this policy alone, with its own addresses.
    """

    name: str
    index: int
    settings: PolicySettings
    experiment: Experiment

    def folder(self, run: Path) -> Path:
        """Where checkpoints, result and figures of this policy lie."""
        return run / POLICIES / self.name if self.name else run

    def called(self, role: str) -> str:
        """What a process of this policy is called: "server", "server-main"."""
        return f"{role}-{self.name}" if self.name else role

    @property
    def learner(self) -> tuple[str | None, str] | None:
        """Where its server brings unrolls, if anybody trains on them, and fetches weights; None where frozen."""
        if self.settings.frozen:
            return None
        addresses = self.experiment.learner
        return (None if self.settings.past else addresses.unrolls_address, addresses.weights_address)


def members(experiment: Experiment) -> tuple[Member, ...]:
    """The policies of a run, the one whose target ends it first."""
    if not experiment.policies:
        return (Member("", 0, PolicySettings(), experiment),)
    names = list(experiment.policies)
    target = target_of(experiment)
    return tuple(_member(experiment, name) for name in sorted(names, key=lambda name: name != target))


def target_of(experiment: Experiment) -> str:
    """The policy whose target ends the run; empty where there are no policies."""
    trained = (name for name, policy in experiment.policies.items() if policy.trained)
    return experiment.run.target_policy or next(trained, "")


def member(experiment: Experiment, name: str | None) -> Member:
    """The policy of that name. Raises `UserError` where there is none, or none was named and there are several."""
    known = ", ".join(experiment.policies)
    if not experiment.policies:
        if name:
            raise UserError(f"--policy {name}: the experiment has no [policies]")
        return members(experiment)[0]
    if not name:
        raise UserError(f"the experiment has several policies: name one with --policy: {known}")
    if name not in experiment.policies:
        raise UserError(f"--policy {name}: the experiment's policies are {known}")
    return _member(experiment, name)


def trained_member(experiment: Experiment, name: str | None) -> Member:
    """The policy of that name, which has a learner. Raises `UserError` as `member`, and where it has none."""
    found = member(experiment, name)
    if not found.settings.trained:
        raise UserError(f"--policy {name}: a policy that is frozen, or a past one, has no learner")
    return found


def policy_folder(run: Path, name: str | None = None) -> Path:
    """The folder of one policy of a run, which has its result: of several the one that ends the run, if not named.

    Raises `UserError` where there is no such policy.
    """
    if not (run / POLICIES).is_dir():
        if name:
            raise UserError(f"--policy {name}: {run} has not several policies")
        return run
    experiment = Experiment.read(experiment_file(run))
    return trained_member(experiment, name or target_of(experiment)).folder(run)


def at_servers(experiment: Experiment, wheres: Iterable[str]) -> Experiment:
    """The experiment with its servers where a person says that they are, for an actor.

    Args:
      wheres: each as `find_servers` takes it. With several policies either where the first policy's server is, and
        the others' follow from that, or POLICY=WHERE for each that is elsewhere; several with commas between.

    Raises:
      UserError: there is no such policy.
    """
    if not experiment.policies:
        addresses = dict.fromkeys(address for where in wheres for address in find_servers(where))
        return replace(experiment, servers=tuple(addresses)) if addresses else experiment
    for where in [part.strip() for told in wheres for part in told.split(",")]:
        name, equals, place = where.partition("=")
        address, before = find_server(place if equals else where), experiment.server.address
        if equals and name not in experiment.policies:
            raise UserError(f"--server {where}: the experiment's policies are {', '.join(experiment.policies)}")
        moved = {
            key: replace(policy, server=replace(policy.server, address=address))
            for key, policy in experiment.policies.items()
            # Where no policy is named, all go along that have no address of their own.
            if (key == name if equals else policy.server.address == before)
        }
        server = experiment.server if equals else replace(experiment.server, address=address)
        experiment = replace(experiment, server=server, policies={**experiment.policies, **moved})
    return experiment


def _member(experiment: Experiment, name: str) -> Member:
    index = list(experiment.policies).index(name)
    settings = experiment.policies[name]
    server, learner = settings.server, settings.learner
    # An address that is the experiment's own was not given for this policy.
    if server.address == experiment.server.address:
        server = replace(server, address=_apart(server.address, index))
    source = list(experiment.policies).index(settings.past) if settings.past else index
    if learner.unrolls_address == experiment.learner.unrolls_address:
        learner = replace(learner, unrolls_address=_apart(learner.unrolls_address, source))
    if learner.weights_address == experiment.learner.weights_address:
        learner = replace(learner, weights_address=_apart(learner.weights_address, source))
    run, metrics = experiment.run, experiment.metrics
    port = min(metrics.port + PORTS * index, 65_535) if metrics.port else 0
    if name != target_of(experiment):
        # What ends the run is the target's: everybody else goes on until then.
        run = replace(run, target_return=None, max_env_steps=_ENDLESS)
    alone = replace(
        experiment,
        policies={},
        metrics=replace(metrics, port=port),
        run=replace(run, target_policy="", name=f"{run.name}-{name}"),
        agent=settings.agent,
        server=server,
        learner=learner,
    )
    return Member(name, index, settings, alone)


def _apart(address: str, index: int) -> str:
    """An address for the policy of that index, made of the experiment's own."""
    host, colon, port = address.rpartition(":")
    if index == 0:
        return address
    if address.startswith("tcp://") and colon and port.isdecimal():
        return f"{host}:{int(port) + PORTS * index}"
    return f"{address}-policy-{index}"
