from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import ModuleType

import pytest

from corral.launch.determinism import check_one_player, in_lockstep
from corral.launch.errors import UserError
from corral.launch.experiment import ExperimentError, load_experiment
from tests.launch.conftest import FakeRun, runs

FILE = """
[run]
determinism = true
[environment]
id = "CartPole-v1"
[actor]
processes = 3
environments = 5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.toml"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ("servers=2", "servers"),
        ("server.replicas=2", "server.replicas"),
        ("server.replicas=auto", "server.replicas"),
        ("learner.devices=2", "learner.devices"),
        ("learner.max_policy_lag=1", "learner.max_policy_lag"),
        ("server.batching.timeout_us=auto", "server.batching.timeout_us"),
        ("environment.vectorization=native", "environment.vectorization"),
        ("environment.id=envpool:CartPole-v1", "environment.id"),
        ("actor.environments=60000", "actor.processes x actor.environments"),
    ],
)
def test_what_cannot_be_deterministic_is_refused_by_name(file: Path, setting: str, word: str) -> None:
    with pytest.raises(ExperimentError, match=rf"run\.determinism.*{word}"):
        load_experiment(file, [setting], {})
    load_experiment(file, [setting, "run.determinism=false"], {})


def test_several_players_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Players:
        possible_agents = ("left", "right")

        def close(self) -> None:
            pass

    module = ModuleType("tests.of_players")
    vars(module)["make"] = Players
    monkeypatch.setitem(sys.modules, module.__name__, module)
    check_one_player(load_experiment(file, [], {}))
    several = load_experiment(file, [f"environment.id={module.__name__}:make"], {})
    with pytest.raises(UserError, match="does not go with several players"):
        check_one_player(several)


def test_one_batch_takes_every_environment_whatever_the_file_says(file: Path) -> None:
    loaded = load_experiment(file, ["server.batching.timeout_us=1000", "server.unrolls.when_full=shed"], {})
    experiment = in_lockstep(loaded)
    server = experiment.server
    assert (server.max_environments, server.batching.max_size, server.batching.buckets) == (15, 15, (15,))
    assert (server.batching.timeout_us, server.unrolls.when_full) == (0, "block")
    assert experiment.environment.vectorization == "none"
    assert experiment.learner.replay.checkpoint
    assert in_lockstep(experiment) == experiment


def test_other_runs_stay_as_they_are(file: Path) -> None:
    experiment = load_experiment(file, ["run.determinism=false"], {})
    assert in_lockstep(experiment) is experiment


@pytest.mark.parametrize("lost", ["server", "actor-1"])
def test_a_process_that_is_lost_takes_the_learner_along(fake_run: FakeRun, lost: str) -> None:
    text = fake_run.experiment.read_text().replace("[run]", "[run]\ndeterminism = true")
    fake_run.experiment.write_text(text)
    fake_run.start()
    fake_run.all_pids()
    pids = {name: fake_run.pid(name) for name in ("server", "learner", "actor-0", "actor-1")}
    os.kill(pids[lost], signal.SIGKILL)
    fake_run.pid(lost, but=pids[lost])
    fake_run.pid("learner", but=pids["learner"])
    assert not runs(pids["learner"])
    assert all(runs(pid) for name, pid in pids.items() if name not in (lost, "learner"))
    assert fake_run.process is not None
    fake_run.process.send_signal(signal.SIGINT)
    _, out, _ = fake_run.result()
    assert "the learner was started again, too" in out
    assert fake_run.read_summary()["restarts"] == 2
    fake_run.assert_nothing_is_left()
