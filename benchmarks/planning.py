"""Does `corral plan` say what a run does? Real server, learner and actors beside the arithmetic.

    python benchmarks/planning.py

Environments sleep for as long as their step should take, so that a few cores carry many of them. The plan is made
from one server's figures with made-up clients; then each case runs for real over TCP on this machine, with a
learner that trains, and what its server counted is compared: steps per second, processors, and bytes on the
loopback interface, whose packets are larger than a network's. Nothing else may use that interface meanwhile.

Exits with 1 where the steps of a case differ from the plan by more than 20 %.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import psutil
from soak import child

HERE = Path(__file__).parent
ENVIRONMENTS = 4
CASES = ((2, 4.0), (8, 4.0), (24, 4.0), (12, 1.0), (24, 1.0))
"""Actors, and milliseconds of one environment's step."""
MOST_OFF = 0.2
SETTLE_S = 4.0

EXPERIMENT = """
[run]
max_env_steps = 1_000_000_000_000
[environment]
id = "planning:Sleeper"
kwargs = { step_ms = STEP_MS }
[actor]
environments = ENVIRONMENTS
[server]
address = "tcp://127.0.0.1:PORT0"
[server.batching]
max_size = 256
[learner]
unrolls_address = "tcp://127.0.0.1:PORT1"
weights_address = "tcp://127.0.0.1:PORT2"
batch_unrolls = 32
[agent]
name = "vtrace"
unroll_length = 16
[agent.network]
hidden = [64, 64]
"""


class Sleeper(gymnasium.Env):
    """Takes `step_ms` for a step, without a processor; episodes of 100 steps."""

    def __init__(self, step_ms: float) -> None:
        self.observation_space = gymnasium.spaces.Box(-1, 1, (8,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)
        self._step_s = step_ms / 1e3
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._steps = 0
        return np.zeros(8, np.float32), {}

    def step(self, action: int) -> Any:
        time.sleep(self._step_s)
        self._steps += 1
        return np.zeros(8, np.float32), 1.0, self._steps >= 100, False, {}


class Found(NamedTuple):
    """What a case did: steps, bytes and processor seconds, each per second."""

    steps: float
    bytes: float
    server_cores: float
    learner_cores: float
    actor_cores: float


def write_experiment(folder: Path, step_ms: float) -> Path:
    """The experiment of a case, with ports that are free."""
    text = EXPERIMENT.replace("STEP_MS", str(step_ms)).replace("ENVIRONMENTS", str(ENVIRONMENTS))
    with ExitStack() as held:
        for number in range(3):
            probe = held.enter_context(socket.socket())
            probe.bind(("127.0.0.1", 0))
            text = text.replace(f"PORT{number}", str(probe.getsockname()[1]))
    file = folder / f"sleep_{step_ms:g}.toml"
    file.write_text(text)
    return file


def run(experiment: Path, actors: int, seconds: float, folder: Path) -> Found:
    """Start everything, let it settle, and count for `seconds`."""
    from corral.launch.experiment import load_experiment

    address = load_experiment(experiment).server.address
    with ExitStack() as stack:
        log, name = folder / "log", str(experiment)
        learner = stack.enter_context(child(log, "learner", name, "--run-folder", str(folder / "run")))
        server = stack.enter_context(child(log, "server", name))
        until(lambda: figures(address).get("ready"), log)
        crowd = [stack.enter_context(child(log, "actor", name)) for _ in range(actors)]
        until(lambda: figures(address).get("actors") == actors, log)
        time.sleep(SETTLE_S)

        def gauges() -> np.ndarray:
            groups = ([server], [learner], crowd)
            used = [sum(cpu_s(each.process) for each in group) for group in groups]
            lo = psutil.net_io_counters(pernic=True)["lo"].bytes_sent
            return np.array([time.monotonic(), figures(address)["env_steps"], lo, *used])

        before = gauges()
        time.sleep(seconds)
        gained = gauges() - before
    return Found(*(gained[1:] / gained[0]))


def figures(address: str) -> Mapping[str, Any]:
    """The server's; nothing where it does not answer."""
    from corral.protocol import fetch_status

    return fetch_status(address, 1.0) or {}


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def until(there: Any, log: Path, timeout_s: float = 180.0) -> None:
    """Wait until it is there. Raises `TimeoutError` with the processes' last words."""
    deadline = time.monotonic() + timeout_s
    while not there():
        if time.monotonic() > deadline:
            raise TimeoutError(log.read_text()[-2000:])
        time.sleep(0.1)


def planned(experiment: Path, actors: int, known: Any) -> tuple[Found, Any]:
    """What the plan says of a case; and the figures, of which the server's are measured once."""
    from corral.bench import traffic
    from corral.bench.figures import demand_of, measure_figures, serving_of, sizes_of
    from corral.bench.planning import plan
    from corral.launch.experiment import load_experiment

    traffic.PACKET_BYTES = 65_483  # of the loopback interface's 65,536
    loaded = load_experiment(experiment)
    measured = measure_figures(loaded, results=known, transport="tcp", say=lambda text, *_: print(f"  {text}"))
    assert measured.think is not None
    demand = demand_of(loaded, actors, measured.think.step_s, measured.think.computing)
    sizes = sizes_of(loaded, measured.training, keys=False)
    found = plan(demand, serving_of(measured, ENVIRONMENTS), measured.training, sizes, servers=1)
    share = found.steps_per_s / found.acting_per_s
    carried = (found.requests + found.answers + found.unrolls) * share + found.weights
    cores = (found.server_cores * share, found.learner_cores, found.actor_cores * share)
    return Found(found.steps_per_s, carried, *cores), measured.results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each case")
    parser.add_argument("--json", action="store_true", help="print JSON at the end")
    arguments = parser.parse_args()
    os.chdir(HERE)  # where every process finds the environment
    rows, known = [], ()
    with tempfile.TemporaryDirectory(prefix="corral-planning-") as place:
        for number, (actors, step_ms) in enumerate(CASES):
            print(f"{actors} actors of {ENVIRONMENTS} environments of {step_ms:g} ms", flush=True)
            folder = Path(place) / str(number)
            folder.mkdir()
            experiment = write_experiment(folder, step_ms)
            said, known = planned(experiment, actors, known)
            rows.append((actors, step_ms, said, run(experiment, actors, arguments.seconds, folder)))
    print(
        "\n| actors | ms a step | steps/s planned | measured | ratio | MB/s planned | measured "
        "| server cores planned | measured |"
    )
    print("|---" * 9 + "|")
    for actors, step_ms, said, did in rows:
        print(
            f"| {actors} | {step_ms:g} | {said.steps:,.0f} | {did.steps:,.0f} | {did.steps / said.steps:.2f} | "
            f"{said.bytes / 1e6:.2f} | {did.bytes / 1e6:.2f} | {said.server_cores:.2f} | {did.server_cores:.2f} |"
        )
    if arguments.json:
        print(json.dumps([(a, ms, said._asdict(), did._asdict()) for a, ms, said, did in rows]))
    return int(any(abs(did.steps / said.steps - 1) > MOST_OFF for _, _, said, did in rows))


if __name__ == "__main__":
    sys.exit(main())
