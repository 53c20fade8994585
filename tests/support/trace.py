"""Reading a trace by the documentation of Chrome's trace event format, and by nothing of ours."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Line:
    """One thread: its complete events ("X"), in the order of their beginnings, outer ones first."""

    process: str
    thread: str
    spans: list[dict[str, Any]] = field(default_factory=list)

    def named(self, name: str) -> list[dict[str, Any]]:
        return [span for span in self.spans if span["name"] == name]

    def seconds(self, name: str) -> float:
        return sum(span["dur"] for span in self.named(name)) / 1e6

    def kinds(self) -> Counter[str]:
        return Counter(span["name"] for span in self.spans)


class Trace:
    """A file, checked while it is read."""

    def __init__(self, path: Path) -> None:
        with gzip.open(path, "rt") as file:
            told = json.load(file)
        self.other = told["otherData"]
        self.sort: dict[str, int] = {}
        processes: dict[int, str] = {}
        threads: dict[tuple[int, int], str] = {}
        spans: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
        for event in told["traceEvents"]:
            where = (event["pid"], event["tid"])
            assert all(type(part) is int for part in where)
            if event["ph"] == "M":
                if event["name"] == "process_name":
                    processes[event["pid"]] = event["args"]["name"]
                elif event["name"] == "thread_name":
                    threads[where] = event["args"]["name"]
                else:
                    assert event["name"] == "process_sort_index"
                    assert type(event["args"]["sort_index"]) is int
            else:
                assert event["ph"] == "X"
                assert event["ts"] > 0
                assert event["dur"] >= 0
                assert type(event["args"]) is dict
                spans[where].append(event)
        assert set(spans) == set(threads)  # every time line has a name, and every name a time line
        self.lines = [
            Line(processes[where[0]], threads[where], sorted(each, key=lambda e: (e["ts"], -e["dur"])))
            for where, each in spans.items()
        ]
        for line in self.lines:
            assert_nested(line)

    def line(self, process: str, thread: str) -> Line:
        (found,) = (line for line in self.lines if (line.process, line.thread) == (process, thread))
        return found


def assert_nested(line: Line) -> None:
    """Every span of a thread lies within another one, or behind it."""
    open_: list[int] = []
    for span in line.spans:
        began = round(span["ts"] * 1e3)
        ended = began + round(span["dur"] * 1e3)
        while open_ and open_[-1] <= began:
            open_.pop()
        assert not open_ or ended <= open_[-1], f"{line.process} {line.thread}: {span} crosses the end of another"
        open_.append(ended)
