from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from corral.cluster.directory import Directory
from corral.cluster.papers import Arrival, Report
from tests.cluster.experiments import experiment
from tests.support.clock import Clock

KEYS = {"server": {"server.key": b"s"}, "actor": {"server.key": b"s"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "cartpole-1"
    (folder / "logs").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"starts": [{}]}))
    return folder


@pytest.fixture
def directory(folder: Path) -> Directory:
    return Directory(folder, experiment(), KEYS, {"KERAS_BACKEND": "jax"})


def test_who_joins_gets_what_its_role_needs(directory: Directory, folder: Path) -> None:
    for number in (1, 2):
        path = folder / "checkpoints" / f"checkpoint-{number}.npz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"%d" % number)
    luggage = directory.join("learner", "learner", Arrival("a", "10.0.0.1"))
    assert set(luggage.files) == {"run.json", "checkpoints/checkpoint-2.npz"}
    assert (luggage.run, luggage.keys, luggage.environ) == ("cartpole-1", {}, {"KERAS_BACKEND": "jax"})
    luggage = directory.join("actor-0", "actor", Arrival("b", "10.0.0.2"))
    assert set(luggage.files) == {"run.json"}
    assert luggage.keys == {"server.key": b"s"}


def test_orders_are_given_once_and_lives_until_obeyed(directory: Directory) -> None:
    directory.join("server", "server", Arrival("a", "10.0.0.1", ("tcp://10.0.0.1:1",)))
    directory.start("server")
    directory.signal("server", signal.SIGUSR1)
    directory.tell("server", "record")
    orders = directory.report("server", "a", Report())
    assert orders is not None
    assert (orders.lives, orders.signals, orders.lines) == (1, (signal.SIGUSR1,), ("record",))
    assert orders.addresses == {"server": ("tcp://10.0.0.1:1",)}
    orders = directory.report("server", "a", Report())
    assert orders is not None
    assert (orders.lives, orders.signals, orders.lines) == (1, (), ())


def test_who_is_placed_anew_is_the_only_one_heard(directory: Directory, folder: Path) -> None:
    directory.start("server")
    directory.join("server", "server", Arrival("a", "10.0.0.1", ("tcp://10.0.0.1:1",)))
    directory.report("server", "a", Report(1, None, 77))
    directory.join("server", "server", Arrival("b", "10.0.0.2", ("tcp://10.0.0.2:1",)))
    seat = directory.picture().seats["server"]
    assert (seat.node, seat.moves, seat.report) == ("10.0.0.2", 1, Report())
    assert directory.report("server", "a", Report(1, -9)) is None
    directory.log("server", "a", b"late")
    directory.keep("server", "a", "server", "ledgers/1", b"late")
    assert not list((folder / "logs").iterdir())
    assert not (folder / "ledgers").exists()
    orders = directory.report("server", "b", Report())
    assert orders is not None
    assert orders.lives == 1  # it starts there by itself
    assert orders.addresses["server"] == ("tcp://10.0.0.2:1",)


def test_who_was_asked_to_stop_is_not_started_elsewhere(directory: Directory) -> None:
    directory.start("actor-0")
    directory.join("actor-0", "actor", Arrival("a", "10.0.0.1"))
    directory.signal("actor-0", signal.SIGTERM)
    directory.join("actor-0", "actor", Arrival("b", "10.0.0.2"))
    orders = directory.report("actor-0", "b", Report())
    assert orders is not None
    assert orders.lives == 0


def test_who_is_removed_hears_it(directory: Directory) -> None:
    directory.join("actor-0", "actor", Arrival("a", "10.0.0.1"))
    directory.remove("actor-0")
    assert directory.report("actor-0", "a", Report()) is None
    assert "actor-0" not in directory.picture().seats


def test_files_and_logs_land_in_the_runs_folder(directory: Directory, folder: Path) -> None:
    directory.join("learner", "learner", Arrival("a", "10.0.0.1"))
    directory.log("learner", "a", b"one\n")
    directory.log("learner", "a", b"two\n")
    assert (folder / "logs" / "learner.log").read_bytes() == b"one\ntwo\n"
    directory.keep("learner", "a", "learner", "checkpoints/checkpoint-1.npz", b"weights")
    assert (folder / "checkpoints" / "checkpoint-1.npz").read_bytes() == b"weights"
    directory.keep("learner", "a", "learner", "checkpoints/checkpoint-1.npz", None)
    assert not list((folder / "checkpoints").iterdir())


@pytest.mark.parametrize("path", ["../elsewhere", "run.json", "checkpoints/../../x.npz", "/tmp/result.json", "a/b"])
def test_no_other_file_is_written(directory: Directory, folder: Path, path: str) -> None:
    directory.join("learner", "learner", Arrival("a", "10.0.0.1"))
    with pytest.raises(ValueError, match="has no file"):
        directory.keep("learner", "a", "learner", path, b"x")


def test_who_says_nothing_is_known_by_it(folder: Path) -> None:
    clock = Clock(100.0)
    directory = Directory(folder, experiment(), KEYS, {}, clock)
    directory.join("server", "server", Arrival("a", "10.0.0.1"))
    clock.now += 3
    assert directory.picture().seats["server"].silent_s == 3
    directory.report("server", "a", Report())
    assert directory.picture().seats["server"].silent_s == 0


def test_the_number_of_actors_can_be_asked_for(directory: Directory) -> None:
    assert directory.want_actors(5) == 2
    assert directory.picture().actors == 5
