"""A crowd of actors and four servers, simulated: time passes as the test says, and chance comes from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from actor_client.balance import PERIOD_S, Balance
from tests.support.clock import Clock

SERVERS = ("a", "b", "c", "d")
TICK_S = 0.05
SLOTS = 1000
ENVIRONMENTS = 4
SILENT_AFTER_S = 3.0
NOTICED_S = 1.0


@dataclass
class Actor:
    """One actor with one session, as `ActorSession` and `Scout` use a `Balance`."""

    balance: Balance
    server: str | None = None
    round: int = 0
    moves: int = 0


class World:
    """Actors with a session each, and servers that answer questions at once while they live."""

    def __init__(self, actors: int, *, seed: int = 0, slots: int = SLOTS) -> None:
        self.clock = Clock(0.0)
        self.alive = set(SERVERS)
        self.asked = dict.fromkeys(SERVERS, 0)
        self._slots = slots
        self._died: dict[str, float] = {}
        self.actors = [
            Actor(
                Balance(
                    SERVERS, silent_after_s=SILENT_AFTER_S, clock=self.clock, chance=random.Random(seed * 1000 + n)
                )
            )
            for n in range(actors)
        ]

    def loads(self) -> dict[str, int]:
        """Environments of each server."""
        seated = [actor.server for actor in self.actors]
        return {server: ENVIRONMENTS * seated.count(server) for server in SERVERS}

    def spread(self) -> int:
        """Sessions between the fullest and the emptiest server that lives."""
        loads = [load for server, load in self.loads().items() if server in self.alive]
        return (max(loads) - min(loads)) // ENVIRONMENTS

    def moves(self) -> int:
        """Sessions that were taken somewhere else so far."""
        return sum(actor.moves for actor in self.actors)

    def kill(self, server: str) -> None:
        self.alive.remove(server)
        self._died[server] = self.clock()

    def revive(self, server: str) -> None:
        """It comes back, and knows nobody."""
        self.alive.add(server)
        for actor in self.actors:
            if actor.server == server:
                actor.server = None

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK_S)):
            self.clock.now += TICK_S
            for actor in random.Random(self.clock.now).sample(self.actors, len(self.actors)):
                self._turn(actor)

    def _turn(self, actor: Actor) -> None:
        for server in actor.balance.due():
            self.asked[server] += 1
            if server in self.alive:
                actor.balance.heard(server, self.loads()[server], self._slots)
        if actor.server is None:
            self._join(actor, actor.balance.choose(ENVIRONMENTS))
        elif actor.server not in self.alive:
            if self.clock() - self._died[actor.server] > NOTICED_S:
                actor.balance.doubt(actor.server)
            if actor.balance.gone(actor.server):
                actor.server = None
        elif actor.round != actor.balance.round:
            actor.round = actor.balance.round
            better = actor.balance.move(actor.server, ENVIRONMENTS)
            if better is not None:
                actor.moves += 1
                actor.server = None
                self._join(actor, better)

    def _join(self, actor: Actor, server: str | None) -> None:
        if server is None:
            return
        if server not in self.alive or self.loads()[server] + ENVIRONMENTS > self._slots:
            actor.balance.full(server)
        else:
            actor.server, actor.round = server, actor.balance.round


@pytest.mark.parametrize("seed", range(3))
def test_a_crowd_spreads_survives_a_death_and_spreads_again(seed: int) -> None:
    world = World(100, seed=seed)
    world.run(15)
    assert world.spread() <= 4, world.loads()
    assert sum(world.loads().values()) == 400

    world.kill("b")
    world.run(NOTICED_S + SILENT_AFTER_S + 1)
    assert world.loads()["b"] == 0
    assert sum(world.loads().values()) == 400, "everybody has a server again"
    world.run(12)
    assert world.spread() <= 5, world.loads()

    world.revive("b")
    world.run(20)
    assert world.spread() <= 4, world.loads()


@pytest.mark.parametrize("seed", range(3))
def test_who_is_level_stays(seed: int) -> None:
    world = World(100, seed=seed)
    world.run(60)
    settled = world.moves()
    world.run(120)
    assert world.moves() - settled <= 2
    assert world.spread() <= 4


def test_nobody_is_asked_often() -> None:
    world = World(20)
    world.run(100)
    for server, asked in world.asked.items():
        assert asked <= 20 * (100 / (0.75 * PERIOD_S) + 2), server
        assert asked >= 20 * 100 / (1.25 * PERIOD_S) - 20, server


def test_few_actors_spread_exactly() -> None:
    world = World(4)
    world.run(60)
    assert world.loads() == dict.fromkeys(SERVERS, ENVIRONMENTS)
    settled = world.moves()
    world.run(60)
    assert world.moves() == settled


def test_a_full_server_is_passed_over() -> None:
    world = World(30, slots=8 * ENVIRONMENTS)
    world.run(30)
    assert sum(world.loads().values()) == 30 * ENVIRONMENTS
    assert max(world.loads().values()) <= 8 * ENVIRONMENTS


def make(chance: int = 0, home: int | None = None) -> tuple[Balance, Clock]:
    clock = Clock(0.0)
    return (
        Balance(SERVERS, silent_after_s=3, home=home, clock=clock, chance=random.Random(chance)),
        clock,
    )


def test_the_least_loaded_with_room_is_joined() -> None:
    balance, _ = make()
    assert balance.due() == list(SERVERS)
    for server, (taken, slots) in zip(SERVERS, [(40, 100), (8, 10), (16, 100), (90, 100)], strict=True):
        balance.heard(server, taken, slots)
    assert balance.choose(4) == "c"  # b has fewer, and no room
    assert balance.choose(2) == "b"


def test_ties_go_home_once_and_then_by_chance() -> None:
    balance, _ = make(home=6)
    for server in SERVERS:
        balance.heard(server, 0, 1000)
    chosen = [balance.choose(1) for _ in range(4)]
    assert chosen[0] == "c"
    assert {make_and_choose(seed) for seed in range(30)} == set(SERVERS)


def make_and_choose(seed: int) -> str | None:
    balance, _ = make(seed)
    for server in SERVERS:
        balance.heard(server, 0, 1000)
    return balance.choose(1)


def test_servers_that_are_about_to_come_are_waited_for_a_moment() -> None:
    balance, clock = make()
    balance.due()
    balance.heard("a", 0, 100)
    balance.refused("b")  # no weights yet
    assert balance.choose(4) is None
    clock.now += 0.5
    for server in ("b", "c", "d"):
        balance.heard(server, 0, 100)
    assert balance.choose(4) is not None
    other, clock = make()
    other.heard("a", 0, 100)
    clock.now += 1.5
    assert other.choose(4) == "a"  # the others may never come


def test_who_answers_has_not_gone_and_who_does_not_has() -> None:
    balance, clock = make()
    balance.due()
    for server in SERVERS:
        balance.heard(server, 0, 100)
    clock.now += 1.0
    balance.doubt("a")
    assert balance.due() == ["a"]
    clock.now += 2.9
    assert not balance.gone("a")
    clock.now += 0.2
    assert balance.gone("a")
    assert balance.move("a", 4) is None
    balance.heard("a", 0, 100)
    assert not balance.gone("a")
    balance.refused("a")
    assert "a" not in {balance.choose(1) for _ in range(50)}


def test_a_round_does_not_wait_for_the_silent() -> None:
    balance, clock = make()
    balance.due()
    for server in ("a", "b", "c"):
        balance.heard(server, 0, 100)
    assert balance.round == 0
    clock.now += 0.6
    balance.due()
    assert balance.round == 1
