"""A learner's two ends as a process: `python -m tests.fuzz.learner FOLDER`.

It takes unrolls and publishes weights like any other, and looks for the numbered unrolls of the honest server among
all that comes: each has to come once, in order. It says how far it has come in `learner` in FOLDER.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import numpy as np

from corral.protocol import TensorSpec
from corral.protocol.unrolls import unroll_spec
from learner import UnrollSource, WeightPublisher
from tests.fuzz.diary import Diary

LENGTH = 4
WIDTH = 3
NUMBERED = -12345.0
"""What the observations of the honest server's unrolls begin with; it counts in their rewards."""
PARTS = unroll_spec(
    {"observation": TensorSpec((WIDTH,), "float32")},
    {"action": TensorSpec((), "int64"), "log_prob": TensorSpec((), "float32")},
    {"memory": TensorSpec((2,), "float32")},
)
WEIGHTS = {"policy/kernel": TensorSpec((WIDTH, 2), "float32"), "policy/bias": TensorSpec((2,), "float32")}
QUEUE = 8


def main(folder: Path, stop: threading.Event) -> None:
    """Learn nothing until `stop`. Raises `AssertionError` where a numbered unroll is missing or comes twice."""
    diary, seen, others = Diary(folder / "learner"), 0, 0
    with (
        UnrollSource(f"ipc://{folder}/unrolls", queue=QUEUE, expect=PARTS, length=LENGTH, accounts={}) as source,
        WeightPublisher(f"ipc://{folder}/weights", epoch=7) as publisher,
    ):
        publisher.publish({name: leaf.zeros() for name, leaf in WEIGHTS.items()})
        while not stop.is_set():
            leaves = source.take(QUEUE, timeout_s=0.1)
            if leaves is not None:
                numbered = (leaves["observation/observation"][..., 0] == NUMBERED).all(axis=0)
                for number in leaves["reward"][0, numbered].astype(int).tolist():
                    seen += 1
                    assert number == seen, f"unroll {number} came as number {seen}"
                others += int(np.count_nonzero(~numbered))
                if seen >= 100 * publisher.version:
                    publisher.publish({name: leaf.zeros() + seen for name, leaf in WEIGHTS.items()})
            source.position()
            diary.write(seen=seen, others=others, servers=publisher.servers, version=publisher.version)


if __name__ == "__main__":
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    main(Path(sys.argv[1]), stop)
