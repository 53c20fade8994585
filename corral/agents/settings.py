"""The agent's settings: plain values, no Keras. The experiment file's `[agent]` table."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

Precision: TypeAlias = Literal["float32", "bfloat16", "float16"]
"""What nets compute in."""
Count: TypeAlias = int | Literal["auto"]
"""How many devices; "auto" takes every accelerator, or one processor where there is none."""
MOST_DEVICES = 64


def check_count(name: str, count: Count) -> None:
    """Raises ValueError for what cannot be a number of devices."""
    value: int | str = count  # whatever it should be
    if value != "auto" and (isinstance(value, str) or not 1 <= value <= MOST_DEVICES):
        raise ValueError(f'{name} must be 1 to {MOST_DEVICES} or "auto", not {count}')


def check_memory(megabytes: int) -> None:
    """Raises ValueError for what cannot be a limit of a GPU's memory."""
    if not 0 <= megabytes <= 10_000_000:
        raise ValueError(f"gpu_memory_mb must be 0 to 10000000, not {megabytes}")


@dataclass(frozen=True)
class NetworkSettings:
    """The network that is built where the user brings none. The experiment file's `[agent.network]`."""

    torso: Literal["auto", "mlp", "nature_cnn", "impala"] = "auto"
    """How images become features: by the convolutions of nature_cnn (Mnih et al. 2015) or the deep residual network
    of impala (Espeholt et al. 2018), or flattened (mlp); auto is nature_cnn. What is no image is joined to the
    features before the hidden layers."""
    normalize: bool = False
    """Whether float observations are brought to mean 0 and deviation 1: by a running mean and deviation, kept by
    the learner and shipped with the weights."""
    hidden: tuple[int, ...] = (64, 64)
    """Units of each hidden layer, first to last."""
    activation: str = "tanh"
    """What follows each hidden layer: the name of a Keras activation."""
    shared: bool = True
    """One torso under policy and value; else each has its own."""
    core: Literal["", "lstm", "gru"] = ""
    """The memory between the hidden layers and the outputs; "" is none."""
    core_units: int = 128
    """Units of the memory; meaningless without one."""
    build: str = ""
    """"my_package.my_module:function" that makes a network of your own, in place of the one above. It takes
    (observation, action), the environment's specs, and returns a Keras model; docs/agents.md shows one."""

    def __post_init__(self) -> None:
        if self.torso not in ("auto", "mlp", "nature_cnn", "impala"):
            raise ValueError(f"torso must be auto, mlp, nature_cnn or impala, not {self.torso!r}")
        if any(units < 1 for units in self.hidden):
            raise ValueError(f"hidden must be layer sizes of 1 or more, not {list(self.hidden)}")
        if not self.activation:
            raise ValueError("activation must name a Keras activation, such as tanh or relu")
        if self.core not in ("", "lstm", "gru"):
            raise ValueError(f'core must be lstm, gru or "" for none, not {self.core!r}')
        if self.core_units < 1:
            raise ValueError(f"core_units must be 1 or more, not {self.core_units}")
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
class ActorCriticSettings:
    """What the actor-critics (vtrace, a2c, ppo) share. The experiment file's `[agent.actor_critic]`."""

    entropy_cost: float = 0.01
    """Weight of the entropy bonus in the first training step."""
    final_entropy_cost: float = 0.0
    """Weight of the entropy bonus after `entropy_decay_steps` training steps; meaningless without them."""
    entropy_decay_steps: int = 0
    """Training steps from the first entropy cost to the final one, in a straight line; 0 keeps the first."""
    value_cost: float = 0.5
    """Weight of the value loss."""
    lambda_: float = 1.0
    """Decay of the trace: 1 trusts whole unrolls, 0 single steps."""
    normalize_advantages: bool | None = None
    """Advantages of a training step with mean 0 and deviation 1, whatever rewards are worth. Not set: ppo does so,
    as published, and no other."""

    def __post_init__(self) -> None:
        _require(self, "0 to 1", lambda value: 0 <= value <= 1, "lambda_")
        _require(self, "0 or more", lambda value: value >= 0, "entropy_cost", "final_entropy_cost", "value_cost")
        _require(self, "0 or more", lambda value: value >= 0, "entropy_decay_steps")


@dataclass(frozen=True)
class VTraceSettings:
    """How V-trace corrects for stale actions. The experiment file's `[agent.vtrace]`."""

    clip_rho: float = 1.0
    """Largest importance weight of a temporal difference (the paper's rho-bar)."""
    clip_c: float = 1.0
    """Largest importance weight on the trace (the paper's c-bar); at most `clip_rho`."""
    clip_pg_rho: float = 1.0
    """Largest importance weight of the policy gradient."""

    def __post_init__(self) -> None:
        _require(self, "more than 0", lambda value: value > 0, "clip_rho", "clip_c", "clip_pg_rho")
        if self.clip_c > self.clip_rho:
            raise ValueError(f"clip_c must be at most clip_rho ({self.clip_rho}), not {self.clip_c}")


