"""Every algorithm on its example, over seeds: how many solve, after how many steps and seconds, with the curves.

    python benchmarks/learning.py --seeds 3

Each run is a fresh `corral run`, one after the other: imports and start-up count. The table goes between two marks
of LEARNING.md, a picture of each task into `benchmarks/learning/`. Rows can be chosen: `--only ppo,dqn`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from cartpole_seeds import run_once
from compare import put_between_marks

from corral.launch.metrics import read_metrics

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
LEARNING = HERE / "LEARNING.md"
PICTURES = HERE / "learning"
MARKS = ("<!-- learning:begin -->", "<!-- learning:end -->")


class Row(NamedTuple):
    """One algorithm on one task."""

    name: str
    task: str
    example: str
    options: tuple[str, ...] = ()


_NO_MEMORY = ("--set", "agent.name=dqn", "--set", 'agent.network.core=""', "--set", "agent.r2d2.burn_in=8")
ROWS = (
    Row("vtrace", "CartPole-v1", "cartpole.toml"),
    Row("a2c", "CartPole-v1", "cartpole.toml", ("--set", "agent.name=a2c")),
    Row("ppo", "CartPole-v1", "cartpole_ppo.toml"),
    Row("dqn", "CartPole-v1", "cartpole_dqn.toml"),
    Row("ddpg", "Pendulum-v1", "pendulum_ddpg.toml"),
    Row("td3", "Pendulum-v1", "pendulum_td3.toml"),
    Row("sac", "Pendulum-v1", "pendulum_sac.toml"),
    Row("r2d2 (lstm)", "recall", "memory_r2d2.toml"),
    Row("r2d2 (gru)", "recall", "memory_r2d2.toml", ("--set", "agent.network.core=gru")),
    Row("dqn", "recall", "memory_r2d2.toml", (*_NO_MEMORY, "--set", "run.max_env_steps=100000")),
)

Found = dict[str, Any]
Curve = list[tuple[float, float]]


def measure(row: Row, seed: int) -> tuple[Found, Curve]:
    """One run's summary, and its mean return over environment steps."""
    with tempfile.TemporaryDirectory() as folder:
        found = run_once(EXAMPLES / row.example, seed, list(row.options), Path(folder))
        (run,) = (path for path in Path(folder).iterdir() if path.is_dir())
        lines = [line for line in read_metrics(run) if "mean_return" in line]
        return found, [(line["env_steps"], line["mean_return"]) for line in lines]


def as_row(row: Row, found: list[Found]) -> str:
    """A line of the table."""
    solved = [each for each in found if each["solved"]]
    steps = ", ".join(f"{each['env_steps']:,}" for each in found)
    wall = f"{statistics.median(each['command_s'] for each in solved):.0f}" if solved else "-"
    returns = ", ".join(f"{each['mean_return']:.2f}" for each in found)
    command = f"`corral run examples/{row.example}{''.join(f' {option}' for option in row.options)}`"
    return f"| {row.task} | {row.name} | {len(solved)} of {len(found)} | {steps} | {wall} | {returns} | {command} |"


def draw(task: str, curves: dict[str, list[Curve]]) -> Path:
    """A picture of a task: every seed of every algorithm."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, seeds) in enumerate(curves.items()):
        for index, curve in enumerate(seeds):
            if curve:
                axes.plot(
                    *zip(*curve, strict=True), color=f"C{number}", alpha=0.8, label=name if index == 0 else None
                )
    axes.set(title=task, xlabel="environment steps", ylabel="mean return of the last 100 training episodes")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    PICTURES.mkdir(exist_ok=True)
    path = PICTURES / f"{task.lower().replace('-', '_')}.png"
    figure.savefig(path, dpi=100)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="how many, counted from 0")
    parser.add_argument("--only", default="", help="algorithms, by name")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",") if arguments.only else [row.name for row in ROWS]
    columns = ["task", "algorithm", "solved", "environment steps", "median s", "mean return", "command"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    curves: dict[str, dict[str, list[Curve]]] = {}
    for row in ROWS:
        if row.name not in wanted:
            continue
        found = []
        for seed in range(arguments.seeds):
            result, curve = measure(row, seed)
            found.append(result)
            curves.setdefault(row.task, {}).setdefault(row.name, []).append(curve)
        lines.append(as_row(row, found))
        print(lines[-1], file=sys.stderr, flush=True)
    table = "\n".join(lines)
    print(table)
    if not arguments.only:
        pictures = [draw(task, found) for task, found in curves.items()]
        shown = "\n".join(f"![{path.stem}](learning/{path.name})" for path in pictures)
        page = LEARNING.read_text() if LEARNING.exists() else "# Learning\n"
        LEARNING.write_text(put_between_marks(page, f"{table}\n\n{shown}", MARKS))


if __name__ == "__main__":
    main()
