"""Several sessions used as one: whose row goes where, and what a loss costs."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from actor_client.actor_session import SessionLostError
from actor_client.joint_session import JointSession
from actor_client.rows import Rows
from corral.protocol import RowFlags

ENDED = int(RowFlags.FIRST | RowFlags.TERMINATED)


class Scripted:
    """A session that answers when the test says so."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.greeted = 0
        self.open = False
        self.sent: list[Rows] = []
        self.answer: np.ndarray | SessionLostError | None = None
        self.policy_version, self.first_environment = 3, 40

    def greet(self) -> None:
        self.greeted += 1

    def welcomed(self) -> bool:
        return self.open

    def send(self, rows: Rows) -> None:
        self.sent.append(rows)

    def receive(self) -> np.ndarray | None:
        answer, self.answer = self.answer, None
        if isinstance(answer, SessionLostError):
            raise answer
        return answer


def joint(owners: list[int]) -> tuple[Scripted, Scripted, JointSession]:
    a, b = Scripted("a"), Scripted("b")
    return a, b, JointSession(cast(Any, [a, b]), np.array(owners))


def rows(environment: list[int], flags: list[int]) -> Rows:
    count, ended = len(environment), sum(flag != 0 for flag in flags)
    return Rows(
        environment=np.array(environment, np.uint16),
        reward=np.arange(count, dtype=np.float32),
        flags=np.array(flags, np.uint16),
        observation={"x": 10 * np.array(environment)},
        final={"x": 100 + np.arange(ended)},
    )


def test_every_row_goes_to_its_player_and_every_action_back() -> None:
    a, b, session = joint([0, 1, 1, 0, 0, 1])
    session.send(rows([0, 1, 2, 3, 4, 5], [0, ENDED, ENDED, ENDED, 0, 0]))
    (to_a,), (to_b,) = a.sent, b.sent
    assert to_a.environment.tolist() == [0, 1, 2]
    assert to_a.observation["x"].tolist() == [0, 30, 40]
    assert to_a.reward.tolist() == [0.0, 3.0, 4.0]
    assert to_a.flags.tolist() == [0, ENDED, 0]
    assert to_a.final["x"].tolist() == [102]
    assert to_b.environment.tolist() == [0, 1, 2]
    assert to_b.observation["x"].tolist() == [10, 20, 50]
    assert to_b.final["x"].tolist() == [100, 101]

    assert session.receive() is None
    b.answer = np.array([7, 8, 9])
    assert session.receive() is None
    a.answer = np.array([1, 2, 3])
    action = session.receive()
    assert action is not None
    assert action.tolist() == [1, 7, 8, 2, 3, 9]


def test_whoever_has_no_row_is_not_asked() -> None:
    a, b, session = joint([0, 1, 0, 1])
    session.send(rows([2], [0]))
    assert a.sent[0].environment.tolist() == [1]
    assert b.sent == []
    a.answer = np.array([4])
    action = session.receive()
    assert action is not None
    assert action.tolist() == [4]


def test_all_are_joined_before_anything_is_sent() -> None:
    a, b, session = joint([0, 1])
    session.greet()
    assert (a.greeted, b.greeted) == (1, 1)
    a.open = True
    assert not session.welcomed()
    a.open, b.open = False, True  # it is asked no more
    assert session.welcomed()


def test_one_that_is_lost_takes_all_along() -> None:
    a, b, session = joint([0, 1])
    session.send(rows([0, 1], [0, 0]))
    a.answer = np.array([1])
    assert session.receive() is None
    b.answer = SessionLostError("gone")
    with pytest.raises(SessionLostError, match="b: gone"):
        session.receive()
    session.greet()
    assert (a.greeted, b.greeted) == (1, 1)
    # What was answered before belongs to the old sessions.
    session.send(rows([0, 1], [0, 0]))
    b.answer = np.array([5])
    assert session.receive() is None