@dataclass(frozen=True)
class PPOSettings:
    """Proximal policy optimisation. The experiment file's `[agent.ppo]`."""

    clip: float = 0.2
    """How far the probability of an action may move, as a ratio, until it earns nothing more."""
    epochs: int = 4
    """Times that a batch is gone through."""
    minibatches: int = 4
    """Parts of a batch, trained on one after the other."""

    def __post_init__(self) -> None:
        _require(self, "more than 0 and less than 1", lambda value: 0 < value < 1, "clip")
        _require(self, "1 to 1000", lambda value: 1 <= value <= 1000, "epochs", "minibatches")


@dataclass(frozen=True)
class DQNSettings:
    """Q-learning of discrete actions (dqn, r2d2). The experiment file's `[agent.dqn]`."""

    n_step: int = 3
    """Rewards that a target adds up before it bootstraps."""
    double: bool = True
    """The trained network chooses the action whose value the slow copy tells (van Hasselt et al. 2016)."""
    dueling: bool = True
    """A value of the state and an advantage of each action make a Q-value (Wang et al. 2016)."""
    target_every: int = 500
    """Training steps from one copy of the network to the next."""
    epsilon: float = 0.4
    """Share of random actions on the lowest rung of the ladder."""
    epsilon_power: float = 7.0
    """Environment i of N explores with epsilon ** (1 + i / (N - 1) * epsilon_power) (Horgan et al. 2018)."""
    rungs: int = 8
    """Rungs of the ladder (N); more environments than that begin again at the lowest."""

    def __post_init__(self) -> None:
        _require(self, "1 to 1000", lambda value: 1 <= value <= 1000, "n_step", "rungs")
        _require(self, "1 or more", lambda value: value >= 1, "target_every")
        _require(self, "0 to 1", lambda value: 0 <= value <= 1, "epsilon")
        _require(self, "0 or more", lambda value: value >= 0, "epsilon_power")


@dataclass(frozen=True)
class R2D2Settings:
    """What recurrent Q-learning adds. The experiment file's `[agent.r2d2]`."""

    burn_in: int = 8
    """Transitions at the start of each unroll that only warm the recurrent state."""
    rescale: bool = True
    """Learn Q-values on a scale that squashes large ones (Pohlen et al. 2018)."""
    priority_max: float = 0.9
    """Share of the largest error of a sequence in its priority; the rest is the mean's."""

    def __post_init__(self) -> None:
        _require(self, "0 to 10000", lambda value: 0 <= value <= 10_000, "burn_in")
        _require(self, "0 to 1", lambda value: 0 <= value <= 1, "priority_max")


@dataclass(frozen=True)
class DDPGSettings:
    """A deterministic actor and its critic (ddpg, td3). The experiment file's `[agent.ddpg]`."""

    n_step: int = 1
    """Rewards that a target adds up before it bootstraps."""
    polyak: float = 0.005
    """Share of the way that slow copies go towards the nets after each training step."""
    actor_rate: float = 1.0
    """The actor's learning rate, as a multiple of the optimizer's."""
    noise: Literal["gaussian", "ornstein_uhlenbeck"] = "gaussian"
    """What is added to actions to explore."""
    sigma: float = 0.1
    """Deviation of that noise, where actions range over -1 to 1."""
    theta: float = 0.15
    """How fast Ornstein-Uhlenbeck noise returns to 0, per step."""
    random_start: bool = False
    """Act at random, evenly over all actions, until training begins (`learner.replay.min_size`)."""

    def __post_init__(self) -> None:
        if self.noise not in ("gaussian", "ornstein_uhlenbeck"):
            raise ValueError(f"noise must be gaussian or ornstein_uhlenbeck, not {self.noise!r}")
        _require(self, "1 to 1000", lambda value: 1 <= value <= 1000, "n_step")
        _require(self, "more than 0 to 1", lambda value: 0 < value <= 1, "polyak", "theta")
        _require(self, "more than 0", lambda value: value > 0, "actor_rate")
        _require(self, "0 or more", lambda value: value >= 0, "sigma")


