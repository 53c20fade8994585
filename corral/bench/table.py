"""Results for people: one table that grows row by row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.table import Table

from corral.bench.result import Result

_COLUMNS: tuple[tuple[str, Callable[[Result], str]], ...] = (
    ("model", lambda r: r.model),
    ("request", lambda r: r.request.upper()),
    ("clients", lambda r: f"{r.clients:,} in {r.processes:,}" + (f" +{r.idle:,} idle" if r.idle else "")),
    ("rows", lambda r: f"{r.rows:,}"),
    ("rate", lambda r: f"{r.rate:,.0f}" if r.rate else ""),
    ("timeout us", lambda r: f"{r.timeout_us}"),
    ("answers/s", lambda r: f"{r.answers_per_s:,.0f}"),
    ("rows/s", lambda r: f"{r.rows_per_s:,.0f}" if r.rows > 1 else ""),
    ("p50 ms", lambda r: f"{r.p50_ms:.2f}"),
    ("p99 ms", lambda r: f"{r.p99_ms:.2f}"),
    ("batch", lambda r: f"{r.mean_batch:.1f}"),
    ("of sockets alone", lambda r: _share(r.echo_ratio)),
    ("of model alone", lambda r: _share(r.efficiency)),
    ("server cores", lambda r: f"{r.server_cpu:.2f}"),
    ("client cores", lambda r: f"{r.client_cpu:.2f}"),
    ("errors", lambda r: f"{r.errors:,}"),
)


def _share(ratio: float) -> str:
    return f"{ratio:.0%}" if ratio else ""


def as_table(results: Sequence[Result]) -> Table:
    """The results, a row each; columns in which nothing stands are left out."""
    table = Table(box=None, pad_edge=False)
    cells = [[show(result) for _, show in _COLUMNS] for result in results]
    shown = [index for index in range(len(_COLUMNS)) if any(row[index] for row in cells)]
    for index in shown:
        table.add_column(_COLUMNS[index][0], justify="right" if index > 2 else "left")
    for row in cells:
        table.add_row(*(row[index] for index in shown))
    return table


def remarks(result: Result) -> list[str]:
    """What a table has no column for, a sentence each."""
    said = []
    if result.rate:
        said.append(
            "open loop: latency counts from when a request was due, not from when it was sent; "
            f"{result.overdue:,} were due and unsent at the end"
        )
    if result.model_call_ms and result.clients == 1:
        added = (result.p50_ms - result.model_call_ms) * 1e3
        said.append(f"the model alone takes {result.model_call_ms:.3f} ms a call: the server adds {added:,.0f} us")
    if result.kb_per_idle:
        said.append(f"each idle actor takes {result.kb_per_idle:.1f} KB of the server's memory")
    if result.pushes:
        said.append(
            f"{result.pushes:,} versions were pushed, each in use within {result.in_use_ms:.0f} ms; "
            f"{result.torn:,} of {result.checked:,} answers were torn; the longest wait was "
            f"{result.swap_max_ms:.1f} ms around a push and {result.quiet_max_ms:.1f} ms else"
        )
    if result.compiled:
        said.append(f"{result.compiled} compilations fell into the measurement: the server was not warm")
    said += [f"{count:,} errors: {text}" for text, count in result.error_texts.items()]
    return said
