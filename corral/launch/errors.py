"""Errors that are no defects: one clear sentence for a person, never a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

# Which extra brings a module that a command misses.
_EXTRAS = {
    "tensorflow": "server",
    "jax": "jax",
    "jaxlib": "jax",
    "torch": "torch",
    "keras": "server",
    "gymnasium": "actor",
    "ale_py": "actor",
    "typer": "actor",
    "rich": "actor",
    "pydantic": "actor",
    "tomlkit": "actor",
    "tensorboardX": "server",
    "matplotlib": "server",
    "psutil": "server",
    "ray": "ray",
    "nicegui": "dashboard",
    "uvicorn": "dashboard",
    "fastapi": "dashboard",
}

# Errors of the rooms whose text is meant for a person.
_EXPECTED = {
    "corral.protocol.errors": "ProtocolError",
    "corral.protocol.sockets": "AddressError",
    "corral.protocol.keys": "KeysError",
    "actor_client.environments": "BadEnvironmentError",
    "corral.agents.backend": "BackendError",
    "learner.checkpoints": "CheckpointError",
    "learner.learner": "DivergedError",
}

USER_ERROR = 2
"""The exit code for what the user can mend."""


_tell: Callable[[str], object] | None = None


class UserError(Exception):
    """Something that the user can mend: the text says what is wrong and what to do."""


def explain(error: BaseException) -> str | None:
    """The sentence that an expected error deserves, or None where the error is a defect of ours."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, ImportError):
        return missing_extra(error)
    if any(isinstance(error, kind) for kind in _expected_kinds()):
        return str(error)
    if isinstance(error, OSError):
        return _explain_os_error(error)
    return None


def missing_extra(error: ImportError) -> str | None:
    """How to install what an import missed, or None where no extra brings it."""
    module = (error.name or "").partition(".")[0]
    extra = _EXTRAS.get(module)
    if extra is None:
        return None
    return f'this needs {module}, which is not installed: pip install "corral[{extra}]"'


def guarded(call: Callable[[], int]) -> int:
    """The exit code of `call`; an expected error becomes one "error: ..." on stderr and exit code 2, or 1 where
    something did not answer in time, which may mend itself.

    CORRAL_TRACEBACK=1 lets every error through, for whoever looks for its cause.
    """
    try:
        return call()
    except Exception as error:
        text = explain(error)
        if text is None or os.environ.get("CORRAL_TRACEBACK") == "1":
            raise
        print_error(text)
        return 1 if isinstance(error, TimeoutError) else USER_ERROR


def tell_errors_by(tell: Callable[[str], object]) -> None:
    """From now on `print_error` hands its text to `tell`, and prints nothing itself."""
    global _tell
    _tell = tell


def print_error(text: str) -> None:
    """`error: text` on stderr, its first word red on a terminal; or what `tell_errors_by` says."""
    if _tell is not None:
        _tell(text)
        return
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    print(f"\033[1;31merror:\033[0m {text}" if coloured else f"error: {text}", file=sys.stderr, flush=True)


def _expected_kinds() -> list[type[BaseException]]:
    """Those of `_EXPECTED` that are loaded: an error can only come from a module that is."""
    return [getattr(sys.modules[module], name) for module, name in _EXPECTED.items() if module in sys.modules]


def _explain_os_error(error: OSError) -> str | None:
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error) or None
