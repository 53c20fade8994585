"""Virtual environments that hold one way of installing Corral, and nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
INSTALL_TIMEOUT_S = 500


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
      python: the interpreter; the test's own if left out.
    """

    def __init__(
        self,
        folder: Path,
        requirement: str,
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        self._environment = environment or {}
        subprocess.run([python, "-m", "venv", "--without-pip", "--symlinks", str(folder)], check=True, timeout=60)
        self.executable = folder / "bin" / "python"
        self.corral = folder / "bin" / "corral"
        self.install(requirement)

    def install(self, *requirements: str) -> None:
        """Have pip of the test's own environment install into this one, in the versions that are tested."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.executable), "install", "--quiet"]
        constraints = ["--disable-pip-version-check", "-c", str(ROOT / "constraints.txt")]
        # A group of its own: pip runs another pip, which would outlive it.
        with subprocess.Popen([*pip, *constraints, *requirements], start_new_session=True) as running:
            try:
                code = running.wait(INSTALL_TIMEOUT_S)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)
        assert code == 0, f"pip install {' '.join(requirements)} failed"

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
