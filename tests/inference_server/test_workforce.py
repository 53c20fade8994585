from __future__ import annotations

import math

import numpy as np
import pytest

from corral.protocol import ErrorCode, ProtocolError, Work
from inference_server.sessions import Session
from inference_server.workforce import Workforce
from tests.support.clock import Clock


def session(first_environment: int = 0) -> Session:
    return Session(1, 2, b"", np.arange(3), first_environment, 9.0, host="far")


def test_what_actors_tell_is_summed_up_by_what_has_come_since() -> None:
    workforce = Workforce(Clock(10.0))
    one, other = session(), session()
    workforce.hear(one, Work(1.0, 2.0, 10, 30))
    workforce.hear(one, Work(1.5, 4.0, 14, 42))
    workforce.hear(other, Work(0.25, 0.0, 1, 3))
    assert (workforce.environment_s, workforce.wait_s, workforce.requests) == (1.75, 4.0, 15)
    # One that counts backwards takes nothing away.
    workforce.hear(one, Work(0.0, 0.0, 0, 0))
    assert (workforce.environment_s, workforce.wait_s, workforce.requests) == (1.75, 4.0, 15)


@pytest.mark.parametrize(
    "work",
    [
        Work(math.nan, 0.0, 0, 0), Work(0.0, math.inf, 0, 0), Work(-1.0, 0.0, 0, 0), Work(0.0, 1e300, 0, 0),
        Work(0.0, 0.0, -1, 0), Work(0.0, 0.0, 0, 2**63),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(work: Work) -> None:
    workforce, one = Workforce(Clock(10.0)), session()
    with pytest.raises(ProtocolError) as caught:
        workforce.hear(one, work)
    assert caught.value.code is ErrorCode.MALFORMED
    assert one.told is None
    assert workforce.wait_s == 0


def test_the_table() -> None:
    clock = Clock(10.0)
    workforce = Workforce(clock)
    late, early, silent = session(7), session(3), session(5)
    workforce.hear(early, Work(1.0, 1.0, 10, 30))
    clock.now = 12.0
    workforce.hear(early, Work(1.5, 2.5, 20, 60))
    workforce.hear(late, Work(3.0, 1.0, 4, 8))
    clock.now = 13.0
    rows = workforce.table([late, early, silent], limit=10)
    assert [row["first_environment"] for row in rows] == [3, 5, 7]
    # Over the two seconds between its two words: 0.5 s in its environments, 1.5 s waiting, 30 steps.
    assert rows[0] == {
        "host": "far", "first_environment": 3, "environments": 3, "seen_s": 4.0,
        "steps_per_s": 15.0, "wait_share": 0.75, "environment_share": 0.25,
    }  # fmt: skip
    assert rows[1] == {"host": "far", "first_environment": 5, "environments": 3, "seen_s": 4.0}
    assert rows[2]["steps_per_s"] == 2.0  # its first word: all that there is
    assert rows[2]["wait_share"] == 0.25
    assert workforce.table([late, early, silent], limit=1) == rows[:1]
    assert workforce.table([late], limit=-5) == []


def test_a_session_that_is_one_of_its_actors_parts_has_only_a_part_of_its_time() -> None:
    clock = Clock(10.0)
    workforce, part = Workforce(clock), session(0)
    workforce.hear(part, Work(1.0, 0.0, 1, 3))
    clock.now = 12.0
    workforce.hear(part, Work(1.25, 0.75, 5, 15))  # the other second went into another part
    assert workforce.table([part], limit=1)[0]["steps_per_s"] == 6.0
    assert workforce.table([part], limit=1)[0]["wait_share"] == 0.75
    clock.now = 12.01  # on a link that was broken, what was said two seconds later comes at once
    workforce.hear(part, Work(2.25, 1.75, 9, 27))
    assert workforce.table([part], limit=1)[0]["steps_per_s"] == 6.0
