"""The command line's shape: each command is a file beside this one and imports its own room only."""

from __future__ import annotations

from typing import Annotated

import typer

from corral.cli import print_version
from corral.cli.actor import actor
from corral.cli.bench import bench
from corral.cli.chaos import chaos
from corral.cli.config import config
from corral.cli.dashboard import dashboard
from corral.cli.doctor import doctor
from corral.cli.evaluate import evaluate
from corral.cli.export import export
from corral.cli.init import init
from corral.cli.keys import keys
from corral.cli.learner import learner
from corral.cli.plan import plan
from corral.cli.run import run
from corral.cli.scale import scale
from corral.cli.serve import serve
from corral.cli.server import server
from corral.cli.set import set_
from corral.cli.status import status
from corral.cli.top import top
from corral.cli.tune import tune

app = typer.Typer(
    name="corral",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        print_version()
        raise typer.Exit


@app.callback()
def _corral(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Many thin actors, one Keras policy: inference server, learner and actors for reinforcement learning.

    corral run examples/cartpole.toml trains on this machine; corral serve policy.keras answers with any saved
    Keras model. server, learner and actor start one role each, for runs over several machines; init and config
    write and explain experiment files; status and set look at a running server and tune it, and dashboard does
    both on a live page; scale gives a run on a Ray cluster more or fewer actors; bench measures one, tune finds
    out which batch timeout suits an experiment, plan says what a run of any size needs, and chaos kills whatever
    a run is made of. evaluate says how well the policy of a run plays, and export writes it for others to serve.
    doctor says what is wrong with a machine. keys makes what machines that talk over a network need to know each
    other by.
    """


for _command in (
    run, serve, server, learner, actor, init, config, status, top, dashboard, bench, tune, plan, chaos, evaluate,
    export, doctor, scale,
):  # fmt: skip
    app.command()(_command)
app.command("set")(set_)
app.add_typer(keys, name="keys")
