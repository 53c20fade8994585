"""Where servers are, from what a person says: an address, a host, or a run's folder."""

from __future__ import annotations

from pathlib import Path

from corral.launch.errors import UserError
from corral.launch.folder import POLICIES, goes_on, server_addresses

PORT = 5555


def find_server(where: str) -> str:
    """The address that `where` means, the first of several; the rest as for `find_servers`."""
    return find_servers(where)[0]


def find_servers(where: str) -> tuple[str, ...]:
    """The addresses that `where` means, by number.

    Args:
      where: "tcp://HOST:PORT" or "ipc://PATH"; "HOST:PORT"; "HOST", at port 5555; several of these, with commas
        between; or the folder of a run.

    Raises:
      UserError: there is no such folder, it is no run's, or its run has ended.
    """
    if "://" not in where and ("/" in where or Path(where).is_dir()):
        return _of_run(Path(where))
    return tuple(_address(each.strip()) for each in where.split(","))


def _address(where: str) -> str:
    if "://" in where:
        return where
    return f"tcp://{where}" if ":" in where else f"tcp://{where}:{PORT}"


def _of_run(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder, and no address; write tcp://HOST:PORT or HOST")
    addresses = server_addresses(folder)
    run = folder.parents[1] if folder.parent.name == POLICIES else folder
    if not goes_on(run):
        raise UserError(f"no run goes on in {folder}: it has ended; summary.json there says how")
    if not addresses:
        raise UserError(f"the servers of the run in {folder} have no place in their cluster yet; ask again")
    return addresses
