"""For properties of the form "any input is taken, or refused in the one way that is promised"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from corral.protocol import ProtocolError


def outcome(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """What `function` returns, or the `ProtocolError` that it raises; any other exception passes through."""
    try:
        return function(*arguments, **keywords)
    except ProtocolError as error:
        return error
