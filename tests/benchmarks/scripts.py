"""Benchmarks are scripts, not a package: this imports one as the interpreter would run it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load_script(name: str, folder: str = ".") -> ModuleType:
    """The module of `benchmarks/<folder>/<name>.py`; its folder is searched for what it imports itself."""
    path = str((BENCHMARKS / folder).resolve())
    if path not in sys.path:
        sys.path.append(path)
    return importlib.import_module(name)
