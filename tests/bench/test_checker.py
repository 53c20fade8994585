"""What `--push-every` says of answers: made up here, as a server would send them."""

from __future__ import annotations

import numpy as np
import pytest

from corral.bench.clients import Checker
from corral.protocol import MessageType, ProtocolError, TensorSpec, pack_header

VALUE = {"value": TensorSpec((), "float32")}
ACTION = {"action": TensorSpec((), "int64", 0, 1)}
EXPECTED = {"value": np.array([[[1.0], [2.0]], [[-1.0], [-2.0]]], np.float32)}
"""Two policies, two clients, a row each: even versions answer 1 and 2, odd ones -1 and -2."""


def answer(version: int, *, value: float | None = None, action: int | None = None) -> bytes:
    row = np.float32(value) if action is None else np.int64(action)
    kind = MessageType.OUTPUTS if action is None else MessageType.ACTIONS
    return pack_header(kind, 0, 1, rows=1) + version.to_bytes(8, "little") + row.tobytes()


def test_an_answer_is_that_of_the_policy_that_it_names() -> None:
    checker = Checker(VALUE, EXPECTED, 2)
    assert checker.holds(0, answer(2, value=1.0))
    assert checker.holds(1, answer(3, value=-2.0))
    assert not checker.holds(0, answer(4, value=-1.0))  # the other policy's
    assert not checker.holds(0, answer(4, value=0.0))  # half of each
    assert not checker.holds(0, answer(4, value=2.0))  # another client's


def test_of_an_action_the_version_is_looked_at() -> None:
    checker = Checker(ACTION, EXPECTED, 2)
    assert checker.holds(0, answer(2, action=0))
    assert checker.holds(0, answer(3, action=1))
    assert checker.holds(1, answer(2, action=1))  # each client has versions of its own
    assert not checker.holds(0, answer(2, action=0))
    assert checker.version(answer(7, action=0)) == 7


def test_an_answer_of_another_length_is_refused() -> None:
    with pytest.raises(ProtocolError, match="an answer of 1 rows takes 40 bytes"):
        Checker(ACTION, EXPECTED, 2).holds(0, answer(2, value=1.0))
