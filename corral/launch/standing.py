"""How one policy of a run stands: what its server and its learner say, and what is written of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from corral.launch.cast import Part
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
      member: the policy.
      run: the run's folder.
      parts: the run's processes.

    Attributes:
      member: the policy.
      folder: where its files lie.
      poller: once it is watched, what its servers and its learner say, as "server" and "learner".
      servers: the names of its servers.
      learner: the name of its learner; None where it is not trained.
    """

    poller: StatusPoller

    def __init__(self, member: Member, run: Path, parts: Iterable[Part]) -> None:
        self.member = member
        self.folder = member.folder(run)
        own = [part for part in parts if part.policy == member.name]
        self.servers = tuple(part.name for part in own if part.role == "server")
        self.learner = next((part.name for part in own if part.role == "learner"), None)
        self._several = len(self.servers) > 1
        self._judge = Judge()
        self._steps_before: int | None = None
        self._evaluations = Evaluations(self.folder)
        self._watcher: Watcher | None = None

    def begin(
        self, folder: Path, experiment: Experiment, addresses: Mapping[str, str], source: Path | None = None
    ) -> Callable[[], None]:
        """Write down in `folder` that it begins, and as what; what makes that undone.

        Args:
          addresses: where the run's processes say how they do, by name, as far as that is known.
          source: the experiment file.
        """
        return begin(folder, experiment, *self.ends(addresses), source)

    def watch(self, addresses: Mapping[str, str], fetch: Fetch | None) -> None:
        """Be ready to ask, where `addresses` say, and to write down what is answered."""
        several = self.servers if self._several else ()
        self.poller = StatusPoller(self._own(addresses), fetch, servers=several)
        self._watcher = Watcher(self.folder, SilentView()) if self.member.name else None

    def move(self, addresses: Mapping[str, str]) -> None:
        """Ask there from now on."""
        self.poller.move(self._own(addresses))

    def ends(self, addresses: Mapping[str, str]) -> tuple[list[str], str]:
        """Where the servers, by number, and the learner say how they do, as far as that is known."""
        servers = [addresses[name] for name in self.servers if name in addresses]
        return servers, addresses.get(self.learner or "", "")

    def _own(self, addresses: Mapping[str, str]) -> dict[str, str]:
        names = {name: name if self._several else "server" for name in self.servers}
        if self.learner:
            names[self.learner] = "learner"
        return {called: addresses[name] for name, called in names.items() if name in addresses}

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

    def ask_again(self, servers: Iterable[str]) -> None:
        """Ask those of its servers a last time: they still know, but not for long."""
        if (self.folder / RESULT).exists() or "server" in self.poller.figures:
            for name in servers:
                with suppress(KeyError):  # it has no place yet
                    self.poller.ask(name if self._several else "server", 1.0)

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
