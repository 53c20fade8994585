"""Who takes part in a run: its processes, and where each of them answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from actor_client.settings import Entrant
from corral.launch.experiment import Experiment
from corral.launch.policies import Member, members


@dataclass(frozen=True)
class Part:
    """One process of a run.

    Attributes:
      role: "server", "learner", "actor" or "evaluator".
      number: which of its role it is, from 0.
      name: what it is called in the run's folder and for a person: "server", "server-1", "actor-0".
      address: where it says how it does; empty where it does not.
      policy: whose process it is, of several; empty for actors, and where there are not several.
    """

    role: str
    number: int
    name: str
    address: str = ""
    policy: str = ""


def cast(experiment: Experiment) -> tuple[Part, ...]:
    """The processes of a run, in the order in which to start them."""
    # Those that import TensorFlow first: everything waits for them.
    known = members(experiment)
    actors = [Part("actor", number, f"actor-{number}") for number in range(experiment.actor.processes)]
    evaluators = [
        Part("evaluator", 0, each.called("evaluator"), policy=each.name)
        for each in known
        if each.experiment.evaluation.episodes and each.settings.trained
    ]
    return (*(part for each in known for part in _of_policy(each)), *actors, *evaluators)


def _of_policy(member: Member) -> Iterator[Part]:
    """The servers of a policy, and its learner."""
    addresses = server_addresses(member.experiment)
    names = server_names(len(addresses), member.called("server"))
    for number, (name, address) in enumerate(zip(names, addresses, strict=True)):
        yield Part("server", number, name, address, member.name)
    if member.settings.trained:
        address = member.experiment.learner.unrolls_address
        yield Part("learner", 0, member.called("learner"), address, member.name)


def entrants(experiment: Experiment) -> tuple[Entrant, ...]:
    """The policies of a run as its actors know them."""
    return tuple(
        Entrant(each.name, server_addresses(each.experiment), each.settings.share, each.settings.players)
        for each in sorted(members(experiment), key=lambda each: each.index)
    )


def server_names(count: int, name: str = "server") -> list[str]:
    """What the servers of a run with so many are called, by number."""
    return [name] if count == 1 else [f"{name}-{number}" for number in range(count)]


def server_addresses(experiment: Experiment) -> tuple[str, ...]:
    """Where the servers of a run are, by number."""
    if isinstance(experiment.servers, int):
        return tuple(following(experiment.server.address, number) for number in range(experiment.servers))
    return experiment.servers


def as_server(experiment: Experiment, number: int) -> Experiment:
    """The experiment as the server of that number reads it: `server.address` is its own."""
    own = server_addresses(experiment)[number]
    return replace(experiment, server=replace(experiment.server, address=own))


PORT_STEP = 10
"""From one server's port to the next one's: the learner's ports come right behind the first one's."""


def following(address: str, number: int) -> str:
    """The address that comes `number` after `address`: a port of tcp `PORT_STEP` on, a numbered name of ipc."""
    host, colon, port = address.rpartition(":")
    if number == 0:
        return address
    if address.startswith("tcp://") and colon and port.isdecimal():
        return f"{host}:{int(port) + PORT_STEP * number}"
    return f"{address}-{number}"
