"""When a process that was hit does its work again, as far as it shows from outside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from corral.chaos.plan import Injury

Figures = Mapping[str, Mapping[str, Any]]
"""Process -> what it last said of itself; "server" is all servers together."""

_JOINED = b"joined "


class Patient:
    """One process from its injury until it has recovered.

    It has when every environment has its seat and the process does its part again: a new actor has joined, a new
    server answers, a new learner's weights act. Server and learner have when, besides, there is training on what
    comes in.

    Args:
      injury: what was done to it.
      hurt_at: clock reading when it could begin to recover: of the kill, or of the end of the freeze.
      figures: as they stood then.
      log: of the process.
      environments: of all actors.
    """

    def __init__(self, injury: Injury, hurt_at: float, figures: Figures, log: Path, environments: int) -> None:
        self.injury = injury
        self.hurt_at = hurt_at
        self._environments = environments
        self._server = str(figures.get(injury.name, {}).get("identity", ""))
        self._uptime_s = figures.get(injury.name, {}).get("uptime_s")
        self._epoch, self._steps = _training(figures)
        self._seen: dict[int, int] = {self._epoch: self._steps}
        self._log = log
        self._place = log.stat().st_size if log.exists() else 0
        self._joined = injury.kind != "kill-actor"

    def recovered(self, figures: Figures) -> bool:
        """Whether it has, by figures of now."""
        server, learner = figures.get("server", {}), figures.get("learner", {})
        own = figures.get(self.injury.name, {})
        epoch, steps = _training(figures)
        first = self._seen.setdefault(epoch, steps)
        if not self._joined:
            self._joined = self._has_joined()
        if self.injury.kind == "kill-server" and own.get("identity", "") == self._server:
            return False
        if self.injury.kind == "freeze-server" and own.get("uptime_s") == self._uptime_s:
            return False  # the others may have taken its work over, but it has not answered yet
        if self.injury.kind == "kill-learner" and epoch == self._epoch:
            return False
        ready = own.get("ready") if self.injury.role == "server" else server.get("ready")
        whole = bool(ready) and server.get("environments", 0) >= self._environments
        if self.injury.role == "actor":
            return whole and self._joined
        return whole and steps > first and server.get("epoch") == learner.get("epoch")

    def _has_joined(self) -> bool:
        try:
            with self._log.open("rb") as file:
                file.seek(self._place)
                return _JOINED in file.read()
        except OSError:
            return False


def _training(figures: Figures) -> tuple[int, int]:
    learner = figures.get("learner", {})
    return int(learner.get("epoch", 0)), int(learner.get("training_steps", 0))
