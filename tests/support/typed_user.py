"""What a user writes with the public names, for a type checker: it is never run."""

from typing import assert_type

import numpy as np

from actor_client import ActorSession, PolicyClient, Rows, SessionLostError, UnansweredError
from corral.protocol import Spec, TensorSpec, Unroll, fetch_status
from learner import UnrollSource, WeightPublisher

client = PolicyClient("tcp://127.0.0.1:5555", timeout_s=5.0)
rows = np.zeros((3, 4), np.float32)
assert_type(client, PolicyClient)
assert_type(client.infer(rows), dict[str, np.ndarray])
assert_type(client.infer({"position": rows, "velocity": rows})["action"], np.ndarray)
assert_type(client.outputs, Spec)


def step(session: ActorSession, first: Rows) -> np.ndarray | None:
    """One step, if the server answers."""
    try:
        return session.step(first)
    except (SessionLostError, UnansweredError):
        return None


def train(source: UnrollSource, publisher: WeightPublisher) -> None:
    """A loop of one's own."""
    unroll = source.next(8, 1.0)
    if unroll is not None:
        assert_type(unroll, Unroll)
        assert_type(publisher.publish({"kernel": rows}), int)


def leaf() -> TensorSpec:
    """A spec of one's own."""
    return TensorSpec((4,), "float32")


status = fetch_status("tcp://127.0.0.1:5555", timeout_s=1.0)
