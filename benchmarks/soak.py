"""Training traffic for a long time, with actors that come and go: does anything grow?

    python benchmarks/soak.py --minutes 60

`corral server`, `corral learner` and `corral actor` run as processes of their own. Every few seconds one actor
leaves (two of three say goodbye, the third is killed) and another joins; stateless clients ask in between. Every
few seconds the memory, file descriptors and threads of server and learner are read, and latencies. In the end each
series is judged:

- The first part is left out (`--warm-up`, 15 %): caches and allocators fill up.
- The rest is cut into at most 24 blocks, and the median of each taken: spikes vanish, and neighbouring samples,
  which resemble each other, count as one.
- Its slope is that of Theil and Sen, the median of all slopes between two blocks, with the interval that holds the
  true one with 99 % (Kendall's variance with ties; Gilbert 1987, section 16.5).
- A series *grows* where the whole interval is above 0, and the slope makes more over the measured time than what is
  of no account: half a percent of memory, 10 % of a latency, one file descriptor, one thread.

Exits with 1 where a series grows or a process ended.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

HERE = Path(__file__).parent
BLOCKS = 24
Z = 2.5758
"""Of a normal distribution: 99 % lie within so many deviations."""

EXPERIMENT = """
[run]
max_env_steps = 1_000_000_000_000
[environment]
id = "soak:paced_cartpole"
kwargs = { step_ms = STEP_MS }
[actor]
environments = 8
[server]
address = "ipc://FOLDER/server"
max_environments = 128
lease_s = 3.0
[server.batching]
max_size = 32
[learner]
unrolls_address = "ipc://FOLDER/unrolls"
weights_address = "ipc://FOLDER/weights"
batch_unrolls = 16
checkpoint_every_s = 30.0
[agent]
name = "vtrace"
unroll_length = 16
[agent.network]
hidden = [64, 64]
"""
ACTORS = 4


class Trend(NamedTuple):
    """How a series goes: units per second, with the ends of the 99 % interval, and its middle value."""

    slope: float
    low: float
    high: float
    median: float


class Finding(NamedTuple):
    """What a series did over the measured time: it gained `gain`, at least `low` and at most `high`; `floor` would
    be of no account."""

    name: str
    median: float
    gain: float
    low: float
    high: float
    floor: float

    @property
    def grows(self) -> bool:
        """Whether it is a leak."""
        return self.low > 0 and self.gain > self.floor


def blocks_of(values: Sequence[float] | np.ndarray, count: int = BLOCKS) -> np.ndarray:
    """The medians of `count` stretches of `values`, or of as many as there are values."""
    array = np.asarray(values, float)
    return np.array([np.median(part) for part in np.array_split(array, min(count, len(array)))])


def trend(times: Sequence[float] | np.ndarray, values: Sequence[float] | np.ndarray) -> Trend:
    """Theil and Sen's slope of block medians, with its 99 % interval.

    Raises:
      ValueError: fewer than 8 values.
    """
    if len(values) < 8:
        raise ValueError(f"a trend needs 8 samples or more, not {len(values)}: soak for longer")
    x, y = blocks_of(times), blocks_of(values)
    n = len(y)
    first, second = np.triu_indices(n, 1)
    slopes = np.sort((y[second] - y[first]) / (x[second] - x[first]))
    _, ties = np.unique(y, return_counts=True)
    variance = (n * (n - 1) * (2 * n + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    reach = Z * math.sqrt(max(variance, 0.0))
    low = max(0, round((len(slopes) - reach) / 2))
    high = min(len(slopes) - 1, round((len(slopes) + reach) / 2))
    return Trend(float(np.median(slopes)), float(slopes[low]), float(slopes[high]), float(np.median(y)))


def floor_of(name: str, median: float) -> float:
    """What a series may gain without any meaning, by its name: `.../rss_mb`, `/fds`, `/threads`, else a latency."""
    if name.endswith("/rss_mb"):
        return 0.005 * median
    return 1.0 if name.endswith(("/fds", "/threads")) else 0.1 * median


def judge(samples: Sequence[dict[str, float]], warm_up: float) -> list[Finding]:
    """What each series of `samples` did, behind the first `warm_up` of their time. `t` is the time, in seconds."""
    start = samples[0]["t"] + warm_up * (samples[-1]["t"] - samples[0]["t"])
    kept = [sample for sample in samples if sample["t"] >= start]
    times = [sample["t"] for sample in kept]
    span = times[-1] - times[0]
    findings = []
    for name in kept[0]:
        if name != "t":
            found = trend(times, [sample[name] for sample in kept])
            gains = [slope * span for slope in found[:3]]
            findings.append(Finding(name, found.median, *gains, floor=floor_of(name, found.median)))
    return findings


def vitals(name: str, process: psutil.Process) -> dict[str, float]:
    """Memory, file descriptors and threads of a process, now."""
    with process.oneshot():
        return {
            f"{name}/rss_mb": process.memory_info().rss / 1e6,
            f"{name}/fds": float(process.num_fds()),
            f"{name}/threads": float(process.num_threads()),
        }


def paced_cartpole(step_ms: float) -> Any:
    """CartPole whose steps take a while, so that the machine has time for everything else."""
    import gymnasium

    class Paced(gymnasium.Wrapper):
        def step(self, action: Any) -> Any:
            time.sleep(step_ms / 1e3)
            return self.env.step(action)

    return Paced(gymnasium.make("CartPole-v1"))


class Child:
    """A `corral` command in a process of its own; its words go into a file."""

    def __init__(self, log: Path, *arguments: str) -> None:
        with log.open("ab") as words:
            self.process = psutil.Popen(
                [sys.executable, "-m", "corral.cli", *arguments],
                cwd=HERE,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=subprocess.STDOUT,
            )

    def end(self, *, kill: bool = False) -> int:
        """Ask it to stop, or stop it; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            return int(self.process.wait(20))
        except psutil.TimeoutExpired:
            self.process.kill()
            return int(self.process.wait(20))


