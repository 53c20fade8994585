"""The thin client: ask a policy server from anywhere with numpy, pyzmq and msgpack, and nothing else.

`PolicyClient` asks for predictions; `ActorSession` steps environments of your own; `run_actor` is the loop that
`corral actor` runs with gymnasium. Nothing is imported until it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "ActorSession": "actor_session",
    "ActorSettings": "settings",
    "EnvironmentSettings": "settings",
    "PolicyClient": "policy_client",
    "Rows": "actor_session",
    "SessionLostError": "actor_session",
    "UnansweredError": "line",
    "run_actor": "runner",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
