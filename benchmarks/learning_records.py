"""What is kept of a learning run when its folder is gone: a small JSON file for each seed.

A run may have had several sittings: it was stopped, or its machine was lost, and it went on from its newest
checkpoint. Wall time counts all of them, also what was lost with a checkpoint that was never written; the curve has
no steps that were lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from corral.launch.folder import EVALUATIONS, RESULT, RUN, SUMMARY, read_json, read_lines
from corral.launch.metrics import read_metrics

POINTS = 300
"""Points of a curve that are kept, at most."""

_LAG = "learner/policy_lag"
Line = dict[str, float]


@dataclass(frozen=True)
class Record:
    """One seed of one run.

    Attributes:
      run, seed, command: which.
      git_commit: of the code that began it.
      finished: whether it came to its target or its step limit.
      solved: whether it reached its target.
      steps, training_steps: environment steps and training steps in the end.
      wall_s: seconds over all sittings, start-up included.
      resumptions: how often it was gone on with.
      mean_return: of the last 100 training episodes.
      shares: parts of the wall time in which the learner trained, the server's model computed, an actor's
        environments were stepped, and the evaluator played. They overlap: these are processes.
      curve: `(steps, wall_s, mean_return, policy_lag)`, ascending.
      evaluations: `(steps, mean_return, standard_error)` of greedy episodes beside training.
      greedy, best: what `corral evaluate` says of the last policy, and of the best one.
    """

    run: str
    seed: int
    command: str
    git_commit: str
    finished: bool
    solved: bool
    steps: int
    training_steps: int
    wall_s: float
    resumptions: int
    mean_return: float
    shares: dict[str, float]
    curve: list[list[float]]
    evaluations: list[list[float]]
    greedy: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Keep it as `RUN-SEED.json` in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.run}-{self.seed}.json"
        values = asdict(self)
        lists = {name: values.pop(name) for name in ("curve", "evaluations")}
        head = json.dumps(values, indent=1)[:-2]
        rows = [f' "{name}": [\n  {_rows(points)}\n ]' for name, points in lists.items()]
        path.write_text(head + ",\n" + ",\n".join(rows) + "\n}\n")
        return path


def read_records(folder: Path) -> list[Record]:
    """All that are kept in `folder`, by run and seed."""
    records = [Record(**json.loads(path.read_text())) for path in folder.glob("*-*.json")]
    return sorted(records, key=lambda record: (record.run, record.seed))


def record_of(
    folder: Path, run: str, seed: int, command: str, greedy: dict[str, Any], best: dict[str, Any]
) -> Record:
    """What is to be kept of the run in `folder`.

    Args:
      command: what a user would type for it.
      greedy, best: as `Record` has them.
    """
    lives = list(_lives(read_metrics(folder)))
    starts = read_json(folder / RUN).get("starts", [])
    result, summary = read_json(folder / RESULT), read_json(folder / SUMMARY)
    curve = _curve(lives)
    last = lives[-1][-1] if lives else {}
    wall_s = sum(life[-1]["elapsed_s"] for life in lives)
    evaluated = read_lines(folder / EVALUATIONS)
    return Record(
        run=run,
        seed=seed,
        command=command,
        git_commit=str(starts[0].get("git_commit", "")) if starts else "",
        finished=bool(result) and not (result.get("stopped") and not result.get("solved")),
        solved=bool(result.get("solved")),
        steps=int(result.get("env_steps", last.get("env_steps", 0))),
        training_steps=int(result.get("training_steps", last.get("learner/training_steps", 0))),
        wall_s=round(wall_s, 1),
        resumptions=max(0, len(starts) - 1),
        mean_return=float(result.get("mean_return", summary.get("mean_return") or last.get("mean_return", 0.0))),
        shares=_shares(lives, sum(float(each["seconds"]) for each in evaluated), wall_s),
        curve=[[round(value, 3) for value in point] for point in thinned(curve)],
        evaluations=[
            [round(_steps_at(lives, each["time"] - each["seconds"])), each["mean_return"], each["standard_error"]]
            for each in evaluated
        ],
        greedy=greedy,
        best=best,
    )


def thinned(points: Sequence[Any], most: int = POINTS) -> list[Any]:
    """At most so many of them, evenly spread, the first and the last included."""
    if len(points) <= most:
        return list(points)
    return [points[round(index * (len(points) - 1) / (most - 1))] for index in range(most)]


def _lives(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """The lines of each sitting: one that began after the line before was written is another."""
    begun = 0
    for index, (before, line) in enumerate(pairwise(lines), 1):
        if line["time"] - line["elapsed_s"] >= before["time"]:
            yield list(lines[begun:index])
            begun = index
    if lines:
        yield list(lines[begun:])


def _curve(lives: Sequence[Sequence[Line]]) -> list[list[float]]:
    """See `Record`; steps behind a checkpoint that a later life went on from are left out."""
    points: list[list[float]] = []
    before_s = 0.0
    for life in lives:
        while points and points[-1][0] >= life[0]["env_steps"]:
            points.pop()
        points += [
            [
                line["env_steps"],
                before_s + line["elapsed_s"],
                line["mean_return"],
                line.get(_LAG, 0.0),
            ]
            for line in life
            if "mean_return" in line
        ]
        before_s += life[-1]["elapsed_s"]
    return points


def _shares(lives: Sequence[Sequence[Line]], evaluating_s: float, wall_s: float) -> dict[str, float]:
    """See `Record`; counts of seconds begin anew with each life, and with a process that was started again."""

    def spent(name: str) -> float:
        total = 0.0
        for life in lives:
            before = 0.0
            for value in (line[name] for line in life if name in line):
                total += value - before if value >= before else value
                before = value
        return total

    trained = spent("learner/uptime_s") - spent("learner/wait_s")
    stepped, waited = spent("actors/environment_s"), spent("actors/wait_s")
    seconds = {
        "learning": trained,
        "model": spent("server/engine_s"),
        "environments": wall_s * stepped / (stepped + waited) if stepped else 0.0,
        "evaluation": evaluating_s,
    }
    return {name: round(value / wall_s, 3) if wall_s else 0.0 for name, value in seconds.items()}


def _steps_at(lives: Sequence[Sequence[Line]], time: float) -> float:
    """Environment steps that had been done by then."""
    lines = [line for life in lives for line in life]
    return max((line["env_steps"] for line in lines if line["time"] <= time), default=0.0)


def _rows(points: Sequence[Sequence[float]]) -> str:
    return ",\n  ".join(json.dumps(point) for point in points)
