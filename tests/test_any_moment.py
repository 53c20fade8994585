"""SIGTERM at a random moment, to each kind of process and to a whole run: it ends in order, and leaves nothing."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.command import Workplace, workplace
from tests.support.processes import Process, process, until

pytestmark = pytest.mark.long

TURNS = int(os.environ.get("TURNS", "8"))
LATEST_S = 8.0
"""What a process does in its first seconds differs most: it imports, binds, compiles, greets, and then works."""
PATIENCE_S = 60
"""Until then it must have ended; how long it took at most is printed, and depends on what else the machine does."""


def takes_over(pid: int) -> bool:
    """Whether a process has taken SIGTERM over. Until then it dies of it, and has nothing to take away."""
    (mask,) = re.findall(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


def wait_for_a_moment(seed: int, pid: int) -> float:
    """Sleep until a random moment of a process's life; how long after it had taken SIGTERM over."""
    if seed:
        until(lambda: takes_over(pid), what="a process that can be asked")
    moment = random.Random(seed).uniform(0.0, LATEST_S) if seed else 0.1
    time.sleep(moment)  # the moment is the matter of these tests, and no condition
    return moment


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
    for seed in range(TURNS):
        victim = roles.start(role)
        moment = wait_for_a_moment(seed, victim.popen.pid)
        assert victim.popen.poll() is None, f"seed {seed}: it ended by itself:\n{victim.output}"
        begun, early = time.monotonic(), not takes_over(victim.popen.pid)
        code = victim.end(PATIENCE_S)
        longest = max(longest, time.monotonic() - begun)
        told = f"seed {seed}, after {moment:.2f} s: exit code {code}\n{victim.output}"
        assert code == 0 or (code == -signal.SIGTERM and early), told
        assert "Traceback" not in victim.output, told
        assert not [name for name in roles.of[role] if roles.sockets[name].exists()], told
        print(f"{role}: {seed + 1} times; the longest took {longest:.1f} s", flush=True)
    assert [other.popen.poll() for other in others] == [None, None], [other.output for other in others]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_run_leaves_nothing_whenever_it_is_ended(number: signal.Signals) -> None:
    longest = 0.0
    for seed in range(TURNS):
        with workplace() as place:
            longest = max(longest, end_a_run(place, seed, number))
        print(f"corral run, {number.name}: {seed + 1} times; the longest took {longest:.1f} s", flush=True)


def end_a_run(place: Workplace, seed: int, number: signal.Signals) -> float:
    """How many seconds a run takes to end that gets a signal at a random moment, all of its processes included."""
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(
        ["corral", "run", "examples/cartpole.toml", "--set", "run.target_return=1000"],
        cwd=place.folder, env=place.environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
    ) as run:  # fmt: skip
        told = f"seed {seed}, after {wait_for_a_moment(seed, run.pid):.2f} s"
        begun, early = time.monotonic(), not takes_over(run.pid)
        run.send_signal(number)
        try:
            code = run.wait(PATIENCE_S)
        finally:
            run.kill()
        said.seek(0)
        output = said.read()
    if number == signal.SIGKILL:
        # Its processes notice that it has gone, and end by themselves.
        until(lambda: not place.leftovers(), PATIENCE_S, f"{told}: the end of everything")
    took = time.monotonic() - begun
    in_order = number == signal.SIGTERM and code == 128 + number
    at_once = (number == signal.SIGKILL or early) and code == -number
    assert in_order or at_once, f"{told}: exit code {code}\n{output}"
    assert "Traceback" not in output, f"{told}\n{output}"
    assert place.leftovers() == [], f"{told}\n{output}"
    return took
