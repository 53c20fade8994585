"""`corral scale`: more or fewer actors in a run that goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from corral.cli import completion
from corral.cli.options import RayAddress


def scale(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="The folder of a run on a Ray cluster, or its name there.",
            autocompletion=completion.runs,
        ),
    ],
    actors: Annotated[int, typer.Option(min=0, max=100_000, help="How many actor processes it shall have.")],
    ray_address: RayAddress = None,
) -> None:
    """Give a run on a Ray cluster more or fewer actor processes, while it goes on.

    Those with the highest numbers go first. Call it on any node of the cluster (docs/ray.md).
    """
    from corral.cli.run import require
    from corral.launch.view import say

    require("ray")
    from corral.cluster.run import scale as scale_run

    name = Path(run).resolve().name
    before = scale_run(name, actors, ray_address or "")
    say(f"{name}: {actors} actor processes wanted, {before} before")
