"""Files of a trace: a part for each process, a line an event; and the whole, as Perfetto opens it."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from corral.telemetry.tracer import Tracer

_AT_ONCE = 200
"""Lines that are written in one go: the process works on meanwhile, and must not wait for long."""


def write_part(path: Path, tracer: Tracer, process: str) -> None:
    """Write what `tracer` has recorded, at once or not at all: what is known of it first, then its events.

    Raises `OSError`.
    """
    about = {
        "process": process,
        "pid": os.getpid(),
        "began_ns": tracer.began_ns,
        "ended_ns": tracer.ended_ns,
        "wall_minus_monotonic_ns": time.time_ns() - time.monotonic_ns(),
        "dropped_spans": tracer.dropped,
    }
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w") as file:
        lines = [json.dumps(about)]
        for event in tracer.events(process):
            lines.append(json.dumps(event, separators=(",", ":"), default=str))
            if len(lines) >= _AT_ONCE:
                file.write("\n".join(lines) + "\n")
                lines.clear()
        file.write("".join(f"{line}\n" for line in lines))
    draft.replace(path)


def join_parts(parts: Iterable[Path], path: Path) -> None:
    """Make one trace of the parts, and remove them. All times are readings of one clock, CLOCK_MONOTONIC.

    Raises `OSError`.
    """
    parts = sorted(parts)
    about: list[dict[str, Any]] = []
    draft = path.with_name(f".{path.name}.draft")
    with gzip.open(draft, "wt", compresslevel=3) as file:
        file.write('{"displayTimeUnit":"ms","traceEvents":[\n')
        between = ""
        for line in _events(parts, about):
            file.write(between + line)
            between = ",\n"
        other = {"clock": "CLOCK_MONOTONIC", "processes": about}
        file.write(f'\n],"otherData":{json.dumps(other)}}}\n')
    draft.replace(path)
    for part in parts:
        part.unlink()


def _events(parts: Iterable[Path], about: list[dict[str, Any]]) -> Iterator[str]:
    """The events of all parts as they stand; what is known of each goes to `about`."""
    for number, part in enumerate(parts):
        with part.open() as file:
            known = json.loads(file.readline())
            about.append(known)
            order = {
                "ph": "M",
                "pid": known["pid"],
                "tid": 0,
                "name": "process_sort_index",
                "args": {"sort_index": number},
            }
            yield json.dumps(order)
            for line in file:
                yield line.rstrip("\n")
