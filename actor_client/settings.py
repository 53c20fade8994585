"""The actors' settings: plain values. The experiment file's `[actor]` and `[environment]` tables."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

_LONGEST = 500
"""Characters of an environment's arguments that are told: the label travels in a message."""


@dataclass(frozen=True)
class EnvironmentSettings:
    """Which environment every actor runs."""

    id: str
    """A gymnasium id ("CartPole-v1", "my_package:Mine-v0"), EnvPool's ("envpool:Pong-v5"), or
    "my_package.my_module:function", which makes an environment or, where it yields, plays an episode."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments for the environment."""
    vectorization: Literal["auto", "native", "none"] = "auto"
    """"native" takes the environment's own vector form, "none" steps single environments one after another,
    "auto" takes the native form where there is one with the same spaces. Of "module:make" that is
    "module:make_vector", if there is one, a function of the number of environments and the same arguments."""

    action_mask: bool = False
    """Whether the environment says which actions are allowed, as info["action_mask"]: others are never chosen. An
    observation that is a dictionary with "action_mask" in it needs no setting."""

    def __post_init__(self) -> None:
        if not self.id:
            raise ValueError("id must name an environment, such as CartPole-v1")

    @property
    def label(self) -> str:
        """What tells this environment from others: its id and arguments.

        `render_mode` is left out: whether somebody watches makes no other environment.
        """
        kwargs = {name: value for name, value in self.kwargs.items() if name != "render_mode"}
        told = json.dumps(kwargs, sort_keys=True, default=str)
        if len(told) > _LONGEST:
            digest = hashlib.blake2b(told.encode(), digest_size=8).hexdigest()
            told = f"{told[:_LONGEST]}... (all of it has the digest {digest})"
        return f"{self.id} {told}" if kwargs else self.id


@dataclass(frozen=True)
class ActorSettings:
    """How many actors a local run starts, and how each one behaves."""

    processes: int = 4
    """Actor processes that `corral run` starts."""
    environments: int = 16
    """Environments of each actor process."""
    pipeline: int = 1
    """Parts that these are divided into. Each part is stepped as one vectorised group and has a session of its own:
    while it waits for its actions, the other parts are stepped. This gains most where a step of all environments
    takes about as long as the way to the server and back."""
    resend_after_s: float = 2.0
    """Seconds without an answer until a request is sent again."""
    leave_after_s: float = 3.0
    """Seconds of silence after which an actor leaves its server for another, where there are several."""
    give_up_after_s: float = 0.0
    """Seconds without any answer until the actor gives up; 0 tries for ever."""
    step_timeout_s: float = 300.0
    """Seconds that making, resetting or stepping the environments may take, until the actor's process is ended for
    hanging, and started again by whoever started it; 0 waits for ever."""

    @property
    def parts(self) -> list[range]:
        """Which of the actor's environments, from 0 on, each part has: as even as can be."""
        bounds = [part * self.environments // self.pipeline for part in range(self.pipeline + 1)]
        return [range(*each) for each in pairwise(bounds)]

    def __post_init__(self) -> None:
        if not 1 <= self.processes <= 100_000:
            raise ValueError(f"processes must be 1 to 100000, not {self.processes}")
        if not 1 <= self.environments <= 65_535:
            raise ValueError(f"environments must be 1 to 65535, not {self.environments}")
        if not 1 <= self.pipeline <= self.environments:
            raise ValueError(
                f"pipeline must be 1 to the number of environments, {self.environments}, not {self.pipeline}"
            )
        if not self.resend_after_s > 0:
            raise ValueError(f"resend_after_s must be more than 0 seconds, not {self.resend_after_s}")
        if not self.leave_after_s > 0:
            raise ValueError(f"leave_after_s must be more than 0 seconds, not {self.leave_after_s}")
        if self.give_up_after_s < 0:
            raise ValueError(f"give_up_after_s must be 0 or more seconds, not {self.give_up_after_s}")
        if self.step_timeout_s < 0:
            raise ValueError(f"step_timeout_s must be 0 or more seconds, not {self.step_timeout_s}")


@dataclass(frozen=True)
class Entrant:
    """A policy, as an actor knows it.

    Attributes:
      name: empty for the only one of a run without policies.
      addresses: where its servers are.
      share: the part of an actor's environments that it plays in, for each player that it can be; None shares what
        others leave.
      players: whom it can play; empty stands for all.
    """

    name: str
    addresses: tuple[str, ...]
    share: float | None = None
    players: tuple[str, ...] = ()
