"""Corral beside its peers: the same models, the same closed loop, the same machine, turn by turn.

    python benchmarks/peers/install.py peers
    python benchmarks/compare.py --venvs peers

Every round measures Corral and every peer once, so that a machine that is slower for a minute is slower for all of
them; medians are compared. What comes out stands between two marks in `benchmarks/RESULTS.md`, whose other text is
kept. A peer that is not installed or fails is named there, with why.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from corral.bench.machine import describe_machine

HERE = Path(__file__).parent
PEERS_FOLDER = HERE / "peers"
CORRAL = [sys.executable, "-m", "corral.cli", "bench"]
BEGIN, END = "<!-- compare:begin -->", "<!-- compare:end -->"

STARTING_S = 180.0
"""What a contender may take beside the seconds that count: imports, compiling, starting and ending."""
_ENDING_S = 20.0


class MeasurementError(Exception):
    """A measurement came to nothing; the text says why, in the command's own words where it had any."""


@dataclass(frozen=True)
class Load:
    """One workload, as Corral and the peers take it."""

    name: str
    model: str
    clients: int
    processes: int
    rows: int

    def options(self, seconds: float) -> list[str]:
        return [
            *("--model", self.model),
            *("--clients", str(self.clients)),
            *("--processes", str(self.processes)),
            *("--rows", str(self.rows)),
            *("--seconds", f"{seconds:g}"),
        ]

    def __str__(self) -> str:
        clients = f"{self.clients} clients in {self.processes} processes" if self.clients > 1 else "one client"
        rows = f"{self.rows} rows a request" if self.rows > 1 else "one row a request"
        return f"`{self.model}`, {clients}, {rows}"


LOADS = (
    Load("mlp", "mlp", 64, 2, 1),
    Load("nature_cnn", "nature_cnn", 64, 2, 1),
    Load("rows16", "mlp", 64, 2, 16),
    Load("one_client", "mlp", 1, 1, 1),
)


@dataclass(frozen=True)
class Contender:
    """Whoever is measured: a command that prints its figures as JSON."""

    name: str
    title: str
    command: Sequence[str]
    missing: str = ""
    """Why it cannot be measured; empty where it can."""

    def measure(self, load: Load, seconds: float) -> Figures:
        """
        Raises:
          MeasurementError: the command failed, or said nothing that can be read.
        """
        said = run([*self.command, *load.options(seconds)], seconds + STARTING_S)
        try:
            document = json.loads(said)
            return Figures.read(_of_bench(document) if "results" in document else document)
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise MeasurementError(f"no figures in what it printed: {type(error).__name__}: {error}") from None


@dataclass(frozen=True)
class Figures:
    """What one measurement says, of Corral and of a peer alike."""

    answers_per_s: float
    rows_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    version: str = ""
    note: str = ""
    beside: dict[str, float] = field(default_factory=dict)
    """What `corral bench` measures of its own accord: limits, batches, processor time."""

    @classmethod
    def read(cls, document: dict[str, Any]) -> Figures:
        names = ("mean_batch", "model_only_per_s", "efficiency", "echo_per_s", "server_cpu", "client_cpu")
        return cls(
            float(document["answers_per_s"]),
            float(document["rows_per_s"]),
            float(document["p50_ms"]),
            float(document["p99_ms"]),
            int(document["errors"]),
            str(document.get("version", "")),
            str(document.get("note", "")),
            {name: float(document[name]) for name in names if document.get(name) is not None},
        )


def _of_bench(document: dict[str, Any]) -> dict[str, Any]:
    """The first row of what `corral bench` prints, with a peer's words for versions and settings."""
    row, versions = document["results"][0], document["machine"].get("versions", {})
    backend = row.get("backend", "")
    named = [f"{name} {versions[name]}" for name in ("corral", backend, "keras") if name in versions]
    settings = [f"{name} {row[name]}" for name in ("transport", "timeout_us", "max_size") if name in row]
    return {**row, "version": ", ".join(named), "note": ", ".join(settings)}


@dataclass
class Outcome:
    """All that is known of a contender under one load."""

    contender: Contender
    rounds: list[Figures] = field(default_factory=list)
    failure: str = ""

    def median(self, name: str) -> float:
        return statistics.median(getattr(each, name) for each in self.rounds)

    def median_beside(self, name: str) -> float | None:
        found = [each.beside[name] for each in self.rounds if name in each.beside]
        return statistics.median(found) if found else None


# What there is to measure.

_IN_PROJECT = (
    ("threads_predict", "threads on `model.predict`"),
    ("threads_compiled", "threads on one compiled function"),
    ("model_per_process", "a model in each of 4 processes"),
)
_IN_VENVS = (
    ("torchrl", "TorchRL `InferenceServer`", "torchrl_server"),
    ("pytriton", "PyTriton", "pytriton_grpc"),
    ("litserve", "LitServe", "litserve_http"),
    ("ray", "Ray Serve", "ray_serve"),
)


