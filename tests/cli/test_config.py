"""`corral config`: what it prints can be saved and run."""

from __future__ import annotations

from pathlib import Path

from corral.launch.experiment import load_experiment
from tests.cli.test_command_line import CARTPOLE, corral_command, error


def test_what_it_prints_can_be_saved_and_loaded(tmp_path: Path) -> None:
    done = corral_command("config", CARTPOLE, "--set", "run.seed=4", CORRAL_ACTOR__PROCESSES="2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "seed = 4  # 0 by default; from --set run.seed=4\n" in done.stdout
    path = tmp_path / "saved.toml"
    path.write_text(done.stdout)
    assert load_experiment(path, environ={}) == load_experiment(CARTPOLE, ["run.seed=4", "actor.processes=2"], {})


def test_without_an_experiment_it_prints_the_defaults() -> None:
    done = corral_command("config")
    assert done.returncode == 0
    assert 'id = "CartPole-v1"  # from a placeholder: name your own environment\n' in done.stdout
    assert " by default; " not in done.stdout


def test_mistakes_are_told(tmp_path: Path) -> None:
    assert error(corral_command("config", tmp_path / "no.toml")).endswith("no.toml: no such experiment file")
    assert error(corral_command("config", "--set", "run.sed=4")).endswith("did you mean run.seed?")


def test_help() -> None:
    done = corral_command("config", "--help")
    assert "config [OPTIONS] [EXPERIMENT]" in done.stdout
    assert "corral config examples/cartpole.toml > mine.toml" in " ".join(done.stdout.split())


def test_it_needs_no_keras() -> None:
    assert corral_command("config", CARTPOLE, without=("keras", "tensorflow", "gymnasium")).returncode == 0
