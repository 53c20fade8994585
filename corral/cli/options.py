"""Arguments and options that several commands share."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from corral.cli import completion

if TYPE_CHECKING:
    from corral.launch.experiment import Experiment

LONGEST_TRACE_S = 600.0

ExperimentFile: TypeAlias = Annotated[
    Path,
    typer.Argument(
        metavar="EXPERIMENT",
        help="The experiment file, such as examples/cartpole.toml.",
        autocompletion=completion.experiments,
    ),
]

RunFolder: TypeAlias = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="A run's folder, such as one of those in runs/, with its policy.keras.",
        autocompletion=completion.runs,
    ),
]

Policy: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Which of the experiment's policies, where it has several (docs/policies.md).",
        autocompletion=completion.policies,
    ),
]

Best: TypeAlias = Annotated[
    bool,
    typer.Option("--best", help="The policy that did best in the run's own evaluations, not its last one."),
]

Overrides: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override one key of the file, such as server.batching.timeout_us=500. Repeat it for more. "
        "The environment can do the same: CORRAL_SERVER__BATCHING__TIMEOUT_US=500.",
        autocompletion=completion.overrides,
    ),
]

Where: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="WHERE",
        help="A server: tcp://HOST:PORT, HOST:PORT or HOST (port 5555), or the folder of a local run.",
        autocompletion=completion.runs,
    ),
]

TimeoutUs: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="US|auto",
        help="Override server.batching.timeout_us: longest wait for a fuller batch, in microseconds; 0 never lets "
        "the model idle, auto learns what pays.",
    ),
]
MaxSize: TypeAlias = Annotated[
    int | None, typer.Option(help="Override server.batching.max_size: most rows in one batch, and in one request.")
]
Buckets: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SIZES", help="Override server.batching.buckets: batch sizes to compile, ascending, such as 1,8,48."
    ),
]
Seed: TypeAlias = Annotated[int | None, typer.Option(help="Override run.seed.")]
Folder: TypeAlias = Annotated[str | None, typer.Option(help="Override run.folder: where run folders are made.")]
Insecure: TypeAlias = Annotated[
    bool, typer.Option("--insecure", help="Listen where other machines can reach it, without keys.")
]


MetricsPort: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Override metrics.port: where Prometheus finds /metrics, /livez and /readyz (docs/metrics.md)."
    ),
]
Verbose: TypeAlias = Annotated[
    bool, typer.Option("--verbose", "-v", help="Log more: also what is refused, dropped and sent again.")
]
LogFormat: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="plain|json",
        help="How lines of the log look. The environment can say the same: CORRAL_LOG_FORMAT=json.",
        autocompletion=completion.one_of("plain", "json"),
    ),
]
Trace: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="10s",
        help="Record what every thread does when, for so long from the first work on, as a trace that "
        "https://ui.perfetto.dev opens (docs/watching.md).",
    ),
]
RayAddress: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="The Ray cluster's head; left out, RAY_ADDRESS or the cluster that this machine is a node of.",
    ),
]
Keys: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        envvar="CORRAL_SECURITY__KEYS",
        help="The folder with the keys of this machine, as corral keys makes it (docs/security.md).",
    ),
]


def batching_options(timeout_us: str | None, max_size: int | None, buckets: str | None) -> dict[str, Any]:
    """The options of batching under their keys. Raises `UserError` for what is no timeout or no list of sizes."""
    return {
        "server.batching.timeout_us": None if timeout_us is None else timeout(timeout_us),
        "server.batching.max_size": max_size,
        "server.batching.buckets": None if buckets is None else bucket_sizes(buckets),
    }


def timeout(text: str) -> int | Literal["auto"]:
    """The wait that `--timeout-us` names. Raises `UserError` for anything but a whole number or "auto"."""
    from corral.launch.errors import UserError

    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise UserError(f"--timeout-us {text}: must be whole microseconds, such as 500, or auto") from None


def trace_seconds(text: str | None) -> float | None:
    """The seconds that `--trace` names: 10s, 500ms, 1m or 10. Raises `UserError` for anything else."""
    from corral.launch.errors import UserError

    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|)", text.strip())
    seconds = float(found[1]) * {"ms": 1e-3, "s": 1.0, "": 1.0, "m": 60.0}[found[2]] if found else 0.0
    if not 0 < seconds <= LONGEST_TRACE_S:
        raise UserError(f"--trace {text}: must be a time of up to {LONGEST_TRACE_S:g} s, such as 10s")
    return seconds


def trace_file(role: str) -> Path:
    """Where the trace of a process by hand goes that has no folder of its own."""
    return Path(f"trace-{role}-{os.getpid()}.json.gz")


def bucket_sizes(text: str) -> list[int]:
    """The sizes that `--buckets` names. Raises `UserError` for anything else."""
    from corral.launch.errors import UserError

    try:
        return [int(size) for size in text.split(",")]
    except ValueError:
        raise UserError(f"--buckets {text}: must be batch sizes, such as 1,8,48") from None


def choose_logs(verbose: bool, log_format: str | None) -> None:
    """Let this process and those that it starts log as the options say. Raises `UserError`."""
    from corral.launch.logs import FORMAT, LEVEL, form_and_level

    if verbose:
        os.environ[LEVEL] = "debug"
    if log_format is not None:
        os.environ[FORMAT] = log_format
    form_and_level()  # better to fail now than in every process


def for_policy(options: dict[str, Any], policy: str | None, experiment: Callable[[], Experiment]) -> dict[str, Any]:
    """Options that override a server's or learner's settings, as those of one policy of `experiment`.

    Raises `UserError` where there is no such policy: options must not make one.
    """
    from corral.launch.policies import member

    if policy is None:
        return options
    member(experiment(), policy)
    own = ("server", "learner")
    return {f"policies.{policy}.{key}" if key.split(".")[0] in own else key: options[key] for key in options}


def with_options(overrides: list[str] | None, options: dict[str, Any]) -> list[str]:
    """The overrides of `--set` and behind them, so that they win, those of options that were given."""
    # JSON's strings, numbers and booleans are TOML's too, as long as letters stay letters.
    given = [
        f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in options.items() if value is not None
    ]
    return [*(overrides or []), *given]


Wheres: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[WHERE]...",
        show_default=False,
        help="Servers and runs, side by side: the folder of a run, tcp://HOST:PORT, HOST:PORT or HOST (port 5555). "
        "None takes the newest run that goes on in runs/.",
        autocompletion=completion.runs,
    ),
]

LearnerAddress: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Where the learner of servers that are named by address takes unrolls."),
]