def corral() -> list[Contender]:
    """Corral itself: with sessions and unrolls, as actors ask; and stateless, as the peers are."""
    return [
        Contender(f"corral {request}", f"**Corral**, {request.upper()}", [*CORRAL, "--request", request, "--json"])
        for request in ("step", "infer")
    ]


def peers(venvs: Path, only: Sequence[str] = ()) -> list[Contender]:
    """The peers, installed or not; of these, `only` some."""
    found = [Contender(name, title, _script(Path(sys.executable), name)) for name, title in _IN_PROJECT]
    for name, title, script in _IN_VENVS:
        python = venvs / name / "bin" / "python"
        missing = "" if python.exists() else "not installed"
        found.append(Contender(name, title, _script(python, script), missing))
    return [peer for peer in found if not only or peer.name in only]


def _script(python: Path, name: str) -> list[str]:
    # Not resolved: a virtual environment's python is a link, and what it leads to knows nothing of the environment.
    return [str(python.absolute()), str(PEERS_FOLDER / f"{name}.py")]


# Measuring.


def run(command: Sequence[str], timeout_s: float) -> str:
    """What a command prints on standard output. It is ended with all that it has started.

    Raises:
      MeasurementError: it failed or took too long.
    """
    # Files, not pipes: a process that was left behind would keep a pipe open, and its reader waiting.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise MeasurementError(f"nothing after {timeout_s:.0f} s") from None
        finally:
            _end(process)
        said, complained = _read(out), _read(err)
    if process.returncode != 0 and not said.strip():  # `corral bench` says how it went, and fails, on any error
        raise MeasurementError(last_error(complained) or f"exit status {process.returncode}")
    return said


