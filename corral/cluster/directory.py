"""The directory of a run on a cluster: who is where, what each shall do, and the run's folder.

It is the one rendezvous of the launcher, the supervisors and `corral scale`, and lives on the launcher's machine:
what it writes into the run's folder is where a local run would have it. It knows nothing of Ray.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from corral.cluster.papers import Arrival, Luggage, Orders, Picture, Report, Seat
from corral.launch.experiment import Experiment
from corral.launch.folder import (
    BEST_POLICY,
    CHECKPOINTS,
    EVALUATIONS,
    LEDGERS,
    LOGS,
    POLICY,
    RESULT,
    RUN,
    write_whole,
)
from learner.returns_file import RETURNS_FILE

KEPT: Mapping[str, tuple[str, ...]] = {
    "server": (f"{LEDGERS}/*",),
    "learner": (f"{CHECKPOINTS}/checkpoint-*.npz", POLICY, RESULT, RETURNS_FILE),
    "evaluator": (BEST_POLICY, EVALUATIONS),
    "actor": (),
}
"""Role -> the files of its folder that belong to the run."""

_GOES_ON_FROM = {"learner": f"{CHECKPOINTS}/checkpoint-*.npz", "evaluator": EVALUATIONS}
"""Role -> the files that it needs when it begins; of checkpoints the newest one."""


@dataclass
class _Post:
    """What is known of one process, and ordered."""

    arrival: Arrival
    heard: float
    moves: int = 0
    report: Report = field(default_factory=Report)


@dataclass
class _Will:
    """What one process shall do."""

    lives: int = 0
    signals: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    stopping: bool = False


class Directory:
    """See the module.

    Args:
      folder: the run's.
      keys: role -> the keys that its machine needs, as `Luggage` has them.
      environ: variables that all processes of the run share.
      clock: seconds, monotonic.
    """

    def __init__(
        self,
        folder: Path,
        experiment: Experiment,
        keys: Mapping[str, Mapping[str, bytes]],
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._experiment = experiment
        self._keys = keys
        self._environ = environ
        self._clock = clock
        self._posts: dict[str, _Post] = {}
        self._wills: dict[str, _Will] = {}
        self._actors = experiment.actor.processes

    # Supervisors ask these.

    def join(self, name: str, role: str, arrival: Arrival) -> Luggage:
        """A supervisor has its place; whoever had it before is not heard any more."""
        before = self._posts.get(name)
        self._posts[name] = _Post(arrival, self._clock(), 0 if before is None else before.moves + 1)
        return Luggage(
            self._folder.name, self._experiment, self._files(role), self._keys.get(role, {}), self._environ
        )

    def report(self, name: str, supervisor: str, report: Report) -> Orders | None:
        """How a process does; what it shall do, or None where another supervisor has its place, or nobody."""
        post, will = self._posts.get(name), self._will(name)
        if post is None or post.arrival.supervisor != supervisor:
            return None
        post.report, post.heard = report, self._clock()
        # Whoever was placed anew while all is being stopped starts nothing any more.
        lives = report.lives if will.stopping else will.lives
        orders = Orders(lives, tuple(will.signals), tuple(will.lines), self._addresses())
        will.signals.clear()
        will.lines.clear()
        return orders

    def log(self, name: str, supervisor: str, text: bytes) -> None:
        """What a process has written since."""
        if self._has_place(name, supervisor):
            with (self._folder / LOGS / f"{name}.log").open("ab") as log:
                log.write(text)

    def keep(self, name: str, supervisor: str, role: str, path: str, content: bytes | None) -> None:
        """A file of a process has changed; without a content it has gone.

        Raises:
          ValueError: no process of that role has such a file.
        """
        told = PurePosixPath(path)
        if told.is_absolute() or ".." in told.parts or not any(told.match(pattern) for pattern in KEPT[role]):
            raise ValueError(f"a {role} has no file {path}")
        if not self._has_place(name, supervisor):
            return
        target = self._folder / path
        if content is None:
            target.unlink(missing_ok=True)
            return
        target.parent.mkdir(exist_ok=True)
        write_whole(target, content)

    # The launcher asks these.

    def start(self, name: str) -> None:
        """The process shall start, or start again."""
        self._will(name).lives += 1

    def signal(self, name: str, number: int) -> None:
        """The process shall get a signal; after SIGTERM it is not started any more."""
        will = self._will(name)
        will.signals.append(number)
        will.stopping |= number == signal.SIGTERM

    def tell(self, name: str, line: str) -> None:
        """The process shall read a line from its lifeline."""
        self._will(name).lines.append(line)

    def remove(self, name: str) -> None:
        """The process is none of the run's any more."""
        self._posts.pop(name, None)
        self._wills.pop(name, None)

    def picture(self) -> Picture:
        """How everything stands."""
        now = self._clock()
        seats = {
            name: Seat(post.arrival.node, post.moves, post.report, now - post.heard)
            for name, post in self._posts.items()
        }
        return Picture(seats, self._addresses(), self._actors)

    # Anybody asks this.

    def want_actors(self, number: int) -> int:
        """So many actor processes are wanted from now on; how many there were to be before."""
        before, self._actors = self._actors, number
        return before

    def _will(self, name: str) -> _Will:
        return self._wills.setdefault(name, _Will())

    def _has_place(self, name: str, supervisor: str) -> bool:
        post = self._posts.get(name)
        return post is not None and post.arrival.supervisor == supervisor

    def _addresses(self) -> dict[str, tuple[str, ...]]:
        return {name: post.arrival.addresses for name, post in self._posts.items() if post.arrival.addresses}

    def _files(self, role: str) -> dict[str, bytes]:
        pattern = _GOES_ON_FROM.get(role)
        newest = sorted(self._folder.glob(pattern))[-1:] if pattern else []
        paths = [self._folder / RUN, *newest]
        return {path.relative_to(self._folder).as_posix(): path.read_bytes() for path in paths}
