"""SIGTERM at a random moment, to each kind of process and to a whole run: it ends in order, and leaves nothing."""

from __future__ import annotations

import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.command import Workplace, workplace
from tests.support.processes import Process, process

pytestmark = pytest.mark.long

TURNS = 12
LATEST_S = 9.0
"""What a process does in its first seconds differs most: it imports, binds, compiles, greets, and then works."""
LIMITS_S = {"server": 5 + 2, "learner": 15, "actor": 5}
"""Seconds from the signal to the end: the drain; a compilation and a checkpoint; a step."""
BEGUN = 1.0
"""Seconds until a process has surely taken the signal over: before, it dies of it, and has nothing to take away."""


def seeds(turns: int) -> list[int]:
    return list(range(turns))


class Roles:
    """A server, a learner and an actor of one experiment, by hand, on sockets in a folder of the test's own."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        self.sockets = {name: folder / name for name in ("server", "unrolls", "weights")}
        self.of = {"server": ["server"], "learner": ["unrolls", "weights"], "actor": []}

    def start(self, role: str) -> Process:
        addresses = {name: f"ipc://{path}" for name, path in self.sockets.items()}
        return self._stack.enter_context(
            process(
                "-m", "corral.cli", role, "examples/cartpole.toml", "--set", "run.target_return=1000",
                *(("--run-folder", str(self.folder / "run")) if role == "learner" else ()),
                CORRAL_SERVER__ADDRESS=addresses["server"],
                CORRAL_LEARNER__UNROLLS_ADDRESS=addresses["unrolls"],
                CORRAL_LEARNER__WEIGHTS_ADDRESS=addresses["weights"],
            )
        )  # fmt: skip


@pytest.fixture
def roles() -> Iterator[Roles]:
    with tempfile.TemporaryDirectory(prefix="corral-test-") as folder, ExitStack() as stack:
        yield Roles(Path(folder), stack)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("role", ["server", "learner", "actor"])
def test_a_process_ends_in_order_whenever_it_is_asked(roles: Roles, role: str) -> None:
    others = [roles.start(other) for other in ("server", "learner", "actor") if other != role]
    longest = 0.0
    for seed in seeds(TURNS):
        victim = roles.start(role)
        moment = random.Random(seed).uniform(0.0, LATEST_S)
        time.sleep(moment)  # the moment is the matter of this test, and no condition
        assert victim.popen.poll() is None, f"seed {seed}: it ended by itself:\n{victim.output}"
        begun = time.monotonic()
        code = victim.end(LIMITS_S[role] + 20)
        longest = max(longest, time.monotonic() - begun)
        told = f"seed {seed}, after {moment:.2f} s: exit code {code}\n{victim.output}"
        assert code == 0 or (code == -signal.SIGTERM and moment < BEGUN), told
        assert "Traceback" not in victim.output, told
        assert not [name for name in roles.of[role] if roles.sockets[name].exists()], told
    print(f"{role}: {TURNS} times; the longest took {longest:.1f} s")
    assert longest < LIMITS_S[role]
    assert [other.popen.poll() for other in others] == [None, None], [other.output for other in others]


@pytest.mark.timeout(600)
def test_a_run_ends_in_order_whenever_it_is_asked() -> None:
    longest = 0.0
    for seed in seeds(TURNS):
        with workplace() as place:
            moment = random.Random(seed).uniform(0.0, LATEST_S)
            longest = max(longest, end_a_run(place, moment, f"seed {seed}, after {moment:.2f} s"))
    print(f"corral run: {TURNS} times; the longest took {longest:.1f} s")


def end_a_run(place: Workplace, moment: float, told: str) -> float:
    """How many seconds a run takes to end that is asked to after so many seconds."""
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(
        ["corral", "run", "examples/cartpole.toml", "--set", "run.target_return=1000"],
        cwd=place.folder, env=place.environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
    ) as run:  # fmt: skip
        time.sleep(moment)
        begun = time.monotonic()
        run.terminate()
        try:
            code = run.wait(60)
        finally:
            run.kill()
        took = time.monotonic() - begun
        said.seek(0)
        output = said.read()
    assert code in (128 + signal.SIGTERM, -signal.SIGTERM), f"{told}: exit code {code}\n{output}"
    assert "Traceback" not in output, f"{told}\n{output}"
    assert place.leftovers() == [], f"{told}\n{output}"
    return took
