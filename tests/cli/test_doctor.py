"""`corral doctor`: the whole command."""

from __future__ import annotations

import json
import os

import pytest

from tests.cli.test_command_line import CARTPOLE, corral_command
from tests.support.ports import free_ports


def test_it_says_what_is_wrong_and_what_to_do() -> None:
    address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    done = corral_command("doctor", "--server", address, without=("keras",))
    assert done.returncode == 1
    assert f"bad   server        {address} does not answer\n" in done.stdout
    assert "-> nothing listens there: is the server up?\n" in done.stdout
    assert "no Keras here: an actor needs none" in done.stdout


@pytest.mark.long
def test_it_times_a_step_of_an_experiment() -> None:
    ports = iter(free_ports(3))
    addresses = ("server.address", "learner.unrolls_address", "learner.weights_address")
    options = [word for key in addresses for word in ("--set", f"{key}=tcp://127.0.0.1:{next(ports)}")]
    done = corral_command("doctor", CARTPOLE, *options, "--json", timeout_s=110)
    assert done.returncode == 0, done.stderr
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert findings["accelerators"]["text"].startswith(f"{os.environ.get('KERAS_BACKEND', 'tensorflow')} on ")
    assert "12 environments " in findings["time per step"]["text"]
    assert "for 48 rows: one actor can do " in findings["time per step"]["text"]
    assert findings["port of the learner"]["state"] == "good"
