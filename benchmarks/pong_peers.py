"""Pong while training: environment steps a second and memory, beside Stable-Baselines3 and Sample Factory.

    python benchmarks/peers/install.py peers --only stable_baselines3 sample_factory
    python benchmarks/pong_peers.py --peers peers --rounds 3

Every trainer gets the machine alone, turn by turn: 16 environments, the convolutions of DQN, one gray frame of
84 x 84 after every four of the game, four of them stacked. "One pass" trains once on each step, "four passes" four
times (PPO's way). Steps are what the agent decides, a quarter of the game's frames; they are counted after a
start-up that is not, and memory is the proportional set size of all processes at the end.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import psutil
from compare import put_between_marks

from corral.launch.metrics import read_metrics

HERE = Path(__file__).parent
LEARNING = HERE / "LEARNING.md"
MARKS = ("<!-- pong:begin -->", "<!-- pong:end -->")
EXAMPLE = HERE.parent / "examples" / "pong.toml"

# Settings as their makers have them for Atari, but for the number of environments.
STABLE_BASELINES3 = """
import ale_py, gymnasium
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.vec_env import VecFrameStack


class Counting(BaseCallback):
    def _on_step(self):
        return True

    def _on_rollout_end(self):
        print("steps", self.num_timesteps, flush=True)


gymnasium.register_envs(ale_py)
environments = VecFrameStack(make_atari_env("PongNoFrameskip-v4", n_envs=16), n_stack=4)
model = {model}
model.learn(10_000_000, callback=Counting())
"""
A2C = """A2C(
    "CnnPolicy", environments, n_steps=5, ent_coef=0.01, vf_coef=0.25, device="cpu",
    policy_kwargs=dict(optimizer_class=RMSpropTFLike, optimizer_kwargs=dict(eps=1e-5)),
)"""
PPO = """PPO(
    "CnnPolicy", environments, n_steps=128, n_epochs=4, batch_size=256, learning_rate=2.5e-4, clip_range=0.1,
    ent_coef=0.01, vf_coef=0.5, device="cpu",
)"""
SAMPLE_FACTORY = """
import sys
from sf_examples.atari.train_atari import main

if __name__ == "__main__":  # it starts processes that read this file again
    sys.exit(main())
"""


class Trainer(NamedTuple):
    """Who trains, how it is started in a folder, and how its steps so far are read."""

    name: str
    passes: int
    command: Callable[[Path], list[str]]
    steps: Callable[[Path], int]


def _corral(folder: Path, *options: str) -> list[str]:
    corral = Path(sys.executable).with_name("corral")
    return [str(corral), "run", str(EXAMPLE), "--plain", "--folder", str(folder / "runs"), *options]


def _corral_steps(folder: Path) -> int:
    (run,) = (folder / "runs").iterdir()
    return max((line.get("env_steps", 0) for line in read_metrics(run)), default=0)


def _script(python: Path, text: str, *options: str) -> Callable[[Path], list[str]]:
    def command(folder: Path) -> list[str]:
        (folder / "train.py").write_text(text)
        return [str(python), str(folder / "train.py"), *options]

    return command


def _printed(pattern: str, unit: int = 1) -> Callable[[Path], int]:
    def steps(folder: Path) -> int:
        found = re.findall(pattern, (folder / "log").read_text())
        return int(found[-1]) // unit if found else 0

    return steps


def _sample_factory(passes: int) -> list[str]:
    return [
        "--env=atari_pong", "--experiment=pong", "--device=cpu", "--num_workers=2", "--num_envs_per_worker=8",
        "--worker_num_splits=2", "--rollout=20", "--recurrence=1", "--use_rnn=False", "--batch_size=320",
        f"--num_epochs={passes}", "--num_batches_per_epoch=1", "--train_for_env_steps=100000000",
        "--train_dir=train_dir", "--restart_behavior=overwrite",
    ]  # fmt: skip


def trainers(peers: Path) -> list[Trainer]:
    """Corral, and every peer that is installed."""
    sb3, factory = peers / "stable_baselines3/bin/python", peers / "sample_factory/bin/python"
    found = [Trainer("Corral V-trace", 1, _corral, _corral_steps)]
    frames = _printed(r"Total num frames: (\d+)", 4)
    if sb3.exists():
        rollouts = _printed(r"steps (\d+)")
        for name, passes, model in (("A2C", 1, A2C), ("PPO", 4, PPO)):
            command = _script(sb3, STABLE_BASELINES3.format(model=model))
            found.append(Trainer(f"Stable-Baselines3 {name}", passes, command, rollouts))
    if factory.exists():
        for passes in (1, 4):
            command = _script(factory, SAMPLE_FACTORY, *_sample_factory(passes))
            found.append(Trainer("Sample Factory APPO", passes, command, frames))
    return found


def measure(trainer: Trainer, start_s: float, seconds: float) -> tuple[float, float]:
    """Steps a second, and megabytes of memory at the end."""
    with tempfile.TemporaryDirectory() as name, open(Path(name) / "log", "wb") as log:
        folder = Path(name)
        process = subprocess.Popen(
            trainer.command(folder), cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            first, begun = _next_count(trainer, folder, process, start_s)
            last, ended = _next_count(trainer, folder, process, seconds)
            memory = _memory_mb(process.pid)
        finally:
            _end(process)
        return (last - first) / (ended - begun), memory


def _next_count(
    trainer: Trainer, folder: Path, process: subprocess.Popen[bytes], after_s: float
) -> tuple[int, float]:
    """The first change of the count of steps after so many seconds, and when it was seen."""
    time.sleep(after_s)
    before, deadline = trainer.steps(folder), time.monotonic() + 60
    while (count := trainer.steps(folder)) == before:
        if process.poll() is not None or time.monotonic() > deadline:
            text = (folder / "log").read_text()[-2000:]
            raise RuntimeError(f"{trainer.name} does not train:\n{text}")
        time.sleep(0.02)
    return count, time.monotonic()


def _tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _memory_mb(pid: int) -> float:
    total = 0
    for process in _tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total / 1e6


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    tree = _tree(process.pid)
    process.send_signal(signal.SIGINT)
    _, alive = psutil.wait_procs(tree, timeout=20)
    for each in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=HERE.parent / "peers", help="where install.py put them")
    parser.add_argument("--rounds", type=int, default=3, help="turns that each trainer gets")
    parser.add_argument("--start", type=float, default=20, help="seconds before counting begins")
    parser.add_argument("--seconds", type=float, default=30, help="seconds to count")
    given = parser.parse_args()
    everyone = trainers(given.peers)
    found: list[list[tuple[float, float]]] = [[] for _ in everyone]
    for _ in range(given.rounds):
        for trainer, results in zip(everyone, found, strict=True):
            results.append(measure(trainer, given.start, given.seconds))
            rate, memory = results[-1]
            print(f"{trainer.name}, {trainer.passes}: {rate:.0f} steps/s, {memory:.0f} MB", file=sys.stderr)
    lines = ["| trainer | passes | steps/s | each round | memory MB |", "|---|---|---|---|---|"]
    for trainer, results in zip(everyone, found, strict=True):
        rates = [rate for rate, _ in results]
        each, memory = ", ".join(f"{rate:.0f}" for rate in rates), statistics.median(m for _, m in results)
        lines.append(
            f"| {trainer.name} | {trainer.passes} | {statistics.median(rates):.0f} | {each} | {memory:.0f} |"
        )
    table = "\n".join(lines)
    print(table)
    LEARNING.write_text(put_between_marks(LEARNING.read_text(), table, MARKS))


if __name__ == "__main__":
    main()
