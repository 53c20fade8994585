"""`corral set`: settings of a running server."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

from corral.cli.completion import changes as changes_of
from corral.cli.options import Keys, Where


def set_(
    where: Where,
    changes: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE...",
            help="What to change, such as server.batching.timeout_us=500.",
            autocompletion=changes_of,
        ),
    ],
    keys: Keys = None,
) -> None:
    """Change settings of a running server, or of all of a run: between two batches, without dropping a request.

    server.batching.timeout_us, server.batching.max_size and server.batching.buckets can change; the sizes must be
    among those that the server compiled when it started. A timeout_us of auto lets the server
    learn one. The next start begins with the experiment's own again.
    """
    from corral.launch.reach import how_far
    from corral.launch.sources import read_override
    from corral.launch.view import say
    from corral.launch.whereabouts import find_servers
    from corral.protocol import change_settings
    from corral.protocol.keys import Role, caller

    settings = {key: _sizes(value) for key, value in map(read_override, changes)}
    silent = []
    for address in find_servers(where):
        figures = change_settings(address, settings, keys=caller(keys, Role.OPERATOR, towards=Role.SERVER))
        if figures is None:
            silent.append(address)
            continue
        # Of a timeout that the server chooses, the figure is what it has chosen so far.
        chosen = "auto, now " if figures.get("timeout_auto") else ""
        say(
            f"{address}: timeout_us = {chosen}{figures['timeout_us']}, max_size = {figures['max_size']}, "
            f"buckets = {figures['buckets']}"
        )
    if silent:
        raise TimeoutError(f"no answer from {', '.join(silent)}: {how_far(silent[0])}")


def _sizes(value: Any) -> Any:
    """Sizes as `--buckets` takes them, "1,8,48", as a list; anything else as it is."""
    is_sizes = isinstance(value, str) and re.fullmatch(r"\d+(,\d+)+", value)
    return [int(size) for size in value.split(",")] if is_sizes else value
