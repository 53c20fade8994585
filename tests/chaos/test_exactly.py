"""Kill anything, step by step: what was accepted, what was counted lost and what environments did agree exactly."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from corral.launch.books import read_books, total
from corral.protocol import fetch_status
from inference_server.ledger import read_ledgers
from learner.checkpoints import load_newest
from tests.support.processes import Process, process, until
from tests.support.scripted_agent import UNROLL_LENGTH
from tests.support.scripted_environment import read_journals
from tests.support.scripted_learner import remembered

LEASE_S = 1.0
ENVIRONMENTS, ACTORS = 4, ("actor-0", "actor-1")
SEATS = ENVIRONMENTS * len(ACTORS)
WINDOW = 16
"""Unrolls that may wait at the learner of `tests.support.scripted_learner`."""


class Run:
    """A scripted server, learner and actors; whoever is killed is started again."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.journals = folder / "journals"
        self.journals.mkdir()
        self._addresses = [f"ipc://{folder}/{name}" for name in ("server", "unrolls", "weights")]
        self._stack = stack
        self.processes: dict[str, Process] = {}
        for name in ("server", "learner", *ACTORS):
            self.start(name)

    def start(self, name: str) -> None:
        server, unrolls, weights = self._addresses
        module, _, _ = name.partition("-")
        arguments = {
            "server": (server, unrolls, weights, str(LEASE_S), "5", str(self.folder / "ledgers")),
            "learner": (unrolls, weights, str(self.folder)),
            "actor": (server, "SINGLE", str(ENVIRONMENTS), "0.5"),
        }[module]
        environment = {"SCRIPTED_JOURNAL": str(self.journals)}
        started = process("-m", f"tests.support.scripted_{module}", *arguments, **environment)
        self.processes[name] = self._stack.enter_context(started)

    def kill(self, *names: str) -> None:
        for name in names:
            self.processes[name].kill()
        for name in names:
            self.start(name)

    def freeze(self, seconds: float, *names: str) -> None:
        for name in names:
            self.processes[name].popen.send_signal(signal.SIGSTOP)
        time.sleep(seconds)  # this is what is done to them, not what is waited for
        for name in names:
            self.processes[name].popen.send_signal(signal.SIGCONT)

    def figures(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What server and learner say; nothing where they say nothing."""
        return fetch_status(self._addresses[0], 0.5) or {}, fetch_status(self._addresses[1], 0.5) or {}

    def until_trained(self) -> None:
        """Wait until all environments act, by the newest learner's weights, and it trains on what they do."""
        begun: dict[int, int] = {}

        def trained() -> bool:
            server, learner = self.figures()
            steps, epoch = learner.get("training_steps", 0), learner.get("epoch", 0)
            whole = server.get("environments", 0) >= SEATS and server.get("epoch") == epoch
            return whole and steps > begun.setdefault(epoch, steps) + 5

        until(trained, 100, "training that goes on")

    def end(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """End all as a launcher does, once what was acknowledged is known to be; the last figures."""
        for name in ACTORS:
            assert self.processes[name].end() == 0

        def settled() -> tuple[dict[str, Any], dict[str, Any]] | None:
            server, learner = self.figures()
            quiet = server.get("actors") == 0 and server.get("steps_underway") == 0
            return (server, learner) if quiet and learner else None

        figures = until(settled, what="that all complete unrolls are accepted")
        assert self.processes["learner"].end(60) == 0
        assert self.processes["server"].end() == 0
        return figures


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


FROZEN_S = {"freeze": 0.3, "stop": 1.5 * LEASE_S}
"""Seconds from SIGSTOP to SIGCONT: within a lease, and beyond it."""
HITS = tuple(
    f"{act} {role}" for act in ("kill", *FROZEN_S) for role in ("actor", "server", "learner", "server learner")
)


def hit(run: Run, what: str, draw: random.Random) -> int:
    """Do it, to several at once too; how many steps may have been on their way to a server then, and lost."""
    act, *roles = what.split()
    names = [draw.choice(ACTORS) if role == "actor" else role for role in roles]
    if act == "kill":
        run.kill(*names)
    else:
        run.freeze(FROZEN_S[act], *names)
    return sum({"actor": ENVIRONMENTS, "server": SEATS, "learner": 0}[role] for role in roles)


def check(run: Run, underway: int) -> None:
    """End the run, and compare everybody's books."""
    server, learner = run.end()
    found = load_newest(run.folder / "checkpoints")
    assert found is not None
    result = json.loads((run.folder / "result.json").read_text())
    accepted = remembered(found[1])
    ledgers = read_ledgers(run.folder / "ledgers")
    books = read_books(run.folder, result)
    journals = read_journals(run.journals)

    # No step was accepted twice, and each that was accepted was done.
    assert len(np.unique(accepted, axis=0)) == len(accepted)
    for who, episode, step in accepted.tolist():
        assert (episode, step) <= journals[who][1:], "a step that nobody did"
    # The learner's figures are what it was given.
    assert len(accepted) == sum(result["steps_accepted"].values()) == learner["steps_accepted"]
    # What environments did and servers took in differ by what was on its way when one of them was hit.
    done, taken_in = sum(steps for steps, _, _ in journals.values()), total(books.values()).completed
    assert 0 <= done - taken_in <= underway + SEATS
    # A server takes its open unrolls along, and what the learner had not accepted: no more.
    for each in books.values():
        assert 0 <= each.lost_with_server <= (2 * SEATS + WINDOW) * UNROLL_LENGTH
    # The last server knows where every step of it is, and so does the learner, each by counts of its own.
    assert server["env_steps"] == server["steps_accepted"] + server["steps_dropped"]
    identity = int(server["identity"], 16)
    entry, own = ledgers[identity], books[server["identity"]]
    assert (entry.completed, entry.accepted, entry.dropped, entry.closed) == (
        server["env_steps"], server["steps_accepted"], server["steps_dropped"], True
    )  # fmt: skip
    _, held, lost = found[1].progress["accounts"][str(identity)]
    assert (held, lost, own.unfinished) == (entry.accepted, own.lost_with_learner, 0)
    assert result["steps_accepted"][server["identity"]] == held - lost
    # Nothing else is missing.
    assert taken_in == len(accepted) + total(books.values()).lost


def play(run: Run, hits: list[str], seed: int) -> None:
    draw = random.Random(seed)
    print(f"seed {seed}: {', '.join(hits)}")
    underway = 0
    for what in hits:
        run.until_trained()
        underway += hit(run, what, draw)
    run.until_trained()
    check(run, underway)


@pytest.mark.timeout(300)
def test_every_step_is_accepted_once_or_counted_lost(tmp_path: Path, stack: ExitStack) -> None:
    seed = 1
    hits = ["kill actor", "stop actor", "stop server", "kill server learner"]
    play(Run(tmp_path, stack), random.Random(seed).sample(hits, len(hits)), seed)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(3))
def test_every_step_is_accepted_once_or_counted_lost_whatever_comes(
    seed: int, tmp_path: Path, stack: ExitStack
) -> None:
    play(Run(tmp_path, stack), random.Random(seed).choices(HITS, k=40), seed)
