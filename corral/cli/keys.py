"""`corral keys`: who may take part in a run over several machines."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

keys = typer.Typer(
    no_args_is_help=True,
    help="Make, list and revoke keys: who may act, train, and operate (docs/security.md).",
)

KeyFolder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder of the keys.")]
Name = Annotated[str, typer.Argument(help="What the key is called: a machine, or a person.")]


class Person(StrEnum):
    """The roles of which there are many."""

    ACTOR = "actor"
    OPERATOR = "operator"


class Anyone(StrEnum):
    """Every role."""

    ACTOR = "actor"
    OPERATOR = "operator"
    SERVER = "server"
    LEARNER = "learner"


@keys.command()
def new(folder: KeyFolder) -> None:
    """Make a folder of keys: for the server, for the learner, for one actor and one operator.

    Everything that runs on this machine takes it as it is: --keys FOLDER.
    """
    from corral.launch.view import say
    from corral.protocol.keys import Role, make_pair

    for role, name in ((Role.SERVER, ""), (Role.LEARNER, ""), (Role.ACTOR, "actor"), (Role.OPERATOR, "operator")):
        say(f"{make_pair(folder, role, name)}")
    say(f"give each to its own machine alone: corral keys bundle {folder} actor actor FOLDER-FOR-THAT-MACHINE")


@keys.command()
def add(folder: KeyFolder, role: Person, name: Name) -> None:
    """Make one more key; a running server that reads this folder admits it at once."""
    from corral.launch.view import say
    from corral.protocol.keys import Role, make_pair

    say(f"{make_pair(folder, Role(role), name)}")


@keys.command()
def bundle(
    folder: KeyFolder,
    role: Anyone,
    name: Annotated[str, typer.Argument(help="Which actor or operator; the role itself for server and learner.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="A new folder, to be carried to that machine.")],
) -> None:
    """Copy what one machine needs into a folder of its own: its secret, and the public halves of the others."""
    from corral.launch.view import say
    from corral.protocol.keys import Role, copy_bundle

    for path in copy_bundle(folder, Role(role), name, target):
        say(f"{path}")


@keys.command()
def revoke(folder: KeyFolder, role: Person, name: Name) -> None:
    """Take a key away: a running server that reads this folder ends its sessions within a second."""
    from corral.launch.view import say
    from corral.protocol.keys import Role, remove_pair

    remove_pair(folder, Role(role), name)
    say(f"the key of {role} {name} is no longer admitted by whoever reads {folder}")


@keys.command("list")
def list_(folder: KeyFolder) -> None:
    """List the keys that are admitted, and whose secrets lie in the folder too."""
    from corral.launch.view import say
    from corral.protocol.keys import Role, check_folder, public_files, read_public

    check_folder(folder)
    for role in Role:
        for path in public_files(folder, role):
            if path.exists():
                secret = "  (with its secret)" if path.with_suffix(".key_secret").exists() else ""
                say(f"{role:9} {path.stem:20} {read_public(path).decode()}{secret}")
