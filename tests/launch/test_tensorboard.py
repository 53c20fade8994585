"""What TensorBoard itself reads of a run's folder, with TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from corral.launch.experiment import load_experiment
from corral.launch.folder import EXPERIMENT, write_json
from corral.launch.metrics import MetricsLog
from corral.launch.progress import Progress
from corral.launch.settings import RunSettings
from corral.launch.tensorboard import RETURNS, hyperparameters
from learner.returns_file import ReturnsFile
from tests.launch.conftest import ROOT


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={"histograms": 0, "scalars": 0})
    return found.Reload()


def effective(*overrides: str, example: str = "cartpole.toml") -> dict[str, Any]:
    return load_experiment(ROOT / "examples" / example, overrides, {}).effective()


def progress(elapsed_s: float, steps: int) -> Progress:
    learner = {"env_steps": steps, "mean_return": 20.0, "episodes": 3}
    return Progress(RunSettings(), elapsed_s, {"ready": True}, learner)


def run(folder: Path, returns: ReturnsFile, steps: list[int], episodes: list[np.ndarray], before: int = 0) -> int:
    """A life of a run; the episodes that there are at its end."""
    log = MetricsLog(folder, clock=lambda: 5.0)
    for second, (step, ended) in enumerate(zip(steps, episodes, strict=True)):
        before += len(ended)
        returns.add(ended.tolist(), before)
        returns.write()
        log.record(progress(float(second), step))
    log.record(progress(float(len(steps)), steps[-1]), last=True)
    return before


def histograms(folder: Path) -> list[tuple[int, float, float, float, float]]:
    return [
        (event.step, told.num, told.sum, told.min, told.max)
        for event in read(folder).Histograms(RETURNS)
        for told in [event.histogram_value]
    ]


def test_histograms_hold_every_episode_once(tmp_path: Path) -> None:
    write_json(tmp_path / EXPERIMENT, effective())
    values = np.arange(360.0)
    # 60 are too few; 150 are there at the second moment, and 140 more at the third; the end takes the last 70.
    run(tmp_path, ReturnsFile(tmp_path, 0), [10, 20, 30, 40], np.split(values, [60, 150, 290]))
    assert histograms(tmp_path) == [
        (20, 150.0, values[:150].sum(), 0.0, 149.0),
        (30, 140.0, values[150:290].sum(), 150.0, 289.0),
        (40, 70.0, values[290:].sum(), 290.0, 359.0),
    ]
    assert [event.step for event in read(tmp_path).Scalars("mean_return")] == [10, 20, 30, 40]
    (first, *_) = read(tmp_path).Histograms(RETURNS)
    assert sum(first.histogram_value.bucket) == 150


def test_a_run_that_goes_on_does_so_in_the_same_folder(tmp_path: Path) -> None:
    write_json(tmp_path / EXPERIMENT, effective())
    count = run(tmp_path, ReturnsFile(tmp_path, 0), [10], [np.ones(120)])
    run(tmp_path, ReturnsFile(tmp_path, count), [20, 30], [np.full(5, 2.0), np.full(100, 2.0)], before=count)
    # Of the life before nothing is told again.
    assert histograms(tmp_path) == [(10, 120.0, 120.0, 1.0, 1.0), (30, 105.0, 210.0, 2.0, 2.0)]
    assert [event.step for event in read(tmp_path).Scalars("env_steps")] == [10, 20, 30]


def test_a_learner_that_went_back_tells_no_episode_twice(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, clock=lambda: 5.0)
    first = ReturnsFile(tmp_path, 0)
    first.add([1.0] * 150, 150)
    first.write()
    log.record(progress(1.0, 10))
    second = ReturnsFile(tmp_path, 40)  # its checkpoint knew of 40
    second.add([2.0] * 30, 70)
    second.write()
    log.record(progress(2.0, 20))
    second.add([3.0] * 100, 170)
    second.write()
    log.record(progress(3.0, 30))
    assert [entry[:3] for entry in histograms(tmp_path)] == [(10, 150.0, 150.0), (30, 100.0, 300.0)]


def test_the_table_of_hyperparameters_knows_the_run(tmp_path: Path) -> None:
    tables = effective("agent.optimizer.learning_rate=0.002", "server.batching.timeout_us=250")
    write_json(tmp_path / EXPERIMENT, tables)
    run(tmp_path, ReturnsFile(tmp_path, 0), [10], [np.ones(1)])
    told = read(tmp_path).summary_metadata
    content = told[metadata.SESSION_START_INFO_TAG].plugin_data.content
    chosen = metadata.parse_session_start_info_plugin_data(content).hparams
    assert chosen["agent.optimizer.learning_rate"].number_value == 0.002
    assert chosen["server.batching.timeout_us"].number_value == 250
    assert chosen["environment.id"].string_value == "CartPole-v1"
    assert chosen["agent.name"].string_value == "vtrace"
    assert chosen["agent.network.normalize"].bool_value is False
    experiment = metadata.parse_experiment_plugin_data(told[metadata.EXPERIMENT_TAG].plugin_data.content)
    assert {info.name for info in experiment.hparam_infos} == set(chosen)
    assert {info.name.tag for info in experiment.metric_infos} == {"mean_return", "env_steps", "elapsed_s"}


def test_only_what_the_algorithm_looks_at_is_a_hyperparameter() -> None:
    fresh = hyperparameters(effective())
    assert not [name for name in fresh if name.startswith(("agent.dqn", "agent.sac", "learner.replay"))]
    assert "agent.vtrace.clip_rho" in fresh
    replaying = hyperparameters(effective(example="cartpole_dqn.toml"))
    assert {"agent.dqn.n_step", "learner.replay.capacity"} <= set(replaying)
    assert "agent.vtrace.clip_rho" not in replaying
    assert fresh["agent.network.hidden"] == "[64, 64]"
    told = " ".join([*fresh, *map(str, fresh.values())])
    for private in ("address", "keys", "folder", "tcp://"):
        assert private not in told


def test_without_an_experiment_there_are_scalars_all_the_same(tmp_path: Path) -> None:
    run(tmp_path, ReturnsFile(tmp_path, 0), [10], [np.ones(3)])
    assert read(tmp_path).Scalars("env_steps")[0].value == 10
