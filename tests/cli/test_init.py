"""`corral init`: from an environment's name to a solved run, in two commands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from corral.launch.experiment import load_experiment
from tests.cli.test_command_line import corral_command, error
from tests.support.command import Workplace, workplace


@pytest.fixture
def place() -> Iterator[Workplace]:
    with workplace() as place:
        yield place


def test_two_commands_solve_cartpole(place: Workplace) -> None:
    written = place.corral("init", "CartPole-v1")
    assert (written.returncode, written.stdout) == (0, "wrote cartpole.toml; next: corral run cartpole.toml\n")
    ran = place.corral("run", "cartpole.toml")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1].startswith("solved: mean return ")
    assert place.run_folder.name.startswith("cartpole-")
    assert place.leftovers() == []


def test_a_file_is_kept_unless_forced(place: Workplace) -> None:
    (place.folder / "cartpole.toml").write_text("mine")
    refused = place.corral("init", "CartPole-v1")
    assert error(refused) == "cartpole.toml exists: --force overwrites it, --output FILE writes another"
    assert (place.folder / "cartpole.toml").read_text() == "mine"
    assert place.corral("init", "CartPole-v1", "--output", "an other.toml").stdout == (
        "wrote an other.toml; next: corral run 'an other.toml'\n"
    )
    assert place.corral("init", "CartPole-v1", "--force").returncode == 0
    ours, other = (load_experiment(place.folder / name, environ={}) for name in ("cartpole.toml", "an other.toml"))
    assert (ours.environment, ours.run.name, other.run.name) == (other.environment, "cartpole", "an other")


def test_a_function_of_the_working_directory(place: Workplace) -> None:
    (place.folder / "mine.py").write_text(
        "import gymnasium\ndef make(steps=5):\n    return gymnasium.make('CartPole-v1', max_episode_steps=steps)\n"
    )
    done = place.corral("init", "mine:make", "--kwargs", "steps=7")
    assert done.stdout == "wrote make.toml; next: corral run make.toml\n", done.stderr
    environment = load_experiment(place.folder / "make.toml", environ={}).environment
    assert (environment.id, environment.kwargs) == ("mine:make", {"steps": 7})


def test_mistakes_are_told(place: Workplace) -> None:
    assert "'CartPool-v1' cannot be made" in error(place.corral("init", "CartPool-v1"))
    assert "'nowhere:make': No module named 'nowhere'" in error(place.corral("init", "nowhere:make"))
    assert error(place.corral("init", "")) == "ENV: id must name an environment, such as CartPole-v1"
    text = error(place.corral("init", "CartPole-v1", "--kwargs", "steps"))
    assert text == "--kwargs steps: expected name=value, such as is_slippery=false"
    assert not list(place.folder.glob("*.toml"))


def test_help() -> None:
    done = corral_command("init", "--help")
    assert "init [OPTIONS] " in done.stdout
    assert "ENV" in done.stdout
    assert "--force" in done.stdout


def test_without_gymnasium_it_says_what_to_install() -> None:
    text = error(corral_command("init", "CartPole-v1", without=("gymnasium",)))
    assert text == 'this needs gymnasium, which is not installed: pip install "corral[actor]"'
