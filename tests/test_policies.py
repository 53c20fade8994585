"""Several policies in one run: whose steps go where, what a past policy holds, and what comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest

from corral.protocol import fetch_status
from tests.support.processes import Process, process, until, until_serving
from tests.support.scripted_match import APART
from tests.support.scripted_run import ScriptedRun

SINGLE = "tests.support.scripted_environment:ScriptedEnvironment"
MATCH = "tests.support.scripted_match:ScriptedMatch"


class Policies:
    """Scripted policies, each with a server and a witness of its own, and actors for all of them."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self.runs: dict[str, ScriptedRun] = {}
        self.servers: dict[str, Process] = {}

    def trained(self, name: str) -> ScriptedRun:
        """A policy whose learner is the caller."""
        folder = self._folder / name
        folder.mkdir()
        run = self.runs[name] = ScriptedRun(folder, self._stack)
        self.servers[name] = run.start_server()
        run.publish()
        return run

    def past(self, main: ScriptedRun, every: int) -> str:
        """The address of one that holds `main`'s versions."""
        address = f"ipc://{self._folder}/past"
        self._stack.enter_context(process("-m", "tests.support.past_server", address, main.weights, str(every)))
        return address

    def actor(self, environment: str, count: int, first: int, *policies: str) -> Process:
        """See `tests.support.policies_actor`."""
        arguments = (environment, str(count), str(first), *policies)
        return self._stack.enter_context(process("-m", "tests.support.policies_actor", *arguments))


@pytest.fixture
def policies(tmp_path: Path) -> Iterator[Policies]:
    with ExitStack() as stack:
        yield Policies(tmp_path, stack)


def acting(address: str) -> int:
    """The policy version that acts there."""
    figures = fetch_status(address, 10.0)
    assert figures is not None
    return int(figures["policy_version"])


def see_both(a: ScriptedRun, b: ScriptedRun, steps: int) -> None:
    """Let both witnesses see so many steps, by turns: who waits for the one must not hold the other up."""
    for _ in range(steps // 100):
        a.see(100)
        b.see(100)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_every_slot_reaches_its_own_policy_and_no_other(policies: Policies) -> None:
    a, b = policies.trained("a"), policies.trained("b")
    shares = (f"a,{a.address},0.25,", f"b,{b.address},,")
    actors = [policies.actor(SINGLE, 8, first, *shares) for first in (0, 8)]
    see_both(a, b, 1_000)
    until(lambda: len(a.witness.followed) == 4 or a.see(100), what="two environments of each actor")
    until(lambda: len(b.witness.followed) == 12 or b.see(100), what="six environments of each actor")
    assert not a.witness.followed.keys() & b.witness.followed.keys()
    # Each policy's environments are numbered by themselves, so that its exploration is spread over all of them.
    assert sorted(a.witness.numbers.values()) == list(range(4))
    assert sorted(b.witness.numbers.values()) == list(range(12))
    for run in (a, b):
        assert run.witness.steps == run.witness.steps_of_the_script()

    # One policy's server dies: the other's environments notice nothing.
    policies.servers["b"].kill()
    a.see(1_000)
    b.witness.expect_reset()
    policies.servers["b"] = b.start_server()
    see_both(a, b, 1_000)
    assert a.witness.steps == a.witness.steps_of_the_script()
    assert [actor.end() for actor in actors] == [0, 0]


def test_players_have_policies_of_their_own_and_a_past_one_never_leads(policies: Policies) -> None:
    main = policies.trained("main")
    past = policies.past(main, every=15)
    sides = (f"main,{main.address},,left", f"past,{past},,right")
    actor = policies.actor(MATCH, 4, 0, *sides)
    until_serving(past)

    held = []
    for _ in range(40):
        main.see(100)
        held.append(acting(past))
        assert held[-1] <= main.publisher.version
    moves = sorted(set(held))
    assert len(moves) > 3
    assert held == sorted(held)
    assert all(later - earlier >= 15 for earlier, later in pairwise(moves))
    # Once it has seen the newest version, it is less than so many behind.
    until(lambda: main.publisher.version - acting(past) < 15, what="the past to follow")
    figures = fetch_status(past, 5.0)
    assert figures is not None

    # Only the left players' steps were delivered, each once; the right ones' are done, counted and kept nowhere.
    assert len(main.witness.followed) == 4
    assert main.witness.steps == main.witness.steps_of_the_script()
    assert sorted(main.witness.numbers.values()) == [0, 1, 2, 3]
    assert figures["env_steps"] > 1_000
    assert figures["unrolls_accepted"] == figures["unrolls_waiting"] == figures["steps_underway"] == 0
    assert actor.end() == 0


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["DyingMatch", "turns"])
def test_policies_whose_players_are_silent_for_a_while(policies: Policies, name: str) -> None:
    """One policy's players die, or wait for their turn, while another's go on: neither loses a step."""
    low, others = policies.trained("low"), policies.trained("others")
    entrants = (f"low,{low.address},,low", f"others,{others.address},,middle+high")
    actor = policies.actor(f"tests.support.scripted_apis:{name}", 3, 0, *entrants)
    for _ in range(10):
        # Eight unrolls of the one, sixteen of the two others: neither goes on without the other.
        low.see(40)
        others.see(90)
    assert len(low.witness.followed) == 3
    assert len(others.witness.followed) == 6
    for run in (low, others):
        assert run.witness.steps == run.witness.steps_of_the_script()
    assert actor.end() == 0


@pytest.mark.long
@pytest.mark.timeout(300)
def test_all_players_begin_anew_where_one_policy_is_lost(policies: Policies) -> None:
    left, right = policies.trained("left"), policies.trained("right")
    sides = (f"left,{left.address},,left", f"right,{right.address},,right")
    actor = policies.actor(MATCH, 3, 0, *sides)
    see_both(left, right, 600)
    assert {who + APART for who in left.witness.followed} == right.witness.followed.keys()

    policies.servers["right"].kill()
    for run in (left, right):
        run.witness.expect_reset()
    policies.servers["right"] = right.start_server()
    see_both(left, right, 1_000)
    assert actor.end() == 0
