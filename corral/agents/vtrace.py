"""The V-trace agent: an actor-critic that learns from slightly stale actions (IMPALA, Espeholt et al. 2018)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from corral.agents.agent import AgentSpec, Call, Tensor, Tensors
from corral.agents.distributions import Categorical
from corral.agents.networks import build_network, feed, keras_input, lowest_value
from corral.agents.returns import clip_rewards, vtrace
from corral.agents.settings import AgentSettings
from corral.protocol.specs import Spec, TensorSpec
from corral.protocol.unrolls import StepType, Unroll

_NET = "policy"
_COLDEST = 1e-6


class VTraceAgent:
    """Policy and value for one discrete action, trained by V-trace.

    The one exploration number of a row is the temperature of its policy: 1 samples from it, numbers below
    1 sharpen it, and 0 is greedy.

    Args:
      settings: how to learn, and what network to build.
      observation: leaf name -> spec.
      action: one discrete action: shape `()`, an integer dtype, both bounds.
      network: a model of the user's own, from the observation's leaves to a dictionary with "logits"
        `[B, num_values]`, "value" `[B]` or `[B, 1]`, and anything else, which is stored with each step.

    Raises:
      ValueError: the actions are not discrete, or the network does not fit.
    """

    def __init__(
        self,
        settings: AgentSettings,
        observation: Spec,
        action: TensorSpec,
        network: keras.Model | None = None,
    ) -> None:
        if action.shape != () or action.num_values is None:
            raise ValueError(
                f"the V-trace agent takes one discrete action (an integer, shape [], both bounds), not {action}"
            )
        self._settings = settings
        self._lowest = lowest_value(action)
        if network is None:
            network = build_network(settings.network, observation, {"logits": action.num_values, "value": None})
        extras = _extra_outputs(network, observation, action.num_values)
        self.nets: Mapping[str, keras.Model] = {_NET: network}
        self.published = (_NET,)
        self.groups: Mapping[str, tuple[str, ...]] = {_NET: (_NET,)}
        self.spec = AgentSpec(
            observation=observation,
            action=action,
            outputs={
                "action": action,
                "log_prob": TensorSpec((), "float32"),
                "value": TensorSpec((), "float32"),
                **extras,
            },
            noise=1,
            explore=1,
            unroll_length=settings.unroll_length,
        )

    def initial_state(self, batch: int) -> dict[str, Any]:
        """No recurrent state: nothing."""
        return {}

    def act(
        self, call: Call, observation: Tensors, state: Tensors, first: Tensor, noise: Tensor, explore: Tensor
    ) -> tuple[Tensors, Tensors]:
        """An action of each row, its log-probability under the policy as sampled, and the state's value."""
        out = self._evaluate(call, observation)
        # A temperature of 0 itself would divide by 0; one this low tells logits apart that differ by 0.0001.
        behaviour = Categorical(out.pop("logits") / ops.maximum(explore, _COLDEST))
        index = behaviour.sample(noise[:, 0])
        action = ops.cast(index + self._lowest, self.spec.outputs["action"].dtype)
        return {"action": action, "log_prob": behaviour.log_prob(index), **out}, state

    def losses(self, call: Call, unroll: Unroll, step: Tensor) -> tuple[Tensors, Tensors]:
        """Policy gradient, value and entropy (section 4.2 of the paper), each a mean over transitions."""
        settings = self._settings
        out = self._evaluate_in_time(call, unroll)
        policy = Categorical(out["logits"][:-1])
        mask = ops.cast(unroll.step_type[:-1] != StepType.LAST, "float32")
        index = ops.cast(unroll.output["action"][:-1], "int32") - self._lowest
        log_probs = policy.log_prob(index)
        # At LAST nobody acted: the stored log-probability is no number of ours, so the ratio there is 1.
        log_rhos = mask * (ops.stop_gradient(log_probs) - unroll.output["log_prob"][:-1])
        returns = vtrace(
            out["value"],
            clip_rewards(unroll.reward[1:], settings.reward_clip) * settings.reward_scale,
            settings.discount * unroll.discount[1:],
            log_rhos,
            mask,
            clip_rho=settings.clip_rho,
            clip_c=settings.clip_c,
            clip_pg_rho=settings.clip_pg_rho,
            lambda_=settings.lambda_,
        )
        transitions = ops.maximum(ops.sum(mask), 1.0)

        def mean(each: Tensor) -> Tensor:
            return ops.sum(mask * each) / transitions

        policy_loss = -mean(returns.advantages * log_probs)
        value_loss = 0.5 * mean(ops.square(returns.targets - out["value"][:-1]))
        entropy = mean(policy.entropy())
        entropy_cost = self._entropy_cost(step)
        rhos = ops.exp(log_rhos)
        metrics = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "value": mean(out["value"][:-1]),
            "rho": mean(rhos),
            # How far the policy has moved since it acted, KL(mu || pi), by an estimate that is never negative.
            "kl": mean(rhos - 1.0 - log_rhos),
        }
        return {_NET: policy_loss + settings.value_cost * value_loss - entropy_cost * entropy}, metrics

    def policy(self) -> keras.Model:
        """The greedy policy: "action", and beside it all that the network puts out."""
        network = self.nets[_NET]
        inputs = {name: keras_input(name, leaf) for name, leaf in self.spec.observation.items()}
        out = dict(network(feed(network, inputs)))
        best = ops.argmax(out["logits"], axis=-1) + self._lowest
        action = ops.cast(best, self.spec.outputs["action"].dtype)
        return keras.Model({tensor.name: tensor for tensor in inputs.values()}, {"action": action, **out})

    def _evaluate(self, call: Call, observation: Tensors) -> Tensors:
        out = dict(call(_NET, feed(self.nets[_NET], observation)))
        value = ops.cast(ops.reshape(out.pop("value"), (-1,)), "float32")
        logits = ops.cast(out.pop("logits"), "float32")
        return {"logits": logits, "value": value, **out}

    def _evaluate_in_time(self, call: Call, unroll: Unroll) -> Tensors:
        """Logits `[T + 1, B, n]` and values `[T + 1, B]`, in one call over all indices."""
        length, batch = self.spec.unroll_length + 1, unroll.reward.shape[1]
        flat = {name: _merge_time(leaf, length * batch) for name, leaf in unroll.observation.items()}
        out = self._evaluate(call, flat)
        return {name: ops.reshape(out[name], (length, batch, *out[name].shape[1:])) for name in ("logits", "value")}

    def _entropy_cost(self, step: Tensor) -> Tensor | float:
        settings = self._settings
        if not settings.entropy_decay_steps:
            return settings.entropy_cost
        done = ops.minimum(ops.cast(step, "float32") / settings.entropy_decay_steps, 1.0)
        return settings.entropy_cost + done * (settings.final_entropy_cost - settings.entropy_cost)


