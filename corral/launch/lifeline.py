"""What ties a process to its launcher: a pipe that ends when the launcher does, however it dies.

A launcher may ask for something through it, a line at a time.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from corral.launch.stopping import StopRequest

GRACE_S = 5.0
"""Seconds that a process has to stop by itself before it is ended."""
LEARNER_GRACE_S = 60.0
"""The same for a learner: a training step, and a checkpoint of a large network."""


def grace_of(role: str, drain_s: float) -> float:
    """Seconds that a process of `role` has to stop by itself; a server drains for `drain_s` of them."""
    if role == "learner":
        return LEARNER_GRACE_S
    return GRACE_S + drain_s if role == "server" else GRACE_S


def watch(
    stop: StopRequest,
    on_lost: Callable[[], None],
    grace_s: float,
    pipe: int = 0,
    on_line: Callable[[str], None] = lambda line: None,
) -> None:
    """Call `on_lost` and ask `stop` when `pipe` (a file descriptor; standard input) ends, and end the
    process if that is not enough. The launcher holds the other end; `on_line` gets each line that it writes."""

    def wait() -> None:
        rest = b""
        with contextlib.suppress(OSError):
            while data := os.read(pipe, 1024):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    on_line(line.decode(errors="replace"))
        on_lost()
        timer = threading.Timer(grace_s, stop.end_now, [1])
        timer.daemon = True
        timer.start()
        stop.ask()

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def sweep(folder: Path, names: Iterable[str] = ()) -> None:
    """Remove one's own socket files from `folder`, and the folder itself if one is the last to leave."""
    for name in names:
        with contextlib.suppress(OSError):
            (folder / name).unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()
