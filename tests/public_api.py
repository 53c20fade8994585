"""What users may import, as text: `python -m tests.public_api > tests/public_api.txt` after a meant change."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import is_dataclass
from enum import Enum
from typing import Any

PACKAGES = ("actor_client", "corral.agents", "corral.protocol", "inference_server", "learner")


def describe() -> str:
    """One line for each public name of each package, and for each public method and attribute of its classes."""
    lines = []
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in sorted(module.__all__):
            lines += _described(f"{package}.{name}", getattr(module, name))
    return "\n".join(lines) + "\n"


def _described(name: str, value: Any) -> list[str]:
    if inspect.isclass(value):
        return [f"{name}{_signature(value)}", *_members(name, value)]
    if callable(value) and not isinstance(value, type):
        return [f"{name}{_signature(value)}"]
    return [f"{name}: {type(value).__name__}"]


def _members(name: str, kind: type) -> list[str]:
    if issubclass(kind, Enum):
        return [f"{name}.{member.name} = {member.value!r}" for member in kind]
    known = [base for base in kind.__mro__ if base.__module__.split(".")[0] in _ROOTS]
    members = {each for base in known for each in vars(base) if not each.startswith("_")}
    if is_dataclass(kind):
        members -= set(kind.__dataclass_fields__)  # its signature has them
    return [
        f"{name}.{member}{_signature(value) if callable(value) else ''}"
        for member in sorted(members)
        for value in [inspect.getattr_static(kind, member)]
    ]


def _signature(value: Any) -> str:
    try:
        return _ADDRESS.sub("...", str(inspect.signature(value)))
    except (TypeError, ValueError):
        return ""


_ADDRESS = re.compile(r"<function [^>]*>+ at 0x[0-9a-f]+>|<function \S+ at 0x[0-9a-f]+>")
_ROOTS = {package.split(".")[0] for package in PACKAGES}

if __name__ == "__main__":
    print(describe(), end="")