def _merge_time(leaf: Tensor, rows: int) -> Tensor:
    return ops.reshape(leaf, (rows, *leaf.shape[2:]))


def _extra_outputs(network: keras.Model, observation: Spec, num_actions: int) -> dict[str, TensorSpec]:
    """What the network puts out beside logits and value. Raises ValueError where those two are not right."""
    inputs = {name: keras_input(name, leaf) for name, leaf in observation.items()}
    expected = f'a dictionary with "logits" [batch, {num_actions}] and "value" [batch]'
    out = network(feed(network, inputs))
    if not isinstance(out, Mapping):
        shapes = keras.tree.map_structure(lambda tensor: list(tensor.shape), out)
        raise ValueError(f"the network must put out {expected}; it puts out {type(out).__name__} {shapes}")
    got = ", ".join(f'"{name}" {_shape(tensor)}' for name, tensor in out.items())
    logits, value = out.get("logits"), out.get("value")
    fits = logits is not None and tuple(logits.shape[1:]) == (num_actions,)
    if not fits or value is None or tuple(value.shape[1:]) not in ((), (1,)):
        raise ValueError(f"the network must put out {expected}; it puts out {got}")
    if clash := {"action", "log_prob"} & set(out):
        raise ValueError(f"the network may not put out {sorted(clash)}: the agent does; it puts out {got}")
    return {name: _leaf_spec(name, tensor) for name, tensor in out.items() if name not in ("logits", "value")}


def _leaf_spec(name: str, tensor: Tensor) -> TensorSpec:
    shape = tuple(tensor.shape[1:])
    if None in shape:
        raise ValueError(f'output "{name}" must have fixed sizes behind the batch, not {_shape(tensor)}')
    return TensorSpec(shape, tensor.dtype)


def _shape(tensor: Tensor) -> str:
    return "[" + ", ".join("batch" if size is None else str(size) for size in tensor.shape) + "]"
