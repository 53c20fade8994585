"""How one policy of a run stands: what its server and its learner say, and what is written of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from corral.launch.cast import Part, server_addresses
from corral.launch.evaluations import Evaluations
from corral.launch.experiment import Experiment
from corral.launch.folder import RESULT, begin
from corral.launch.policies import Member
from corral.launch.poller import Fetch, StatusPoller
from corral.launch.progress import Goal, Progress, number
from corral.launch.view import SilentView
from corral.launch.watcher import Watcher
from corral.telemetry.verdict import Judge


class Standing:
    """One policy of a run that goes on, asked and written down; all there is of a run without policies.

    Args:
      member: the policy, with its addresses.
      run: the run's folder.
      parts: the run's processes.
      fetch: how to ask for figures.

    Attributes:
      member: the policy.
      folder: where its files lie.
      poller: what its servers and its learner say, as "server" and "learner".
      servers: the names of its servers.
      learner: the name of its learner; None where it is not trained.
    """

    def __init__(self, member: Member, run: Path, parts: Iterable[Part], fetch: Fetch | None) -> None:
        self.member = member
        self.folder = member.folder(run)
        own = [part for part in parts if part.policy == member.name]
        self.servers = tuple(part.name for part in own if part.role == "server")
        self.learner = next((part.name for part in own if part.role == "learner"), None)
        several = self.servers if len(self.servers) > 1 else ()
        addresses = {part.name if part.name in several else part.role: part.address for part in own if part.address}
        self.poller = StatusPoller(addresses, fetch, servers=several)
        self._judge = Judge()
        self._steps_before: int | None = None
        self._evaluations = Evaluations(self.folder)
        self._watcher = Watcher(self.folder, SilentView()) if member.name else None

    def begin(self, folder: Path, experiment: Experiment, source: Path | None = None) -> Callable[[], None]:
        """Write down in `folder` that it begins, and as what; what makes that undone.

        Args:
          experiment: as it is to be read again, without the addresses of this machine.
          source: the experiment file.
        """
        own = self.member.experiment
        learner = own.learner.unrolls_address if self.learner else ""
        return begin(folder, experiment, server_addresses(own), learner, source)

    def progress(self, elapsed_s: float, restarts: int = 0, goal: Goal | None = None) -> Progress:
        """How it stands now."""
        figures = self.poller.figures
        server, learner = figures.get("server", {}), figures.get("learner", {})
        if self._steps_before is None and "env_steps_before" in learner:
            # Those of our first learner: what comes after is done in our time, by whichever.
            self._steps_before = int(learner["env_steps_before"])
        verdict = self._judge.hear(server, learner)
        run, before = self.member.experiment.run, self._steps_before or 0
        return Progress(run, elapsed_s, server, learner, before, restarts, verdict, goal)

    def ask_again(self) -> None:
        """Ask its servers a last time: they still know, but not for long."""
        if (self.folder / RESULT).exists() or "server" in self.poller.figures:
            for name in self.servers if len(self.servers) > 1 else ("server",):
                self.poller.ask(name, 1.0)

    def tell(self, progress: Progress, *, last: bool = False) -> None:
        """Write it into the policy's own folder, where it has one."""
        if self._watcher is None:
            return
        if last:
            self._watcher.end(progress)
        else:
            self._watcher.tell(progress)

    def end(self, run: Progress) -> Progress:
        """How it stood at the end of the run, which is written down as its last."""
        progress = self.progress(run.elapsed_s, run.restarts)
        self.tell(progress, last=True)
        return progress

    def news(self) -> list[str]:
        """What there is to say once: evaluations, and from where an earlier life is gone on with."""
        told = self._evaluations.news()
        steps = self.poller.figures.get("learner", {}).get("env_steps_before")
        if self._steps_before is None and steps:
            told = [f"going on from {steps:,} steps", *told]
        return [f"{self.member.name}: {text}" for text in told] if self.member.name else told

    def words(self) -> str:
        """It in a few words, beside others."""
        figures = self.poller.figures
        progress = Progress(self.member.experiment.run, 0.0, figures.get("server", {}), figures.get("learner", {}))
        mean = progress.mean_return
        parts = _few(progress.server, progress.learner, progress.env_steps)
        parts += [] if mean is None else [f"return {mean:.1f}"]
        return f"{self.member.name}: {'  '.join(parts) or progress.state}"


def _few(server: Mapping[str, Any], learner: Mapping[str, Any], steps: int) -> list[str]:
    speed, version = number(server, "rows_per_s"), number(server, "policy_version")
    known = [("{:,.0f} steps", steps or None), ("{:,.0f} steps/s", speed), ("policy {:.0f}", version)]
    return [text.format(value) for text, value in known if value is not None]
