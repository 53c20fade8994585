"""Saying what is going on while a command works, how far it is, and how long it will still take."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from corral.launch.estimate import Estimate, Say, in_words

if TYPE_CHECKING:
    from rich.console import Console

log = logging.getLogger(__name__)

PATIENCE_S = 10.0
"""Seconds between two lines on how far it is, where there is no terminal and the work is quick."""
_REDRAW_S = 0.1


@contextmanager
def progress(
    console: Console, *, every_s: float = 0.0, clock: Callable[[], float] = time.monotonic
) -> Iterator[Say]:
    """A line with a bar that changes on a terminal, plain lines elsewhere.

    Args:
      every_s: seconds between two plain lines that differ only in how far it is, at least.
      clock: seconds, monotonic.
    """
    if not console.is_terminal:
        yield _PlainLines(
            lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True), every_s, clock
        )
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(24), TextColumn("{task.fields[far]}"))
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Bar(bar, clock)


@contextmanager
def warming(first: str = "") -> Iterator[Callable[[int, int], None]]:
    """Tell what this yields how far a server's warm-up is: a bar on a terminal until all is done, lines of the log
    elsewhere.

    Args:
      first: what goes on before.
    """
    from rich.console import Console

    console = Console(stderr=True)
    with ExitStack() as bar:
        say: Say = _PlainLines(log.info, PATIENCE_S, time.monotonic)
        if console.is_terminal:
            say = bar.enter_context(progress(console))
        if first:
            say(first)

        def warm(done: int, total: int) -> None:
            say("compiling batch sizes", done, total)
            if done >= total:
                bar.close()

        yield warm


class _PlainLines:
    def __init__(self, print_: Callable[[str], object], every_s: float, clock: Callable[[], float]) -> None:
        self._print = print_
        self._every_s = every_s
        self._clock = clock
        self._estimate = Estimate(clock)
        self._said_at = clock()
        self._begun = ""

    def __call__(self, text: str, done: float = 0, total: float = 0) -> None:
        if total:
            self._estimate.at(done, total)
            if self._clock() - self._said_at < self._every_s:
                return
        elif text == self._begun:
            return
        else:
            self._begun = text
        self._said_at = self._clock()
        line = ", ".join(part for part in (text, _far(done, total, self._estimate)) if part)
        self._print(line)


class _Bar:
    def __init__(self, bar: Any, clock: Callable[[], float]) -> None:
        self._bar = bar
        self._clock = clock
        self._estimate = Estimate(clock)
        self._task = bar.add_task("", total=None, far="")
        self._drawn_at = float("-inf")

    def __call__(self, text: str, done: float = 0, total: float = 0) -> None:
        if total:
            self._estimate.at(done, total)
        now = self._clock()
        if total and done < total and now - self._drawn_at < _REDRAW_S:
            return
        self._drawn_at = now
        far = _far(done, total, self._estimate)
        self._bar.update(self._task, description=text, completed=done, total=total or None, far=far)


def _far(done: float, total: float, estimate: Estimate) -> str:
    if not total:
        return ""
    left = estimate.left_s
    return f"{done:,.0f} of {total:,.0f} done" + ("" if left is None else f", about {in_words(left)} left")
