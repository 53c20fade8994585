"""The scenarios: what the scripted server does to a client, and what the client must do then.

Each is a function of a `Stage`; its docstring says what it tries, and which sections of the page ask for it.
"""

from collections.abc import Callable

from tests.conformance.scenarios import asking, joining, leaving, refusals, stepping
from tests.conformance.scenarios.registry import ENTERED
from tests.conformance.stage import Stage

SCENARIOS: dict[str, Callable[[Stage], None]] = {
    name: play
    for part in (joining, stepping, leaving, refusals, asking)
    for name, play in ENTERED.items()
    if play.__module__ == part.__name__
}

__all__ = ["SCENARIOS"]
