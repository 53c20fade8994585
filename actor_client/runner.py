"""The actor's loop: step environments with what the server answers, for as long as it takes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from actor_client.actor_session import ActorSession, SessionLostError
from actor_client.environments import make_group
from actor_client.line import UnansweredError
from actor_client.settings import ActorSettings, EnvironmentSettings
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
    address: str,
    *,
    first_environment: int | None = None,
    seed: int = 0,
    keys: Path | str | None = None,
    board: Board | None = None,
    stopping: Callable[[], bool] = lambda: False,
    on_session: Callable[[bool], None] = lambda has_one: None,
    on_hang: Callable[[float], None] = lambda seconds: None,
) -> None:
    """Run one actor until `stopping` says so.

    A server that is away, not ready or full is waited for; one that has forgotten the session is joined again,
    and every environment begins anew.

    Args:
      environment: what to run.
      actor: how many of it, and how patient to be.
      address: the server's.
      first_environment: the run-wide number of the first environment; None lets the server choose.
      seed: of the run; each environment's own seed is drawn from it and its number.
      keys: the folder of this actor's keys, where the server has keys.
      board: where to show how it does.
      stopping: asked after every step, and while waiting: whether to stop.
      on_session: told True when a session begins and False when it ends.
      on_hang: told, on another thread, that the environments have not come back for longer than
        `actor.step_timeout_s`, or than `LEAVE_S` once it was told to stop: the seconds so far. By then the session
        is over. What should happen to the process is the caller's to say; if the environments come back after all,
        they begin anew in another session.

    Raises:
      BadEnvironmentError: the environment cannot be made.
      AddressError: the address is malformed.
      KeysError: the keys cannot be used.
      ProtocolError: the server will not have this actor.
      UnansweredError: `actor.give_up_after_s` have passed without an answer.
    """
    own = caller(keys, Role.ACTOR, towards=Role.SERVER)
    session: ActorSession | None = None
    sheet = Timesheet(board)

    def limit_s() -> float:
        return LEAVE_S if stopping() else actor.step_timeout_s or math.inf

    def hangs(seconds: float) -> None:
        log.error("%s has not come back for %.0f s (actor.step_timeout_s)", environment.label, seconds)
        if session is not None:
            session.abandon()
        on_hang(seconds)

    def tell(has_one: bool) -> None:
        sheet.session(has_one)
        on_session(has_one)

    with Watchdog(limit_s, hangs) as watchdog:
        group = watchdog.call(make_group, environment, actor.environments)
        session = ActorSession(
            address,
            group.observation,
            group.action,
            actor,
            environments=group.size,
            environment=environment.label,
            first_environment=first_environment,
            keys=own,
            work=sheet.work,
            stopping=stopping,
        )
        try:
            session.join()
            numbers = f"{session.first_environment} to {session.first_environment + group.size - 1}"
            log.info("joined %s with environments %s of %s", address, numbers, environment.label)
            tell(True)
            seeds = environment_seeds(seed, session.first_environment, group.size)
            rows = watchdog.call(group.reset, seeds)
            while not stopping():
                sheet.asks()
                try:
                    action = session.step(rows)
                except SessionLostError as lost:
                    log.warning("joining %s again: %s", address, lost)
                    tell(False)
                    session.join()
                    log.info("joined again, with environments from %d on", session.first_environment)
                    tell(True)
                    sheet.acts(0)
                    rows = watchdog.call(group.reset, None)
                    continue
                if board is not None:
                    board.policy_version = session.policy_version
                sheet.acts(len(rows.environment))
                rows = watchdog.call(group.step, rows.environment, action)
        except UnansweredError:
            if not stopping():
                raise
        finally:
            tell(False)
            session.leave()
            watchdog.call(group.close)


def environment_seeds(seed: int, first_environment: int, count: int) -> list[int]:
    """One seed for each environment, drawn from the run's seed and the environment's number."""
    numbers = range(first_environment, first_environment + count)
    return [int(np.random.SeedSequence((seed, number)).generate_state(1)[0] >> 1) for number in numbers]
