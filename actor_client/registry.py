"""What gymnasium knows by which name, and which of Corral's extras brings a package."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from actor_client.groups import BadEnvironmentError


def registered(name: str) -> str:
    """The gymnasium id that `name` is, once gymnasium knows it.

    A module named before it ("module:Id-v0") is imported, and registers it. So is ale_py, which no id of its own
    names, for Atari games: "ALE/Pong-v5", and "Pong-v4" where nobody else has registered that; and shimmy, for
    "dm_control/walker-walk-v0".

    Raises:
      BadEnvironmentError: a package of an extra is needed, and not installed.
      ImportError: the named module cannot be imported.
    """
    import gymnasium

    module, _, identifier = name.rpartition(":")
    if module and module != "ale_py":
        importlib.import_module(module)
        return identifier
    if identifier.startswith("dm_control/"):
        for needed in ("dm_control", "shimmy"):
            require(needed, "dm-control", f"{name} is a task of dm_control's (Python 3.11 and 3.12)")
    elif module or identifier.startswith("ALE/"):
        require("ale_py", "atari", f"{name} is an Atari game")
    else:
        try:
            gymnasium.spec(identifier)
        except gymnasium.error.Error:
            if importlib.util.find_spec("ale_py") is not None:
                importlib.import_module("ale_py")
    return identifier


def require(module: str, extra: str, why: str) -> Any:
    """Import a module that an extra of Corral's brings. Raises `BadEnvironmentError`, which names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        advice = f'pip install "corral[{extra}]"'
        raise BadEnvironmentError(f"{why}, which needs {module}: {advice} ({error})") from error
