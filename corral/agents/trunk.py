"""One network, or three around a recurrent core: evaluated for one step, or over whole unrolls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from corral.agents.agent import Call, Tensor, Tensors
from corral.agents.cores import build_core, core_state
from corral.agents.networks import NORM, build_heads, build_network, build_normalizer, build_torso, feed, normalized
from corral.agents.settings import NetworkSettings
from corral.protocol.specs import Spec
from corral.protocol.unrolls import StepType, Unroll

_NET, _TORSO, _CORE, _HEADS = "policy", "torso", "core", "heads"


class Trunk:
    """From observations, and recurrent state, to named outputs.

    Without a core it is the net "policy". With one, "torso" makes features of observations, all rows of an unroll
    at once; "core" goes over them step by step; "heads" makes outputs of what it says. "norm" comes before, where
    observations are normalised.

    Args:
      settings: what to build.
      observation: leaf name -> spec.
      outputs: output -> width, or None for one number a row.
      network: the user's own net, in place of what would be built.

    Attributes:
      nets: by name.
      state: leaves of the recurrent state.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        observation: Spec,
        outputs: Mapping[str, int | None],
        network: keras.Model | None = None,
    ) -> None:
        self.nets: dict[str, keras.Model] = {}
        self.state: Spec = {}
        self._outputs = tuple(outputs)
        if settings.normalize:
            self.nets[NORM] = build_normalizer(observation)
        if network is not None or not settings.core:
            self.nets[_NET] = network or build_network(settings, observation, outputs)
            return
        torso = build_torso(settings, observation)
        features = torso.output_shape[-1]
        self.state = core_state(settings.core, settings.core_units)
        self.nets[_TORSO] = torso
        self.nets[_CORE] = build_core(settings.core, settings.core_units, features)
        self.nets[_HEADS] = build_heads(settings.core_units, outputs)

    def step(self, call: Call, observation: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """Outputs `[B, ...]` for observations `[B, ...]`, and the next state."""
        observation = normalized(call, self.nets, observation)
        if _NET in self.nets:
            return self._named(call(_NET, feed(self.nets[_NET], observation))), state
        features = call(_TORSO, feed(self.nets[_TORSO], observation))
        said, state = self._core(call, features, state)
        return self._named(call(_HEADS, said)), state

    def unroll(self, call: Call, unroll: Unroll, *, training: bool = False, burn_in: int = 0) -> Tensors:
        """Outputs `[T + 1, B, ...]` of every index, from the state that precedes the first; FIRST begins it anew.

        Args:
          training: the normaliser takes in what it sees.
          burn_in: through so many transitions at the start no gradient flows.
        """
        length, batch = unroll.reward.shape
        flat = {
            name: ops.reshape(leaf, (length * batch, *leaf.shape[2:])) for name, leaf in unroll.observation.items()
        }
        flat = normalized(call, self.nets, flat, training=training)
        if _NET in self.nets:
            out = self._named(call(_NET, feed(self.nets[_NET], flat)))
        else:
            features = call(_TORSO, feed(self.nets[_TORSO], flat))
            said = self._over_time(
                call, ops.reshape(features, (length, batch, features.shape[-1])), unroll, burn_in
            )
            out = self._named(call(_HEADS, ops.reshape(said, (length * batch, said.shape[-1]))))
        return {name: ops.reshape(leaf, (length, batch, *leaf.shape[1:])) for name, leaf in out.items()}

    def _over_time(self, call: Call, features: Tensor, unroll: Unroll, burn_in: int) -> Tensor:
        state, said = dict(unroll.state), []
        for index in range(features.shape[0]):
            if index == burn_in:
                state = {name: ops.stop_gradient(leaf) for name, leaf in state.items()}
            goes_on = ops.cast(unroll.step_type[index] != StepType.FIRST, "float32")[:, None]
            # At the first index the server has begun anew already; doing so again changes nothing.
            state = {name: leaf * goes_on for name, leaf in state.items()}
            output, state = self._core(call, features[index], state)
            said.append(output)
        return ops.stack(said)

    def _core(self, call: Call, features: Tensor, state: Tensors) -> tuple[Tensor, Tensors]:
        out: dict[str, Any] = dict(call(_CORE, {"features": features, **state}))
        return out.pop("output"), {name: out[name] for name in self.state}

    def _named(self, out: Any) -> Tensors:
        named = dict(out)
        return {name: ops.cast(leaf, "float32") if name in self._outputs else leaf for name, leaf in named.items()}
