"""The roles that hold a model: the server under load, and a learner that takes its unrolls and pushes weights."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from corral.bench.child import Message, Wire
from corral.bench.model import choose_threads_of, load_agent
from corral.bench.requests import made_up
from corral.protocol import spec_to_wire

LEARNER_QUEUE = 4096
_CHOSEN = ("action", "log_prob")
"""Outputs that are not compared: a greedy choice between two nearly equal actions hangs on the last bit, which
differs between batch sizes."""


def host_server(settings: Message, wire: Wire) -> int:
    """Serve until the parent has gone."""
    from corral.launch.lifeline import watch
    from corral.launch.logs import log_to_stderr
    from corral.launch.quiet import import_keras
    from corral.launch.roles import serve
    from corral.launch.stopping import StopRequest
    from inference_server.settings import BatchingSettings, ServerSettings, UnrollSettings

    log_to_stderr("bench")
    stop = StopRequest()
    stop.install()
    watch(stop, lambda: None, 2.0)
    choose_threads_of(settings["model"])
    import_keras()
    from inference_server.server import InferenceServer

    server = InferenceServer(
        ServerSettings(
            address=settings["address"],
            max_environments=settings["environments"],
            # Whoever measures asks with as many clients as it wants to.
            batching=BatchingSettings(**settings["batching"], max_waiting_rows=settings["environments"]),
            unrolls=UnrollSettings("block"),
            drain_s=0.0,  # the unrolls of a benchmark are nobody's
            **settings.get("serving", {}),
        ),
        lambda: load_agent(settings["model"], settings["request"]),
        learner=tuple(settings["learner"]) if settings["learner"] else None,
        keys=settings["keys"],
    )
    spec = server.spec
    ready = {
        "address": server.address,
        "observation": spec_to_wire(spec.observation),
        "outputs": spec_to_wire(spec.outputs),
        "action": spec_to_wire({"action": spec.action}) if spec.action else {},
    }
    return serve(server, stop, lambda: wire.tell(**ready))


def host_learner(settings: Message, wire: Wire) -> None:
    """Publish weights and accept every unroll; what a learner costs a server, without the learning."""
    from corral.launch.quiet import import_keras

    import_keras()
    from corral.agents import weights_of
    from corral.agents.weights import published_nets
    from learner import UnrollSource, WeightPublisher

    agent = load_agent(settings["model"], settings["request"])
    nets = published_nets(agent)
    mine = weights_of(nets)
    # As far from the first as chance makes it, so that nothing between the two passes for either.
    other = {name: _another(array) for name, array in mine.items()}
    unrolls_address, weights_address = settings["learner"]
    source = UnrollSource(unrolls_address, queue=LEARNER_QUEUE, keys=settings["keys"])
    publisher = WeightPublisher(weights_address, keys=settings["keys"])
    publisher.publish(mine)
    threading.Thread(target=_drain, args=(source,), daemon=True).start()
    wire.tell(ready=True)
    for message in wire.messages():
        if "expect" in message:
            _expect(agent, (other, mine), message)
            wire.tell(expected=True)
        else:
            wire.tell(published=_push(publisher, (other, mine), message), unrolls=source.unrolls)


def _another(array: np.ndarray) -> np.ndarray:
    """Weights of the same shape and about the same size."""
    fan_in = max(1, array.size // max(array.shape[-1:] or (1,)))
    return np.random.default_rng(array.size).normal(0, fan_in**-0.5, array.shape).astype(array.dtype)


def _drain(source: Any) -> None:
    while True:
        source.next(1, timeout_s=3600.0)


def _push(publisher: Any, policies: tuple[dict[str, np.ndarray], ...], message: Message) -> list[list[float]]:
    """Publish by the clock; `[version, moment]` of each."""
    published = []
    due = message["start"]
    while due < message["stop"]:
        time.sleep(max(0.0, due - time.monotonic()))
        moment = time.monotonic()
        version = publisher.publish(policies[(publisher.version + 1) % 2])
        published.append([version, moment])
        due += message["every_s"]
    return published


def _expect(agent: Any, policies: tuple[dict[str, np.ndarray], ...], message: Message) -> None:
    """Write down what INFER must answer each client under each policy."""
    from corral.agents import load_backend

    rows, clients, spec = message["rows"], message["clients"], agent.spec
    act = load_backend().CompiledAct(agent, (rows,), clone=True)
    state = {name: np.asarray(leaf) for name, leaf in agent.initial_state(rows).items()}
    first, noise = np.ones(rows, bool), np.zeros((rows, spec.noise), np.float32)
    greedy = np.zeros((rows, spec.explore), np.float32)
    answers: dict[str, list[list[np.ndarray]]] = {name: [] for name in spec.outputs if name not in _CHOSEN}
    for policy in policies:
        act.load(policy)
        each = [
            act(rows, made_up(spec.observation, rows, seed), state, first, noise, greedy)[0]
            for seed in range(clients)
        ]
        for name, collected in answers.items():
            collected.append([np.array(outputs[name]) for outputs in each])
    arrays: dict[str, Any] = {name: np.array(values) for name, values in answers.items()}
    np.savez(message["expect"], **arrays)
