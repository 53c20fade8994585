"""`corral chaos`: a run on this machine, with everything done to it that a plan says."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from corral.chaos.companion import Chaos
from corral.chaos.plan import Plan
from corral.chaos.report import Report
from corral.launch.books import read_books, total
from corral.launch.experiment import Experiment
from corral.launch.folder import LOGS, RESULT, read_json
from corral.launch.local import run_locally
from corral.launch.view import say

_ENDLESS = 10**15


def run_chaos(
    experiment: Experiment,
    *,
    minutes: float,
    kills: int,
    seed: int,
    interval_s: float,
    kinds: Sequence[str],
    plain: bool = False,
    json_file: Path | None = None,
) -> int:
    """Run an experiment past its target, hit its processes, and say what became of it.

    Args:
      minutes: for how long; see `Chaos`.
      kills: injuries at most; 0 for any number.
      seed: of the plan; the experiment has its own.
      interval_s, kinds: see `Plan`.
      json_file: where the report goes too.

    Returns:
      0 where every invariant held, 1 where one did not or the run failed, 2 where it could not be run, 128 + n
      after signal n.

    Raises:
      OSError, UserError: see `run_locally`; `json_file` cannot be written.
    """
    if json_file is not None:
        json_file.touch()  # better to fail now than when all is done
    began = time.monotonic()
    chaos = Chaos(
        Plan(seed, interval_s, kinds, experiment.server.lease_s),
        minutes=minutes,
        kills=kills,
        environments=experiment.actor.processes * experiment.actor.environments,
        target=experiment.run.target_return,
    )
    endless = replace(experiment, run=replace(experiment.run, target_return=None, max_env_steps=_ENDLESS))
    code = run_locally(endless, plain=plain, companion=chaos)
    if code not in (0, 1):
        return code
    report = _report(chaos, experiment, seed, code, time.monotonic() - began)
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_dict(), indent=2) + "\n")
    for line in report.lines():
        say(line)
    return 0 if report.holds else 1


def _report(chaos: Chaos, experiment: Experiment, seed: int, code: int, wall_s: float) -> Report:
    books = read_books(chaos.folder, read_json(chaos.folder / RESULT))
    chaos.invariants.see_books(books.items(), most_lost_with_a_server(experiment))
    chaos.invariants.see_logs((chaos.folder / LOGS).glob("*.log"))
    return Report(
        seed=seed,
        wall_s=wall_s,
        injuries=chaos.injuries,
        recoveries=chaos.recoveries,
        broken=chaos.invariants.broken,
        looks=chaos.invariants.looks,
        books=total(books.values()) if books else None,
        solved_s=chaos.solved_s,
        solved_after=chaos.solved_after,
        target=experiment.run.target_return,
        mean_return=chaos.mean_return,
        code=code,
    )


def most_lost_with_a_server(experiment: Experiment) -> int:
    """Environment steps that a server may take along when it dies.

    Of every environment an open unroll, and one that a batch has just completed; and what the learner's window
    holds. An actor that was started again has seats beside those of the one that died, until a lease has passed.
    """
    seats = 2 * experiment.actor.processes * experiment.actor.environments
    replay = experiment.learner.replay.slack // experiment.agent.unroll_length + 8
    return (2 * seats + max(experiment.learner.window, replay)) * experiment.agent.unroll_length
