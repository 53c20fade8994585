"""What the command line says of Ray, without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.test_command_line import CARTPOLE, corral_command, error
from tests.support.ports import free_ports


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--on", "moon"], "--on moon: must be local or ray"),
        (["--ray-address", "10.0.0.1:6379"], "--ray-address is for --on ray"),
        (["--on", "ray", "--trace", "10s"], "--dashboard and --trace are for runs on this machine"),
        (["--on", "ray", "--ray-address", "10.0.0.1"], "must be HOST:PORT of the cluster's head"),
        (
            ["--on", "ray", "--set", "ray.address=ray://10.0.0.1:10001"],
            "ray job submit starts a run from elsewhere",
        ),
        (["--on", "ray", "--set", "ray.actor_cpus=-1"], "must be 0 to 1000000, not -1"),
    ],
)
def test_what_cannot_be_is_told(options: list[str], words: str, tmp_path: Path) -> None:
    assert words in error(corral_command("run", CARTPOLE, "--folder", tmp_path / "runs", *options))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "command", [["run", str(CARTPOLE), "--on", "ray"], ["scale", "cartpole-1", "--actors", "2"]]
)
def test_a_cluster_that_does_not_answer_is_told_at_once(command: list[str]) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    told = error(corral_command(*command, "--ray-address", address))
    assert told.startswith(f"no Ray cluster answers at {address} (Connection refused)")


def test_ray_that_is_not_installed_is_told(tmp_path: Path) -> None:
    without = "import importlib.util as u; find = u.find_spec; "
    without += "u.find_spec = lambda name: None if name == 'ray' else find(name); "
    told = error(corral_command("run", CARTPOLE, "--on", "ray", "--folder", tmp_path / "runs", before=without))
    assert told == 'this needs ray, which is not installed: pip install "corral[ray]"'
