"""Packages that import nothing until it is asked for (PEP 562), so that no command loads more than its own room.

What a package exports stands in its `__init__.pyi`, as imports: type checkers and editors read it as it is, and
`exports` takes names and modules from it. So they are written down once, and what comes out of
`from actor_client import PolicyClient` has a type.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def exports(package: str) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """`__all__`, `__getattr__` and `__dir__` of a package that has an `__init__.pyi`.

    Args:
      package: its `__name__`.
    """
    homes = _homes(package)

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    names = sorted(homes)
    return names, get, lambda: names


def _homes(package: str) -> dict[str, str]:
    """Public name -> the module that defines it."""
    file = sys.modules[package].__file__
    assert file is not None
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [statement for statement in stub.body if isinstance(statement, ast.ImportFrom)]
    return {alias.name: each.module for each in imports if each.module for alias in each.names}
