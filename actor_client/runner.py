"""The actor's loop: step environments with what the server answers, for as long as it takes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import zmq

from actor_client.actor_session import ActorSession
from actor_client.crew import Crew
from actor_client.environments import make_group, players
from actor_client.joint_session import JointSession
from actor_client.line import UnansweredError
from actor_client.lineups import Lineup, divide, line_up
from actor_client.part import Part
from actor_client.scout import Scout, Servers
from actor_client.seating import Seating
from actor_client.settings import ActorSettings, Entrant, EnvironmentSettings
from actor_client.timesheet import Timesheet
from actor_client.watchdog import Watchdog
from corral.protocol.keys import Role, caller
from corral.telemetry import Board

log = logging.getLogger(__name__)

LEAVE_S = 4.0
"""Seconds for which the environments may keep an actor that was told to stop."""


def run_actor(
    environment: EnvironmentSettings,
    actor: ActorSettings,
    server: str | Sequence[str | Entrant],
    *,
    first_environment: int | None = None,
    seed: int = 0,
    keys: Path | str | None = None,
    board: Board | None = None,
    stopping: Callable[[], bool] = lambda: False,
    on_session: Callable[[bool], None] = lambda has_one: None,
    on_hang: Callable[[float], None] = lambda seconds: None,
    lockstep: bool = False,
) -> None:
    """Run one actor until `stopping` says so.

    A server that is away, not ready or full is waited for; one that has forgotten a session is joined again, and
    the environments of that session begin anew. Of several servers each session is with one, and goes to another
    when its own has gone, or has far more environments than others.

    Args:
      environment: what to run.
      actor: how many of it, and how patient to be.
      server: its address, or those of several; or all policies that act in the run, with their servers' addresses.
      first_environment: the run-wide number of the first environment; None lets the server choose.
      seed: of the run; each environment's own seed is drawn from it and its number.
      keys: the folder of this actor's keys, where the server has keys.
      board: where to show how it does.
      stopping: asked after every step, and while waiting: whether to stop.
      on_session: told True once every part of the environments has a session, and False when one ends.
      on_hang: told, on another thread, that the environments have not come back for longer than
        `actor.step_timeout_s`, or than `LEAVE_S` once it was told to stop: the seconds so far. By then the session
        is over. What should happen to the process is the caller's to say; if the environments come back after all,
        they begin anew in another session.
      lockstep: whether the server steps all environments at once (run.determinism): then each session seeds its
        environments anew, by the policy version that it begins with.

    Raises:
      BadEnvironmentError: the environment cannot be made.
      AddressError: the address is malformed.
      KeysError: the keys cannot be used.
      ProtocolError: the server will not have this actor.
      UnansweredError: `actor.give_up_after_s` have passed without an answer.
    """
    own = caller(keys, Role.ACTOR, towards=Role.SERVER)
    entrants = _entrants(server)
    sessions: list[ActorSession | JointSession] = []

    def limit_s() -> float:
        return LEAVE_S if stopping() else actor.step_timeout_s or math.inf

    def hangs(seconds: float) -> None:
        log.error("%s has not come back for %.0f s (actor.step_timeout_s)", environment.label, seconds)
        for session in sessions:
            session.abandon()
        on_hang(seconds)

    with zmq.Context() as context, Watchdog(limit_s, hangs) as watchdog, ExitStack() as stack:
        lineups = watchdog.call(_lineups, environment, actor, entrants)
        sheet = Timesheet(board, len(lineups))
        # Actors that are started together begin evenly spread, each where its number says.
        home = None if first_environment is None else first_environment // actor.environments
        servers: dict[str, str | Servers] = {}
        for each in entrants:
            servers[each.name] = each.addresses[0]
            if len(each.addresses) > 1:
                scout = Scout(each.addresses, silent_after_s=actor.leave_after_s, home=home, keys=own)
                servers[each.name] = stack.enter_context(scout)
        seating = Seating(
            actor, lineups, servers, first_environment=first_environment, environment=environment.label, keys=own,
            work=sheet.work, stopping=stopping, context=context,
        )  # fmt: skip
        parts = []
        for number, lineup in enumerate(lineups):
            group = watchdog.call(make_group, environment, len(lineup.environments))
            stack.callback(watchdog.call, group.close)
            session = seating.open(number, lineup, group)
            stack.callback(session.leave)
            sessions.append(session)
            part = Part(number, group, session, seed=seed, sheet=sheet, watchdog=watchdog, lockstep=lockstep)
            parts.append(part)
        try:
            Crew(parts, sheet, board, on_session).run(stopping)
        except UnansweredError:
            if not stopping():
                raise
        finally:
            on_session(False)


def _entrants(server: str | Sequence[str | Entrant]) -> tuple[Entrant, ...]:
    """The policies; the only one where addresses alone are given."""
    told = [server] if isinstance(server, str) else list(server)
    addresses = tuple(each for each in told if isinstance(each, str))
    return tuple(each for each in told if isinstance(each, Entrant)) or (Entrant("", addresses),)


def _lineups(environment: EnvironmentSettings, actor: ActorSettings, entrants: tuple[Entrant, ...]) -> list[Lineup]:
    """Who acts in which part of the actor's environments."""
    # Asking costs an environment: where one policy acts for whoever there is, nobody needs to know.
    known = players(environment) if len(entrants) > 1 or entrants[0].players else ()
    return divide(line_up(entrants, known, actor.environments), actor.parts)
