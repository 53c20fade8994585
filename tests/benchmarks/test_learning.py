"""What is kept of learning runs, what is made of it, and its intervals, from folders of runs that never were."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.scripts import load_script
from tests.support.command import ROOT

intervals, learning = load_script("intervals"), load_script("learning")
listing, records, report = (
    load_script("learning_list"),
    load_script("learning_records"),
    load_script("learning_report"),
)


def metrics(*points: tuple[float, float, float, float]) -> str:
    """Lines of `(time, elapsed_s, env_steps, mean_return)`, of a learner that waits half the time."""
    names = ("time", "elapsed_s", "env_steps", "mean_return")
    lines = [dict(zip(names, point, strict=True)) for point in points]
    for line in lines:
        up = line["elapsed_s"]
        line |= {
            "learner/uptime_s": up,
            "learner/wait_s": up / 2,
            "learner/policy_lag": 2.0,
            "server/engine_s": up / 10,
        }
        line |= {"actors/environment_s": up, "actors/wait_s": up * 3}
    return "".join(json.dumps(line) + "\n" for line in lines)


def run_of_two_sittings(place: Path) -> Path:
    """Killed after 200 steps, of which the last 50 were in no checkpoint, and gone on with to its target."""
    folder = place / "cartpole-1"
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    first = metrics((1010, 10, 100, 20.0), (1020, 20, 150, 30.0), (1030, 30, 200, 40.0))
    second = metrics((2008, 8, 160, 35.0), (2016, 16, 300, 90.0))
    (folder / "metrics.jsonl").write_text(first + second + '{"half a li')
    (folder / "run.json").write_text(json.dumps({"starts": [{"git_commit": "abc"}, {"git_commit": "def"}]}))
    result = {"solved": True, "env_steps": 300, "training_steps": 30, "mean_return": 90.0}
    (folder / "result.json").write_text(json.dumps(result))
    evaluation = {"time": 1025, "seconds": 4.6, "mean_return": 33.0, "standard_error": 1.5}
    (folder / "evaluations.jsonl").write_text(json.dumps(evaluation) + "\n")
    return folder


def record(tmp_path: Path, **changes: Any) -> Any:
    folder = tmp_path / "runs" / "cartpole_vtrace-0"
    if not folder.exists():
        run_of_two_sittings(folder)
    made = records.record_of(folder / "cartpole-1", "cartpole_vtrace", 0, "corral run it", {}, {})
    return type(made)(**{**made.__dict__, **changes})


def test_a_record_counts_all_sittings(tmp_path: Path) -> None:
    kept = record(tmp_path)
    assert (kept.finished, kept.solved, kept.steps, kept.training_steps) == (True, True, 300, 30)
    assert kept.wall_s == 46.0  # 30 and 16
    assert kept.resumptions == 1
    assert kept.git_commit == "abc"
    # The 50 steps that were lost are in no curve, their seconds are.
    assert [point[:3] for point in kept.curve] == [
        [100, 10, 20.0],
        [150, 20, 30.0],
        [160, 38, 35.0],
        [300, 46, 90.0],
    ]
    assert kept.evaluations == [[150, 33.0, 1.5]]  # its policy was taken at 1020.4
    assert kept.shares == {"learning": 0.5, "model": 0.1, "environments": 0.25, "evaluation": 0.1}


def test_a_sitting_that_ends_sooner_than_the_next_one_tells_counts_too(tmp_path: Path) -> None:
    folder = run_of_two_sittings(tmp_path / "runs" / "cartpole_vtrace-0")
    (folder / "metrics.jsonl").write_text(metrics((1005, 5, 50, 20.0), (2008, 8, 160, 35.0)))
    kept = record(tmp_path)
    assert kept.wall_s == 13.0  # 5 and 8
    assert [point[:2] for point in kept.curve] == [[50, 5], [160, 13]]


def test_a_record_that_was_written_is_read_the_same(tmp_path: Path) -> None:
    kept = record(tmp_path, greedy={"episodes": 5, "mean_return": 100.0, "standard_error": None})
    assert kept.write(tmp_path / "kept") == tmp_path / "kept" / "cartpole_vtrace-0.json"
    assert records.read_records(tmp_path / "kept") == [kept]


def test_a_run_that_was_killed_has_not_finished(tmp_path: Path) -> None:
    folder = run_of_two_sittings(tmp_path / "runs" / "cartpole_vtrace-0")
    (folder / "result.json").unlink()
    kept = record(tmp_path)
    assert not kept.finished
    assert (kept.steps, kept.mean_return) == (300, 90.0)
    (folder / "result.json").write_text(json.dumps({"stopped": True, "solved": False, "env_steps": 300}))
    assert not record(tmp_path).finished


def test_curves_are_thinned_to_their_ends() -> None:
    assert records.thinned([1, 2, 3], 3) == [1, 2, 3]
    assert records.thinned(list(range(101)), 5) == [0, 25, 50, 75, 100]
    assert records.thinned([], 5) == []


@pytest.mark.parametrize(
    ("solved", "of", "interval"),
    [(10, 10, (0.7225, 1.0)), (0, 10, (0.0, 0.2775)), (5, 10, (0.2366, 0.7634)), (0, 0, (0.0, 1.0))],
)
def test_an_interval_of_a_share(solved: int, of: int, interval: tuple[float, float]) -> None:
    assert intervals.wilson(solved, of) == pytest.approx(interval, abs=1e-4)


def test_an_interval_of_a_median() -> None:
    assert intervals.median_interval([1.0, 2.0, 3.0, 4.0]) is None
    assert intervals.median_interval([7.0] * 5) == (7.0, 7.0)
    low, high = intervals.median_interval([float(value) for value in range(1, 10)]) or (0, 0)
    # The median of nine draws is at most the k-th value where five of them are: with a probability of 0.1 % for the
    # first, of 3.0 % for the second (binomial, k / 9). So the 2.5 % point is the second.
    assert (low, high) == (2.0, 8.0)


def test_the_report_is_made_of_records_alone(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for seed, steps in enumerate([300, 320, 310, 330, 340]):
        record(tmp_path, seed=seed, steps=steps, solved=seed != 1).write(kept)
    page = tmp_path / "page.md"
    page.write_text("# Page\n\nWords.\n")
    report.write_report(page, kept)
    text = page.read_text()
    assert text.startswith("# Page\n\nWords.\n\n<!-- learning:cartpole:begin -->")
    assert "- V-trace: `corral run it`" in text
    assert "| 1 | at its limit | 320 | 30 | 46 s | 1 | 90.0 | - | - | 2.0, 2.0, 2.0 | 50 %, 10 %, 25 %" in text
    assert "| V-trace | 4 of 5 | 38 to 96 % | 320 | 46 |" in text
    assert (kept / "cartpole.png").stat().st_size > 10_000
    report.write_report(page, kept)
    assert page.read_text() == text


def test_what_is_published_is_compared_at_the_same_steps(tmp_path: Path) -> None:
    made = record(tmp_path)
    run = listing.Run("cartpole_vtrace", "V-trace", "cartpole.toml")
    curve = listing.Reference(
        "cartpole", run.name, "theirs", "https://example.org", [(100, 10.0), (155, 50.0), (900, 99.0)]
    )
    # Between two points of the curve, and beyond its end.
    line = report._compared([run], {run.name: [type(made)(**{**made.__dict__, "evaluations": []})]}, [curve])
    assert (
        "| V-trace | [theirs](https://example.org) | 155 | 50.0 | 155 | 32.5 (training episodes) | -17.5 |" in line
    )
    later = curve._replace(points=[(900, 99.0)])
    line = report._compared([run], {run.name: [made]}, [later])
    assert "| 900 | 99.0 | 300 | 33.0 (greedy, beside training) | -66.0 |" in line


def test_every_run_has_its_experiment_and_every_reference_its_run() -> None:
    runs = {run.name: task.name for task in listing.TASKS for run in task.runs}
    assert len(runs) == sum(len(task.runs) for task in listing.TASKS)
    for task in listing.TASKS:
        for run in task.runs:
            assert (ROOT / "examples" / run.example).is_file()
    for each in listing.references():
        assert runs[each.run] == each.task
        assert each.source.startswith("https://")
        assert [point[0] for point in each.points] == sorted({point[0] for point in each.points})


def test_a_list_says_how_far_each_has_come(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path).write(tmp_path / "kept")
    places = ["--runs", str(tmp_path / "runs"), "--records", str(tmp_path / "kept")]
    assert learning.main(["--list", "--only", "cartpole_vtrace", *places]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "cartpole_vtrace 0: finished at 300 steps after 1 min: 90.0"
    assert told[2] == "cartpole_vtrace 1: has not begun"
    assert learning.main(["--list", "--only", "cartpole_trace", *places]) == 2
    assert "no such run: cartpole_trace" in capsys.readouterr().err


FAKE = """
import json, pathlib, signal, sys, time

signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
sys.path.insert(0, {root!r})
from tests.benchmarks.test_learning import metrics, run_of_two_sittings

words = sys.argv[1:]
if words[0] == "evaluate":
    figures = dict(episodes=100, mean_return=480.0, standard_error=2.0, min_return=9.0, max_return=500.0, seed=0)
    print(json.dumps(figures | dict(mean_return=499.0) if "--best" in words else figures))
elif "--resume" in words:
    folder = pathlib.Path(words[words.index("--resume") + 1])
    run_of_two_sittings(folder.parent)
    (folder / "best_policy.keras").touch()
else:
    folder = pathlib.Path(words[words.index("--folder") + 1]) / "cartpole-1"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "metrics.jsonl").write_text(metrics((1010, 10, 100, 20.0)))
    (folder / "run.json").write_text(json.dumps(dict(starts=[dict(words=words)])))
    time.sleep(60)
"""


def test_a_run_is_stopped_gone_on_with_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "corral.py"
    script.write_text(FAKE.format(root=str(ROOT)))
    monkeypatch.setattr(learning, "CORRAL", [sys.executable, str(script)])
    run = next(run for task in listing.TASKS for run in task.runs if run.name == "cartpole_a2c")
    sitting = learning.Sitting(run, 3, tmp_path / "runs", tmp_path / "kept")
    for seconds in (2, 4, 8, 16, 32):  # as long as it takes to begin
        assert not sitting.sit(seconds, ["--set", "run.max_env_steps=9"])
        if sitting.folder is not None:
            break
    words = json.loads((sitting.folder / "run.json").read_text())["starts"][0]["words"]
    assert words[:4] == ["run", "examples/cartpole.toml", "--seed", "3"]
    assert words[4:8] == ["--set", "agent.name=a2c", "--set", "run.max_env_steps=9"]
    stopped = sitting.record
    assert (stopped.finished, stopped.steps, stopped.greedy) == (False, 100, {})
    assert sitting.sit(60, [])
    ended = sitting.record
    assert (ended.finished, ended.steps, ended.resumptions) == (True, 300, 1)
    assert (ended.greedy["mean_return"], ended.best["mean_return"]) == (480.0, 499.0)
    began = "corral run examples/cartpole.toml --seed 3 --set agent.name=a2c --set run.max_env_steps=9"
    assert ended.command == stopped.command == began
