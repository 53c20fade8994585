"""The page of one local run: `python -m corral.dashboard.child RUN_FOLDER ADDRESS_FILE HOST [PORT]`.

Writes the page's address, with its token, into a file. It ends when the launcher does, because its standard input
then ends.
"""

from __future__ import annotations

import sys
from pathlib import Path

from corral.launch.errors import guarded
from corral.launch.leaving import leave
from corral.launch.lifeline import GRACE_S, watch
from corral.launch.logs import log_to_stderr
from corral.launch.stopping import StopRequest


def main(arguments: list[str]) -> int:
    """Serve the page until the run ends; see the module."""
    folder, file, host, *port = arguments
    stop = StopRequest()
    stop.install()
    watch(stop, lambda: None, GRACE_S)
    log_to_stderr("dashboard", run=Path(folder).name, owns_stderr=True)

    def run() -> int:
        from corral.dashboard.serve import serve
        from corral.dashboard.sources import of_run
        from corral.launch.folder import write_whole

        serve(
            [of_run(Path(folder))],
            stop,
            host=host,
            port=int(port[0]) if port else None,
            on_start=lambda address: write_whole(Path(file), address.encode()),
        )
        return 0

    return guarded(run)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
