"""The launcher, with real processes and real kills; only what the roles do is played."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from tests.launch.conftest import FakeRun, runs, wait_for

FINISH = {"finish": True, "among": 4}


def test_a_solved_run_exits_with_0_and_says_what_was_reached(fake_run: FakeRun) -> None:
    fake_run.start(learner=FINISH)
    fake_run.all_pids()
    code, out, err = fake_run.result()
    assert (code, err) == (0, "")
    last = out.splitlines()[-1]
    assert last.startswith("solved: mean return 480.5 after 12,345 steps in ")
    assert str(fake_run.run_folder) in last
    fake_run.assert_nothing_is_left()


def test_the_summary_holds_what_was_promised(fake_run: FakeRun) -> None:
    fake_run.start(learner=FINISH).result()
    summary = fake_run.read_summary()
    wall_s = summary.pop("wall_s")
    assert 0 < wall_s < 30
    assert summary.pop("env_steps_per_s") == pytest.approx(12_345 / wall_s, rel=1e-2)
    assert summary == {
        "solved": True,
        "mean_return": 480.5,
        "env_steps": 12_345,
        "policy_version": 77,
        "policy_lag_p50": 1.0,
        "mean_batch": 48.25,
        "latency_p50_ms": 0.75,
        "latency_p99_ms": 1.5,
        "restarts": 0,
        "verdict": None,
        "seed": 0,
    }


def with_servers(run: FakeRun, count: int) -> list[str]:
    """Give the run so many servers; the names of all its processes."""
    run.experiment.write_text(f"servers = {count}\n{run.experiment.read_text()}")
    return [*(f"server-{number}" for number in range(count)), "learner", "actor-0", "actor-1"]


def test_several_servers_are_processes_of_the_run_and_add_up(fake_run: FakeRun) -> None:
    names = with_servers(fake_run, 3)
    fake_run.start(learner={"finish": True, "among": len(names)})
    for name in names:
        fake_run.pid(name)
    code, _, err = fake_run.result()
    assert (code, err) == (0, "")
    starts = json.loads((fake_run.run_folder / "run.json").read_text())["starts"]
    addresses = starts[-1]["server_addresses"]
    assert [address.rpartition("/")[2] for address in addresses] == ["actors", "actors-1", "actors-2"]
    assert {path.stem for path in (fake_run.run_folder / "logs").iterdir()} >= set(names)
    assert fake_run.read_summary()["solved"] is True
    fake_run.assert_nothing_is_left()


def test_one_of_several_servers_may_die_or_drain_and_the_run_goes_on(fake_run: FakeRun) -> None:
    names = with_servers(fake_run, 2)
    fake_run.start()
    pids = {name: fake_run.pid(name) for name in names}
    os.kill(pids["server-1"], signal.SIGKILL)
    again = fake_run.pid("server-1", but=pids["server-1"])

    os.kill(pids["server-0"], signal.SIGUSR1)  # it ends as one that was told to drain
    wait_for(lambda: not runs(pids["server-0"]), "server-0 has left")
    assert all(runs(pid) for pid in (again, pids["learner"], pids["actor-0"]))
    os.kill(again, signal.SIGUSR1)
    code, out, _ = fake_run.result()
    assert code == 0
    assert out.splitlines()[-1].startswith("stopped: ")
    assert out.count("server-0 was told to drain, and has left; the others go on") == 1
    fake_run.assert_nothing_is_left()


def test_the_step_limit_without_the_target_exits_with_1(fake_run: FakeRun) -> None:
    code, out, _ = fake_run.start(learner={"finish": False, "among": 4}).result()
    assert code == 1
    assert out.splitlines()[-1].startswith("not solved (target 475, step limit 10,000,000): mean return 480.5")
    assert fake_run.read_summary()["solved"] is False
    fake_run.assert_nothing_is_left()


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_everything_in_order(fake_run: FakeRun, number: int, expected: int) -> None:
    fake_run.start()
    fake_run.all_pids()
    assert fake_run.process is not None
    os.killpg(fake_run.process.pid, number)  # as a terminal does: to all of its foreground group
    code, out, err = fake_run.result()
    assert (code, err) == (expected, "")
    last = out.splitlines()[-1]
    assert last.startswith("stopped: ")
    assert "policy.keras" in last
    assert "checkpoints/" in last
    assert f"go on with: corral run --resume {fake_run.run_folder}\n" in out
    assert fake_run.read_summary()["solved"] is False
    fake_run.assert_nothing_is_left()


def test_a_second_signal_does_not_wait_for_what_will_not_stop(fake_run: FakeRun) -> None:
    fake_run.start(server={"ignore_stop": True}, actor_1={"ignore_stop": True}, learner={"ignore_stop": True})
    fake_run.all_pids()
    assert fake_run.process is not None
    fake_run.process.send_signal(signal.SIGINT)
    wait_for(lambda: not runs(fake_run.pid("actor-0")), "the launcher has begun to end the actors")
    fake_run.process.send_signal(signal.SIGINT)  # so soon after the first it counts as the first
    assert runs(fake_run.pid("actor-1"))
    later = time.monotonic() + 0.5
    wait_for(lambda: time.monotonic() > later, "a second signal to be one")
    assert runs(fake_run.pid("actor-1"))
    fake_run.process.send_signal(signal.SIGINT)
    code, _, _ = fake_run.result()
    assert code == 130
    fake_run.assert_nothing_is_left()


@pytest.mark.parametrize("name", ["server", "learner", "actor-1"])
def test_what_was_killed_is_started_again(fake_run: FakeRun, name: str) -> None:
    fake_run.start()
    fake_run.all_pids()
    first = fake_run.pid(name)
    os.kill(first, signal.SIGKILL)
    fake_run.pid(name, but=first)
    assert fake_run.process is not None
    fake_run.process.send_signal(signal.SIGINT)
    code, out, _ = fake_run.result()
    assert code == 130
    assert f"{name} ended (killed by SIGKILL) and was started again" in out
    assert fake_run.read_summary()["restarts"] == 1
    fake_run.assert_nothing_is_left()


def test_what_always_crashes_is_not_started_for_ever(fake_run: FakeRun) -> None:
    code, out, err = fake_run.start(actor_1={"exit": 7}).result()
    assert code == 1
    assert out.count("was started again") == 5
    assert err.startswith("error: actor-1 ended (exit code 7); its log is ")
    assert err.rstrip().endswith("| something broke")
    fake_run.assert_nothing_is_left()


@pytest.mark.parametrize("exit_code", [1, 3])
def test_a_learner_that_always_crashes_ends_the_run(fake_run: FakeRun, exit_code: int) -> None:
    code, out, err = fake_run.start(learner={"exit": exit_code}).result()
    assert code == 1
    assert out.count(f"learner ended (exit code {exit_code}) and was started again") == 5
    log = fake_run.run_folder / "logs" / "learner.log"
    assert f"and was started again; see {log}: something broke" in out
    assert err.startswith(f"error: learner ended (exit code {exit_code}); its log is {log}:")
    assert "  | something broke" in err
    assert out.splitlines()[-1].startswith("failed: ")
    fake_run.assert_nothing_is_left()


def test_what_the_user_can_mend_is_said_once_and_not_tried_again(fake_run: FakeRun) -> None:
    code, out, err = fake_run.start(actor_0={"error": "no environment is called Cartpol-v1"}).result()
    assert code == 2
    log = fake_run.run_folder / "logs" / "actor-0.log"
    assert err == f"error: no environment is called Cartpol-v1\n  (actor-0; its log is {log})\n"
    assert "started again" not in out
    fake_run.assert_nothing_is_left()


def test_a_killed_launcher_leaves_nothing_behind(fake_run: FakeRun) -> None:
    fake_run.start()
    fake_run.all_pids()
    assert fake_run.process is not None
    os.kill(fake_run.process.pid, signal.SIGKILL)
    fake_run.result()
    fake_run.assert_nothing_is_left()
    assert (fake_run.run_folder / "policy.keras").exists()


def test_what_a_killed_actor_had_started_ends_too(fake_run: FakeRun) -> None:
    fake_run.start(actor_0={"grandchild": True})
    grandchild = fake_run.pid("actor-0-grandchild")
    os.kill(fake_run.pid("actor-0"), signal.SIGKILL)
    wait_for(lambda: not runs(grandchild), "the actor's own process has ended")


def test_a_summary_that_cannot_be_written_is_said_before_anything_starts(fake_run: FakeRun) -> None:
    fake_run.summary.mkdir(parents=True)
    code, _, err = fake_run.start().result()
    assert code == 2
    assert err.startswith(f"error: {fake_run.summary}: ")
    assert not [path for path in fake_run.folder.iterdir() if path.is_dir()]


def test_what_a_process_logs_as_an_error_is_shown_once_with_its_log(fake_run: FakeRun) -> None:
    line = "2026-11-24T17:00:00.000Z ERROR role=learner: no checkpoint could be written: No space left"
    fake_run.start(learner={"log": f"{line}\n{line}\n2026-11-24T17:00:00.000Z INFO role=learner: all is well"})
    fake_run.all_pids()
    assert fake_run.process is not None
    assert fake_run.process.stdout is not None
    shown = next(line for line in fake_run.process.stdout if "no checkpoint" in line)
    log = fake_run.run_folder / "logs" / "learner.log"
    assert shown == f"learner: no checkpoint could be written: No space left; see {log}\n"
    fake_run.process.send_signal(signal.SIGINT)
    code, out, _ = fake_run.result()
    assert code == 130
    assert "no checkpoint" not in out
    assert "all is well" not in out


def test_the_folder_is_told_first(fake_run: FakeRun) -> None:
    code, out, _ = fake_run.start(learner=FINISH).result()
    assert code == 0
    assert out.splitlines()[0] == f"everything goes to {fake_run.run_folder}"


def test_a_learner_that_could_not_write_its_result_has_ended_all_the_same(fake_run: FakeRun) -> None:
    code, out, _ = fake_run.start(learner={"exit": 0}).result()
    assert code == 0
    assert out.splitlines()[-1].startswith("solved: ")
    fake_run.assert_nothing_is_left()


def test_a_refused_start_leaves_the_folder_as_it_was(fake_run: FakeRun) -> None:
    code, _, _ = fake_run.start(learner=FINISH).result()
    assert code == 0
    folder = fake_run.run_folder
    names = ("experiment.json", "run.json", "result.json", "summary.json")
    before = {name: (folder / name).read_bytes() for name in names}
    fake_run.resume(folder, learner={"error": "it does not fit"}, options=["run.target_return=9"])
    code, _, err = fake_run.result()
    assert code == 2
    assert "it does not fit" in err
    assert {name: (folder / name).read_bytes() for name in names} == before


def test_a_run_that_had_ended_keeps_its_summary(fake_run: FakeRun) -> None:
    fake_run.start(learner=FINISH).result()
    folder = fake_run.run_folder
    before = (folder / "summary.json").read_bytes()
    fake_run.resume(folder, learner=FINISH | {"idle": True})
    code, out, _ = fake_run.result()
    assert code == 0
    assert "after 12,345 steps" in out.splitlines()[-1]
    assert (folder / "summary.json").read_bytes() == before
    assert json.loads(fake_run.summary.read_text()) == json.loads(before)
