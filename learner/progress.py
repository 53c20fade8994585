"""How training goes: returns, steps, lag, losses. Written by the training thread, read by whoever asks."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from corral.protocol import StepType, Unroll
from corral.telemetry import Histogram
from corral.telemetry.board import Samples
from corral.telemetry.catalogue import VERSIONS

RETURNS = 100
"""Training episodes over which the mean return is taken."""
LAGS = 200
"""Training steps over which the policy lag is taken."""


class Progress:
    """The learner's figures.

    Attributes:
      env_steps: environment steps completed, as accepted parcels tell it.
      steps_accepted: environment steps in accepted unrolls.
      steps_lost: those that an earlier life had accepted behind its last checkpoint.
      training_steps: training steps taken.
      policy_version: the version last published.
      episodes: training episodes that ended.
      lag: the policy lag of every training step of this life.
    """

    def __init__(self, target_return: float | None) -> None:
        self.target_return = target_return
        self.env_steps = 0
        self.steps_accepted = 0
        self.steps_lost = 0
        self.training_steps = 0
        self.policy_version = 0
        self.episodes = 0
        self._returns: deque[float] = deque(maxlen=RETURNS)
        self._lengths: deque[int] = deque(maxlen=RETURNS)
        self.lag = Histogram(VERSIONS)
        self._lags: deque[float] = deque(maxlen=LAGS)
        self._metrics: dict[str, float] = {}

    def add_episodes(self, episodes: list[tuple[float, int]]) -> None:
        """Count episodes that ended, `(return, length)`, in order; none after the one that solved counts."""
        for value, length in episodes:
            if self.solved:
                return
            self._returns.append(value)
            self._lengths.append(length)
            self.episodes += 1

    def add_training_step(self, unroll: Unroll, metrics: Mapping[str, float]) -> None:
        """Count a step of training on `unroll`."""
        self.training_steps += 1
        acted = unroll.step_type[:-1] != StepType.LAST
        if acted.any():  # else no policy did
            # Rows of a life before may be of versions that this one has not come to yet.
            lag = np.maximum(self.policy_version - unroll.version[:-1][acted], 0)
            self._lags.append(float(np.median(lag)))
            self.lag.observe(self._lags[-1])
        self._metrics = dict(metrics)

    @property
    def mean_return(self) -> float:
        """Mean return of the last 100 training episodes; 0 before the first."""
        return float(np.mean(self._returns)) if self._returns else 0.0

    @property
    def return_std(self) -> float:
        """Standard deviation of the same; 0 before the first."""
        return float(np.std(self._returns)) if self._returns else 0.0

    @property
    def solved(self) -> bool:
        """Whether the mean return of a full 100 training episodes has reached the target."""
        if self.target_return is None or len(self._returns) < RETURNS:
            return False
        return self.mean_return >= self.target_return

    @property
    def policy_lag_p50(self) -> float:
        """Median over recent training steps of how many versions old the acting policy was."""
        return float(np.median(list(self._lags))) if self._lags else 0.0

    def samples(self) -> Samples:
        """The figures for Prometheus; names as in `corral.telemetry.catalogue`."""
        return {
            "learner_steps_total": self.training_steps,
            "learner_environment_steps_total": self.env_steps,
            "policy_lag": self.lag.snapshot(),
            "learner_weights_version": self.policy_version,
            "episode_return_mean": self.mean_return,
            "episode_length_mean": float(np.mean(self._lengths)) if self._lengths else 0.0,
            "learner_episodes_total": self.episodes,
            "loss": dict(self._metrics),
        }

    def state(self) -> dict[str, Any]:
        """All that counting goes on from, as JSON takes it."""
        return {
            "env_steps": self.env_steps,
            "steps_accepted": self.steps_accepted,
            "steps_lost": self.steps_lost,
            "training_steps": self.training_steps,
            "episodes": self.episodes,
            "returns": list(self._returns),
            "lags": list(self._lags),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.env_steps, self.training_steps = int(state["env_steps"]), int(state["training_steps"])
        self.steps_accepted, self.steps_lost = int(state["steps_accepted"]), int(state["steps_lost"])
        self.episodes = int(state["episodes"])
        self._returns.extend(map(float, state["returns"]))
        self._lags.extend(map(float, state["lags"]))

    def figures(self) -> dict[str, Any]:
        """The figures as msgpack takes them; names as in docs/protocol.md."""
        return {
            "env_steps": self.env_steps,
            "steps_accepted": self.steps_accepted,
            "steps_lost": self.steps_lost,
            "training_steps": self.training_steps,
            "policy_version": self.policy_version,
            "episodes": self.episodes,
            "mean_return": self.mean_return,
            "return_std": self.return_std,
            "return_count": len(self._returns),
            "policy_lag_p50": self.policy_lag_p50,
            "solved": self.solved,
            "losses": {name: value for name, value in self._metrics.items() if np.isfinite(value)},
        }
