"""Who takes part in a run: its processes, and where each of them answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from corral.launch.experiment import Experiment


@dataclass(frozen=True)
class Part:
    """One process of a run.

    Attributes:
      role: "server", "learner", "actor" or "evaluator".
      number: which of its role it is, from 0.
      name: what it is called in the run's folder and for a person: "server", "server-1", "actor-0".
      address: where it says how it does; empty where it does not.
    """

    role: str
    number: int
    name: str
    address: str = ""


def cast(experiment: Experiment) -> tuple[Part, ...]:
    """The processes of a run, in the order in which to start them."""
    # Those that import TensorFlow first: everything waits for them.
    addresses = server_addresses(experiment)
    names = server_names(len(addresses))
    servers = [Part("server", number, names[number], address) for number, address in enumerate(addresses)]
    learner = Part("learner", 0, "learner", experiment.learner.unrolls_address)
    actors = [Part("actor", number, f"actor-{number}") for number in range(experiment.actor.processes)]
    evaluators = [Part("evaluator", 0, "evaluator")] if experiment.evaluation.episodes else []
    return (*servers, learner, *actors, *evaluators)


def server_names(count: int) -> list[str]:
    """What the servers of a run with so many are called, by number."""
    return ["server"] if count == 1 else [f"server-{number}" for number in range(count)]


def server_addresses(experiment: Experiment) -> tuple[str, ...]:
    """Where the servers of a run are, by number."""
    if isinstance(experiment.servers, int):
        return tuple(following(experiment.server.address, number) for number in range(experiment.servers))
    return experiment.servers


def as_server(experiment: Experiment, number: int) -> Experiment:
    """The experiment as the server of that number reads it: `server.address` is its own."""
    own = server_addresses(experiment)[number]
    return replace(experiment, server=replace(experiment.server, address=own))


def following(address: str, number: int) -> str:
    """The address that comes `number` after `address`: a later port of tcp, a numbered name of ipc."""
    host, colon, port = address.rpartition(":")
    if number == 0:
        return address
    if address.startswith("tcp://") and colon and port.isdecimal():
        return f"{host}:{int(port) + number}"
    return f"{address}-{number}"
