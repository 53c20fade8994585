"""CartPole-v1 to 475 beside Stable-Baselines3: the same seeds, the same machine, turn by turn in one measurement.

    python benchmarks/peers/install.py peers --only stable_baselines3
    python benchmarks/cartpole_peers.py --peer peers/stable_baselines3/bin/python --algorithms ppo a2c dqn

All are whole commands, imports and start-up included, and are solved when the mean return of the last 100 training
episodes has reached 475. Corral is V-trace (`examples/cartpole.toml`); what its other algorithms take is in
LEARNING.md. The peers have the settings that their makers' collection of tuned hyperparameters (rl-baselines3-zoo)
gives for CartPole-v1, schedules included; PPO and DQN also those of more steps.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from cartpole_seeds import EXPERIMENT, run_once
from intervals import median_interval, wilson

SCRIPT = """
import sys
import numpy as np
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env

seed, steps = map(int, sys.argv[1:])
common = {{"policy": "MlpPolicy", "seed": seed, "device": "cpu"}}


class UntilSolved(BaseCallback):
    def _on_step(self):
        returns = [episode["r"] for episode in self.model.ep_info_buffer]
        self.solved = len(returns) == 100 and np.mean(returns) >= 475
        return not self.solved


until_solved = UntilSolved()
environments = make_vec_env("CartPole-v1", n_envs={environments}, seed=seed)
model = {model}
model.learn(steps, callback=until_solved)
print(model.num_timesteps)
sys.exit(0 if until_solved.solved else 1)
"""


class Peer(NamedTuple):
    """An algorithm of Stable-Baselines3: its environments, its model as Python, and the step limits to try."""

    environments: int
    model: str
    limits: tuple[int, ...]


PEERS = {
    "ppo": Peer(
        8,
        "PPO(env=environments, n_steps=32, batch_size=256, gae_lambda=0.8, gamma=0.98, n_epochs=20, ent_coef=0.0,"
        " learning_rate=lambda left: left * 0.001, clip_range=lambda left: left * 0.2, **common)",
        (100_000, 300_000),
    ),
    "a2c": Peer(8, "A2C(env=environments, ent_coef=0.0, **common)", (500_000,)),
    "dqn": Peer(
        1,
        "DQN(env=environments, learning_rate=2.3e-3, batch_size=64, buffer_size=100_000, learning_starts=1000,"
        " gamma=0.99, target_update_interval=10, train_freq=256, gradient_steps=128, exploration_fraction=0.16,"
        " exploration_final_eps=0.04, policy_kwargs=dict(net_arch=[256, 256]), **common)",
        (50_000, 150_000),
    ),
}


def run_peer(python: Path, peer: Peer, seed: int, steps: int) -> tuple[bool, float, int]:
    """Whether it solved, seconds from starting the command to its end, and environment steps."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "peer.py"
        script.write_text(SCRIPT.format(environments=peer.environments, model=peer.model))
        started = time.monotonic()
        done = subprocess.run(
            [str(python), str(script), str(seed), str(steps)], capture_output=True, text=True, timeout=1800
        )
        taken = time.monotonic() - started
    if done.returncode not in (0, 1) or not done.stdout.strip():
        raise RuntimeError(f"the peer failed:\n{done.stderr}")
    return done.returncode == 0, taken, int(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, required=True, help="the Python that has stable-baselines3")
    parser.add_argument("--seeds", type=int, default=5, help="how many, counted from 0")
    parser.add_argument("--algorithms", nargs="+", choices=PEERS, default=["ppo"], help="of the peer")
    arguments = parser.parse_args()
    tried = [(PEERS[name], steps, name) for name in arguments.algorithms for steps in PEERS[name].limits]
    names = ["Corral", *(f"Stable-Baselines3 {name.upper()}, at most {steps:,} steps" for _, steps, name in tried)]
    runs: dict[str, list[tuple[bool, float, int]]] = {name: [] for name in names}
    print("| seed | who | solved | wall s | env steps |\n|---|---|---|---|---|")
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            ours = run_once(EXPERIMENT, seed, [], Path(folder))
        results = [(bool(ours["solved"]), float(ours["command_s"]), int(ours["env_steps"]))]
        results += [run_peer(arguments.peer, peer, seed, steps) for peer, steps, _ in tried]
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
