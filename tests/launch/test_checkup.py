"""Findings about a machine, each with a machine that is as it should not be."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from corral.launch import checkup
from corral.launch.checkup import State
from corral.launch.experiment import Experiment
from corral.protocol.keys import Role, copy_bundle, make_pair
from tests.support.ports import free_ports


@pytest.fixture
def listener() -> Iterator[int]:
    """The port of something that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_open_files_are_compared_with_what_is_needed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        few = checkup.open_files(300)
        assert (few.state, few.text, few.advice[:26]) == (
            State.BAD,
            "256, 300 needed",
            "ulimit -n 300 before the s",
        )
        assert checkup.open_files(256).state is State.GOOD
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_place_without_room_for_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkup.socket_folder().state is State.GOOD

    def nowhere(**_: object) -> str:
        raise OSError

    monkeypatch.setattr("tempfile.mkdtemp", nowhere)
    found = checkup.socket_folder()
    assert found.state is State.BAD
    assert "TMPDIR" in found.advice


def test_run_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checkup.run_folder(tmp_path / "new" / "runs").state is State.GOOD
    monkeypatch.setattr("os.access", lambda *_: False)
    assert checkup.run_folder(tmp_path / "runs").text == f"{tmp_path} cannot be written"
    monkeypatch.undo()
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    assert checkup.run_folder(tmp_path).state is State.POOR


def test_ports(listener: int) -> None:
    assert checkup.port("x", f"tcp://127.0.0.1:{free_ports(1)[0]}").state is State.GOOD
    taken = checkup.port("x", f"tcp://127.0.0.1:{listener}")
    assert taken.state is State.BAD
    assert "Address already in use" in taken.text
    assert checkup.port("x", "tcp://192.0.2.1:5555").state is State.POOR
    assert "no name or address" in checkup.port("x", "tcp://nobody.invalid:5555").advice


def test_the_ports_of_an_experiment_are_looked_at(listener: int) -> None:
    from actor_client import EnvironmentSettings
    from inference_server import ServerSettings

    address = f"tcp://127.0.0.1:{listener}"
    experiment = Experiment(environment=EnvironmentSettings("X"), server=ServerSettings(address))
    found = {
        finding.name: finding.state for finding in (check() for check in checkup.experiment_checks(experiment))
    }
    assert found["port of the server"] is State.BAD
    assert {"open files", "port of the learner", "port of the weights"} < set(found)


def test_keys(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    for role, name in ((Role.SERVER, ""), (Role.LEARNER, ""), (Role.ACTOR, "actor"), (Role.OPERATOR, "operator")):
        make_pair(folder, role, name)
    assert "actor, operator, server, learner" in checkup.keys_check(folder).text
    copy_bundle(folder, Role.ACTOR, "actor", tmp_path / "bundle")
    assert checkup.keys_check(tmp_path / "bundle").text.endswith("this machine can be actor")
    (tmp_path / "bundle/actors/actor.key_secret").chmod(0o644)
    assert "chmod 600" in checkup.keys_check(tmp_path / "bundle").advice
    assert checkup.keys_check(tmp_path / "none").state is State.BAD


def test_how_far_one_comes_to_a_server_that_does_not_answer(listener: int, tmp_path: Path) -> None:
    silent = checkup.reachability(f"tcp://127.0.0.1:{listener}", None, 0.2)
    assert silent.state is State.BAD
    assert "something listens there and says nothing" in silent.advice
    closed = checkup.reachability(f"tcp://127.0.0.1:{free_ports(1)[0]}", None, 0.2)
    assert closed.advice.startswith("nothing listens there")
    unknown = checkup.reachability("tcp://nobody.invalid:5555", None, 0.2)
    assert "the name nobody.invalid is not known here" in unknown.advice
    assert checkup.reachability(f"ipc://{tmp_path}/none", None, 0.2).advice.startswith(
        "does a server of this machine"
    )


def test_an_actors_machine_is_let_in_or_told(tmp_path: Path, listener: int) -> None:
    make_pair(tmp_path, Role.ACTOR, "one")
    make_pair(tmp_path, Role.SERVER)
    found = checkup.reachability(f"tcp://127.0.0.1:{listener}", tmp_path, 0.2)
    assert (found.state, "--keys" in found.advice) == (State.BAD, True)


def test_python_and_packages_of_this_machine_are_good() -> None:
    assert checkup.python().state is State.GOOD
    assert f"pyzmq {zmq.pyzmq_version()}" in checkup.packages().text
    assert checkup.processors().text.split()[1] == "cores,"


def test_a_busy_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (64.0, 0.0, 0.0))
    assert checkup.processors().state is State.POOR
