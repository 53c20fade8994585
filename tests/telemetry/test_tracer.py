from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from corral.telemetry.tracer import Tracer, span


class Cook:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    @span("meal", lambda result, cook, guests: {"guests": guests, "said": result}, work=True)
    def meal(self, guests: int) -> str:
        """What a cook does."""
        self.clock.pass_ns(10)
        self.stir()
        self.clock.pass_ns(5)
        return "served"

    @span("stir")
    def stir(self) -> None:
        self.clock.pass_ns(2)

    @span("burn")
    def burn(self) -> None:
        self.clock.pass_ns(1)
        raise OSError("smoke")


class Clock:
    def __init__(self) -> None:
        self.now = 1000

    def __call__(self) -> int:
        return self.now

    def pass_ns(self, nanoseconds: int) -> None:
        self.now += nanoseconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tracer(clock: Clock) -> Iterator[Tracer]:
    made = Tracer(clock=clock)
    yield made
    if made.began_ns and not made.ended_ns:
        made.end()


def spans(tracer: Tracer) -> list[tuple[str, int, int]]:
    (line,) = tracer.lines.values()
    return [each[:3] for each in line.spans]


def test_a_mark_costs_nothing_while_nobody_records(tracer: Tracer, clock: Clock) -> None:
    plain = Cook.__dict__["meal"]
    assert plain.__code__.co_name == "meal"
    assert not hasattr(plain, "__wrapped__")  # the method itself, and not one around it
    tracer.begin()
    assert Cook.__dict__["meal"].__wrapped__ is plain
    tracer.end()
    assert Cook.__dict__["meal"] is plain
    Cook(clock).meal(2)
    assert not tracer.lines


def test_spans_lie_within_each_other(tracer: Tracer, clock: Clock) -> None:
    tracer.begin()
    assert Cook(clock).meal(2) == "served"
    assert spans(tracer) == [("stir", 1010, 1012), ("meal", 1000, 1017)]
    (line,) = tracer.lines.values()
    assert line.spans[1][3] == {"guests": 2, "said": "served"}
    assert line.thread == "main"


def test_an_error_goes_through_and_ends_its_span(tracer: Tracer, clock: Clock) -> None:
    tracer.begin()
    with pytest.raises(OSError, match="smoke"):
        Cook(clock).burn()
    assert spans(tracer) == [("burn", 1000, 1001)]


def test_one_that_waits_for_work_begins_with_it(tracer: Tracer, clock: Clock) -> None:
    tracer.begin(at_work=True)
    cook = Cook(clock)
    cook.stir()
    assert not tracer.began_ns
    cook.meal(1)
    assert tracer.began_ns == 1002
    assert [name for name, *_ in spans(tracer)] == ["stir", "meal"]


def test_what_is_under_way_at_the_end_is_left_out(tracer: Tracer, clock: Clock) -> None:
    tracer.begin()
    inside = Cook(clock)
    inside.stir = tracer.end  # type: ignore[method-assign]
    inside.meal(1)
    assert not tracer.lines
    assert tracer.ended_ns == 1010


def test_what_there_is_no_room_for_is_counted(clock: Clock) -> None:
    tracer = Tracer(most_spans=3, clock=clock)
    tracer.begin()
    for _ in range(8):
        Cook(clock).stir()
    tracer.end()
    assert len(spans(tracer)) == 3
    assert tracer.dropped == 5


def test_one_tracer_records_at_a_time(tracer: Tracer) -> None:
    tracer.begin()
    with pytest.raises(RuntimeError):
        Tracer().begin()


def test_each_thread_has_a_line_of_its_own(tracer: Tracer, clock: Clock) -> None:
    tracer.begin()
    cook = Cook(clock)
    thread = threading.Thread(target=cook.stir, name="helper")
    thread.start()
    thread.join()
    cook.stir()
    tracer.end()
    assert {line.thread: len(line.spans) for line in tracer.lines.values()} == {"helper": 1, "main": 1}
    assert len({line.id for line in tracer.lines.values()}) == 2


def test_events_count_in_microseconds(tracer: Tracer, clock: Clock) -> None:
    tracer.begin()
    Cook(clock).stir()
    tracer.end()
    (event,) = (event for event in tracer.events("kitchen") if event["ph"] == "X")
    assert (event["name"], event["ts"], event["dur"], event["cat"]) == ("stir", 1.0, 0.002, "kitchen")
