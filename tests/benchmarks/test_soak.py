"""The soak's leak detector: what it calls growth, of made-up series and of processes that really leak."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack

import numpy as np
import psutil
import pytest

from tests.benchmarks.scripts import load_script

soak = load_script("soak")
MINUTES = 20
TIMES = np.arange(0.0, 60 * MINUTES, 5.0)


def findings(name: str, values: np.ndarray) -> bool:
    """Whether a series that is sampled every 5 s grows."""
    samples = [{"t": t, name: float(value)} for t, value in zip(TIMES, values, strict=True)]
    (found,) = soak.judge(samples, warm_up=0.15)
    return bool(found.grows)


def noise(seed: int, size: float, memory: float = 0.0) -> np.ndarray:
    """Chance of standard deviation `size`, each value resembling the one before by `memory`."""
    random = np.random.default_rng(seed)
    values = np.zeros(len(TIMES))
    for index in range(1, len(TIMES)):
        values[index] = memory * values[index - 1] + random.normal() * (1 - memory**2) ** 0.5
    return size * values


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_noise_is_not_growth(memory: float) -> None:
    assert not any(findings("server/rss_mb", 400 + noise(seed, 8, memory)) for seed in range(100))
    assert sum(findings("infer_ms", 2 + noise(seed, 0.4, memory)) for seed in range(100)) <= 2


@pytest.mark.parametrize("memory", [0.0, 0.8])
def test_a_leak_is_found_in_the_noise(memory: float) -> None:
    leak = 20 * TIMES / TIMES[-1]  # 5 % over the run, of noise of 1 %
    assert all(findings("server/rss_mb", 400 + leak + noise(seed, 4, memory)) for seed in range(100))


def test_a_leak_by_steps_is_found() -> None:
    assert findings("server/fds", 40 + np.floor(TIMES / 120))
    assert findings("learner/threads", 9 + np.floor(TIMES / 300))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("server/fds", np.full(len(TIMES), 40.0)),
        ("server/fds", 40.0 + (np.arange(len(TIMES)) % 7 == 3)),  # somebody is just coming
        ("server/threads", 9.0 + (TIMES < 60)),  # it grows smaller
        ("server/rss_mb", 400 + 40 * (1 - np.exp(-TIMES / 30))),  # caches fill up, within the warm-up
        ("server/rss_mb", 400 + np.where(np.arange(len(TIMES)) % 40 == 0, 300, 0)),  # spikes
        ("server/rss_mb", 400 + 2 * TIMES / TIMES[-1]),  # for sure, but of no account
        ("step_p99_ms", 5 - TIMES / TIMES[-1]),
    ],
)
def test_what_is_no_growth(name: str, values: np.ndarray) -> None:
    assert not findings(name, values)


def test_the_interval_holds_the_true_slope() -> None:
    held = 0
    for seed in range(100):
        found = soak.trend(TIMES, 0.01 * TIMES + noise(seed, 1.0))
        assert found.low <= found.slope <= found.high
        held += found.low <= 0.01 <= found.high
    assert held >= 95


def test_too_few_samples_are_told() -> None:
    with pytest.raises(ValueError, match="8 samples or more, not 3: soak for longer"):
        soak.trend([1, 2, 3], [1, 2, 3])


LEAKING = """
import os, sys, threading, time
kept, forever = [], threading.Event()
while True:
    if sys.argv[1] == "rss_mb": kept.append(os.urandom(20_000))
    if sys.argv[1] == "fds" and len(kept) < 200: kept.append(open(os.devnull))
    if sys.argv[1] == "threads" and len(kept) < 200:
        kept.append(threading.Thread(target=forever.wait, daemon=True)); kept[-1].start()
    time.sleep(0.01)
"""


def test_a_process_that_leaks_is_caught_and_only_for_what_it_leaks() -> None:
    leaks = ("rss_mb", "fds", "threads", "nothing")
    samples = []
    with ExitStack() as stack:
        processes = {}
        for leak in leaks:
            child = stack.enter_context(subprocess.Popen([sys.executable, "-c", LEAKING, leak]))
            stack.callback(child.kill)
            processes[leak] = psutil.Process(child.pid)
        for turn in range(50):
            vitals = [soak.vitals(leak, process) for leak, process in processes.items()]
            samples.append({"t": 0.04 * turn, **{name: value for found in vitals for name, value in found.items()}})
            time.sleep(0.04)
    growing = {found.name for found in soak.judge(samples, warm_up=0.15) if found.grows}
    assert {"rss_mb/rss_mb", "fds/fds", "threads/threads"} <= growing
    assert not [name for name in growing if name.startswith("nothing/")]
    assert not {"rss_mb/fds", "rss_mb/threads", "fds/threads", "threads/fds"} & growing
