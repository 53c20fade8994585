"""What a fresh machine gets: each extra in a clean virtual environment, built from the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.models import save_two_headed_model
from tests.support.processes import process, until_serving

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]


class CleanVenv:
    """A virtual environment with one way of installing Corral in it, and nothing else."""

    def __init__(self, folder: Path, requirement: str) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self._python = folder / "bin" / "python"
        self.corral = folder / "bin" / "corral"
        # pip of the test's own environment, told to install into the new one.
        pip = [sys.executable, "-m", "pip", "--python", str(self._python), "install", "--quiet"]
        constraints = ["--disable-pip-version-check", "-c", str(ROOT / "constraints.txt")]
        subprocess.run([*pip, *constraints, requirement], check=True, timeout=300)

    def run(self, *command: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, cwd=self._python.parent, env=clean
        )

    def python(self, code: str, *arguments: str) -> str:
        """What `code` prints. Raises where it fails."""
        done = self.run(str(self._python), "-c", code, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, "-w", str(folder), str(ROOT)], check=True, timeout=300)
    return next(folder.glob("*.whl"))


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
