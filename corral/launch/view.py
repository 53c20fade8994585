"""What a person sees of a run: one live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
from typing import Any, Protocol

from corral.launch.estimate import in_words
from corral.launch.fleet import rows_of, words
from corral.launch.progress import Progress

VERDICT_EVERY_S = 10.0
"""Seconds between two looks at what holds a run back, where each line stays."""


class View(Protocol):
    """Shows a run while it goes on."""

    period_s: float
    """Seconds from one `show` to the next."""

    def show(self, progress: Progress) -> None:
        """Show how the run stands."""
        ...

    def note(self, text: str) -> None:
        """Say something once."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


def open_view(plain: bool) -> View:
    """The live view where standard output is a terminal and `plain` is false; else plain lines."""
    if plain or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return PlainView()
    try:
        return LiveView()
    except ImportError:
        return PlainView()


class PlainView:
    """A line every two seconds. Nobody reading any more is no reason to end the run."""

    period_s = 2.0

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._bound: str | None = None
        self._judged_s = 0.0

    def show(self, progress: Progress) -> None:
        """Print one line, and each complaint once."""
        mean = progress.mean_return
        words = progress.words() + ([] if mean is None else [f"return {mean:.1f}"])
        if progress.goal is not None or progress.run.target_return is None:
            words += [f"about {in_words(progress.left_s)} left"] if progress.left_s is not None else []
        figures = "  ".join(words)
        self.note(f"{progress.elapsed_s:6.1f} s  {progress.state:8}  {figures}".rstrip())
        for text in progress.others if progress.state == "training" else ():
            self.note(f"{'':10} {text}")
        self._judge(progress)
        for text in progress.complaints():
            if text not in self._told:
                self._told.add(text)
                self.note(f"{'':10} {text}")

    def _judge(self, progress: Progress) -> None:
        """Say what holds the run back where that has changed; not for a moment's change."""
        verdict = progress.verdict
        if verdict is None or progress.elapsed_s - self._judged_s < VERDICT_EVERY_S:
            return
        self._judged_s = progress.elapsed_s
        if verdict.bound != self._bound:
            self._bound = verdict.bound
            self.note(f"{'':10} {verdict.sentence}")

    def note(self, text: str) -> None:
        """Print `text`."""
        say(text)

    def close(self) -> None:
        """Nothing to leave."""


class SilentView:
    """Shows nothing: for what is written down alone."""

    period_s = 3600.0

    def show(self, progress: Progress) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class LiveView:
    """A few calm lines that change in place."""

    period_s = 0.25

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(), auto_refresh=False, transient=True, redirect_stderr=False)
        self._live.start()

    def show(self, progress: Progress) -> None:
        """Redraw."""
        self._live.update(render(progress), refresh=True)

    def note(self, text: str) -> None:
        """Print `text` above the view."""
        self._live.console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Take the view away."""
        self._live.stop()


def render(progress: Progress) -> Any:
    """The live view as something that rich can print."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    colour = {"starting": "yellow", "warming": "yellow", "training": "green"}[progress.state]
    head = Text.assemble(
        (progress.run.name or "run", "bold"),
        "  ",
        (progress.state, colour),
        f"  {progress.elapsed_s:.1f} s",
    )
    bar = Table.grid(padding=(0, 2))
    bar.add_row(ProgressBar(total=1.0, completed=progress.fraction, width=40), _towards(progress))
    figures = Text("   ".join(progress.words()) or "waiting for the server and the learner", "dim")
    lines: list[Text | Table] = [head, bar, figures]
    for name, server in rows_of(progress.server).items():
        lines.append(Text(f"{name:>10}  {words(server)}", "dim"))
    lines += [Text(text, "dim") for text in progress.others]
    if progress.verdict is not None:
        lines.append(Text(progress.verdict.sentence, "cyan"))
    if complaints := progress.complaints():
        lines.append(Text(complaints[-1], "red"))
    return Group(*lines)


def _towards(progress: Progress) -> str:
    run, mean, left = progress.run, progress.mean_return, progress.left_s
    if progress.goal is not None:
        return progress.goal.text + _left(left, "about")
    if run.target_return is None:
        return f"{progress.env_steps:,} of {run.max_env_steps:,} steps" + _left(left, "about")
    # When a target is reached nobody knows, but when it is given up.
    shown = "-" if mean is None else f"{mean:.1f}"
    return f"mean return {shown} of {run.target_return:g}" + _left(left, "at most")


def _left(seconds: float | None, lead: str) -> str:
    return "" if seconds is None else f", {lead} {in_words(seconds)} left"


def say(text: str) -> None:
    """Print a line at once; a standard output that nobody reads any more is no error."""
    try:
        print(text, flush=True)
    except OSError:
        # Python flushes once more at exit, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
