"""The table of targets in RESULTS.md: each row one `corral bench`, medians of several measurements.

    python benchmarks/targets.py --repeats 5 --seconds 3

Nothing else should run meanwhile. Rows can be chosen: `--only step,infer`.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from compare import put_between_marks

RESULTS = Path(__file__).parent / "RESULTS.md"
MARKS = ("<!-- targets:begin -->", "<!-- targets:end -->")

Found = dict[str, Any]


class Row(NamedTuple):
    """What is measured, and what was aimed at."""

    name: str
    what: str
    arguments: str
    target: str
    figures: Callable[[list[Found]], str]
    met: Callable[[list[Found]], bool]


def _speed(found: list[Found]) -> str:
    r = found[0]
    return (
        f"{r['answers_per_s']:,.0f}/s, p99 {r['p99_ms']:.2f} ms, batch {r['mean_batch']:.0f}; "
        f"{r['echo_ratio']:.0%} of sockets alone ({r['echo_per_s']:,.0f}/s), {r['efficiency']:.1%} of model alone"
    )


def _added_us(found: list[Found]) -> float:
    return float((found[0]["p50_ms"] - found[0]["model_call_ms"]) * 1e3)


def _added(found: list[Found]) -> str:
    r = found[0]
    return f"p50 {r['p50_ms']:.3f} ms, model {r['model_call_ms']:.3f} ms: {_added_us(found):,.0f} us added"


def _rows(found: list[Found]) -> str:
    r = found[0]
    return f"{r['rows_per_s']:,.0f} rows/s, p99 {r['p99_ms']:.2f} ms; {r['efficiency']:.0%} of model alone"


def _crowd_ratio(found: list[Found]) -> float:
    few, many = found
    return float(few["answers_per_s"] / many["answers_per_s"])


def _crowd(found: list[Found]) -> str:
    few, many = found
    return (
        f"{few['answers_per_s']:,.0f}/s and {many['answers_per_s']:,.0f}/s: ratio {_crowd_ratio(found):.2f}; "
        f"{many['kb_per_idle']:.1f} KB for each idle actor"
    )


def _push(found: list[Found]) -> str:
    r = found[0]
    return (
        f"{r['torn']} torn of {r['checked']:,}; in use within {r['in_use_ms']:.0f} ms ({r['pushes']} pushes); "
        f"longest wait {r['swap_max_ms']:.1f} ms around a push, {r['quiet_max_ms']:.1f} ms else"
    )


def _pushed_well(found: list[Found]) -> bool:
    r = found[0]
    batch_ms = r["mean_batch"] / r["model_only_per_s"] * 1e3
    unhurt = r["swap_max_ms"] <= r["quiet_max_ms"] + batch_ms
    return bool(r["torn"] == 0 and r["checked"] >= 10_000 and r["in_use_ms"] <= 100 and unhurt)


_MLP = "--max-size 64"
_CNN = "--model nature_cnn --max-size 64"
ROWS = (
    Row("step", "`mlp`, 64 clients in 2 processes, STEP", f"{_MLP} --request step",
        ">= 35,000/s, p99 <= 5 ms, >= 75 % of sockets alone", _speed,
        lambda f: f[0]["answers_per_s"] >= 35_000 and f[0]["p99_ms"] <= 5 and f[0]["echo_ratio"] >= 0.75),
    Row("infer", "`mlp`, 64 clients in 2 processes, INFER", f"{_MLP} --request infer",
        ">= 40,000/s, p99 <= 5 ms, >= 75 % of sockets alone", _speed,
        lambda f: f[0]["answers_per_s"] >= 40_000 and f[0]["p99_ms"] <= 5 and f[0]["echo_ratio"] >= 0.75),
    Row("processes", "`mlp`, 64 clients in 64 processes, INFER", f"{_MLP} --request infer --processes 64",
        ">= 15,000/s", _speed, lambda f: f[0]["answers_per_s"] >= 15_000),
    Row("cnn", "`nature_cnn`, 64 clients, both cores shared, INFER", f"{_CNN} --request infer --timeout-us 5000",
        ">= 4,800/s", _speed, lambda f: f[0]["answers_per_s"] >= 4_800),
    Row("cnn-step", "`nature_cnn`, 64 clients, both cores shared, STEP",
        f"{_CNN} --request step --timeout-us 1000", ">= 4,800/s", _speed,
        lambda f: f[0]["answers_per_s"] >= 4_800),
    Row("cnn-pinned", "`nature_cnn`, server on one core, clients on the other, INFER",
        f"{_CNN} --request infer --timeout-us 5000 --pin", ">= 95 % of the model alone on one core", _speed,
        lambda f: f[0]["efficiency"] >= 0.95),
    Row("one", "`mlp`, one client, INFER", f"{_MLP} --request infer --clients 1",
        "<= 250 us added at p50", _added, lambda f: _added_us(f) <= 250),
    Row("one-step", "`mlp`, one client, STEP", f"{_MLP} --request step --clients 1",
        "<= 250 us added at p50", _added, lambda f: _added_us(f) <= 250),
    Row("rows", "`mlp`, 16 rows a request, 16 clients, INFER",
        "--max-size 256 --request infer --clients 16 --rows 16", ">= 300,000 rows/s", _rows,
        lambda f: f[0]["rows_per_s"] >= 300_000),
    Row("crowd", "`mlp`, 100 clients, alone and among 9,900 idle actors, STEP",
        "--max-size 128 --clients 100 --idle 0,9900 --no-floors", "ratio <= 1.2, <= 40 KB for each idle actor",
        _crowd, lambda f: _crowd_ratio(f) <= 1.2 and f[1]["kb_per_idle"] <= 40),
    Row("push", "`nature_cnn` (6.8 MB), weights pushed every 0.5 s", f"{_CNN} --request infer --push-every 0.5",
        "0 torn of 10,000, in use within 100 ms, no wait longer by more than a batch", _push, _pushed_well),
)  # fmt: skip


def measure(row: Row, repeats: int, seconds: float) -> tuple[str, list[Found], dict[str, Any]]:
    """The command, its results and the machine."""
    words = shlex.split(row.arguments)
    command = ["corral", "bench", *words, "--seconds", f"{seconds:g}", "--repeats", str(repeats), "--json"]
    done = subprocess.run([sys.executable, "-m", "corral.cli", *command[1:]], stdout=subprocess.PIPE, text=True)
    if not done.stdout:
        raise RuntimeError(f"{shlex.join(command)} failed with exit code {done.returncode}")
    told = json.loads(done.stdout)
    return shlex.join(command), told["results"], told["machine"]


def as_markdown(measured: list[tuple[Row, str, list[Found]]], machine: dict[str, Any]) -> str:
    """The section of RESULTS.md."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"{machine['processor']}, {machine['cores']} cores, Python {machine['python']}; {versions}; "
        f"{datetime.date.today().isoformat()}.",
        "",
        "| what | target | measured | met |",
        "|---|---|---|---|",
    ]
    for row, _, found in measured:
        compiled = sum(each["compiled"] for each in found)
        errors = sum(each["errors"] for each in found)
        faults = f"; {compiled} compilations" * bool(compiled) + f"; {errors} errors" * bool(errors)
        lines.append(
            f"| {row.what} | {row.target} | {row.figures(found)}{faults} | {'yes' if row.met(found) else 'no'} |"
        )
    compiled = sum(each["compiled"] for _, _, found in measured for each in found)
    lines += ["", f"Compilations after a server was ready, in all rows together: {compiled}.", "", "Commands:", ""]
    lines += [f"    {command}" for _, command, _ in measured]
    return "\n".join(lines)


def write(section: str) -> None:
    """Put the section between its marks; the rest of the file stays."""
    page = RESULTS.read_text() if RESULTS.exists() else "# Results\n"
    RESULTS.write_text(put_between_marks(page, section, MARKS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--only", default="", help="names of rows: " + ",".join(row.name for row in ROWS))
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else [row.name for row in ROWS]
    measured, machine = [], {}
    for row in ROWS:
        if row.name in wanted:
            print(f"{row.name}: {row.what}", file=sys.stderr, flush=True)
            command, found, machine = measure(row, arguments.repeats, arguments.seconds)
            print(f"  {row.figures(found)}", file=sys.stderr, flush=True)
            measured.append((row, command, found))
    section = as_markdown(measured, machine)
    if len(measured) == len(ROWS):
        write(section)
    print(section)


if __name__ == "__main__":
    main()
