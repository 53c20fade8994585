"""`corral top`: how running servers and learners do, in a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from corral.cli.options import Keys, LearnerAddress, Wheres

if TYPE_CHECKING:
    from corral.dashboard.watch import Watch

PATIENCE_S = 5.0
"""Seconds to wait for the first answer."""


def top(
    where: Wheres = None,
    learner: LearnerAddress = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each server and look, instead of a view.")
    ] = False,
    looks: Annotated[
        int, typer.Option("-n", "--looks", min=0, help="End after so many looks; 0: not before Ctrl-C.")
    ] = 0,
    every_s: Annotated[float, typer.Option("--every", min=0.1, help="Seconds between two looks.")] = 1.0,
    actors: Annotated[int, typer.Option(min=0, help="Actors to list at most, those that wait most first.")] = 12,
    keys: Keys = None,
) -> None:
    """Watch running servers and learners: speed, latency, actors, and what holds a run back.

    On a terminal the view is drawn anew each second, until Ctrl-C. Elsewhere one look is printed; with --json one
    line for each look. A learner alone can be watched by its unrolls address. Exits with 1 where nothing answers.
    """
    import sys
    import time

    from rich.console import Console, Group
    from rich.live import Live

    from corral.dashboard.sources import find_sources
    from corral.dashboard.steering import Line
    from corral.dashboard.terminal import as_dict, render
    from corral.dashboard.watch import Watch
    from corral.launch.view import say

    sources = find_sources(where or [], learner=learner)
    watches = [Watch(source, Line(source, keys).fetch, period_s=every_s) for source in sources]
    for watch in watches:
        watch.start()
    console = Console(width=None if sys.stdout.isatty() else 200)
    looks = looks or (0 if as_json or console.is_terminal else 1)
    if as_json or not console.is_terminal:
        _wait(watches)  # a view says itself that it waits
    seen = 0

    def drawn() -> Group:
        return Group(*(render(watch, actors) for watch in watches))

    live = Live(console=console, screen=True, auto_refresh=False) if console.is_terminal and not as_json else None
    try:
        if live is not None:
            live.start()
        while True:
            time.sleep(every_s)
            seen += 1
            if live is not None:
                live.update(drawn(), refresh=True)
            elif as_json:
                for watch in watches:
                    say(json.dumps(as_dict(watch)))
            else:
                console.print(drawn())
            if seen == looks:
                break
    finally:
        if live is not None:
            live.stop()
        for watch in watches:
            watch.stop()


def _wait(watches: Sequence[Watch]) -> None:
    """Until one has answered. Raises `TimeoutError`."""
    import time

    from corral.launch.reach import how_far

    deadline = time.monotonic() + PATIENCE_S
    while not any(watch.heard(role) for watch in watches for role in ("server", "learner")):
        if time.monotonic() > deadline:
            silent = [address for watch in watches for address in watch.source.addresses.values()]
            raise TimeoutError(f"no answer from {', '.join(silent)}: {how_far(silent[0])}")
        time.sleep(0.02)