@dataclass(frozen=True)
class TD3Settings:
    """What TD3 adds to DDPG. The experiment file's `[agent.td3]`."""

    delay: int = 2
    """Training steps of the critics to one of the actor and of the slow copies."""
    smoothing: float = 0.2
    """Deviation of the noise on the target's actions."""
    smoothing_clip: float = 0.5
    """Largest noise on the target's actions."""

    def __post_init__(self) -> None:
        _require(self, "1 to 1000", lambda value: 1 <= value <= 1000, "delay")
        _require(self, "0 or more", lambda value: value >= 0, "smoothing", "smoothing_clip")


@dataclass(frozen=True)
class SACSettings:
    """The soft actor-critic. The experiment file's `[agent.sac]`."""

    n_step: int = 1
    """Rewards that a target adds up before it bootstraps."""
    polyak: float = 0.005
    """Share of the way that slow copies go towards the critics after each training step."""
    actor_rate: float = 1.0
    """The learning rate of actor and temperature, as a multiple of the optimizer's."""
    initial_temperature: float = 1.0
    """What entropy is worth at first."""
    adapt_temperature: bool = True
    """Whether that follows the policy's entropy; else it stays (Haarnoja et al. 2018, "Soft actor-critic:
    off-policy maximum entropy deep reinforcement learning with a stochastic actor")."""
    target_entropy: float | None = None
    """The entropy that the temperature aims at, in nats; None aims at minus the number of action elements."""
    random_start: bool = False
    """Act at random, evenly over all actions, until training begins (`learner.replay.min_size`)."""

    def __post_init__(self) -> None:
        _require(self, "1 to 1000", lambda value: 1 <= value <= 1000, "n_step")
        _require(self, "more than 0 to 1", lambda value: 0 < value <= 1, "polyak")
        _require(self, "more than 0", lambda value: value > 0, "actor_rate", "initial_temperature")


AgentName = Literal["vtrace", "a2c", "ppo", "dqn", "r2d2", "ddpg", "td3", "sac"]
USERS: dict[str, tuple[str, ...]] = {
    "actor_critic": ("vtrace", "a2c", "ppo"),
    "vtrace": ("vtrace",),
    "ppo": ("ppo",),
    "dqn": ("dqn", "r2d2"),
    "r2d2": ("r2d2",),
    "ddpg": ("ddpg", "td3"),
    "td3": ("td3",),
    "sac": ("sac",),
}
"""Table -> the algorithms that look at it."""


@dataclass(frozen=True)
class AgentSettings:
    """What learns, and from what; docs/algorithms.md compares the algorithms."""

    name: AgentName = "vtrace"
    """Which algorithm."""
    unroll_length: int = 16
    """Transitions in one unroll (T)."""
    frame_stack: int = 1
    """Newest frames of each image, uint8[height, width], that the network sees; actors send one at a time."""
    discount: float = 0.99
    """Gamma: what a reward is worth one step later."""
    reward_clip: float = 0.0
    """Rewards are clipped to plus or minus this; 0 clips none."""
    reward_scale: float = 1.0
    """What rewards are multiplied by, after clipping; discounted sums of about 1 to 10 are learned fastest."""
    actor_critic: ActorCriticSettings = field(default_factory=ActorCriticSettings)
    vtrace: VTraceSettings = field(default_factory=VTraceSettings)
    ppo: PPOSettings = field(default_factory=PPOSettings)
    dqn: DQNSettings = field(default_factory=DQNSettings)
    r2d2: R2D2Settings = field(default_factory=R2D2Settings)
    ddpg: DDPGSettings = field(default_factory=DDPGSettings)
    td3: TD3Settings = field(default_factory=TD3Settings)
    sac: SACSettings = field(default_factory=SACSettings)
    network: NetworkSettings = field(default_factory=NetworkSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)

    def __post_init__(self) -> None:
        if self.name not in get_args(AgentName):
            raise ValueError(f"name must be one of {', '.join(get_args(AgentName))}, not {self.name!r}")
        if not 1 <= self.unroll_length <= 10_000:
            raise ValueError(f"unroll_length must be 1 to 10000 transitions, not {self.unroll_length}")
        _require(self, "1 to 64 frames", lambda value: 1 <= value <= 64, "frame_stack")
        _require(self, "0 to 1", lambda value: 0 <= value <= 1, "discount")
        _require(self, "0 or more", lambda value: value >= 0, "reward_clip")
        _require(self, "more than 0", lambda value: value > 0, "reward_scale")
        for table, users in USERS.items():
            given = getattr(self, table)
            if self.name not in users and given != type(given)():
                raise ValueError(
                    f"{table} has settings for {' and '.join(users)}; this agent's name is {self.name!r}"
                )


def _require(settings: object, what: str, holds: Callable[[float], bool], *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not (math.isfinite(value) and holds(value)):
            raise ValueError(f"{name} must be {what}, not {value}")