def _read(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def last_error(text: str) -> str:
    """The line of an error output that says most: the last that reads like an error, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if "Error" in line.split(":")[0] or line.startswith("no answer")]
    return (telling or lines or [""])[-1][:300]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask first: a peer's script ends its server, which may have left the group; then end what is left."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_ENDING_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def compare(
    contenders: Sequence[Contender], loads: Sequence[Load], seconds: float, repeats: int
) -> dict[Load, list[Outcome]]:
    """Everybody under every load, turn by turn. Who fails under a load is not asked again under that load."""
    outcomes = {load: [Outcome(each, failure=each.missing) for each in contenders] for load in loads}
    for turn in range(repeats):
        for load, each_outcome in outcomes.items():
            for outcome in each_outcome:
                if not outcome.failure:
                    _measure(outcome, load, seconds, f"round {turn + 1} of {repeats}, {load.name}")
    return outcomes


def _measure(outcome: Outcome, load: Load, seconds: float, where: str) -> None:
    try:
        figures = outcome.contender.measure(load, seconds)
    except MeasurementError as failure:
        outcome.failure = f"failed: {failure}"
        _say(f"{where}: {outcome.contender.name}: {outcome.failure}")
    else:
        outcome.rounds.append(figures)
        rate = f"{figures.answers_per_s:,.0f} answers/s, p99 {figures.p99_ms:.2f} ms"
        _say(f"{where}: {outcome.contender.name}: {rate}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# Writing it down.

_PREFACE = """\
Each client sends one request, waits for the answer, and sends the next. The last two columns say how many times as
many answers Corral gives: STEP is what actors send, with sessions and unrolls; INFER is stateless, as all the peers
are. Peers with an environment of their own run the model in PyTorch, which favours them. What was tried to make
each of them fast stands at the head of its script in `benchmarks/peers/`."""
_COLUMNS = ("", "answers/s", "min to max", "rows/s", "p50 ms", "p99 ms", "errors", "STEP / it", "INFER / it")


def section(outcomes: dict[Load, list[Outcome]], command: str, repeats: int, seconds: float) -> str:
    """The whole text between the marks."""
    today = datetime.date.today().isoformat()
    how = f"{repeats} rounds of {seconds:g} s each, after 1 s of warming up"
    parts = [f"Measured on {today} on {machine()}, turn by turn: {how}; medians.", f"    {command}", _PREFACE]
    for load, each in outcomes.items():
        parts += [f"### {load}", table(each)]
        if limits := _limits(each):
            parts.append(limits)
    parts += ["### Who was measured", _who(outcomes)]
    return "\n\n".join(parts)


def table(outcomes: Sequence[Outcome]) -> str:
    """One load's figures: who has any, fastest first, then who has none."""
    ours = {each.contender.name: each for each in outcomes if each.contender.name.startswith("corral ")}
    ranked = sorted((each for each in outcomes if each.rounds), key=lambda each: -each.median("answers_per_s"))
    rows = [[each.contender.title, *_figures(each), *_ratios(each, ours)] for each in ranked]
    rows += [
        [each.contender.title, each.failure.replace("|", "\\|"), *[""] * (len(_COLUMNS) - 2)]
        for each in outcomes
        if not each.rounds
    ]
    lines = [_COLUMNS, ["---"] * len(_COLUMNS), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _figures(outcome: Outcome) -> list[str]:
    rates = [each.answers_per_s for each in outcome.rounds]
    return [
        f"{outcome.median('answers_per_s'):,.0f}",
        f"{min(rates):,.0f} to {max(rates):,.0f}" + (f" ({outcome.failure})" if outcome.failure else ""),
        f"{outcome.median('rows_per_s'):,.0f}",
        f"{outcome.median('p50_ms'):,.2f}",
        f"{outcome.median('p99_ms'):,.2f}",
        f"{sum(each.errors for each in outcome.rounds):,}",
    ]


def _ratios(outcome: Outcome, ours: dict[str, Outcome]) -> list[str]:
    """How many times as fast Corral is, by each of its two kinds of request."""
    if outcome.contender.name in ours:
        return ["", ""]
    return [_ratio(ours.get(f"corral {request}"), outcome) for request in ("step", "infer")]


def _ratio(ours: Outcome | None, theirs: Outcome) -> str:
    if ours is None or not ours.rounds or not theirs.median("answers_per_s"):
        return "-"
    ratio = ours.median("answers_per_s") / theirs.median("answers_per_s")
    return f"{ratio:.1f}" if ratio < 100 else f"{ratio:,.0f}"


def _limits(outcomes: Sequence[Outcome]) -> str:
    """What else `corral bench` measured: what the figures may be held against."""
    labels = {
        "mean_batch": ("mean batch {:.1f}", 1),
        "efficiency": ("{:.0f} % of the model alone", 100),
        "model_only_per_s": ("which makes {:,.0f} rows/s", 1),
        "echo_per_s": ("sockets that only echo: {:,.0f} answers/s", 1),
        "server_cpu": ("server {:.2f} cores", 1),
        "client_cpu": ("clients {:.2f} cores", 1),
    }
    lines = []
    for outcome in outcomes:
        found = {name: outcome.median_beside(name) for name in labels}
        said = [text.format(found[name] * factor) for name, (text, factor) in labels.items() if found[name]]
        if said:
            lines.append(f"{outcome.contender.title}: {', '.join(said)}.")
    return "\n".join(f"- {line}" for line in lines)


def _who(outcomes: dict[Load, list[Outcome]]) -> str:
    """Versions and settings of everybody, once each."""
    lines = {}
    for each in (outcome for of_load in outcomes.values() for outcome in of_load):
        contender = each.contender
        if each.rounds:
            last = each.rounds[-1]
            said = "; ".join(filter(None, (last.version, last.note)))
            lines.setdefault(contender.title, said or "this version")
        elif contender.missing:
            lines[contender.title] = contender.missing
    return "\n".join(f"- {title}: {said}" for title, said in lines.items())


def machine() -> str:
    """What the figures hold for, in words."""
    facts = describe_machine()
    return f"{facts['cores']} cores ({facts['processor']}), {platform.system()}, Python {facts['python']}"


def put_between_marks(page: str, text: str, marks: tuple[str, str] = (BEGIN, END)) -> str:
    """`page` with `text` between its marks; both are added at its end where it has none."""
    first, last = marks
    marked = f"{first}\n\n{text}\n\n{last}"
    head, begin, rest = page.partition(first)
    _, end, tail = rest.partition(last)
    if begin and end:
        return head + marked + tail
    if begin:
        raise ValueError(f"{first} without {last}")
    return f"{page.rstrip()}\n\n{marked}\n".lstrip()


def main() -> None:
    given = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))  # so that whoever is measured ends too
    names = [load.name for load in LOADS]
    loads = [LOADS[names.index(name)] for name in given.loads]
    contenders = [*corral(), *peers(given.venvs, given.peers)]
    command = f"python benchmarks/compare.py {shlex.join(sys.argv[1:])}".strip()
    page = given.output.read_text() if given.output.exists() else "# Results\n"
    put_between_marks(page, "")  # a page that cannot be written to is no reason to measure for an hour first
    outcomes = compare(contenders, loads, given.seconds, given.repeats)
    text = section(outcomes, command, given.repeats, given.seconds)
    given.output.write_text(put_between_marks(page, text))
    print(text)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    everybody = [name for name, *_ in (*_IN_PROJECT, *_IN_VENVS)]
    parser.add_argument("--peers", nargs="+", choices=everybody, default=everybody)
    parser.add_argument("--loads", nargs="+", choices=[load.name for load in LOADS], default=["mlp", "nature_cnn"])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3, help="rounds")
    parser.add_argument("--venvs", type=Path, default=HERE.parent / "peers", help="what install.py has filled")
    parser.add_argument("--output", type=Path, default=HERE / "RESULTS.md")
    given = parser.parse_args()
    if given.repeats < 1 or given.seconds <= 0:
        parser.error("repeats and seconds must be positive")
    return given


if __name__ == "__main__":
    main()
