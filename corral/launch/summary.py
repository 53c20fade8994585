"""What a run came to: the summary file and the line of result."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from corral.launch.books import read_books, total
from corral.launch.curve import draw_curve
from corral.launch.errors import USER_ERROR, print_error
from corral.launch.evaluations import best_evaluation
from corral.launch.folder import CHECKPOINTS, CURVE, LOGS, POLICY, RESULT, SUMMARY, read_json, write_json
from corral.launch.progress import Progress, number
from corral.launch.settings import RunSettings
from corral.launch.view import say
from corral.telemetry.verdict import judge

_REACHED = ("solved", "mean_return", "env_steps", "policy_version")
"""What a summary says of where a run stands, rather than of how it got there."""
_EVALUATED = ("policy_version", "mean_return", "standard_error", "episodes")
"""What a summary says of the evaluation whose policy is the best one."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
      code: the exit code.
      word: what the line of result begins with.
      error: what went wrong, for a person; empty where nothing did.
    """

    code: int
    word: str
    error: str = ""


def learner_outcome(code: int, run: RunSettings, folder: Path) -> Outcome:
    """What a learner's exit code means, where it left a result in `folder`: 0 or 1."""
    result = read_json(folder / RESULT)
    if code == 0 and result.get("stopped") and not result.get("solved"):
        return Outcome(0, "stopped")
    if code == 0:
        return Outcome(0, "solved" if run.target_return is not None else "finished")
    return Outcome(1, f"not solved (target {run.target_return:g}, step limit {run.max_env_steps:,})")


def conclude(
    folder: Path,
    progress: Progress,
    outcome: Outcome,
    summary: Path | None = None,
    ledgers: Path | None = None,
    policies: Mapping[str, tuple[Path, Progress]] | None = None,
) -> int:
    """Write down and say what the run in `folder` came to; the exit code.

    Args:
      progress: the run at its end.
      summary: where the summary goes too.
      ledgers: see `read_books`.
      policies: of a run with several the folder and the end of each, the one whose target it is first.
    """
    own = folder
    if policies:
        parts = {name: _write_down(where, end, outcome) for name, (where, end) in policies.items()}
        own, _ = next(iter(policies.values()))
        figures = {**next(iter(parts.values())), "restarts": progress.restarts, "policies": parts}
        _kept(lambda: write_json(folder / SUMMARY, figures))
        _kept(lambda: draw_curve(folder, progress.run))
    else:
        figures = _write_down(folder, progress, outcome, ledgers)
    if summary is not None:
        # In place: it is the user's, a link or a device perhaps.
        _kept(lambda: summary.write_text(json.dumps(figures, indent=2) + "\n"))
    if outcome.error:
        print_error(outcome.error)
    if outcome.code == USER_ERROR:
        say(f"failed; logs {folder / LOGS}/")  # whatever it came to before: this start came to nothing
        return outcome.code
    if outcome.word not in ("solved", "finished") and (own / CHECKPOINTS).is_dir():
        say(f"go on with: corral run --resume {folder}{_more_steps(figures, progress.run)}")
    say(result_line(figures, outcome.word, own))
    return outcome.code


def _write_down(folder: Path, progress: Progress, outcome: Outcome, ledgers: Path | None = None) -> dict[str, Any]:
    """Write what a policy came to into its folder; the figures."""
    result = read_json(folder / RESULT)
    figures = summarize(progress, result)
    if books := read_books(folder, result, ledgers):
        figures["steps_lost"] = total(books.values()).lost
    if best := best_evaluation(folder):
        figures["best_evaluation"] = {name: best.get(name) for name in _EVALUATED}
    earlier = read_json(folder / SUMMARY)
    if outcome.code == USER_ERROR:
        figures |= earlier  # a start that was refused changes nothing of what the run had come to
    elif result.get("env_steps", -1) == result.get("env_steps_before"):
        # This life has done nothing, for the end was reached before: how fast that was is what an earlier one says.
        figures |= {name: value for name, value in earlier.items() if name not in _REACHED}
    _kept(lambda: write_json(folder / SUMMARY, figures))
    _kept(lambda: draw_curve(folder, progress.run))
    return figures


def _more_steps(figures: Mapping[str, Any], run: RunSettings) -> str:
    """What a run needs to go on beyond its step limit."""
    return f" --set run.max_env_steps={2 * run.max_env_steps}" if figures["env_steps"] >= run.max_env_steps else ""


def _kept(write: Callable[[], object]) -> None:
    """Write; a disk that is full costs the file, not the result."""
    try:
        write()
    except OSError as error:
        print_error(f"{error}: the run's result could not be written whole")


def summarize(progress: Progress, result: Mapping[str, Any]) -> dict[str, Any]:
    """The summary; what nobody knows is None.

    Args:
      progress: the run at its end; `elapsed_s` becomes `wall_s`, start-up included.
      result: what the learner left; empty where it left nothing.
    """
    wall_s = progress.elapsed_s
    steps = number(result, "env_steps")
    steps = progress.env_steps if steps is None else int(steps)
    done = steps - progress.steps_before
    mean = number(result, "mean_return")
    verdict = judge(progress.server, progress.learner)  # of all its time, not of the last moment
    learner = {**progress.learner, **{key: value for key, value in result.items() if value is not None}}
    return {
        "solved": bool(result.get("solved", False)),
        "mean_return": progress.mean_return if mean is None else mean,
        "env_steps": steps,
        "wall_s": round(wall_s, 3),
        "env_steps_per_s": round(done / wall_s, 1) if wall_s > 0 else None,
        "policy_version": number(learner if learner else progress.server, "policy_version"),
        "policy_lag_p50": number(learner, "policy_lag_p50"),
        "mean_batch": number(progress.server, "mean_batch"),
        "latency_p50_ms": number(progress.server, "latency_p50_ms"),
        "latency_p99_ms": number(progress.server, "latency_p99_ms"),
        "restarts": progress.restarts,
        "verdict": None if verdict is None else verdict.as_dict(),
        "seed": progress.run.seed,
        **({"weights_sha256": result.get("weights_sha256")} if progress.run.determinism else {}),
    }


def result_line(summary: Mapping[str, Any], outcome: str, folder: Path) -> str:
    """One line: how it ended, what was reached, and where the rest lies."""
    mean = summary["mean_return"]
    reached = "no episode ended" if mean is None or math.isnan(mean) else f"mean return {mean:.1f}"
    kept = [f"policy {folder / POLICY}"] if (folder / POLICY).exists() else []
    if (folder / CHECKPOINTS).is_dir():
        kept.append(f"checkpoints {folder / CHECKPOINTS}/")
    if (folder / CURVE).exists():
        kept.append(f"curve {folder / CURVE}")
    kept = kept or [f"logs {folder / LOGS}/"]
    return (
        f"{outcome}: {reached} after {summary['env_steps']:,} steps in {summary['wall_s']:.1f} s "
        f"({summary['env_steps_per_s'] or 0:,.0f} steps/s); {', '.join(kept)}"
    )
