"""The comparison with peers, with a made-up Corral and made-up peers in place of the real ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from tests.benchmarks.scripts import load_script
from tests.support.processes import until

FIGURES = {"answers_per_s": 1000.0, "rows_per_s": 1000.0, "p50_ms": 1.5, "p99_ms": 4.0, "errors": 0}


@pytest.fixture(scope="module")
def compare() -> ModuleType:
    return load_script("compare")


@pytest.fixture
def place(compare: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a made-up `corral bench`, and peers as a test writes them."""
    row = {**FIGURES, "answers_per_s": 9000.0, "efficiency": 0.5, "backend": "tensorflow", "timeout_us": 0}
    bench = {"machine": {"versions": {"corral": "0.9", "tensorflow": "2.21.0"}}, "results": [row]}
    write(tmp_path / "bench.py", f"print({json.dumps(json.dumps(bench))})")
    monkeypatch.setattr(compare, "CORRAL", [sys.executable, str(tmp_path / "bench.py")])
    monkeypatch.setattr(compare, "PEERS_FOLDER", tmp_path)
    return tmp_path


def write(path: Path, code: str) -> None:
    path.write_text(code + "\n")


def write_peer(place: Path, name: str, answers_per_s: float = 1000.0) -> None:
    line = {**FIGURES, "peer": name, "version": "1.2", "answers_per_s": answers_per_s, "note": "as fast as it goes"}
    write(place / f"{name}.py", f"print({json.dumps(json.dumps(line))})")


def table_of(compare: ModuleType, place: Path, peers: list[str]) -> str:
    contenders = [*compare.corral(), *compare.peers(place / "venvs", peers)]
    outcomes = compare.compare(contenders, compare.LOADS[:1], seconds=1, repeats=2)
    return compare.section(outcomes, "the command", repeats=2, seconds=1)


def test_a_peer_is_held_against_corral(compare: ModuleType, place: Path) -> None:
    write_peer(place, "threads_compiled", 3000.0)
    text = table_of(compare, place, ["threads_compiled"])
    assert "| **Corral**, STEP | 9,000 | 9,000 to 9,000 |" in text
    row = next(line for line in text.splitlines() if line.startswith("| threads on one compiled function"))
    assert row.endswith("| 3,000 | 3,000 to 3,000 | 1,000 | 1.50 | 4.00 | 0 | 3.0 | 3.0 |".removeprefix("| "))
    assert "50 % of the model alone" in text
    assert "- **Corral**, INFER: corral 0.9, tensorflow 2.21.0; timeout_us 0" in text
    assert "1.2; as fast as it goes" in text
    assert "the command" in text


def test_who_is_not_installed_is_named(compare: ModuleType, place: Path) -> None:
    text = table_of(compare, place, ["litserve"])
    assert "| LitServe | not installed |" in text
    assert "- LitServe: not installed" in text


def test_who_fails_is_named_with_its_last_error(compare: ModuleType, place: Path) -> None:
    write(place / "threads_predict.py", "import nothing_that_is_there")
    text = table_of(compare, place, ["threads_predict"])
    assert "failed: ModuleNotFoundError: No module named 'nothing_that_is_there'" in text


def test_who_prints_no_figures_has_failed(compare: ModuleType, place: Path) -> None:
    write(place / "threads_predict.py", "print('{}')")
    assert "failed: no figures" in table_of(compare, place, ["threads_predict"])


def test_who_takes_too_long_is_ended_with_what_it_started(compare: ModuleType, place: Path) -> None:
    write(
        place / "slow.py",
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid))\n"
        "time.sleep(60)",
    )
    with pytest.raises(compare.MeasurementError, match="nothing after"):
        compare.run([sys.executable, str(place / "slow.py"), str(place / "pid")], timeout_s=3)
    child = int((place / "pid").read_text())
    until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie", what="its end")


def test_figures_count_although_there_were_errors(compare: ModuleType, place: Path) -> None:
    line = json.dumps({**FIGURES, "errors": 3})
    write(place / "threads_predict.py", f"print({json.dumps(line)}); raise SystemExit(1)")
    row = next(line for line in table_of(compare, place, ["threads_predict"]).splitlines() if "predict" in line)
    assert "| 6 |" in row, "the errors of both rounds"


def test_a_pages_other_text_is_kept(compare: ModuleType) -> None:
    page = compare.put_between_marks("# Results\n", "first")
    page = page.replace("# Results", "# Results\n\nBefore.") + "\nAfter.\n"
    page = compare.put_between_marks(page, "second")
    assert "Before." in page
    assert page.endswith("\nAfter.\n")
    assert "second" in page
    assert "first" not in page
    assert page.count(compare.BEGIN) == page.count(compare.END) == 1


def test_a_page_with_half_a_mark_is_refused(compare: ModuleType) -> None:
    with pytest.raises(ValueError, match="without"):
        compare.put_between_marks(f"{compare.BEGIN}\n", "text")
