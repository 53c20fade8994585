"""Who behaves while others do not: `python -m tests.fuzz.bystander actor|server FOLDER`.

The actor steps two environments and checks each action; the server delivers numbered unrolls and checks that each
is accepted. Either says how far it has come in a file of its name in FOLDER, and fails where anything is wrong.
"""

from __future__ import annotations

import itertools
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

from actor_client import ActorSession, ActorSettings, Rows
from corral.protocol import ENDED, RowFlags
from corral.protocol.unrolls import Columns
from inference_server.learner_link import LearnerLink
from inference_server.outbox import Outbox
from tests.fuzz.diary import Diary
from tests.fuzz.learner import LENGTH, NUMBERED, PARTS, WEIGHTS
from tests.inference_server.hostile_peers_server import ACTION, ACTIONS, OBSERVATION, WIDTH

THINK_S = 0.002
FIRST, ENDING = RowFlags.FIRST, RowFlags.FIRST | RowFlags.TERMINATED


def act(folder: Path, stop: threading.Event) -> None:
    """Step until `stop`. Raises `AssertionError` for a wrong action, and whatever a session that ends raises."""
    session = ActorSession(
        f"ipc://{folder}/s", OBSERVATION, ACTION, ActorSettings(give_up_after_s=60), environments=2
    )
    session.join()
    diary, worst_s = Diary(folder / "actor"), 0.0
    for step in itertools.count():
        numbers = np.array([step, step + 1]) % ACTIONS
        rows = np.zeros((2, WIDTH), np.float32)
        rows[np.arange(2), numbers] = 1
        ended = step > 0 and step % 5 == 0
        flags = np.full(2, ENDING if ended else 0 if step else FIRST, np.uint16)
        final = rows if ended else rows[:0]
        assert ended == bool(flags[0] & ENDED)
        begun = time.monotonic()
        action = session.step(
            Rows(
                np.arange(2, dtype=np.uint16),
                np.ones(2, np.float32),
                flags,
                {"observation": rows},
                {"observation": final},
            )
        )
        worst_s = max(worst_s, time.monotonic() - begun)
        assert action.tolist() == numbers.tolist(), f"step {step}: {action} instead of {numbers}"
        diary.write(steps=step + 1, worst_ms=1e3 * worst_s, version=session.policy_version)
        if stop.wait(THINK_S):
            break
    session.leave()


class Holder:
    """What the honest server says it acts with: it takes whatever is verified."""

    epoch = version = 0
    weight_spec = WEIGHTS

    def offer(self, epoch: int, version: int, *_: object) -> bool:
        self.epoch, self.version = epoch, version
        return True


def deliver(folder: Path, stop: threading.Event) -> None:
    """Deliver unroll after unroll until `stop`; never more than the learner's window and one."""
    outbox, diary = Outbox("block"), Diary(folder / "server")
    holder = Holder()
    link = LearnerLink(
        f"ipc://{folder}/unrolls", f"ipc://{folder}/weights", PARTS, LENGTH, holder, outbox, lambda: None
    )
    link.start()
    number, waiting_since, worst_s = 0, time.monotonic(), 0.0
    while not stop.wait(THINK_S):
        assert link.is_alive()
        assert link.refused == 0
        assert link.failure == "", link.failure
        if not outbox.blocked:
            worst_s, waiting_since = max(worst_s, time.monotonic() - waiting_since), time.monotonic()
            number += 1
            leaves = {name: leaf.zeros(LENGTH + 1, 1) for name, leaf in PARTS["time"].items()}
            leaves |= {name: leaf.zeros(1) for name, leaf in PARTS["state"].items()}
            leaves["observation/observation"][..., 0] = NUMBERED
            leaves["reward"][:] = number
            outbox.put([Columns(leaves, LENGTH)], 1, [[float(number), 1.0]])
            link.notice()
        diary.write(accepted=outbox.accepted_unrolls, worst_ms=1e3 * worst_s, version=holder.version)
    link.stop()
    link.join(10)


if __name__ == "__main__":
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    {"actor": act, "server": deliver}[sys.argv[1]](Path(sys.argv[2]), stop)
