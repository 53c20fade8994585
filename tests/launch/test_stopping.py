"""Stopping and the lifeline, in processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys, time
from pathlib import Path
from corral.launch import lifeline
from corral.launch.stopping import StopRequest
kind, folder = sys.argv[1], Path(sys.argv[2])
stop = StopRequest(last_act=lambda: print("last act", flush=True))
stop.install()
lifeline.watch(stop, lambda: print("lost", flush=True), 0.2)
told = []
if kind != "early":
    stop.call(lambda: told.append(print("asked", flush=True)))
print("begun", flush=True)
while kind == "stubborn" or not told:
    time.sleep(0.01)
print("ended", flush=True)
sys.exit(stop.exit_code)
"""


@pytest.fixture
def start(tmp_path: Path):
    started = []

    def start(kind: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, kind, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_asks_politely(start, number, code) -> None:
    process = start("polite")
    process.send_signal(number)
    assert process.stdout.read() == "asked\nended\n"
    assert process.wait(10) == code


def test_a_second_signal_ends_at_once(start) -> None:
    process = start("stubborn")
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.read() == "last act\n"
    assert process.wait(10) == 128 + signal.SIGINT


def test_a_signal_before_there_is_anything_to_stop_ends_at_once(start) -> None:
    process = start("early")
    process.send_signal(signal.SIGTERM)
    assert process.stdout.read() == "last act\n"
    assert process.wait(10) == 0


def test_a_lost_launcher_asks_politely(start) -> None:
    process = start("polite")
    process.stdin.close()
    assert process.stdout.read() == "lost\nasked\nended\n"
    assert process.wait(10) == 0


def test_a_lost_launcher_does_not_ask_for_ever(start) -> None:
    process = start("stubborn")
    process.stdin.close()
    assert process.stdout.read() == "lost\nasked\nlast act\n"
    assert process.wait(10) == 1


# The handler runs between any two instructions of the main thread: also of one that waits and holds a lock.
WAITING = """
import faulthandler, signal, sys
from corral.launch.stopping import StopRequest
faulthandler.dump_traceback_later(20, exit=True)
for turn in range(5_000):
    stop = StopRequest()
    stop.call(lambda: None)
    signal.signal(signal.SIGALRM, stop._on_signal)
    signal.setitimer(signal.ITIMER_REAL, 1e-6 * (20 + turn % 200))
    while not stop.wait(2e-5):
        pass
"""


def test_a_signal_may_come_at_any_moment_of_waiting() -> None:
    done = subprocess.run([sys.executable, "-c", WAITING], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
