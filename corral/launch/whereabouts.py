"""Where a server is, from what a person says: an address, a host, or a run's folder."""

from __future__ import annotations

from pathlib import Path

from corral.launch.errors import UserError
from corral.launch.folder import goes_on, server_address

PORT = 5555


def find_server(where: str) -> str:
    """The address that `where` means.

    Args:
      where: "tcp://HOST:PORT" or "ipc://PATH"; "HOST:PORT"; "HOST", at port 5555; or the folder of a run.

    Raises:
      UserError: there is no such folder, it is no run's, or its run has ended.
    """
    if "://" in where:
        return where
    if "/" in where or Path(where).is_dir():
        return _of_run(Path(where))
    return f"tcp://{where}" if ":" in where else f"tcp://{where}:{PORT}"


def _of_run(folder: Path) -> str:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder, and no address; write tcp://HOST:PORT or HOST")
    address = server_address(folder)
    if not goes_on(folder):
        raise UserError(f"no run goes on in {folder}: it has ended; summary.json there says how")
    return address
