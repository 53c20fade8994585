"""The launcher's side of a trace, with real processes and a clock of the test's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from corral.launch.processes import Child, end
from corral.launch.progress import Progress
from corral.launch.run_trace import RunTrace
from corral.launch.settings import RunSettings
from tests.launch.conftest import ROOT, wait_for
from tests.support.trace import Trace


class JumpingClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def jump(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Child]]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    script = str(Path(__file__).with_name("working_role.py"))
    with (tmp_path / "lock").open("w") as lock:
        made = {
            name: Child(
                name, [sys.executable, script, name], tmp_path / f"{name}.log", grace_s=5, lock=lock.fileno()
            )
            for name in ("one", "two")
        }
        for child in made.values():
            start(child)
        yield made
        end(made.values())


def start(child: Child) -> None:
    begun = child.log.read_text().count("works") if child.log.exists() else 0
    child.start()
    wait_for(lambda: child.log.exists() and child.log.read_text().count("works") > begun, "the child works")


def progress(training_steps: int, ready: bool = True) -> Progress:
    return Progress(RunSettings(), 1.0, {"ready": ready}, {"training_steps": training_steps})


def test_it_begins_when_all_work_and_is_joined_when_all_have_written(
    children: dict[str, Child], tmp_path: Path
) -> None:
    clock = JumpingClock()
    trace = RunTrace(tmp_path, 0.3, clock)
    # Resumed: steps of an earlier life are no sign of work.
    assert trace.look(children, progress(7, ready=False)) == ""
    assert trace.look(children, progress(7)) == ""
    assert "0.3 s" in trace.look(children, progress(8))
    assert trace.look(children, progress(9)) == ""
    clock.jump(0.4)
    told = wait_for(lambda: trace.look(children, progress(10)), "the trace")
    assert str(tmp_path / "trace.json.gz") in told
    found = Trace(tmp_path / "trace.json.gz")
    assert [each["process"] for each in found.other["processes"]] == ["one", "two"]
    for name in children:
        assert found.line(name, "main").kinds()["work"] > 10
    assert trace.look(children, progress(11)) == ""
    assert trace.end() == ""
    assert not (tmp_path / ".trace").exists()


def test_who_is_killed_is_missing_and_who_comes_after_is_there(children: dict[str, Child], tmp_path: Path) -> None:
    clock = JumpingClock()
    trace = RunTrace(tmp_path, 60.0, clock)
    trace.look(children, progress(0))
    trace.look(children, progress(1))
    killed = children["two"].pid
    children["two"].kill()
    start(children["two"])
    trace.look(children, progress(2))  # it is asked anew
    for name, child in children.items():
        wait_for(lambda child=child: _recording(child), f"{name} records")
    end(children.values())  # long before the 60 s are over: both write what they have
    assert "the trace is in" in trace.end()
    found = Trace(tmp_path / "trace.json.gz")
    pids = {each["process"]: each["pid"] for each in found.other["processes"]}
    assert pids["two"] == children["two"].pid != killed
    assert set(pids) == {"one", "two"}


def _recording(child: Child) -> bool:
    """Whether it has said so in its present life."""
    return "records" in child.log.read_text().rpartition("works")[2]


def test_a_run_that_never_worked_has_no_trace_and_says_so(tmp_path: Path) -> None:
    trace = RunTrace(tmp_path, 1.0)
    assert trace.look({}, progress(0)) == ""
    assert "before all its processes worked" in trace.end()
    assert RunTrace(tmp_path, None).end() == ""
    assert not list(tmp_path.iterdir())
