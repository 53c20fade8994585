"""The listed configuration: it loads as what it lists, and tells where each value came from."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from corral.launch.errors import UserError
from corral.launch.experiment import Experiment, ExperimentError, load_experiment
from corral.launch.listing import PLACEHOLDER, list_configuration
from tests.launch.test_document import keys

SMALL = '[environment]\nid = "CartPole-v1"\n'
EXAMPLE = Path(__file__).parents[2] / "examples" / "cartpole.toml"
OVERRIDES = [
    "server.batching.buckets=[1,48]",
    "environment.kwargs.a=[1,{b=2}]",
    'environment.kwargs."x y"=2024-01-01',
    "run.name='a \"b\" é'",
    "run.max_env_steps=7",
    "agent.optimizer.learning_rate=1e-7",
    "agent.optimizer.name=sgd",
]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


def loaded(text: str, folder: Path) -> Experiment:
    """The experiment in a file of another name."""
    path = folder / "saved.toml"
    path.write_text(text)
    return load_experiment(path, environ={})


def line_of(text: str, start: str) -> str:
    """The first line that starts so."""
    return next(line for line in text.splitlines() if line.startswith(start))


@pytest.mark.parametrize("overrides", [[], OVERRIDES, ["run.target_return=inf"]])
def test_it_loads_as_what_it_lists(tmp_path: Path, overrides: list[str]) -> None:
    environ = {"CORRAL_SERVER__LEASE_S": "20", "CORRAL_ENVIRONMENT__VECTORIZATION": "none"}
    text = list_configuration(EXAMPLE, overrides, environ)
    assert loaded(text, tmp_path) == load_experiment(EXAMPLE, overrides, environ)


def test_every_key_is_there(small: Path) -> None:
    lines = list_configuration(small, [], {}).splitlines()
    for *table, name in keys():
        heading = f"[{'.'.join([*table, name])}]"
        assert heading in lines or any(line.startswith((f"{name} = ", f"# {name} = ")) for line in lines)


def test_what_is_not_the_default_says_so(small: Path) -> None:
    environ = {"CORRAL_SERVER__LEASE_S": "20"}
    text = list_configuration(small, ["agent.discount=0.9", "environment.kwargs.a=1", "run.seed=0"], environ)
    assert line_of(text, "name = ") == 'name = "small"  # "" by default; from the file\'s name'
    assert line_of(text, "id = ") == f'id = "CartPole-v1"  # from {small}'
    assert line_of(text, "lease_s") == (
        "lease_s = 20.0  # 10.0 by default; from environment variable CORRAL_SERVER__LEASE_S"
    )
    assert line_of(text, "discount") == "discount = 0.9  # 0.99 by default; from --set agent.discount=0.9"
    assert line_of(text, "kwargs") == "kwargs = {a = 1}  # {} by default; from --set environment.kwargs.a=1"
    assert line_of(text, "seed") == "seed = 0"


def test_each_key_of_a_map_has_an_origin_of_its_own(small: Path) -> None:
    small.write_text(SMALL + "kwargs = {a = 1, b = 2}\n")
    text = list_configuration(small, ["environment.kwargs.b=3"], {})
    assert line_of(text, "kwargs") == (
        f"kwargs = {{a = 1, b = 3}}  # {{}} by default; from {small}, --set environment.kwargs.b=3"
    )


def test_a_key_without_a_value_is_commented_out(small: Path) -> None:
    assert line_of(list_configuration(small, [], {}), "# target_return") == "# target_return = <float>  # not set"
    text = list_configuration(small, ["run.target_return=5"], {})
    assert line_of(text, "target_return") == (
        "target_return = 5.0  # not set by default; from --set run.target_return=5"
    )


def test_an_origin_cannot_add_lines(small: Path) -> None:
    text = list_configuration(small, ["run.name='a'\n"], {})
    assert loaded(text, small.parent).run.name == "a"


def test_the_defaults_alone(tmp_path: Path) -> None:
    text = list_configuration(None, [], {})
    assert line_of(text, "name = ") == 'name = ""'
    assert line_of(text, "id = ") == f'id = "{PLACEHOLDER}"  # from a placeholder: name your own environment'
    assert " by default; " not in text
    assert loaded(text, tmp_path).run.name == "saved"


def test_defaults_can_be_overridden_too(tmp_path: Path) -> None:
    environ = {"CORRAL_ENVIRONMENT__ID": "Acrobot-v1"}
    text = list_configuration(None, ["run.name=5"], environ)
    experiment = loaded(text, tmp_path)
    assert (experiment.environment.id, experiment.run.name) == ("Acrobot-v1", "5")
    assert tomllib.loads(list_configuration(None, ["run.name="], {}))["run"]["name"] == ""


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="no such experiment file"):
        list_configuration(tmp_path / "no.toml", [], {})
    with pytest.raises(ExperimentError, match=r"run\.sed = 3 \(--set run\.sed=3\): no such key"):
        list_configuration(None, ["run.sed=3"], {})
    path = tmp_path / "null.json"
    path.write_text('{"environment": {"id": "CartPole-v1", "kwargs": {"a": null}}}')
    with pytest.raises(UserError, match=r"environment\.kwargs = .* cannot be written as TOML"):
        list_configuration(path, [], {})
