"""Where scenarios are entered under their names."""

from __future__ import annotations

from collections.abc import Callable

from tests.conformance.stage import Stage

ENTERED: dict[str, Callable[[Stage], None]] = {}
SOON_S = 0.005
"""The least pause before what was refused for now is asked again."""


def scenario(play: Callable[[Stage], None]) -> Callable[[Stage], None]:
    """Enters a function under its name, with dashes."""
    ENTERED[play.__name__.replace("_", "-")] = play
    return play
