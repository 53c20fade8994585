"""CartPole-v1 to 475 beside Stable-Baselines3: the same seeds, the same machine, turn by turn in one measurement.

    python -m venv peers && peers/bin/pip install stable-baselines3
    python benchmarks/cartpole_peers.py --peer peers/bin/python --seeds 5

Both are whole commands, imports and start-up included, and both are solved when the mean return of the last 100
training episodes has reached 475. The peer is PPO with the settings that its makers' collection of tuned
hyperparameters (rl-baselines3-zoo) gives for CartPole-v1, its schedules included, and the same with more steps.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from cartpole_seeds import EXPERIMENT, run_once
from intervals import median_interval, wilson

PEER = """
import sys
import numpy as np
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

seed, steps = map(int, sys.argv[1:])


class UntilSolved(BaseCallback):
    def _on_step(self):
        returns = [episode["r"] for episode in self.model.ep_info_buffer]
        self.solved = len(returns) == 100 and np.mean(returns) >= 475
        return not self.solved


until_solved = UntilSolved()
environments = make_vec_env("CartPole-v1", n_envs=8, seed=seed)
model = PPO(
    "MlpPolicy", environments, seed=seed, device="cpu", n_steps=32, batch_size=256, gae_lambda=0.8, gamma=0.98,
    n_epochs=20, ent_coef=0.0, learning_rate=lambda left: left * 0.001, clip_range=lambda left: left * 0.2,
)
model.learn(steps, callback=until_solved)
print(model.num_timesteps)
sys.exit(0 if until_solved.solved else 1)
"""


def run_peer(python: Path, seed: int, steps: int) -> tuple[bool, float, int]:
    """Whether it solved, seconds from starting the command to its end, and environment steps."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "peer.py"
        script.write_text(PEER)
        started = time.monotonic()
        done = subprocess.run(
            [str(python), str(script), str(seed), str(steps)], capture_output=True, text=True, timeout=600
        )
        taken = time.monotonic() - started
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise RuntimeError(f"the peer failed:\n{done.stderr}")
    return done.returncode == 0, taken, int(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="the Python that has stable-baselines3")
    parser.add_argument("--seeds", type=int, default=5, help="how many, counted from 0")
    parser.add_argument("--steps", type=int, nargs="+", default=[100_000, 300_000], help="the peer's step limits")
    arguments = parser.parse_args()
    names = ["Corral", *(f"Stable-Baselines3 PPO, at most {steps:,} steps" for steps in arguments.steps)]
    runs: dict[str, list[tuple[bool, float, int]]] = {name: [] for name in names}
    print("| seed | who | solved | wall s | env steps |\n|---|---|---|---|---|")
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            ours = run_once(EXPERIMENT, seed, [], Path(folder))
        results = [(bool(ours["solved"]), float(ours["command_s"]), int(ours["env_steps"]))]
        results += [run_peer(arguments.peer, seed, steps) for steps in arguments.steps]
        for name, result in zip(names, results, strict=True):
            runs[name].append(result)
            solved, taken, steps = result
            print(f"| {seed} | {name} | {'yes' if solved else 'no'} | {taken:.1f} | {steps:,} |", flush=True)
    columns = ["who", "solved", "95 % interval", "median wall s of those that solved", "median env steps"]
    print(f"\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for name, results in runs.items():
        solved_runs = [run for run in results if run[0]]
        low, high = wilson(len(solved_runs), len(results))
        print(
            f"| {name} | {len(solved_runs)} of {len(results)} | {100 * low:.0f} to {100 * high:.0f} % "
            f"| {_median([run[1] for run in solved_runs])} | {_median([float(run[2]) for run in solved_runs])} |"
        )


def _median(values: list[float]) -> str:
    """With its 95 % interval, where there are values enough for one."""
    if not values:
        return "-"
    between = median_interval(values)
    interval = f" ({between[0]:,.1f} to {between[1]:,.1f})" if between else ""
    return f"{statistics.median(values):,.1f}{interval}"


if __name__ == "__main__":
    main()
