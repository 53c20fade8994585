"""Other Pythons of this machine: `python -m tests.support.pythons` lists those here that Corral supports."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from tests.support.command import ROOT

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SUPPORTED = [found[1] for each in _PROJECT["classifiers"] if (found := re.search(r"Python :: (3\.\d+)$", each))]
"""As pyproject.toml says: "3.11", ..."""
OTHERS = [version for version in SUPPORTED if version != f"{sys.version_info.major}.{sys.version_info.minor}"]


def find_python(version: str) -> str | None:
    """The path of a Python of this version that runs, on the path or among pyenv's; None where there is none."""
    for path in _candidates(f"python{version}"):
        asked = subprocess.run([path, "-c", "import sys, venv; print(sys.version)"], capture_output=True, text=True)
        if asked.returncode == 0 and asked.stdout.startswith(f"{version}."):
            return path
    return None


def _candidates(name: str) -> Iterator[str]:
    if (found := shutil.which(name)) is not None:
        yield found  # pyenv has one of every name there, which may not run
    yield from sorted(map(str, Path.home().glob(f".pyenv/versions/*/bin/{name}")))


if __name__ == "__main__":
    print(*filter(None, map(find_python, OTHERS)))
