"""The median of several measurements, and what people are shown of it."""

from __future__ import annotations

import io
import json
from pathlib import Path

from rich.console import Console

from corral.bench.plot import plot
from corral.bench.result import Result, median
from corral.bench.table import as_table, remarks


def result(**figures: object) -> Result:
    known: dict[str, object] = {
        "model": "mlp", "backend": "tensorflow", "request": "step", "clients": 64, "processes": 2, "rows": 1,
        "transport": "ipc", "rate": 0.0, "think_us": 0.0, "idle": 0, "timeout_us": 0, "max_size": 64,
        "pinned": False, "seconds": 1.0,
    }  # fmt: skip
    return Result(**(known | figures))  # type: ignore[arg-type]


def test_rates_are_medians_and_what_must_not_happen_is_summed() -> None:
    merged = median(
        [
            result(answers_per_s=10.0, errors=1, torn=0, in_use_ms=5.0, error_texts={"a": 1}),
            result(answers_per_s=30.0, errors=0, torn=2, in_use_ms=9.0),
            result(answers_per_s=20.0, errors=2, torn=0, in_use_ms=7.0, error_texts={"a": 1, "b": 1}),
        ]
    )
    assert merged.answers_per_s == 20.0
    assert (merged.errors, merged.torn, merged.in_use_ms) == (3, 2, 9.0)
    assert merged.error_texts == {"a": 2, "b": 1}


def test_results_are_plain_values() -> None:
    assert json.loads(json.dumps(result(p99_ms=1.5).as_dict()))["p99_ms"] == 1.5


def test_columns_without_anything_are_left_out() -> None:
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(as_table([result(answers_per_s=12345.6)]))
    shown = console.export_text()
    assert "12,346" in shown
    assert "rate" not in shown.splitlines()[0]


def test_errors_and_compilations_are_told() -> None:
    said = " ".join(remarks(result(errors=2, error_texts={"BUSY: full": 2}, compiled=1)))
    assert "2 errors: BUSY: full" in said
    assert "1 compilations" in said


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    plot([result(answers_per_s=1.0, clients=1), result(answers_per_s=2.0, clients=8)], tmp_path / "bench.png")
    assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")
