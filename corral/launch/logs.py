"""What a process writes of its doings: lines with a time, a level and the room they come from."""

from __future__ import annotations

import logging
from pathlib import Path

ROOMS = ("corral", "actor_client", "inference_server", "learner")
_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def log_to_stderr() -> None:
    """Write our rooms' news, and everybody's warnings, to stderr."""
    logging.basicConfig(format=_FORMAT, level=logging.WARNING)
    for room in ROOMS:
        logging.getLogger(room).setLevel(logging.INFO)


def log_to_file(path: Path) -> None:
    """Write the same to `path` too, behind what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter(_FORMAT))
    logging.getLogger().addHandler(handler)
