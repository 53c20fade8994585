"""Where a server is, from what a person says: an address, a host, or a run's folder."""

from __future__ import annotations

from pathlib import Path

from corral.launch.folder import server_address

PORT = 5555


def find_server(where: str) -> str:
    """The address that `where` means.

    Args:
      where: "tcp://HOST:PORT" or "ipc://PATH"; "HOST:PORT"; "HOST", at port 5555; or the folder of a run.

    Raises:
      UserError: a folder that is no run's.
    """
    if "://" in where:
        return where
    if Path(where).is_dir():
        return server_address(Path(where))
    return f"tcp://{where}" if ":" in where else f"tcp://{where}:{PORT}"
