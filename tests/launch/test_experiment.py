"""The experiment file: what wins over what, and what each mistake is told."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from corral.launch.cast import as_server, server_addresses
from corral.launch.experiment import Experiment, ExperimentError, load_experiment

SMALL = '[environment]\nid = "CartPole-v1"\n'


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str, name: str = "small.toml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def problems(path: Path, overrides=(), environ=None) -> tuple[str, ...]:
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path, overrides, environ or {})
    assert all(problem in str(caught.value) for problem in caught.value.problems)
    return caught.value.problems


def test_defaults_fill_what_the_file_leaves_out(write) -> None:
    experiment = load_experiment(write(SMALL), environ={})
    assert experiment.run.name == "small"
    assert experiment.environment.id == "CartPole-v1"
    assert experiment.server.batching.max_size == 256


def test_servers_are_a_number_or_addresses(write) -> None:
    path = write("servers = 3\n" + SMALL)
    experiment = load_experiment(path, environ={})
    assert experiment.servers == 3
    assert server_addresses(experiment) == tuple(f"tcp://127.0.0.1:{port}" for port in (5555, 5565, 5575))
    assert as_server(experiment, 2).server.address == "tcp://127.0.0.1:5575"
    assert load_experiment(path, environ={"CORRAL_SERVERS": "2"}).servers == 2
    named = load_experiment(path, ['servers=["tcp://a:1", "tcp://b:1"]'], {"CORRAL_SERVERS": "2"})
    assert named.servers == server_addresses(named) == ("tcp://a:1", "tcp://b:1")
    (again := path.with_name("again.json")).write_text(json.dumps(named.effective()))
    assert Experiment.read(again) == named
    ipc = load_experiment(path, ["server.address=ipc:///tmp/s"], {})
    assert server_addresses(ipc) == ("ipc:///tmp/s", "ipc:///tmp/s-1", "ipc:///tmp/s-2")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("servers=0", "servers = 0 (--set servers=0): must be 1 to 256, or a list of addresses, not 0"),
        ("servers=[]", "must be 1 to 256 different addresses, not []"),
        ('servers=["a", "a"]', "must be 1 to 256 different addresses, not ['a', 'a']"),
        ("servers=many", "must be a valid integer"),
    ],
)
def test_servers_that_cannot_be_are_told(write, given: str, expected: str) -> None:
    (problem,) = problems(write(SMALL), [given])
    assert expected in problem


def test_set_wins_over_the_environment_and_that_over_the_file(write) -> None:
    path = write(SMALL + "[server.batching]\ntimeout_us = 1\nmax_size = 64\n[actor]\nprocesses = 1\n")
    environ = {"CORRAL_SERVER__BATCHING__TIMEOUT_US": "2", "CORRAL_SERVER__BATCHING__MAX_SIZE": "32"}
    experiment = load_experiment(path, ["server.batching.timeout_us=3"], environ)
    batching = experiment.server.batching
    assert (batching.timeout_us, batching.max_size, experiment.actor.processes) == (3, 32, 1)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("server.batching.buckets=[1, 2, 256]", "server.batching.buckets", (1, 2, 256)),
        ("server.insecure=true", "server.insecure", True),
        ("server.batching.timeout_us=auto", "server.batching.timeout_us", "auto"),
        ("run.target_return=1e2", "run.target_return", 100.0),
        ("run.max_env_steps=2_000_000", "run.max_env_steps", 2_000_000),
        ("run.name=hello", "run.name", "hello"),
        ("run.name='hello there'", "run.name", "hello there"),
        ("run.name=2024-01-01", "run.name", "2024-01-01"),
        ("run.name=5", "run.name", "5"),
        ("run.name = a=b", "run.name", "a=b"),
        ("server.batching={timeout_us = 7}", "server.batching.timeout_us", 7),
        ("environment.kwargs.render_mode=rgb_array", "environment.kwargs", {"render_mode": "rgb_array"}),
        ("environment.kwargs={a = {b = 1}}", "environment.kwargs", {"a": {"b": 1}}),
        ("environment.kwargs.a.b=1", "environment.kwargs", {"a": {"b": 1}}),
    ],
)
def test_values_are_read_as_toml_or_else_as_plain_text(write, text, key, value) -> None:
    found = load_experiment(write(SMALL), [text], {})
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value


def test_maps_are_merged_by_their_keys(write) -> None:
    path = write(SMALL + "[environment.kwargs]\na = 1\nb = 2\n")
    experiment = load_experiment(path, ["environment.kwargs.b=3"], {})
    assert experiment.environment.kwargs == {"a": 1, "b": 3}


def test_every_problem_is_listed_with_key_value_origin_and_expectation(write) -> None:
    path = write(
        SMALL
        + '[server]\nlease_s = 0.001\n[server.batching]\nmax_size = "many"\n[agent.network]\nhidden = [64, 0]\n'
    )
    environ = {"CORRAL_SERVER__BATCHING__TIMEOUT_US": "-5"}
    assert set(problems(path, ["actor.processes=0"], environ)) == {
        f"server.lease_s = 0.001 ({path}): must be 0.1 to 86400 seconds, not 0.001",
        f"server.batching.max_size = 'many' ({path}): must be a valid integer, "
        "unable to parse string as an integer",
        "server.batching.timeout_us = -5 (environment variable CORRAL_SERVER__BATCHING__TIMEOUT_US): "
        'must be 0 to 10000000 microseconds or "auto", not -5',
        "actor.processes = 0 (--set actor.processes=0): must be 1 to 100000, not 0",
        f"agent.network.hidden = [64, 0] ({path}): must be layer sizes of 1 or more, not [64, 0]",
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("soon", "a valid integer, unable to parse string as an integer, or 'auto'"),
        ("1.5", "a valid integer, got a number with a fractional part, or 'auto'"),
        ("[1]", "a valid integer, or 'auto'"),
    ],
)
def test_a_value_of_two_kinds_is_blamed_once(write, value, expected) -> None:
    given = f"server.batching.timeout_us={value}"
    (problem,) = problems(write(SMALL), [given])
    assert problem == f"server.batching.timeout_us = {value} (--set {given}): must be {expected}"


def test_an_experiment_that_learns_its_timeout_comes_back(write, tmp_path) -> None:
    experiment = load_experiment(write(SMALL), ["server.batching.timeout_us=auto"], {})
    path = tmp_path / "effective.json"
    path.write_text(json.dumps(experiment.effective()))
    assert Experiment.read(path) == experiment


def test_a_check_of_two_keys_blames_one(write) -> None:
    (problem,) = problems(write(SMALL), ["server.batching.max_size=8", "server.batching.buckets=[1, 4]"])
    assert problem == (
        "server.batching.buckets = [1, 4] (--set server.batching.buckets=[1, 4]): "
        "must ascend from 1 or more and end at max_size (8), not [1, 4]"
    )


def test_a_default_that_no_longer_holds_is_blamed_by_name(write) -> None:
    (problem,) = problems(write(SMALL), ["agent.vtrace.clip_rho=0.5"])
    assert problem == "agent.vtrace.clip_c: must be at most clip_rho (0.5), not 1.0"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("[run]\nsede = 3", "run.sede = 3 ({path}): no such key; did you mean run.seed?"),
        ("[serve.batching]\nmax_size = 3", "did you mean server?"),
        ("[server]\ntimeout_us = 3", "no such key; did you mean server.batching.timeout_us?"),
        (
            "[actor]\nzzz = 3",
            "no such key; actor has processes, environments, pipeline, resend_after_s, leave_after_s, "
            "give_up_after_s, step_timeout_s",
        ),
        (
            "[server]\nbatching = 3",
            "server.batching = 3 ({path}): must be a table of timeout_us, max_size, buckets, max_waiting_rows",
        ),
    ],
)
def test_an_unknown_key_in_the_file_is_told_what_was_meant(write, text, advice) -> None:
    path = write(SMALL + text)
    (problem,) = problems(path)
    assert problem.endswith(advice.format(path=path))


def test_an_unknown_key_elsewhere_is_told_what_was_meant(write) -> None:
    environ = {
        "CORRAL_SERVER__ADRESS": "x",
        "CORRAL_SERVR__ADDRESS": "x",
        "CORRAL_TRACEBACK": "1",
        "CORRAL_ELSE__A": "1",
    }
    assert problems(write(SMALL), ["server.batchin.max_size=3", "run.seed.x=3", "nonsense"], environ) == (
        "environment variable CORRAL_SERVR__ADDRESS: no such table; did you mean CORRAL_SERVER__ADDRESS?",
        "--set nonsense: expected key=value, such as server.batching.timeout_us=500",
        "server.adress = x (environment variable CORRAL_SERVER__ADRESS): no such key; did you mean server.address?",
        "server.batchin.max_size = 3 (--set server.batchin.max_size=3): no such key; "
        "did you mean server.batching.max_size?",
        "run.seed.x = 3 (--set run.seed.x=3): no such key; run.seed is no table",
    )


def test_a_missing_environment_is_named(write) -> None:
    path = write("[run]\nseed = 1\n")
    expected = (
        f'environment.id is missing in {path}: name an environment, such as id = "CartPole-v1" under [environment]'
    )
    assert problems(path) == (expected,)
    assert problems(write("[environment]\nkwargs = {a = 1}\n")) == (expected,)


def test_a_wrong_environment_is_told_once(write) -> None:
    path = write("[environment]\nid = 5\n")
    assert problems(path) == (f"environment.id = 5 ({path}): must be a valid string",)


def test_files_that_are_none(tmp_path: Path, write) -> None:
    write(SMALL, "cartpole.toml")
    assert problems(tmp_path / "cartpol.toml") == (
        f"{tmp_path / 'cartpol.toml'}: no such experiment file; did you mean {tmp_path / 'cartpole.toml'}?",
    )
    assert problems(tmp_path) == (f"{tmp_path} is a folder; name an experiment file (.toml) in it",)
    (problem,) = problems(write("[run]\nseed 3\n"))
    assert "is no valid TOML: " in problem
    assert "line 2" in problem
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "is no TOML text" in problems(binary)[0]
    assert "is no valid JSON: " in problems(write("{", "broken.json"))[0]
    assert "holds no tables" in problems(write("[1]", "list.json"))[0]


@pytest.mark.parametrize("name", ["a/b", "..", "a\\b"])
def test_a_run_is_no_path(write, name) -> None:
    assert "must be a plain name" in problems(write(SMALL), [f"run.name='{name}'"])[0]


def test_the_effective_experiment_comes_back_equal(tmp_path: Path, write) -> None:
    overrides = ["server.batching.buckets=[1,256]", "environment.kwargs.a=[1,{b=2}]", "run.target_return=inf"]
    experiment = load_experiment(write(SMALL), overrides, {})
    path = tmp_path / "experiment.json"
    path.write_text(json.dumps(experiment.effective()))
    assert Experiment.read(path) == experiment
    assert load_experiment(path, environ={}) == experiment


def test_an_experiment_cannot_be_changed(write) -> None:
    experiment = load_experiment(write(SMALL), environ={})
    with pytest.raises(FrozenInstanceError):
        experiment.run = None


def test_the_example_is_valid() -> None:
    experiment = load_experiment(Path(__file__).parents[2] / "examples" / "cartpole.toml", environ={})
    assert experiment.run.target_return == 475.0
    assert experiment.actor.processes * experiment.actor.environments <= experiment.server.max_environments


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import corral.launch.loading", "keras tensorflow gymnasium zmq rich typer"),
        ("import corral.launch.local", "keras tensorflow gymnasium zmq numpy rich pydantic"),
        ("import corral.launch.child, corral.launch.roles", "keras tensorflow gymnasium zmq rich typer pydantic"),
        ("import corral.cli.app", "keras tensorflow gymnasium zmq numpy pydantic"),
    ],
)
def test_nothing_slow_is_imported_before_its_time(statement, absent) -> None:
    code = f"import sys; {statement}; print(*sorted(set({absent.split()!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
