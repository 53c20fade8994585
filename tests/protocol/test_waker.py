from __future__ import annotations

import select
import threading
from collections.abc import Iterator

import pytest

from corral.protocol.waker import Waker


@pytest.fixture
def waker() -> Iterator[Waker]:
    waker = Waker()
    yield waker
    waker.close()


def readable(waker: Waker, timeout_s: float = 0) -> bool:
    return bool(select.select([waker.fileno()], [], [], timeout_s)[0])


def test_quiet_until_woken_and_again_once_cleared(waker: Waker) -> None:
    assert not readable(waker)
    waker.wake()
    assert readable(waker)
    assert readable(waker)
    waker.clear()
    assert not readable(waker)


def test_many_calls_count_as_one_and_never_block(waker: Waker) -> None:
    for _ in range(20_000):  # far more than the buffer of a socket holds
        waker.wake()
    waker.clear()
    assert not readable(waker)
    waker.wake()
    assert readable(waker)


def test_clearing_what_is_quiet_does_not_wait(waker: Waker) -> None:
    waker.clear()
    assert not readable(waker)


def test_wakes_another_thread(waker: Waker) -> None:
    thread = threading.Thread(target=waker.wake)
    thread.start()
    assert readable(waker, 10)
    thread.join()


def test_waking_what_has_closed_is_harmless() -> None:
    waker = Waker()
    waker.close()
    waker.wake()
