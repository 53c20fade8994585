"""What is shown and summed up of a run."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from corral.launch.progress import Goal, Progress
from corral.launch.settings import RunSettings
from corral.launch.summary import result_line, summarize
from corral.launch.view import PlainView, render

RUN = RunSettings(name="cartpole", target_return=475.0, max_env_steps=1000)
SERVER = {
    "ready": True,
    "env_steps": 100,
    "steps_per_s": 31_234.5,
    "mean_batch": 48.25,
    "latency_p50_ms": 0.75,
    "latency_p99_ms": 1.5,
    "policy_version": 6,
    "last_errors": [],
}
LEARNER = {"env_steps": 12_100, "mean_return": 95.0, "policy_lag_p50": 2.0, "policy_version": 7}


def progress(server=SERVER, learner=LEARNER, run=RUN) -> Progress:
    return Progress(run, 10.0, server, learner)


@pytest.mark.parametrize(
    ("server", "learner", "state"),
    [
        ({}, {}, "starting"),
        ({}, LEARNER, "warming"),
        ({**SERVER, "ready": False}, LEARNER, "warming"),
        (SERVER, LEARNER, "training"),
    ],
)
def test_states(server, learner, state) -> None:
    assert progress(server, learner).state == state


def test_the_learner_counts_steps_and_returns() -> None:
    assert progress().env_steps == 12_100
    assert progress(learner={}).env_steps == 100
    assert progress().mean_return == 95.0


def test_no_episode_has_no_return() -> None:
    assert (
        progress({**SERVER, "episodes": 0, "mean_return": 0.0}, {"episodes": 0, "mean_return": 0.0}).mean_return
        is None
    )


def test_a_complaint_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    view = PlainView()
    for _ in range(2):
        view.show(progress({**SERVER, "last_errors": ["SPEC: wrong"]}, {"last_refusal": "not finite"}))
    out = capsys.readouterr().out
    assert out.count("SPEC: wrong") == out.count("not finite") == 1


def test_the_way_to_the_target() -> None:
    assert progress().fraction == 95.0 / 475.0
    assert progress(learner={"mean_return": 500.0}).fraction == 1.0
    assert progress(learner={"mean_return": float("nan")}).fraction == 0.0
    assert progress(run=RunSettings(max_env_steps=24_200)).fraction == 0.5


def test_a_plain_line_holds_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    PlainView().show(progress())
    assert capsys.readouterr().out == (
        "  10.0 s  training  12,100 steps  31,234 steps/s  batch 48.2  latency p50 0.8 ms  p99 1.5 ms  "
        "policy 7  lag 2.0  return 95.0\n"
    )


def test_a_plain_line_at_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    PlainView().show(progress({}, {}))
    assert capsys.readouterr().out == "  10.0 s  starting\n"


@pytest.mark.parametrize(
    "figures", [({}, {}), (SERVER, LEARNER), ({**SERVER, "last_errors": ["[oops] x"]}, LEARNER)]
)
def test_the_live_view_can_be_drawn(figures) -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=False)
    console.print(render(progress(*figures)))
    text = console.file.getvalue()
    assert "cartpole" in text
    assert "of 475" in text
    if figures[0].get("last_errors"):
        assert "[oops] x" in text


def test_the_summary_prefers_what_the_learner_left() -> None:
    result = {"solved": True, "mean_return": 476.0, "env_steps": 500, "policy_version": 9, "policy_lag_p50": 1.0}
    assert summarize(progress(), result) == {
        "solved": True,
        "mean_return": 476.0,
        "env_steps": 500,
        "wall_s": 10.0,
        "env_steps_per_s": 50.0,
        "policy_version": 9,
        "policy_lag_p50": 1.0,
        "mean_batch": 48.25,
        "latency_p50_ms": 0.75,
        "latency_p99_ms": 1.5,
        "restarts": 0,
        "verdict": None,
        "seed": 0,
    }


def test_the_summary_without_anything() -> None:
    summary = summarize(progress({}, {}), {})
    assert summary["solved"] is False
    assert summary["env_steps"] == 0
    assert summary["mean_return"] is None
    line = result_line(summary, "stopped", Path("runs/x"))
    assert line == "stopped: no episode ended after 0 steps in 10.0 s (0 steps/s); logs runs/x/logs/"


def test_the_result_says_where_things_are(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "policy.keras").touch()
    line = result_line(summarize(progress(), {"solved": True}), "solved", tmp_path)
    assert line.endswith(f"; policy {tmp_path}/policy.keras, checkpoints {tmp_path}/checkpoints/")


LONG = RunSettings(name="cartpole", max_env_steps=100_000)
FAST = {**SERVER, "rows_per_s": 1000.0}


def shown(state: Progress) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(render(state))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_step_limit_is_so_far_away_as_the_speed_says() -> None:
    state = progress(FAST, run=LONG)
    assert state.left_s == pytest.approx((100_000 - 12_100) / 1000)
    assert "12,100 of 100,000 steps, about 88 s left" in shown(state)


def test_towards_a_target_only_the_most_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    state = progress(FAST, run=RunSettings(target_return=475.0, max_env_steps=100_000))
    assert "mean return 95.0 of 475, at most 88 s left" in shown(state)
    PlainView().show(state)
    assert "left" not in capsys.readouterr().out


def test_plain_lines_say_how_long_to_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    PlainView().show(progress(FAST, run=LONG))
    assert capsys.readouterr().out.rstrip().endswith("about 88 s left")


def test_nobody_knows_how_long_before_training() -> None:
    assert progress({**FAST, "ready": False}, run=LONG).left_s is None
    assert progress({**FAST, "rows_per_s": 0.0}, run=LONG).left_s is None
    assert progress(FAST, {**LEARNER, "env_steps": 99}, run=LONG).left_s is None
    assert progress(FAST, {**LEARNER, "env_steps": 100}, run=LONG).left_s is not None


def test_another_goal_takes_the_place_of_target_and_limit() -> None:
    state = Progress(RUN, 10.0, FAST, LEARNER, goal=Goal("3 of 12 injuries", 0.25, 90.0))
    assert state.fraction == 0.25
    assert "3 of 12 injuries, about 90 s left" in shown(state)
