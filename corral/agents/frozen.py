"""A trained policy that is acted with as it is: greedily, for a server's actors."""

from __future__ import annotations

from collections.abc import Mapping

import keras
from keras import ops

from corral.agents.agent import Agent, AgentBase, AgentSpec, Batch, Call, Group, Losses, Tensor, Tensors
from corral.agents.frames import FrameStack, stacked_spec
from corral.agents.model import ModelAgent
from corral.agents.networks import feed, input_name
from corral.protocol.specs import Spec, TensorSpec

_NET = "policy"


class FrozenAgent(AgentBase):
    """A policy that a run has left (`Agent.policy`), for the environments that it was trained on.

    Inputs of the model that it also puts out are its recurrent state.

    Args:
      model: takes the leaves of an observation, and those of a recurrent state where it has one; puts out a
        dictionary with "action" and the next state.
      observation: one row of what the model sees.
      action: what environments take.

    Raises:
      ValueError: the model takes other observations, or gives no such action.
    """

    def __init__(self, model: keras.Model, observation: Spec, action: TensorSpec) -> None:
        try:
            spec = ModelAgent(model).spec
        except ValueError as error:
            raise ValueError(f"the policy cannot be asked for actions: {error}") from error
        given = {input_name(name): leaf.shape for name, leaf in observation.items()}
        state = {name for name in spec.observation.keys() - given if name in spec.outputs}
        taken = {name: leaf.shape for name, leaf in spec.observation.items() if name not in state}
        # A single input may be called anything.
        fits = [*given.values()] == [*taken.values()] if len(spec.observation) == 1 else given == taken
        if not fits:
            raise ValueError(
                f"the policy takes {_shapes(taken)}, the environment gives {_shapes(given)}: it was "
                "trained on another environment, or that has changed since"
            )
        found = spec.outputs.get("action")
        if found is None or found.shape != action.shape:
            shown = 'no "action"' if found is None else f"actions of shape {list(found.shape)}"
            raise ValueError(
                f"the policy gives {shown}, the environment takes {action}: it was not trained on this environment"
            )
        self.nets: Mapping[str, keras.Model] = {_NET: model}
        self.published = (_NET,)
        self.groups: Mapping[str, Group] = {}
        self.spec = AgentSpec(
            observation=observation,
            action=action,
            outputs={"action": action},
            state={name: spec.observation[name] for name in state},
        )

    def act(
        self, call: Call, observation: Tensors, state: Tensors, first: Tensor, noise: Tensor, explore: Tensor
    ) -> tuple[Tensors, Tensors]:
        """The greedy action, and the next state. Nothing is drawn."""
        out = call(_NET, feed(self.nets[_NET], {**observation, **state}))
        assert self.spec.action is not None
        return {"action": ops.cast(out["action"], self.spec.action.dtype)}, {name: out[name] for name in state}

    def losses(self, call: Call, target: Call, batch: Batch) -> Losses:
        """Raises NotImplementedError: a frozen policy does not learn."""
        raise NotImplementedError("a frozen policy does not learn")

    def policy(self) -> keras.Model:
        """The model itself."""
        return self.nets[_NET]


def frozen_agent(model: keras.Model, observation: Spec, action: TensorSpec, frames: int = 1) -> Agent:
    """The agent around a policy that sees the newest `frames` of each image. Raises as `FrozenAgent` does."""
    if frames == 1:
        return FrozenAgent(model, observation, action)
    return FrameStack(FrozenAgent(model, stacked_spec(observation, frames), action), observation, frames)


def _shapes(leaves: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {list(shape)}" for name, shape in leaves.items())
