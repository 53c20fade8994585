"""The `corral` command as a user runs it, in a folder of the test's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


class Workplace:
    """An empty folder with the project's examples in it, and a temporary folder of its own for sockets.

    Attributes:
      folder: where commands run.
      environment: what they run with: `corral` on the path, and a small CartPole that is solved at a return of 30.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "examples").symlink_to(ROOT / "examples")
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "CORRAL_"))}
        self.environment = clean | {
            "PATH": f"{BIN}:{clean['PATH']}",
            "TMPDIR": str(self.temporary),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONUNBUFFERED": "1",
            "CORRAL_RUN__TARGET_RETURN": "30",
        }

    @property
    def run_folder(self) -> Path:
        """The folder of the only run."""
        (folder,) = (self.folder / "runs").iterdir()
        return folder

    def corral(
        self, *arguments: str, timeout_s: float = 100, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """A `corral` command that ends by itself, with what it said."""
        return subprocess.run(
            ["corral", *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def leftovers(self) -> list[str]:
        """What should not be there any more: sockets, and processes of runs in this folder."""
        files = [str(path) for path in self.temporary.rglob("*")]
        return files + [words for _, words in self._commands()]

    def processes(self) -> list[psutil.Process]:
        """Every process of a run in this folder."""
        return [process for process, _ in self._commands()]

    def child(self, role: str) -> psutil.Process | None:
        """The process of a run that plays `role` ("server", "learner", "actor"), if it lives."""
        wanted = f"corral.launch.child {role} "
        return next((process for process, words in self._commands() if wanted in words), None)

    def _commands(self) -> list[tuple[psutil.Process, str]]:
        """Every process of a run in this folder, with its command line; one may end while we look."""
        found = []
        for process in psutil.process_iter():
            try:
                words = " ".join(process.cmdline())
                if str(self.folder) in words and process.status() != psutil.STATUS_ZOMBIE:
                    found.append((process, words))
            except psutil.Error:
                continue
        return found


@contextmanager
def workplace() -> Iterator[Workplace]:
    """A workplace whose path is short enough for socket files, which pytest's own folders may not be."""
    folder = Path(tempfile.mkdtemp(prefix="corral-test-"))
    try:
        yield Workplace(folder)
    finally:
        shutil.rmtree(folder)
