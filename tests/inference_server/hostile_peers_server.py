"""Servers that are told nonsense: `python -m tests.inference_server.hostile_peers_server serve|train|fail FOLDER
[SLOTS LEASE_S]`.

FOLDER takes the socket `s`; the others look for their learner at the sockets `u` and `w` there, and first leave
the names and shapes of their weights in `weights.npz`.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from corral.protocol import TensorSpec

MAX_ROWS = 8
SLOTS = 16
LENGTH = 4
"""Transitions in an unroll."""
WIDTH = 5
ACTIONS = 3
OBSERVATION = {"observation": TensorSpec((WIDTH,), "float32")}
ACTION = TensorSpec((), "int64", 0, ACTIONS - 1)
FRAGILE = {"gear": TensorSpec((), "int64")}
KERNEL = np.arange(10, dtype=np.float32).reshape(5, 2) - 4
GEARS = np.array([100, 200, 300], np.float32)


def serving_agent():
    """Pixels and speed, times KERNEL, plus the number of the gear; a gear that does not exist makes it fail."""
    import keras
    from keras import layers

    from corral.agents import ModelAgent

    pixels = keras.Input((3,), dtype="uint8", name="pixels")
    speed = keras.Input((2,), name="speed")
    gear = keras.Input((), dtype="int64", name="gear")
    numbers = layers.Concatenate()([layers.Rescaling(1.0)(pixels), speed])
    dense, embedding = layers.Dense(2, use_bias=False), layers.Embedding(len(GEARS), 1)
    model = keras.Model([pixels, speed, gear], dense(numbers) + embedding(gear))
    dense.set_weights([KERNEL])
    embedding.set_weights([GEARS[:, None]])
    return ModelAgent(model)


def training_agent():
    """Logits that are one product away from the observation."""
    from corral.agents import AgentSettings, NetworkSettings, VTraceAgent

    settings = AgentSettings(unroll_length=LENGTH, network=NetworkSettings(hidden=()))
    return VTraceAgent(settings, OBSERVATION, ACTION)


def fragile_agent():
    """An actor's gear that does not exist makes it fail."""
    import keras
    from keras import layers

    from corral.agents import AgentSettings, VTraceAgent

    gear = keras.Input((), dtype="int64", name="gear")
    hidden = layers.Embedding(len(GEARS), 2)(gear)
    heads = {"logits": layers.Dense(ACTIONS)(hidden), "value": layers.Dense(1)(hidden)}
    return VTraceAgent(AgentSettings(unroll_length=LENGTH), FRAGILE, ACTION, keras.Model(gear, heads))


def leave_weights(folder: Path, build: Callable[[], Any]) -> None:
    """Say what weights this server takes."""
    from corral.agents import load_backend

    weights = load_backend().CompiledAct(build(), (1,)).weights()
    np.savez(folder / "draft.npz", **weights)
    (folder / "draft.npz").rename(folder / "weights.npz")


def main(kind: str, folder: Path, slots: int = SLOTS, lease_s: float = 60) -> None:
    from inference_server import BatchingSettings, InferenceServer, ServerSettings

    settings = ServerSettings(
        address=f"ipc://{folder}/s",
        max_environments=slots,
        lease_s=lease_s,
        non_finite="pass" if kind == "serve" else "refuse",
        batching=BatchingSettings(max_size=MAX_ROWS, buckets=(MAX_ROWS,)),
    )
    build = {"serve": serving_agent, "train": training_agent, "fail": fragile_agent}[kind]
    learner = None
    if kind != "serve":
        leave_weights(folder, build)
        learner = (f"ipc://{folder}/u", f"ipc://{folder}/w")
    server = InferenceServer(settings, build, learner=learner)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.warm()
    server.run()


if __name__ == "__main__":
    limits = (int(sys.argv[3]), float(sys.argv[4])) if len(sys.argv) > 3 else ()
    main(sys.argv[1], Path(sys.argv[2]), *limits)
