"""What holds a run back, in five situations made for real: processes, sockets, and one thing that is slow."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from actor_client import ActorSession, ActorSettings
from corral.protocol import fetch_status
from corral.telemetry.verdict import Bound, Verdict, judge
from tests.support.bad_network import BadNetwork
from tests.support.processes import process, until
from tests.support.scripted_agent import ScriptedAgent

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]

WATCHED_S = 6.0
"""Actors tell of their time every two seconds."""


class Situation:
    """A server with a scripted model, a learner and two actors, all of them quick unless it is said otherwise."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._stack = stack
        self.server, self.unrolls, self.weights = (f"ipc://{folder}/{name}" for name in ("s", "u", "w"))
        self.actors_address = self.server

    def begin(self, *, mode: str = "SAME_STEP", pause_s: float = 0.0, **server: Any) -> None:
        told = {"sleep_ms": 1, "max_size": 8, "slots": 64} | server
        places = (self.server, self.unrolls, self.weights)
        self._start("tests.support.idle_learner", self.unrolls, self.weights, "4", str(pause_s))
        self._start("tests.support.slow_server", *places, json.dumps(told))
        for _ in range(2):
            self._start("tests.support.scripted_actor", self.actors_address, mode, "4", "30")
        until(lambda: self.figures().get("actor_requests", 0) > 0, 60, "actors that have told of their time")

    def _start(self, *arguments: str) -> None:
        self._stack.enter_context(process("-m", *arguments))

    def figures(self) -> dict[str, Any]:
        return fetch_status(self.server) or {}

    def top(self, *options: str, where: str = "") -> str:
        """What `corral top` prints."""
        command = [sys.executable, "-m", "corral.cli", "top", where or self.server, *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    def verdict(self) -> Verdict:
        """Of some seconds in which it went on."""
        before = self.figures()
        until(lambda: self.figures()["uptime_s"] > before["uptime_s"] + WATCHED_S, 30, "time to pass")
        found = judge(self.figures(), {}, before)
        assert found is not None
        print(found.sentence, found.shares)
        assert sum(found.shares.values()) == pytest.approx(1.0)
        return found


@pytest.fixture
def stack() -> Any:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def situation(tmp_path: Path, stack: ExitStack) -> Situation:
    return Situation(tmp_path, stack)


def test_slow_environments(situation: Situation) -> None:
    situation.begin(mode="SLEEPY:0.01")  # four steps of 10 ms, one after the other
    found = situation.verdict()
    assert found.bound is Bound.ENVIRONMENT
    assert found.shares[Bound.ENVIRONMENT] > 0.7
    assert found.setting == "actor.processes"
    # The same from the terminal: for programs, and for people.
    lines = situation.top("--json", "--looks", "5", "--every", "0.5").splitlines()
    assert len(lines) == 5
    last = json.loads(lines[-1])
    assert last["verdict"]["bound"] == "environment-bound"
    assert last["server"]["actors"] == len(last["server"]["actor_table"]) == 2
    assert all(row["environment_share"] > 0.5 for row in last["server"]["actor_table"])
    text = situation.top("--looks", "5", "--every", "0.5", "--actors", "1")
    assert "environment-bound: actors spend" in text
    assert "and 1 more" in text
    assert (
        json.loads(situation.top("--json", "--looks", "1", where=situation.unrolls))["learner"]["role"] == "learner"
    )


def test_a_delayed_link(situation: Situation, stack: ExitStack, tmp_path: Path) -> None:
    situation.actors_address = f"ipc://{tmp_path}/far"
    stack.enter_context(
        BadNetwork(
            situation.actors_address, situation.server, drop=0, double=0, hold=0, delay=1, delay_s=0.06, seed=1
        )
    )
    situation.begin()
    found = situation.verdict()
    assert found.bound is Bound.NETWORK
    assert found.shares[Bound.NETWORK] > 0.6
    assert "messages under way" in found.sentence


def test_a_long_timeout(situation: Situation, stack: ExitStack) -> None:
    # Somebody who has a session and does not step: nobody knows whether more will come, and batches wait.
    situation.begin(timeout_us=40_000, max_size=16)
    spec = ScriptedAgent().spec
    assert spec.action is not None
    idle = ActorSession(situation.server, spec.observation, spec.action, ActorSettings(), environments=1)
    stack.callback(idle.leave)
    idle.join()
    found = situation.verdict()
    assert found.bound is Bound.BATCH
    assert found.shares[Bound.BATCH] > 0.6
    assert found.setting == "server.batching.timeout_us"


def test_a_heavy_model(situation: Situation) -> None:
    situation.begin(sleep_ms=40)
    found = situation.verdict()
    assert found.bound is Bound.ENGINE
    assert found.shares[Bound.ENGINE] > 0.6


def test_a_slow_learner(situation: Situation) -> None:
    situation.begin(pause_s=0.5)
    found = situation.verdict()
    assert found.bound is Bound.LEARNER
    assert found.shares[Bound.LEARNER] > 0.6


def test_a_slow_learner_for_which_nobody_waits(situation: Situation) -> None:
    situation.begin(pause_s=0.5, when_full="shed")
    found = situation.verdict()
    assert found.bound is Bound.LEARNER
    assert "of the unrolls are never trained on" in found.sentence
