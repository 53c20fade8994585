"""Frame stacks: actors send a frame once, unrolls and replay hold it once, and the network sees the newest few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import ops

from corral.agents.agent import Agent, Batch, Call, Group, Losses, Target, Tensor, Tensors
from corral.protocol.specs import Spec, TensorSpec
from corral.protocol.unrolls import TIME_SPEC, StepType, Unroll

_LEAD = "frames/"


def stacked_spec(observation: Spec, frames: int) -> dict[str, TensorSpec]:
    """What a network sees: of each image leaf the newest `frames`, oldest first, along the last axis.

    Raises:
      ValueError: no leaf is an image, `uint8[height, width]` or `uint8[height, width, channels]`.
    """
    if not any(map(_stacks, observation.values())):
        leaves = ", ".join(f"{name}: {leaf}" for name, leaf in observation.items())
        raise ValueError(
            f"frame_stack = {frames} stacks images, uint8[height, width]; the observation has {leaves}"
        )
    return {name: _stacked(leaf, frames) if _stacks(leaf) else leaf for name, leaf in observation.items()}


class FrameStack:
    """An agent of stacked frames, for environments that show one frame at a time.

    The frames before the newest are recurrent state: the server keeps them for each slot, and clears them before an
    episode's first observation, so that a stack begins empty. An unroll holds its frames once, and those that
    precede it as its state. Where sequences within unrolls are sampled, each begins with the frames before it, so
    that of each session the first `frames - 1` transitions begin no sample.

    Args:
      agent: made for `stacked_spec(observation, frames)`.
      observation: what environments give.
      frames: in a stack, 2 or more.
    """

    def __init__(self, agent: Agent, observation: Spec, frames: int) -> None:
        self._agent = agent
        self._context = context = frames - 1
        self._images = {name: leaf for name, leaf in observation.items() if _stacks(leaf)}
        before = {f"{_LEAD}{name}": _stacked(leaf, context) for name, leaf in self._images.items()}
        spec = agent.spec
        self._windows = spec.sample_length < spec.unroll_length
        self.spec = replace(spec, observation=observation, state={**spec.state, **before})
        if self._windows:
            if spec.sample_length + context > spec.unroll_length:
                raise ValueError(
                    f"stacks of {frames} frames need an unroll_length of {spec.sample_length + context} or more, "
                    f"not {spec.unroll_length}"
                )
            self.spec = replace(
                self.spec,
                sample_length=spec.sample_length + context,
                overlap=spec.overlap + context,
                context=context,
            )

    @property
    def nets(self) -> Mapping[str, keras.Model]:
        """The agent's."""
        return self._agent.nets

    @property
    def published(self) -> tuple[str, ...]:
        """The agent's."""
        return self._agent.published

    @property
    def groups(self) -> Mapping[str, Group]:
        """The agent's."""
        return self._agent.groups

    @property
    def targets(self) -> Mapping[str, Target]:
        """The agent's."""
        return self._agent.targets

    def exploration(self, environment: np.ndarray) -> np.ndarray:
        """The agent's."""
        return self._agent.exploration(environment)

    def initial_state(self, batch: int) -> dict[str, Any]:
        """The agent's, and no frames: zeros."""
        before = {name: leaf.zeros(batch) for name, leaf in self.spec.state.items() if name.startswith(_LEAD)}
        return {**self._agent.initial_state(batch), **before}

    def act(
        self, call: Call, observation: Tensors, state: Tensors, first: Tensor, noise: Tensor, explore: Tensor
    ) -> tuple[Tensors, Tensors]:
        """What the agent does with each row's newest frames."""
        inner = {name: leaf for name, leaf in state.items() if not name.startswith(_LEAD)}
        seen, before = dict(observation), {}
        for name, leaf in self._images.items():
            stack = ops.concatenate([state[f"{_LEAD}{name}"], _with_channels(observation[name], leaf)], axis=-1)
            seen[name] = stack
            before[f"{_LEAD}{name}"] = stack[..., _channels(leaf) :]
        outputs, inner = self._agent.act(call, seen, inner, first, noise, explore)
        return outputs, {**inner, **before}

    def prepare(self, call: Call, target: Call, batch: Batch) -> Tensors:
        """The agent's, of stacks."""
        return self._agent.prepare(call, target, self._stack(batch))

    def losses(self, call: Call, target: Call, batch: Batch) -> Losses:
        """The agent's, of stacks."""
        return self._agent.losses(call, target, self._stack(batch))

    def policy(self) -> keras.Model:
        """The agent's greedy policy, whose observation is stacked already."""
        return self._agent.policy()

    def _stack(self, batch: Batch) -> Batch:
        """The batch as the agent takes it."""
        unroll, skipped = batch.unroll, self._context if self._windows else 0
        observation = {name: leaf[skipped:] for name, leaf in unroll.observation.items()}
        for name, leaf in self._images.items():
            observation[name] = self._stacks_over_time(unroll, name, leaf)[skipped:]

        def later(leaves: Mapping[str, Tensor]) -> Tensors:
            return {name: leaf[skipped:] for name, leaf in leaves.items()}

        state = {name: leaf for name, leaf in unroll.state.items() if not name.startswith(_LEAD)}
        times = {name: getattr(unroll, name)[skipped:] for name in TIME_SPEC}
        stacked = Unroll(observation, later(unroll.output), **times, state=state)
        return batch._replace(unroll=stacked, noise=batch.noise[skipped:])

    def _stacks_over_time(self, unroll: Unroll, name: str, leaf: TensorSpec) -> Tensor:
        """`[T + 1, B, height, width, frames * channels]`: of every index the newest frames of its own episode."""
        frames = _with_channels(unroll.observation[name], leaf)
        channels, length = _channels(leaf), frames.shape[0]
        # Windows have their context among their own frames; what precedes them is never looked at.
        before = ops.zeros_like(unroll.state[f"{_LEAD}{name}"]) if self._windows else unroll.state[f"{_LEAD}{name}"]
        earlier = [before[..., place * channels : (place + 1) * channels] for place in range(self._context)]
        padded = ops.concatenate([ops.stack(earlier), frames], axis=0)
        same = ops.ones_like(unroll.step_type, dtype="bool")
        parts = [frames]
        for back in range(1, self._context + 1):
            # The frame so far back belongs to the episode as long as none has begun since.
            begun = unroll.step_type == StepType.FIRST
            if back > 1:
                never = ops.zeros_like(begun[: back - 1])
                begun = ops.concatenate([never, begun[: length - back + 1]], axis=0)
            same = ops.logical_and(same, ops.logical_not(begun))
            shown = padded[self._context - back : self._context - back + length]
            parts.append(ops.where(same[..., None, None, None], shown, ops.zeros_like(shown)))
        return ops.concatenate(parts[::-1], axis=-1)


def _stacks(leaf: TensorSpec) -> bool:
    return leaf.dtype == "uint8" and len(leaf.shape) in (2, 3)


def _channels(leaf: TensorSpec) -> int:
    return leaf.shape[2] if len(leaf.shape) == 3 else 1


def _stacked(leaf: TensorSpec, frames: int) -> TensorSpec:
    return TensorSpec((*leaf.shape[:2], frames * _channels(leaf)), leaf.dtype, 0, 255)


def _with_channels(frames: Tensor, leaf: TensorSpec) -> Tensor:
    return frames if len(leaf.shape) == 3 else frames[..., None]
