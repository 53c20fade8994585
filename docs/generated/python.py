"""The public names of the packages, from their docstrings: what `__all__` holds, and nothing else."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from sphinx.pycode import ModuleAnalyzer

PACKAGES = ("actor_client", "inference_server", "learner", "corral.agents", "corral.protocol")


def page() -> str:
    """One section for each package; Sphinx's autodoc does the rest."""
    return "\n".join(line for package in PACKAGES for line in _package(package))


def as_code(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """What a docstring indents behind an empty line is code, as in Markdown. For `autodoc-process-docstring`."""
    marked: list[str] = []
    for before, line in zip(["", *lines], lines, strict=False):
        begins = not before.strip() and line.startswith("    ")
        if begins and marked and not _last(marked).startswith("    "):
            marked += ["::", ""]
        marked.append(line)
    lines[:] = marked


def _last(lines: list[str]) -> str:
    return next((line for line in reversed(lines) if line.strip()), "")


def _package(package: str) -> Iterator[str]:
    module = importlib.import_module(package)
    yield from ("", f"## {package}", "")
    yield from ("```{eval-rst}", inspect.getdoc(module) or "", "")
    for name in sorted(module.__all__):
        yield from _directive(module, name)
    yield "```"


def _directive(module: ModuleType, name: str) -> Iterator[str]:
    value, path = getattr(module, name), f"{module.__name__}.{name}"
    if inspect.isclass(value):
        yield from (f".. autoclass:: {path}", "   :members:", "   :undoc-members:", "")
    elif inspect.isfunction(value):
        yield from (f".. autofunction:: {path}", "")
    else:
        yield from (f".. py:data:: {path}", "", *(f"   {line}" for line in _sentences(module, name)), "")


def _sentences(module: ModuleType, name: str) -> list[str]:
    """What a constant's own module says beneath it: the constant itself knows nothing of that."""
    for _, inner, _ in pkgutil.iter_modules(module.__path__, f"{module.__name__}."):
        if name in vars(importlib.import_module(inner)):
            known = ModuleAnalyzer.for_module(inner)
            known.analyze()
            if ("", name) in known.attr_docs:
                return known.attr_docs["", name]
    return []
