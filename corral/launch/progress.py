"""How a run stands: one picture made of what server and learner say."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from corral.launch.settings import RunSettings
from corral.telemetry.verdict import Verdict


@dataclass(frozen=True)
class Goal:
    """Where a run is going that goes on until somebody else says so.

    Attributes:
      text: how far it is, for a person.
      fraction: the same, 0 to 1.
      left_s: seconds that it will still take; None where nobody knows.
    """

    text: str
    fraction: float
    left_s: float | None


@dataclass(frozen=True)
class Progress:
    """A run at one moment.

    Attributes:
      run: the run's settings.
      elapsed_s: seconds since the command was typed.
      server: the server's figures; empty before its first answer.
      learner: the learner's figures; empty before its first answer.
      steps_before: environment steps of the run's earlier lives, which are none of `elapsed_s`.
      restarts: how often processes of the run ended and were started again.
      verdict: what holds it back; None where nobody knows yet.
      goal: what the run is for, where it is neither its target nor its step limit.
      others: each other policy of the run in a few words.
    """

    run: RunSettings
    elapsed_s: float
    server: Mapping[str, Any]
    learner: Mapping[str, Any]
    steps_before: int = 0
    restarts: int = 0
    verdict: Verdict | None = None
    goal: Goal | None = None
    others: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """What the run does: "starting" until somebody answers, "warming" until the server is ready to act, then
        "training"."""
        if self.server.get("ready"):
            return "training"
        return "warming" if self.server or self.learner else "starting"

    @property
    def env_steps(self) -> int:
        """Environment steps, over all actors; a restarted server counts anew, so the learner's count leads."""
        return int(number(self.learner, "env_steps") or number(self.server, "env_steps") or 0)

    @property
    def mean_return(self) -> float | None:
        """Mean return of the last 100 episodes; None before the first has ended."""
        for figures in (self.learner, self.server):
            if figures.get("episodes", 1) and (mean := number(figures, "mean_return")) is not None:
                return mean
        return None

    @property
    def left_s(self) -> float | None:
        """Seconds to the step limit at the present speed, or to the goal; None where nobody knows: also before a
        thousandth of the way, when the start is all that there is to judge by."""
        if self.goal is not None:
            return self.goal.left_s
        speed = number(self.server, "rows_per_s")
        if self.state != "training" or not speed or self.env_steps < self.run.max_env_steps / 1000:
            return None
        return max(0, self.run.max_env_steps - self.env_steps) / speed

    @property
    def fraction(self) -> float:
        """The part of the way to the goal, the target, or to the step limit where there is no target: 0 to 1."""
        if self.goal is not None:
            return self.goal.fraction
        target = self.run.target_return
        if target is None or not math.isfinite(target) or target <= 0:
            return min(1.0, self.env_steps / self.run.max_env_steps)
        return min(1.0, max(0.0, (self.mean_return or 0.0) / target))

    def words(self) -> list[str]:
        """The figures that are known, each with its name and unit."""
        if self.state != "training":
            return []
        server, learner = self.server, self.learner
        speed = number(server, "steps_per_s")
        lag = number(learner, "policy_lag_p50")
        version = number(learner, "policy_version") or number(server, "policy_version")
        parts = [
            ("{:,.0f} steps", self.env_steps or None),
            ("{:,.0f} steps/s", number(server, "rows_per_s") if speed is None else speed),
            ("batch {:.1f}", number(server, "recent_batch") or number(server, "mean_batch")),
            ("timeout {:,.0f} us", number(server, "timeout_us")),
            ("latency p50 {:.1f} ms", number(server, "latency_p50_ms")),
            ("p99 {:.1f} ms", number(server, "latency_p99_ms")),
            ("policy {:.0f}", version),
            ("lag {:.1f}", lag),
        ]
        return [text.format(value) for text, value in parts if value is not None]

    def complaints(self) -> list[str]:
        """What server and learner last found wrong, newest last."""
        errors = self.server.get("last_errors") or []
        told = (self.server.get("learner_failure"), self.learner.get("last_refusal"))
        texts = [*errors, *told, self.learner.get("checkpoint_failure")]
        return [str(text) for text in texts if text]


def number(figures: Mapping[str, Any], name: str) -> float | None:
    """A figure that is there and finite, else None."""
    value = figures.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return value
