from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]

EXPERIMENT = """
[run]
name = "fake"
target_return = 475.0
folder = "{folder}"
[environment]
id = "CartPole-v1"
[actor]
processes = 2
"""


def wait_for(holds: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """The first true value of `holds()`."""
    deadline = time.monotonic() + seconds
    while True:
        value = holds()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {seconds} s in vain: {what}"
        time.sleep(0.01)


def runs(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class FakeRun:
    """A launcher with fake roles in a process of its own, and all that can be known of it from outside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "runs"
        self.sockets = folder / "tmp"
        self.summary = folder / "out" / "summary.json"
        self.process: subprocess.Popen[str] | None = None
        self.seen: set[int] = set()
        self.experiment = folder / "fake.toml"
        self.experiment.write_text(EXPERIMENT.format(folder=self.folder))
        self.folder.mkdir()
        self.sockets.mkdir()

    def start(self, **plan: Any) -> FakeRun:
        return self._start([str(self.experiment), str(self.summary)], plan)

    def resume(self, folder: Path, options: list[str] | None = None, **plan: Any) -> FakeRun:
        """Go on with the run in `folder`, with "key=value" texts over its own configuration."""
        return self._start(
            [str(folder / "experiment.json"), str(self.summary), str(folder), *(options or [])], plan
        )

    def _start(self, arguments: list[str], plan: dict[str, Any]) -> FakeRun:
        (self.folder / "plan.json").write_text(
            json.dumps({name.replace("_", "-"): value for name, value in plan.items()})
        )
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fake_run.py")), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(self.sockets), "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
        return self

    @property
    def run_folder(self) -> Path:
        return next(path for path in self.folder.iterdir() if path.is_dir())

    def pid(self, name: str, but: int | None = None) -> int:
        """The process id of a role that has begun (`but`: of its successor)."""

        def look() -> int | None:
            try:
                pid = int((self.run_folder / "pids" / name).read_text())
            except (StopIteration, FileNotFoundError):
                return None
            return pid if pid != but else None

        pid = wait_for(look, f"{name} has begun")
        self.seen.add(pid)
        return pid

    def all_pids(self) -> list[int]:
        return [self.pid(name) for name in ("server", "learner", "actor-0", "actor-1")]

    def result(self) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        assert self.process is not None
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err

    def read_summary(self) -> dict[str, Any]:
        summary = json.loads(self.summary.read_text())
        assert summary == json.loads((self.run_folder / "summary.json").read_text())
        return summary

    def assert_nothing_is_left(self) -> None:
        wait_for(lambda: not [pid for pid in self.seen if runs(pid)], "every process has ended")
        wait_for(lambda: not list(self.sockets.iterdir()), "the socket folder is gone")


@pytest.fixture
def fake_run(tmp_path: Path) -> Iterator[FakeRun]:
    run = FakeRun(tmp_path)
    yield run
    for pid in [*run.seen, *([run.process.pid] if run.process else [])]:
        if runs(pid):
            os.kill(pid, signal.SIGKILL)
