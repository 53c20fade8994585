"""What hits processes: real ones, with real signals; what they say of themselves is played."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import psutil

from corral.chaos.companion import PATIENCE_S, Chaos
from corral.chaos.plan import Plan, kinds_of
from corral.launch.processes import Child
from corral.launch.progress import Goal
from tests.support.processes import until


class Stage:
    """A server that sleeps, a clock that is moved by hand, and figures as the test has them."""

    def __init__(self, folder: Path, kinds: str, kills: int = 0) -> None:
        lock = os.open(folder / "lock", os.O_CREAT)
        self.child = Child("server", ["sleep", "60"], folder / "log", grace_s=1, lock=lock)
        self.child.start()
        os.close(lock)
        self.now = 0.0
        self.figures: dict[str, dict[str, Any]] = {}
        self.notes: list[str] = []
        self.chaos = Chaos(
            Plan(1, 1.0, kinds_of(kinds), 10.0),
            minutes=1,
            kills=kills,
            environments=2,
            target=9.0,
            clock=lambda: self.now,
        )
        self.chaos.begin(folder, {"server": self.child}, self.figures, self.notes.append)

    def say(self, identity: str, steps: int, mean_return: float = 1.0) -> None:
        counts = dict.fromkeys(
            ("rows", "env_steps", "steps_accepted", "steps_dropped", "steps_underway", "unrolls_accepted",
             "unrolls_shed", "traces", "steps_lost"), 0
        )  # fmt: skip
        common = {"epoch": 1, "policy_version": 1, "ready": True, "training_steps": steps, "environments": 2}
        common["uptime_s"] = self.now
        trained = {"mean_return": mean_return, "episodes": 100, "errors": {}, "last_errors": []}
        self.figures["server"] = self.figures["learner"] = counts | common | trained | {"identity": identity}

    @property
    def stopped(self) -> bool:
        """Whether the process is."""
        return psutil.Process(self.child.pid).status() == psutil.STATUS_STOPPED


def test_it_kills_until_it_has_killed_enough_and_all_is_well(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "kill", kills=1)
    try:
        assert not stage.chaos.look()
        stage.now = 20.0
        assert not stage.chaos.look()
        assert not stage.chaos.injuries  # nobody is hit before all have worked
        assert stage.chaos.goal() is None
        stage.say("a", 1)
        stage.chaos.look()
        stage.now = 50.0
        assert not stage.chaos.look()
        assert stage.notes == ["1: server is killed"]
        assert stage.chaos.goal() == Goal("1 of 1 injuries", 1.0, 0.0)
        until(lambda: stage.child.poll() == -signal.SIGKILL, what="its end")
        assert not stage.chaos.look()  # it has not recovered
        stage.now = 53.0
        stage.say("b", 2, mean_return=9.5)
        assert stage.chaos.look()
        assert [(each.injury.kind, each.seconds) for each in stage.chaos.recoveries] == [("kill-server", 3.0)]
        assert stage.chaos.solved_s == 53.0
        assert not stage.chaos.invariants.broken
    finally:
        stage.child.kill()


def test_what_is_frozen_thaws_and_nobody_stays_frozen_at_the_end(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "freeze")
    try:
        stage.say("a", 1)
        stage.chaos.look()
        stage.now = 20.0
        stage.chaos.look()
        until(lambda: stage.stopped, what="a stopped process")
        assert stage.chaos.goal() == Goal("1 injuries in 0.3 of 1 min", 20 / 60, 40.0)
        stage.now = 20.0 + stage.chaos.injuries[0].frozen_s
        assert not stage.chaos.look()
        until(lambda: not stage.stopped, what="one that goes on")
        stage.say("a", 2)
        stage.now = 55.0
        stage.chaos.look()
        assert len(stage.chaos.recoveries) == 1
        until(lambda: stage.stopped, what="another stop")
        stage.chaos.end()
        until(lambda: not stage.stopped, what="one that goes on")
    finally:
        stage.child.kill()


def test_whoever_does_not_recover_ends_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "kill")
    try:
        stage.say("a", 1)
        stage.chaos.look()
        stage.now = 20.0
        stage.chaos.look()
        stage.now = 21.0 + PATIENCE_S
        assert stage.chaos.look()
        assert "kill-server" in stage.chaos.invariants.broken["comes back"]
    finally:
        stage.child.kill()
