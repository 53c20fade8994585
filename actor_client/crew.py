"""All parts of an actor: whichever has its answer is stepped, while the others' requests are under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import numpy as np

from actor_client.line import wait
from actor_client.part import Part
from actor_client.timesheet import Timesheet
from corral.telemetry import Board
from corral.telemetry.tracer import span


class Crew:
    """Gives parts their turns, in the order in which their answers arrive. Belongs to one thread.

    Args:
      parts: whose sessions have one context; with servers and policies of their own, if need be.
      board: told the policy version of every answer.
      on_session: told True once every part has a session, and False when one has none any more.
    """

    def __init__(
        self,
        parts: Iterable[Part],
        sheet: Timesheet,
        board: Board | None,
        on_session: Callable[[bool], None] = lambda complete: None,
    ) -> None:
        self._turns = deque(parts)  # who was stepped last is looked at last
        self._sheet = sheet
        self._board = board
        self._on_session = on_session
        self._complete = False

    def run(self, stopping: Callable[[], bool]) -> None:
        """Step environments until `stopping`, asked after every step, says so. Raises as `Part.look` does."""
        for part in self._turns:
            part.join()
        while not stopping():
            part, action = self._next()
            if self._board is not None:
                self._board.policy_version = part.session.policy_version
            self._sheet.works(part.number, len(action))
            part.step(action)

    @span("wait for answer", lambda found, _: {"rows": len(found[1]), "version": found[0].session.policy_version})
    def _next(self) -> tuple[Part, np.ndarray]:
        """Send whatever is ready, and wait until a part has its actions."""
        self._sheet.waits()
        for part in self._turns:
            part.hand_in()
        while True:
            wait(line for part in self._turns for line in part.session.lines)
            for part in self._turns:
                action = part.look()
                if action is None:
                    self._count()
                else:
                    self._turns.remove(part)
                    self._turns.append(part)
                    return part, action
            # A reset may take long: what has come for the others is looked at before.
            for part in self._turns:
                part.hand_in()

    def _count(self) -> None:
        complete = all(part.joined for part in self._turns)
        if complete != self._complete:
            self._complete = complete
            self._on_session(complete)
