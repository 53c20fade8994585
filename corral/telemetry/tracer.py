"""What each thread does when, for as long as somebody looks: spans on time lines.

Rooms mark the methods that are worth a span:

    @span("batch", lambda rows, service, reason: {"rows": rows, "reason": reason})
    def run(self, reason): ...

A mark costs nothing: the method is the same as without it. Only while a `Tracer` records does its class hold
another one in its place, which notes when it began and ended.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar

MOST_SPANS = 300_000
"""Spans that are kept of one thread, some 60 MB; what comes after is counted."""

Method = TypeVar("Method", bound=Callable[..., Any])
Describe = Callable[..., Mapping[str, Any]]


class _Mark(NamedTuple):
    function: Callable[..., Any]
    name: str
    describe: Describe | None
    work: bool


_marks: list[_Mark] = []
_recording = threading.Lock()


def span(name: str, describe: Describe | None = None, *, work: bool = False) -> Callable[[Method], Method]:
    """Mark a method: it is a span of this name wherever a trace is recorded.

    Args:
      name: the same for the same kind of doing, in whichever room.
      describe: what to note of a call, given its result and its arguments; none of a call that raised.
      work: whether this is what the process is there for: a tracer that waits for work begins with it.
    """

    def mark(method: Method) -> Method:
        _marks.append(_Mark(method, name, describe, work))
        return method

    return mark


Span: TypeAlias = tuple[str, int, int, Mapping[str, Any] | None]
"""One call: its name, readings of CLOCK_MONOTONIC in nanoseconds when it began and ended, and what was noted of it.
A plain tuple, since it is made on the hot path."""


@dataclass
class TimeLine:
    """The spans of one thread, in the order of their ends.

    Attributes:
      thread: its name.
      id: the system's number of it.
      dropped: spans that there was no room for.
    """

    thread: str
    id: int
    spans: list[Span] = field(default_factory=list)
    dropped: int = 0


class Tracer:
    """Records the marked methods of all threads of this process, from `begin` to `end`. One records at a time.

    What is under way at `begin` or `end` is left out, so that spans of a thread lie within or behind each other.

    Args:
      most_spans: kept of each thread.
      clock: nanoseconds, the same in all processes of a machine.

    Attributes:
      lines: the time lines, by thread.
      began_ns, ended_ns: from when to when it recorded; 0 before.
    """

    def __init__(self, most_spans: int = MOST_SPANS, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._most = most_spans
        self._clock = clock
        self._replaced: list[tuple[type, str, Any]] = []
        self.lines: dict[int, TimeLine] = {}
        self.began_ns = self.ended_ns = 0

    def begin(self, *, at_work: bool = False) -> None:
        """Record from now on, or with `at_work` from the first call that was marked as work.

        Raises:
          RuntimeError: another tracer records.
        """
        if not _recording.acquire(blocking=False):
            raise RuntimeError("another trace is being recorded")
        self.began_ns = 0 if at_work else self._clock()
        for mark in _marks:
            owner, name = _place(mark.function)
            if owner is not None and owner.__dict__.get(name) is mark.function:
                setattr(owner, name, self._around(mark))
                self._replaced.append((owner, name, mark.function))

    def end(self) -> None:
        """Record no more."""
        self.ended_ns = self._clock()
        for owner, name, function in self._replaced:
            setattr(owner, name, function)
        self._replaced.clear()
        _recording.release()

    @property
    def dropped(self) -> int:
        """Spans that there was no room for."""
        return sum(line.dropped for line in self.lines.values())

    def events(self, process: str) -> Iterator[dict[str, Any]]:
        """All of it as events of Chrome's trace format, which Perfetto opens: times in microseconds.

        Args:
          process: what the process is called.
        """
        pid = os.getpid()
        yield metadata(pid, 0, "process_name", {"name": process})
        for line in list(self.lines.values()):
            yield metadata(pid, line.id, "thread_name", {"name": line.thread})
            for name, began, ended, noted in line.spans:
                yield {
                    "ph": "X",
                    "pid": pid,
                    "tid": line.id,
                    "name": name,
                    "cat": process,
                    "ts": began / 1e3,
                    "dur": (ended - began) / 1e3,
                    "args": noted or {},
                }

    def _around(self, mark: _Mark) -> Callable[..., Any]:
        function, name, describe, work = mark
        clock, note = self._clock, self._note

        @functools.wraps(function)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            began = clock()
            if work and not self.began_ns:
                self.began_ns = began
            try:
                result = function(*args, **kwargs)
            except BaseException:
                note(name, began, clock(), None)
                raise
            ended = clock()
            note(name, began, ended, describe(result, *args, **kwargs) if describe else None)
            return result

        return recorded

    def _note(self, name: str, began: int, ended: int, noted: Mapping[str, Any] | None) -> None:
        if self.ended_ns or not 0 < self.began_ns <= began:
            return
        line = self.lines.get(threading.get_ident())
        if line is None:
            thread = threading.current_thread()
            called = "main" if thread is threading.main_thread() else thread.name
            line = self.lines[threading.get_ident()] = TimeLine(called, threading.get_native_id())
        if len(line.spans) < self._most:
            line.spans.append((name, began, ended, noted))
        else:
            line.dropped += 1


def metadata(pid: int, tid: int, name: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """An event that says something of a process or thread, such as its name."""
    return {"ph": "M", "pid": pid, "tid": tid, "name": name, "args": args}


def _place(function: Callable[..., Any]) -> tuple[Any, str]:
    """The class that a method was defined in, and its name there; None where it has not been made yet."""
    *path, name = function.__qualname__.split(".")
    owner: Any = sys.modules.get(function.__module__)
    for part in path:
        owner = getattr(owner, part, None)
    return owner, name
