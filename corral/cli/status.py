"""`corral status`: how a running server or learner does."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from corral.cli.options import Keys, Where


def status(
    where: Where = "127.0.0.1",
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
    keys: Keys = None,
    learner: Annotated[bool, typer.Option("--learner", help="With keys: it is a learner that is asked.")] = False,
    timeout_s: Annotated[float, typer.Option(min=0, help="Seconds to wait for an answer.")] = 2.0,
) -> None:
    """Print the figures of a running server or learner; of several servers all together, and each one's standing.

    Exits with 0 where it is ready, with 1 where it is not ready yet or nothing answers: a health check.
    """
    from corral.launch.fleet import SERVERS, whole, words
    from corral.launch.reach import how_far
    from corral.launch.view import say
    from corral.launch.whereabouts import find_servers
    from corral.protocol import fetch_status
    from corral.protocol.keys import Role, caller

    addresses = find_servers(where)
    own = caller(keys, Role.OPERATOR, towards=Role.LEARNER if learner else Role.SERVER)
    answers = {address: fetch_status(address, timeout_s, keys=own) for address in addresses}
    known = {address: figures for address, figures in answers.items() if figures is not None}
    if not known:
        raise TimeoutError(f"no answer from {', '.join(addresses)} within {timeout_s:g} s: {how_far(addresses[0])}")
    figures = known[addresses[0]] if len(addresses) == 1 else whole(known)
    if len(addresses) > 1:
        figures["actor_table"], servers = [], figures[SERVERS]
        shown = {address: words(servers[address]) if address in servers else "silent" for address in addresses}
        figures |= {} if as_json else {SERVERS: ""} | {f"  {address}": text for address, text in shown.items()}
    say(json.dumps(figures, indent=2) if as_json else as_table(figures))
    raise typer.Exit(0 if figures.get("ready") else 1)


def as_table(figures: dict[str, object]) -> str:
    """The figures, a line each."""
    width = max(map(len, figures))
    return "\n".join(f"{name:{width}}  {_shown(value)}" for name, value in figures.items())


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
