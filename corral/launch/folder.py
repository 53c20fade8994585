"""The folder of one run: what it was, how it went, and what it left.

experiment.json   the effective configuration
run.json          seed, versions, git commit, and every start
logs/             what each process wrote
metrics.jsonl     figures over time, a JSON object a line; tensorboard/ holds the same, and more
returns.npy       the returns of the latest episodes
trace.json.gz     what every thread did when, where --trace was given
checkpoints/      what training goes on from
ledgers/          how many steps each server has taken in, so that those lost with it can be counted
policy.keras      the trained policy, the last one
best_policy.keras the one that played best, where evaluations.jsonl has some
policies/         where there are several, a folder like this one for each (docs/policies.md)
result.json       how training ended; missing while it goes on
summary.json      what the run came to
curve.png         mean return over environment steps
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from corral.launch.errors import UserError
from corral.launch.experiment import Experiment
from corral.launch.provenance import git_commit, versions

EXPERIMENT = "experiment.json"
RUN = "run.json"
LOGS = "logs"
METRICS = "metrics.jsonl"
EVALUATIONS = "evaluations.jsonl"
TENSORBOARD = "tensorboard"
CHECKPOINTS = "checkpoints"
LEDGERS = "ledgers"
POLICY = "policy.keras"
BEST_POLICY = "best_policy.keras"
RESULT = "result.json"
SUMMARY = "summary.json"
CURVE = "curve.png"
POLICIES = "policies"
LOCK = ".lock"


def make_run_folder(experiment: Experiment) -> Path:
    """A new folder `<run.folder>/<run.name>-<time>`. Raises `UserError` where it cannot be made."""
    try:
        return _make_run_folder(experiment)
    except OSError as error:
        raise UserError(
            f"{error.filename}: {error.strerror}; run folders are made there: choose another by --folder or "
            "run.folder"
        ) from error


def _make_run_folder(experiment: Experiment) -> Path:
    parent = Path(experiment.run.folder)
    parent.mkdir(parents=True, exist_ok=True)
    stamp = f"{experiment.run.name}-{time.strftime('%Y%m%d-%H%M%S')}"
    number = 1
    while True:
        folder = parent / (stamp if number == 1 else f"{stamp}-{number}")
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def hold(folder: Path) -> IO[str]:
    """Keep every other run out of `folder` until the file returned is closed, or this process ends.

    Raises `UserError` where another one is there.
    """
    import fcntl  # not on Windows, where actors run all the same

    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / LOCK).open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise UserError(f"{folder} is in use: a run goes on there. Stop it first, or take another folder") from None
    return lock


def goes_on(folder: Path) -> bool:
    """Whether a run goes on in `folder` now."""
    try:
        hold(folder).close()
    except UserError:
        return True
    return False


def check_resumable(folder: Path) -> None:
    """Raises `UserError` where a run in `folder` has nothing to go on from."""
    patterns = (f"{CHECKPOINTS}/checkpoint-*", f"{POLICIES}/*/{CHECKPOINTS}/checkpoint-*")
    if not any(any(folder.glob(pattern)) for pattern in patterns):
        raise UserError(f"{folder} has no checkpoint to go on from. Begin anew: corral run {folder / EXPERIMENT}")


def begin(
    folder: Path,
    experiment: Experiment,
    server_addresses: Sequence[str],
    learner_address: str = "",
    source: Path | None = None,
) -> Callable[[], None]:
    """Write down that a run begins in `folder`, or goes on there, and take away what would pass for its result.

    Args:
      server_addresses: where its servers answer, by number, for `corral set` and `corral status`.
      learner_address: where its learner takes unrolls, and answers too, for `corral dashboard`.
      source: the experiment file; None where the run goes on with its own configuration.

    Returns:
      what makes all that undone, for a run that was refused.
    """
    (folder / LOGS).mkdir(parents=True, exist_ok=True)
    before = {name: _bytes(folder / name) for name in (EXPERIMENT, RUN, RESULT)}
    write_json(folder / EXPERIMENT, experiment.effective())
    (folder / RESULT).unlink(missing_ok=True)
    start = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "server_addresses": list(server_addresses),
        "learner_address": learner_address,
        "experiment_file": str(source.resolve()) if source else _source(folder),
        "git_commit": git_commit(),
        "versions": versions(),
    }
    write_json(folder / RUN, {"seed": experiment.run.seed, "starts": [*_starts(folder), start]})
    return lambda: _restore(folder, before)


def relocate(folder: Path, server_addresses: Sequence[str], learner_address: str) -> None:
    """Write down that servers and learner of the run that goes on in `folder` answer elsewhere now."""
    run = read_json(folder / RUN)
    run["starts"][-1] |= {"server_addresses": list(server_addresses), "learner_address": learner_address}
    write_json(folder / RUN, run)


def life(folder: Path) -> int:
    """How often the run in `folder` was resumed."""
    return max(0, len(_starts(folder)) - 1)


def server_addresses(folder: Path) -> tuple[str, ...]:
    """Where the servers of the run in `folder` answered when it began last, by number. Raises `UserError`."""
    starts = _starts(folder)
    if not starts:
        raise UserError(f"{folder} is no run's folder: it has no {RUN}")
    return tuple(map(str, starts[-1].get("server_addresses") or ()))


def learner_address(folder: Path) -> str:
    """Where the learner of the run in `folder` answered when it began last; empty where nobody wrote it down."""
    starts = _starts(folder)
    return str(starts[-1].get("learner_address", "")) if starts else ""


def experiment_source(folder: Path) -> Path | None:
    """The experiment file that the run in `folder` was started from, if it is still there."""
    source = _source(folder)
    return Path(source) if source and Path(source).is_file() else None


def newest_run(runs: Path) -> Path | None:
    """The folder in `runs` of the run that began last, of those that go on; None where none does."""
    begun = sorted(runs.glob(f"*/{RUN}"), key=lambda path: path.stat().st_mtime, reverse=True)
    return next((path.parent for path in begun if goes_on(path.parent)), None)


def experiment_file(folder: Path) -> Path:
    """The effective configuration of the run in `folder`. Raises `UserError` where there is none."""
    path = folder / EXPERIMENT
    if not path.is_file():
        raise UserError(f"{folder} is no run's folder: it has no {EXPERIMENT}")
    return path


def write_json(path: Path, value: Any) -> None:
    """Write `value` at once or not at all: a reader never meets half a file."""
    write_whole(path, (json.dumps(value, indent=2, default=float) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote; nothing where there is no such file, or another kind of one."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file that has one a line, in order; half a line, from a disk that was full, is passed
    over."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` at once or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _restore(folder: Path, files: Mapping[str, bytes | None]) -> None:
    """Give files their contents of before; those that were not there, or were empty, stay as they are."""
    for name, content in files.items():
        if content:
            write_whole(folder / name, content)


def _source(folder: Path) -> str | None:
    """The experiment file of the latest start that had one."""
    named = [start.get("experiment_file") for start in _starts(folder)]
    return next((str(name) for name in reversed(named) if name), None)


def _starts(folder: Path) -> list[dict[str, Any]]:
    return list(read_json(folder / RUN).get("starts", []))