@contextmanager
def child(log: Path, *arguments: str) -> Iterator[Child]:
    """A child that is gone when the block ends."""
    started = Child(log, *arguments)
    try:
        yield started
    finally:
        started.end()


class Soak:
    """Server, learner and a changing crowd of actors.

    Attributes:
      samples: what was read, oldest first.
      joined, left, killed: actors so far.
    """

    def __init__(self, folder: Path, stack: ExitStack, step_ms: float) -> None:
        self.samples: list[dict[str, float]] = []
        self.joined = self.left = self.killed = 0
        self._folder = folder
        self.address = f"ipc://{folder}/server"
        self._experiment = folder / "soak.toml"
        self._experiment.write_text(EXPERIMENT.replace("FOLDER", str(folder)).replace("STEP_MS", str(step_ms)))
        experiment = str(self._experiment)
        self.server = stack.enter_context(child(folder / "server.log", "server", experiment))
        run = str(folder / "run")
        self.learner = stack.enter_context(
            child(folder / "learner.log", "learner", experiment, "--run-folder", run)
        )
        self._actors: list[Child] = []
        stack.callback(self._end_actors)

    def wait_until_ready(self, timeout_s: float = 120) -> None:
        """Raises `TimeoutError` where the server does not become ready."""
        deadline = time.monotonic() + timeout_s
        while not self.status().get("ready"):
            self.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server is not ready after {timeout_s:.0f} s")
            time.sleep(0.1)

    def status(self) -> dict[str, Any]:
        """The server's figures; nothing where it does not answer."""
        from corral.protocol import fetch_status

        return fetch_status(self.address, 5.0) or {}

    def check(self) -> None:
        """Raises `RuntimeError`, with its last words, where server or learner has ended."""
        for name in ("server", "learner"):
            if getattr(self, name).process.poll() is not None:
                words = (self._folder / f"{name}.log").read_text()[-2000:]
                raise RuntimeError(f"the {name} ended: {words}")

    def churn(self) -> None:
        """One actor leaves where enough are there, and one joins."""
        if len(self._actors) >= ACTORS:
            kill = self.left % 3 == 2
            self._actors.pop(0).end(kill=kill)
            self.left += 1
            self.killed += kill
        self._actors.append(Child(self._folder / "actors.log", "actor", str(self._experiment)))
        self.joined += 1

    def sample(self, now: float) -> dict[str, float]:
        """Read everything once."""
        from actor_client import PolicyClient

        row = np.zeros((1, 4), np.float32)
        latencies = []
        with PolicyClient(self.address) as client:  # a new one each time: it joins and leaves as well
            for _ in range(20):
                begun = time.perf_counter()
                client.infer(row)
                latencies.append((time.perf_counter() - begun) * 1e3)
        status = self.status()
        self.check()
        taken = {
            "t": now,
            **vitals("server", self.server.process),
            **vitals("learner", self.learner.process),
            "step_p50_ms": status["latency_p50_ms"],
            "step_p99_ms": status["latency_p99_ms"],
            "infer_ms": statistics.median(latencies),
        }
        self.samples.append(taken)
        return taken

    def _end_actors(self) -> None:
        for actor in self._actors:
            actor.end()


