"""Our own client passes, and clients with faults do not."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.conformance.__main__ import judge, judge_all, main
from tests.conformance.scenarios import SCENARIOS
from tests.conformance.stage import Stage
from tests.support.processes import until

OURS = [sys.executable, "-m", "tests.conformance.python_client"]
FAULTS = {
    "forgets_rewards": ("steps", "reward of environment 0 in STEP 2"),
    "swaps_leaves": ("handshake", "the frame of leaf 'count'"),
    "leaves_a_field_out": ("handshake", "the fields of HELLO"),
    "goes_on_after_expired": ("expired", "environment 0 was not reset"),
    "resends_as_new": ("step-lost", "must be the same frames"),
    "greets_anew": ("hello-lost", "the nonce of a HELLO that is said again"),
    "takes_any_answer": ("answer-doubled", "in STEP 2"),
    "has_no_heart": ("slow-environment", "no sign of life"),
    "says_no_goodbye": ("handshake", "instead of going on"),
    "never_fails": ("spec-refused", "ended with 0"),
    "asks_twice": ("infer", "was sent again after"),
    "keeps_its_own_order": ("infer", "the frame of leaf 'mark'"),
}


def test_our_client_passes() -> None:
    failed = [verdict for verdict in judge_all(list(SCENARIOS), OURS, jobs=6) if not verdict.passed]
    assert not failed


def test_every_fault_is_seen() -> None:
    with ThreadPoolExecutor(6) as pool:
        verdicts = pool.map(
            lambda name: judge(FAULTS[name][0], [sys.executable, "-m", "tests.conformance.faulty", name, *OURS]),
            FAULTS,
        )
    missed = {
        name: verdict.failure
        for (name, (_, text)), verdict in zip(FAULTS.items(), verdicts, strict=True)
        if verdict.passed or text not in verdict.failure
    }
    assert not missed


def test_the_command_says_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["handshake", "--", sys.executable, "-c", "raise SystemExit('no client')"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    verdict = json.loads(line)
    assert (verdict["scenario"], verdict["passed"]) == ("handshake", False)
    assert "ended with 1" in verdict["failure"]
    assert "no client" in verdict["words"]


def test_nothing_of_a_client_outlives_its_scenario(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    command = ["sh", "-c", f"sleep 600 & echo $! > {told}; exec sleep 600"]
    with Stage(command) as stage:
        stage.start("play", 1)
        until(lambda: told.exists() and told.read_text().endswith("\n"), 20, "the client's child")
    until(lambda: has_ended(int(told.read_text())), 20, "its end")


def has_ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_command_that_is_not_there() -> None:
    assert "cannot be started" in judge("handshake", ["/nowhere/at/all"]).failure


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(["handshake"], "command is missing"), (["handshak", "--", "true"], "no such scenario: handshak")],
)
def test_wrong_usage(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert complaint in capsys.readouterr().err


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(SCENARIOS)
