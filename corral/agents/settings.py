"""The agent's settings: plain values, no Keras. The experiment file's `[agent]` table."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class NetworkSettings:
    """The network that is built where the user brings none. The experiment file's `[agent.network]`."""

    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer, first to last."""
    activation: str = "tanh"
    """What follows each hidden layer: the name of a Keras activation."""
    shared: bool = True
    """One torso under policy and value; else each has its own."""
    build: str = ""
    """"my_package.my_module:function" that makes a network of your own, in place of the one above. It takes
    (observation, action), the environment's specs, and returns a Keras model; docs/agents.md shows one."""

    def __post_init__(self) -> None:
        if any(units < 1 for units in self.hidden):
            raise ValueError(f"hidden must be layer sizes of 1 or more, not {list(self.hidden)}")
        if not self.activation:
            raise ValueError("activation must name a Keras activation, such as tanh or relu")
        module, _, function = self.build.partition(":")
        if self.build and not all(name.isidentifier() for name in (*module.split("."), function)):
            raise ValueError(f'build must be "module:function", such as my_networks:build, not {self.build!r}')


@dataclass(frozen=True)
class OptimizerSettings:
    """How gradients become steps. The experiment file's `[agent.optimizer]`."""

    name: Literal["adam", "rmsprop", "sgd"] = "adam"
    """Which Keras optimizer."""
    learning_rate: float = 1e-3
    """The learning rate of the first training step."""
    final_learning_rate: float = 0.0
    """The learning rate after `decay_steps` training steps; meaningless without them."""
    decay_steps: int = 0
    """Training steps from the first learning rate to the final one, in a straight line; 0 keeps the first."""
    epsilon: float = 1e-5
    """Added to the denominator of adam and rmsprop: more keeps steps small where gradients have become small."""
    clip_norm: float = 0.5
    """Longest gradient, as the norm over all variables of a group; 0 clips nothing."""

    def __post_init__(self) -> None:
        if self.name not in ("adam", "rmsprop", "sgd"):
            raise ValueError(f"name must be adam, rmsprop or sgd, not {self.name!r}")
        _require(self, "more than 0", lambda value: value > 0, "learning_rate", "epsilon")
        _require(self, "0 or more", lambda value: value >= 0, "final_learning_rate", "decay_steps", "clip_norm")


@dataclass(frozen=True)
class AgentSettings:
    """What learns, and from what: V-trace (IMPALA, Espeholt et al. 2018)."""

    name: Literal["vtrace"] = "vtrace"
    """Which algorithm."""
    unroll_length: int = 16
    """Transitions in one unroll (T)."""
    discount: float = 0.99
    """Gamma: what a reward is worth one step later."""
    entropy_cost: float = 0.01
    """Weight of the entropy bonus in the first training step."""
    final_entropy_cost: float = 0.0
    """Weight of the entropy bonus after `entropy_decay_steps` training steps; meaningless without them."""
    entropy_decay_steps: int = 0
    """Training steps from the first entropy cost to the final one, in a straight line; 0 keeps the first."""
    value_cost: float = 0.5
    """Weight of the value loss."""
    clip_rho: float = 1.0
    """Largest importance weight of a temporal difference (the paper's rho-bar)."""
    clip_c: float = 1.0
    """Largest importance weight on the trace (the paper's c-bar); at most `clip_rho`."""
    clip_pg_rho: float = 1.0
    """Largest importance weight of the policy gradient."""
    lambda_: float = 1.0
    """Decay of the trace: 1 trusts whole unrolls, 0 single steps."""
    reward_clip: float = 0.0
    """Rewards are clipped to plus or minus this; 0 clips none."""
    reward_scale: float = 1.0
    """What rewards are multiplied by, after clipping; discounted sums of about 1 to 10 are learned fastest."""
    network: NetworkSettings = field(default_factory=NetworkSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)

    def __post_init__(self) -> None:
        if self.name != "vtrace":
            raise ValueError(f"name must be vtrace, not {self.name!r}")
        if not 1 <= self.unroll_length <= 10_000:
            raise ValueError(f"unroll_length must be 1 to 10000 transitions, not {self.unroll_length}")
        _require(self, "0 to 1", lambda value: 0 <= value <= 1, "discount", "lambda_")
        _require(self, "0 or more", lambda value: value >= 0, "entropy_cost", "final_entropy_cost", "value_cost")
        _require(self, "0 or more", lambda value: value >= 0, "entropy_decay_steps", "reward_clip")
        _require(self, "more than 0", lambda value: value > 0, "clip_rho", "clip_c", "clip_pg_rho")
        _require(self, "more than 0", lambda value: value > 0, "reward_scale")
        if self.clip_c > self.clip_rho:
            raise ValueError(f"clip_c must be at most clip_rho ({self.clip_rho}), not {self.clip_c}")


def _require(settings, what, holds, *names) -> None:  # type: ignore[no-untyped-def]
    for name in names:
        value = getattr(settings, name)
        if not (math.isfinite(value) and holds(value)):
            raise ValueError(f"{name} must be {what}, not {value}")
