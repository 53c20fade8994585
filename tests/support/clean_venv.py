"""Virtual environments that hold one way of installing Corral, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]


def build_wheel(folder: Path) -> Path:
    """The wheel of the working copy, made in `folder`."""
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--disable-pip-version-check"]
    subprocess.run([*pip, "-w", str(folder), str(ROOT)], check=True, timeout=300)
    return next(folder.glob("corral-*.whl"))


class CleanVenv:
    """A virtual environment with one way of installing Corral in it, and nothing else.

    Args:
      requirement: what pip installs.
      environment: what commands run with, beside the test's own.
    """

    def __init__(self, folder: Path, requirement: str, environment: Mapping[str, str] | None = None) -> None:
        self._environment = environment or {}
        venv.create(folder, with_pip=False, symlinks=True)
        self.executable = folder / "bin" / "python"
        self.corral = folder / "bin" / "corral"
        # pip of the test's own environment, told to install into the new one.
        pip = [sys.executable, "-m", "pip", "--python", str(self.executable), "install", "--quiet"]
        constraints = ["--disable-pip-version-check", "-c", str(ROOT / "constraints.txt")]
        subprocess.run([*pip, *constraints, requirement], check=True, timeout=300)

    def run(self, *command: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        own = ("PYTHON", "KERAS_")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=self.executable.parent,
            env=clean | self._environment,
        )

    def python(self, code: str, *arguments: str) -> str:
        """What `code` prints. Raises where it fails."""
        done = self.run(str(self.executable), "-c", code, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout
