"""The same figures in a terminal, for `corral top`: one source as lines of text, or as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from corral.dashboard.watch import Watch
from corral.dashboard.words import complaint, standing, tiles
from corral.launch.fleet import rows_of, words

_COLOURS = {"positive": "green", "warning": "yellow", "negative": "red", "grey": "dim"}
_COLUMNS = ("host", "first environment", "environments", "steps/s", "waits", "in environments", "last seen")


def render(watch: Watch, actors: int) -> RenderableType:
    """How a source stands now, with at most so many of its actors."""
    stands = standing(watch)
    head = Text.assemble(
        (watch.source.name, "bold"), "  ", (stands.word, _COLOURS[stands.colour]), f"  {stands.text}".rstrip()
    )
    lines: list[RenderableType] = [head]
    if watch.verdict is not None:
        lines.append(Text(watch.verdict.sentence, "cyan"))
        lines.append(Text(_shares(watch), "dim"))
    lines += [_grid(tiles(watch)), _grid(_server_words(watch.server) | _learner_words(watch.learner))]
    if servers := rows_of(watch.server):
        lines.append(_server_table(servers))
    if text := complaint(watch):
        lines.append(Text(text, "red"))
    rows = watch.server.get("actor_table") or []
    if rows and actors > 0:
        lines += ["", _actor_table(rows, actors, int(watch.server.get("actors") or len(rows)))]
    return Group(*lines)


def as_dict(watch: Watch) -> dict[str, Any]:
    """The same for programs: the figures as docs/protocol.md names them."""
    return {
        "name": watch.source.name,
        "standing": standing(watch).word,
        "server": dict(watch.server),
        "learner": dict(watch.learner),
        "verdict": None if watch.verdict is None else watch.verdict.as_dict(),
    }


def _server_table(servers: Mapping[str, Mapping[str, Any]]) -> Table:
    """One line for each of several servers."""
    table = Table.grid(padding=(0, 3))
    for name, figures in servers.items():
        table.add_row(Text(name, "dim"), words(figures))
    return table


def _shares(watch: Watch) -> str:
    assert watch.verdict is not None
    parts = (f"{bound.removesuffix('-bound')} {100 * share:.0f} %" for bound, share in watch.verdict.shares.items())
    return f"the actors' time: {', '.join(parts)}"


def _grid(words: Mapping[str, str]) -> Text:
    return Text("   ".join(f"{name} {value}" for name, value in words.items()))


def _server_words(server: Mapping[str, Any]) -> dict[str, str]:
    if not server.get("rows"):
        return {}
    queue = f"{server.get('queue_p50_ms', 0):.2f} / {server.get('queue_p99_ms', 0):.2f} ms"
    compute = f"{server.get('compute_p50_ms', 0):.2f} / {server.get('compute_p99_ms', 0):.2f} ms"
    timeout = "auto, now " if server.get("timeout_auto") else ""
    return {
        "queue p50 / p99": queue,
        "compute": compute,
        "timeout": f"{timeout}{server.get('timeout_us', 0):,} us",
        "max size": f"{server.get('max_size', 0):,}",
        "waiting": f"{server.get('waiting_rows', 0):,} rows",
    }


def _learner_words(learner: Mapping[str, Any]) -> dict[str, str]:
    losses = learner.get("losses") or {}
    steps = {"training steps": f"{learner['training_steps']:,}"} if learner.get("training_steps") else {}
    return steps | {str(name): f"{value:.4g}" for name, value in list(losses.items())[:4]}


def _actor_table(rows: list[Mapping[str, Any]], most: int, actors: int) -> Table:
    """Those that wait most first."""
    table = Table(*_COLUMNS, box=None, pad_edge=False, header_style="bold")
    ordered = sorted(rows, key=lambda row: -float(row.get("wait_share") or 0))
    for row in ordered[:most]:
        table.add_row(
            str(row.get("host") or "-"),
            f"{row.get('first_environment', 0):,}",
            f"{row.get('environments', 0):,}",
            _shown(row.get("steps_per_s"), "{:,.0f}"),
            _shown(row.get("wait_share"), "{:.0%}"),
            _shown(row.get("environment_share"), "{:.0%}"),
            _shown(row.get("seen_s"), "{:.1f} s ago"),
        )
    if actors > most:
        table.add_row(f"and {actors - most:,} more")
    return table


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