def show(findings: Sequence[Finding], span_s: float) -> None:
    """Print the findings as a table."""
    print(f"\nover {span_s / 60:.1f} minutes behind the warm-up:\n")
    print(f"| series | median | gained | 99 % interval | of no account | |\n{'|---' * 6}|")
    for found in findings:
        print(
            f"| {found.name} | {found.median:.4g} | {found.gain:+.3g} | {found.low:+.3g} to {found.high:+.3g} "
            f"| {found.floor:.3g} | {'GROWS' if found.grows else 'flat'} |"
        )


def soak(
    minutes: float, churn_s: float, sample_s: float, step_ms: float, folder: Path
) -> tuple[Soak, dict[str, Any]]:
    """Run the traffic for `minutes`; what was read, and the server's last figures."""
    with ExitStack() as stack:
        running = Soak(folder, stack, step_ms)
        running.wait_until_ready()
        started = time.monotonic()
        next_churn = next_sample = next_word = 0.0
        with (folder / "samples.jsonl").open("w", buffering=1) as file:
            while (now := time.monotonic() - started) < 60 * minutes:
                if now >= next_churn:
                    running.churn()
                    next_churn += churn_s
                if now >= next_sample:
                    taken = running.sample(now)
                    file.write(json.dumps(taken) + "\n")
                    next_sample += sample_s
                    if now >= next_word:
                        print(
                            f"{now / 60:5.1f} min: {json.dumps({k: round(v, 3) for k, v in taken.items()})}",
                            flush=True,
                        )
                        next_word += 60
                time.sleep(max(0.0, min(next_churn, next_sample) - (time.monotonic() - started)))
        status = running.status()
        return running, status


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--warm-up", type=float, default=0.15, help="part of the time that is not judged")
    parser.add_argument("--churn-s", type=float, default=3.0, help="seconds from one actor's leaving to the next")
    parser.add_argument("--sample-s", type=float, default=5.0, help="seconds between two samples")
    parser.add_argument("--step-ms", type=float, default=1.0, help="what an environment's step takes besides")
    arguments = parser.parse_args()
    # Its processes write their logs there; what is worth keeping is printed.
    with tempfile.TemporaryDirectory(prefix="corral-soak-") as folder:
        running, status = soak(
            arguments.minutes, arguments.churn_s, arguments.sample_s, arguments.step_ms, Path(folder)
        )
    findings = judge(running.samples, arguments.warm_up)
    show(findings, (1 - arguments.warm_up) * running.samples[-1]["t"])
    figures = {name: status.get(name) for name in ("env_steps", "episodes", "rows", "policy_version", "errors")}
    print(f"\nactors: {running.joined} joined, {running.left} left, {running.killed} of these killed")
    print(f"server: {json.dumps(figures)}")
    growing = [found.name for found in findings if found.grows]
    print(f"GROWS: {', '.join(growing)}" if growing else "nothing grows")
    return 1 if growing else 0


if __name__ == "__main__":
    sys.exit(main())
