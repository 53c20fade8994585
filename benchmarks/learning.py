"""Every algorithm on its task, for as long as it takes: run, stopped and gone on with, as a user would.

    python benchmarks/learning.py --list
    python benchmarks/learning.py --only halfcheetah_sac --seed 0 --minutes 60
    python benchmarks/learning.py --report

The first says what there is and how far each has come. The second begins that run (`corral run`), or goes on with
it (`corral run --resume`), until it ends or the minutes are over; without `--only` and `--seed` all follow one
another in their order. Run folders stay in `runs/learning/`; what the report is made of is kept in
`benchmarks/learning/` after every sitting, small enough to be committed. The third writes the sections and pictures
of LEARNING.md from that alone. Two runs of small networks may share two cores: start a second command with another
`--only`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from learning_list import TASKS, Run
from learning_records import Record, read_records, record_of
from learning_report import write_report

from corral.launch.folder import BEST_POLICY, CHECKPOINTS, RESULT, read_json

HERE = Path(__file__).parent
ROOT = HERE.parent
RECORDS = HERE / "learning"
RUNS = ROOT / "runs" / "learning"
CORRAL = [sys.executable, "-m", "corral.cli"]
_PLAYED = ("episodes", "mean_return", "standard_error", "min_return", "max_return")
_STOPPED = (128 + signal.SIGINT, -signal.SIGINT)
"""Exit codes of what was asked to stop, the second at a moment when it could not answer yet."""
STOPPING_S = 300.0
"""What a run may take to write its last checkpoint, with a replay in it perhaps."""


class Sitting:
    """One seed of one run, and where it lies.

    Args:
      runs: where run folders stay.
      records: where what is kept of them goes.
    """

    def __init__(self, run: Run, seed: int, runs: Path, records: Path) -> None:
        self.run = run
        self.seed = seed
        self._place = runs / f"{run.name}-{seed}"
        self._records = records

    @property
    def folder(self) -> Path | None:
        """The folder of the run, with something to go on from or a result; None where it has not begun."""
        begun = [path.parent for path in self._place.glob(f"*/{CHECKPOINTS}")]
        return max(begun, key=lambda path: path.name, default=None)

    @property
    def record(self) -> Record | None:
        """What is kept of it."""
        kept = [each for each in read_records(self._records) if (each.run, each.seed) == (self.run.name, self.seed)]
        return kept[0] if kept else None

    def sit(self, seconds: float, options: list[str]) -> bool:
        """Begin or go on for so long; whether it has come to its end.

        Args:
          options: for `corral run`, of a run that begins.
        """
        begin = [*self.run.command(self.seed), *options]
        folder = self.folder
        command = ["run", "--resume", str(folder)] if folder else [*begin, "--folder", str(self._place)]
        print(f"$ corral {shlex.join(command)}", file=sys.stderr, flush=True)
        code, interrupted = _run_for([*CORRAL, *command, "--plain"], seconds)
        found = self.folder
        if found is None or code not in (0, 1, *_STOPPED):
            if code in _STOPPED and not interrupted:
                return False  # there was no time to begin
            raise KeyboardInterrupt if interrupted else RuntimeError(f"corral run ended with {code}, see above")
        record = self._keep(found, begin, {}, {})
        if interrupted:
            raise KeyboardInterrupt
        if record.finished and self.run.episodes:
            best = self._evaluate(found, "--best") if (found / BEST_POLICY).exists() else {}
            self._keep(found, begin, self._evaluate(found), best)
        return record.finished

    def _keep(self, folder: Path, begin: list[str], greedy: dict[str, Any], best: dict[str, Any]) -> Record:
        before = self.record
        command = before.command if before else f"corral {shlex.join(begin)}"  # of the sitting that began it
        record = record_of(folder, self.run.name, self.seed, command, greedy, best)
        record.write(self._records)
        return record

    def _evaluate(self, folder: Path, *options: str) -> dict[str, Any]:
        command = ["evaluate", str(folder), "--episodes", str(self.run.episodes), "--json", *options]
        done = subprocess.run([*CORRAL, *command], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        told = json.loads(done.stdout)
        return {name: told[name] for name in _PLAYED}


def _run_for(command: list[str], seconds: float) -> tuple[int, bool]:
    """Run a command, asked to stop (once) when the time is over or somebody interrupts this; its exit code, and
    whether somebody did."""
    # In a session of its own: Ctrl-C would reach it twice, and the second time it drops everything.
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True)
    interrupted = False
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        pass
    except KeyboardInterrupt:
        interrupted = True
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(STOPPING_S), interrupted
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()


def _told(sitting: Sitting) -> str:
    """How far it has come, for a person."""
    record, folder = sitting.record, sitting.folder
    command = f"corral {shlex.join(sitting.run.command(sitting.seed))}"
    if record is None:
        state = "has not begun"
    else:
        state = "finished" if record.finished else "stopped"
        state += f" at {record.steps:,} steps after {record.wall_s / 60:.0f} min: {record.mean_return:.1f}"
    if folder is not None and record is not None and not record.finished and read_json(folder / RESULT):
        state += f"; goes on from {folder}"
    return f"{sitting.run.name} {sitting.seed}: {state}\n    {command}"


def _parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="runs or tasks, by name, with commas between")
    parser.add_argument("--seed", type=int, help="this one alone, in place of all that the list has")
    parser.add_argument("--minutes", type=float, default=1e6, help="until it stops, to be gone on with")
    parser.add_argument("--list", action="store_true", help="say what there is, and run nothing")
    parser.add_argument("--report", action="store_true", help="write LEARNING.md and its pictures, and run nothing")
    parser.add_argument("--runs", type=Path, default=RUNS, help="where run folders stay")
    parser.add_argument("--records", type=Path, default=RECORDS, help="where what is kept of them goes")
    parser.add_argument("--page", type=Path, default=HERE / "LEARNING.md", help="where the report goes")
    parser.add_argument("options", nargs="*", help="what else to tell corral run of a run that begins, after --")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    given = _parse(words)
    if given.report:
        write_report(given.page, given.records)
        return 0
    wanted = set(filter(None, given.only.split(",")))
    known = {name for task in TASKS for name in (task.name, *(run.name for run in task.runs))}
    if wanted - known:
        print(f"no such run: {', '.join(sorted(wanted - known))}; --list shows all", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the run must not go on alone
    deadline = time.monotonic() + 60 * given.minutes
    for task in TASKS:
        for run in task.runs:
            if wanted and not wanted & {task.name, run.name}:
                continue
            for seed in range(task.seeds) if given.seed is None else [given.seed]:
                sitting = Sitting(run, seed, given.runs, given.records)
                if given.list:
                    print(_told(sitting))
                elif sitting.record is not None and sitting.record.finished:
                    print(f"{run.name} {seed} has finished already", file=sys.stderr)
                elif time.monotonic() < deadline:
                    sitting.sit(max(1.0, deadline - time.monotonic()), given.options)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
