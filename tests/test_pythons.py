"""The other Pythons that pyproject.toml names: the wheel, the thin client and the command line in each."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clean_venv import ROOT, CleanVenv, build_wheel
from tests.support.models import save_two_headed_model
from tests.support.processes import process, until_serving
from tests.support.pythons import OTHERS, find_python

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

LIGHT_TESTS = ("tests/protocol", "tests/actor_client/test_backoff.py", "tests/actor_client/test_balance.py",
               "tests/actor_client/test_settings.py", "tests/actor_client/test_spaces.py",
               "tests/actor_client/test_timesheet.py")  # fmt: skip


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    save_two_headed_model(folder / "policy.keras")
    address = f"ipc://{folder}/server"
    with process("-m", "corral.cli", "serve", str(folder / "policy.keras"), "--address", address):
        until_serving(address)
        yield address


@pytest.fixture
def python(request: pytest.FixtureRequest) -> str:
    found = find_python(request.param)
    if found is None:
        if os.environ.get("REQUIRE_PYTHONS") == "1":
            pytest.fail(f"REQUIRE_PYTHONS=1, and there is no Python {request.param}")
        pytest.skip(f"no Python {request.param} here")
    return found


@pytest.mark.parametrize("python", OTHERS, indirect=True)
def test_wheel_client_and_command_line(python: str, tmp_path: Path, wheel: Path, served: str) -> None:
    clean = CleanVenv(tmp_path / "venv", f"corral[actor] @ {wheel.as_uri()}", python=python)
    answer = clean.python(
        "import sys, numpy, actor_client\n"
        "client = actor_client.PolicyClient(sys.argv[1])\n"
        "print(client.infer(numpy.zeros((3, 4)))['logits'].shape)",
        served,
    )
    assert answer.strip() == "(3, 2)"
    looked = clean.run(str(clean.corral), "doctor")
    assert "Corral needs Python" not in looked.stdout
    assert looked.returncode == 0, looked.stdout + looked.stderr

    clean.install("pytest", "pytest-timeout", "hypothesis")
    command = [
        str(clean.executable),
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-m",
        "not long",
        *LIGHT_TESTS,
    ]
    tested = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert tested.returncode == 0, tested.stdout + tested.stderr
