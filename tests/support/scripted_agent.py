"""An agent whose outputs say what it saw, when, and with which weights."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from corral.agents import AgentSpec
from corral.agents.agent import AgentBase, Group
from corral.protocol import Hello, TensorSpec, spec_to_wire
from tests.support.scripted_environment import ACTIONS

UNROLL_LENGTH = 7


class ScriptedAgent(AgentBase):
    """Acts by rule. Its only weight is a number that it stamps on every output; its state counts observations. An
    environment explores by its number, which every output repeats."""

    def __init__(self) -> None:
        observation = TensorSpec((4,), "int64", -1.0, float(2**62))
        self.spec = AgentSpec(
            observation={"observation": observation},
            action=TensorSpec((), "int64", 0, ACTIONS - 1),
            outputs={
                "action": TensorSpec((), "int64", 0, ACTIONS - 1),
                "echo": TensorSpec((4,), "int64"),
                "stamp": TensorSpec((), "float32"),
                "seen": TensorSpec((), "int32"),
                "number": TensorSpec((), "float32"),
            },
            state={"seen": TensorSpec((), "int32")},
            explore=1,
            unroll_length=UNROLL_LENGTH,
        )
        one = keras.Input((1,))
        stamp = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="stamp")
        self.nets = {"policy": keras.Model(one, stamp(one))}
        self.published = ("policy",)
        self.groups = {"policy": Group(("policy",))}

    def initial_state(self, batch: int) -> dict[str, Any]:
        return {"seen": np.zeros(batch, np.int32)}

    def exploration(self, environment: np.ndarray) -> np.ndarray:
        return environment[:, None].astype(np.float32)

    def act(self, call: Any, observation: Any, state: Any, first: Any, noise: Any, explore: Any) -> Any:
        seen = observation["observation"]
        action = (seen[:, 0] + 3 * seen[:, 1] + seen[:, 2]) % ACTIONS
        stamp = ops.reshape(call("policy", ops.ones_like(ops.cast(seen[:, :1], "float32"))), (-1,))
        outputs = {"action": action, "echo": seen, "stamp": stamp, "seen": state["seen"], "number": explore[:, 0]}
        return outputs, {"seen": state["seen"] + 1}

    def losses(self, call: Any, target: Any, batch: Any) -> Any:
        raise NotImplementedError

    def hello(self, environments: int, first_environment: int = -1) -> Hello:
        """How an actor with its environments greets."""
        assert self.spec.action is not None
        return Hello(
            "actor",
            environments=environments,
            first_environment=first_environment,
            observation=spec_to_wire(self.spec.observation),
            action=spec_to_wire({"action": self.spec.action}),
        )

    def weights(self, stamp: int) -> dict[str, np.ndarray]:
        """A policy version that stamps `stamp`."""
        return {"policy/stamp/kernel": np.full((1, 1), stamp, np.float32)}
