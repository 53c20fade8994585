"""What a fresh machine gets: each extra in a clean virtual environment, built from the wheel."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clean_venv import ROOT, CleanVenv, build_wheel
from tests.support.models import save_two_headed_model
from tests.support.processes import process, until_serving

pytestmark = pytest.mark.long

TYPED_USER = ROOT / "tests" / "support" / "typed_user.py"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_a_build_repeated_is_the_same_to_the_byte(tmp_path: Path, wheel: Path) -> None:
    # Of the source distribution, which also has to hold all that a wheel is made of.
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--disable-pip-version-check"]
    build = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d"]
    sources = []
    for name in ("one", "two"):
        done = subprocess.run([*build, str(tmp_path / name)], cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        sources += (tmp_path / name).glob("*.tar.gz")
    assert sources[0].read_bytes() == sources[1].read_bytes()
    subprocess.run([*pip, "-w", str(tmp_path), str(sources[0])], check=True, timeout=300)
    assert next(tmp_path.glob("*.whl")).read_bytes() == wheel.read_bytes()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("served")
    save_two_headed_model(folder / "policy.keras")
    address = f"ipc://{folder}/server"
    with process("-m", "corral.cli", "serve", str(folder / "policy.keras"), "--address", address):
        until_serving(address)
        yield address


@pytest.mark.timeout(400)
def test_the_base_install_is_the_thin_client(tmp_path: Path, wheel: Path, served: str) -> None:
    clean = CleanVenv(tmp_path / "venv", f"corral @ {wheel.as_uri()}")
    names = clean.python("import importlib.metadata as m; print(*sorted(d.name for d in m.distributions()))")
    assert names.split() == ["corral", "msgpack", "numpy", "pyzmq"]
    answer = clean.python(
        "import sys, numpy, actor_client\n"
        "client = actor_client.PolicyClient(sys.argv[1])\n"
        "print(client.infer(numpy.zeros((3, 4)))['logits'].shape)",
        served,
    )
    assert answer.strip() == "(3, 2)"

    for arguments, extra in ((["--help"], "actor"), (["run", "x.toml"], "server"), (["actor", "x.toml"], "actor")):
        told = clean.run(str(clean.corral), *arguments)
        assert told.returncode == 2
        assert f'pip install "corral[{extra}]"' in told.stderr
        assert "Traceback" not in told.stderr


@pytest.mark.timeout(400)
def test_the_actor_extra_runs_an_actor_and_says_what_it_lacks(tmp_path: Path, wheel: Path) -> None:
    clean = CleanVenv(tmp_path / "venv", f"corral[actor] @ {wheel.as_uri()}")
    names = clean.python("import importlib.metadata as m; print(*[d.name for d in m.distributions()])")
    assert not {"tensorflow", "keras"} & set(names.split())
    experiment = str(ROOT / "examples" / "cartpole.toml")

    ran = clean.run(
        *(str(clean.corral), "actor", experiment, "--server", f"ipc://{tmp_path}/nobody"),
        *("--set", "actor.give_up_after_s=0.5", "--set", "actor.resend_after_s=0.1"),
    )
    assert ran.returncode != 0
    assert "does a server run there" in ran.stderr
    assert "Traceback" not in ran.stderr

    told = clean.run(str(clean.corral), "dashboard", "127.0.0.1")
    assert told.returncode == 2
    assert 'pip install "corral[dashboard]"' in told.stderr

    told = clean.run(str(clean.corral), "server", experiment)
    assert told.returncode == 2
    assert 'pip install "corral[server]"' in told.stderr


@pytest.mark.timeout(500)
def test_what_is_installed_has_types_for_a_strict_checker(tmp_path: Path, wheel: Path) -> None:
    clean = CleanVenv(tmp_path / "venv", f"corral @ {wheel.as_uri()}")
    user = tmp_path / "user.py"
    user.write_text(TYPED_USER.read_text())
    assert errors_of(user, clean) == []

    user.write_text(
        TYPED_USER.read_text()
        + "PolicyClient(5555)\n"  # an address is a text
        + "client.infer(rows).shape\n"  # outputs have names
        + "from actor_client import PolicyCleint as Other\n"
    )
    found = errors_of(user, clean)
    assert [line.rpartition("[")[2] for line in found] == ["arg-type]", "attr-defined]", "attr-defined]"], found


def errors_of(user: Path, clean: CleanVenv) -> list[str]:
    """What mypy has against a user's file, in a folder that has none of our settings."""
    mypy = [sys.executable, "-m", "mypy", "--strict", "--no-color-output", "--python-executable"]
    done = subprocess.run(
        [*mypy, str(clean.executable), "user.py"], cwd=user.parent, capture_output=True, text=True, timeout=400
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if ": error:" in line]
