from __future__ import annotations

import json
from pathlib import Path

from corral.telemetry.trace_file import join_parts, write_part
from corral.telemetry.tracer import Span, TimeLine, Tracer
from tests.support.trace import Trace


def tracer(*spans: Span, dropped: int = 0) -> Tracer:
    made = Tracer()
    made.lines[1] = TimeLine("main", 17, list(spans), dropped)
    made.began_ns, made.ended_ns = 1_000, 9_000
    return made


def test_parts_become_one_trace_and_go(tmp_path: Path) -> None:
    parts = [tmp_path / "0-server", tmp_path / "1-actor"]
    write_part(parts[0], tracer(("in", 2_000, 3_000, {"rows": 3}), ("out", 1_500, 4_000, None)), "server")
    other = tracer(("in", 2_500, 2_600, None), dropped=7)
    other.lines[1].id = 18
    write_part(parts[1], other, "server too")
    lines = [json.loads(line) | {"pid": 1} for line in parts[1].read_text().splitlines()]
    parts[1].write_text("".join(json.dumps(line) + "\n" for line in lines))  # as if another process had written it
    join_parts(reversed(parts), tmp_path / "trace.json.gz")
    trace = Trace(tmp_path / "trace.json.gz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["trace.json.gz"]
    assert trace.line("server", "main").kinds() == {"in": 1, "out": 1}
    assert trace.line("server", "main").named("in")[0]["args"] == {"rows": 3}
    assert trace.line("server too", "main").kinds() == {"in": 1}
    assert trace.other["clock"] == "CLOCK_MONOTONIC"
    assert [each["dropped_spans"] for each in trace.other["processes"]] == [0, 7]
    assert [each["process"] for each in trace.other["processes"]] == ["server", "server too"]


def test_thousands_of_spans_are_all_there(tmp_path: Path) -> None:
    part = tmp_path / "part"
    write_part(part, tracer(*(("s", 2_000 + n * 10, 2_005 + n * 10, None) for n in range(4_321))), "server")
    join_parts([part], tmp_path / "t.gz")
    assert Trace(tmp_path / "t.gz").line("server", "main").kinds() == {"s": 4_321}


def test_a_trace_without_parts_can_be_opened_all_the_same(tmp_path: Path) -> None:
    join_parts([], tmp_path / "t.gz")
    assert Trace(tmp_path / "t.gz").lines == []
