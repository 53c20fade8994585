"""What a link with delay, loss or breaks leaves of one actor's throughput, and what `actor.pipeline` wins back.

    python benchmarks/links.py --seconds 5

A server and one actor are on two hosts of their own (network namespaces; root, Linux) with a cable between them
that delays or loses packets, as the tests have it. The environments sleep, so that neither processor nor model
limits anything. Beside what was measured stands what it should be: with `k` parts, of which each takes `E` to be
stepped (measured by the actor) and `W` to be answered (the round trip, and what one of no delay took), all
environments have been stepped once after `max(k E, W + E)`. Prints tables, and every figure as JSON with `--json`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from corral.bench.machine import describe_machine  # noqa: E402
from tests.support.hosts import Host, HostProcess, hosts  # noqa: E402
from tests.support.processes import until  # noqa: E402

DELAYS_MS = (0, 5, 20, 50)
PIPELINES = (1, 2, 4)
LOSSES = (0.0, 0.001, 0.01, 0.05)
BREAKS_S = (1.0, 2.0, 4.0, 7.0, 12.0, 30.0)
LOSSY_DELAY_MS = 5
RTO_MS, SHORT_RTO_MS = 200, 10
"""Linux sends a packet again after this time and a round trip, if nothing came of it; and what it can be set to."""


class Crowd(NamedTuple):
    """The environments of the one actor."""

    environments: int
    step_ms: float

    @property
    def all_ms(self) -> float:
        """What a step of all of them takes."""
        return self.environments * self.step_ms

    def __str__(self) -> str:
        return f"{self.environments} environments, {self.all_ms:g} ms for a step of all of them"


CROWDS = (Crowd(16, 1 / 16), Crowd(64, 0.625))


@dataclass(frozen=True)
class Found:
    """One measurement: environment steps a second, and the actor's own account of its time.

    Attributes:
      step_ms: what a step of one part took.
      expected: steps a second by the formula; 0 where it needs this very measurement.
    """

    crowd: str
    delay_ms: float
    loss: float
    pipeline: int
    steps_per_s: float
    step_ms: float
    expected: float = 0.0


class Bench:
    """A server and its learner on one host, and actors on another, one after the other."""

    def __init__(self, near: Host, far: Host, folder: Path, stack: ExitStack) -> None:
        self._near, self._far = near, far
        self.address = f"tcp://{near.address}:5555"
        self._stack = stack
        places = [f"ipc://{folder}/{name}" for name in ("unrolls", "weights")]
        settings = {"sleep_ms": 0, "max_size": 64, "slots": 256, "when_full": "shed", "lease_s": 60.0}
        stack.enter_context(self._process(near, "idle_learner", *places, "512"))
        stack.enter_context(self._process(near, "slow_server", self.address, *places, json.dumps(settings)))
        until(lambda: self.figures().get("ready"), 180, "a server that is ready")

    def figures(self) -> dict[str, Any]:
        """What the server says of itself."""
        return self._near.status(self.address, 5) or {}

    @contextlib.contextmanager
    def actor(self, crowd: Crowd, pipeline: int) -> Iterator[None]:
        """An actor that has begun to step, and has left when the block ends."""
        until(lambda: self.figures().get("actors") == 0, 60, "the last actor's leaving")
        arguments = (f"SLEEPY:{crowd.step_ms / 1e3}", crowd.environments, 2, pipeline)
        before = self.figures()["rows"]
        with self._process(self._far, "scripted_actor", self.address, *arguments) as process:
            until(lambda: self.figures()["rows"] > before + 8 * crowd.environments, 120, "steps")
            yield
            process.end()

    def measure(self, crowd: Crowd, pipeline: int, seconds: float) -> tuple[float, float]:
        """Steps a second, and milliseconds that one part took for a step."""
        with self.actor(crowd, pipeline):
            before, began = self.figures(), time.monotonic()
            time.sleep(seconds)
            after, ended = self.figures(), time.monotonic()
            # What the actor tells comes every two seconds; how long a step takes does not change.
            until(lambda: self.figures()["actor_requests"] > after["actor_requests"], 10, "the actor's own word")
            told = self.figures()
        requests = told["actor_requests"] - before["actor_requests"]
        step_ms = 1e3 * (told["actor_environment_s"] - before["actor_environment_s"]) / max(requests, 1)
        return (after["rows"] - before["rows"]) / (ended - began), step_ms

    @contextlib.contextmanager
    def _process(self, host: Host, module: str, *arguments: object) -> Iterator[HostProcess]:
        command = [sys.executable, "-m", f"tests.support.{module}", *map(str, arguments)]
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
        with ExitStack() as stack:
            yield stack.enter_context(host.process(*command, folder=ROOT, environment=environment))
            with contextlib.redirect_stdout(io.StringIO()):  # its last words are for tests
                stack.close()


def expected(crowd: Crowd, pipeline: int, step_ms: float, wait_ms: float) -> float:
    """Steps a second by the formula above."""
    return 1e3 * crowd.environments / max(pipeline * step_ms, wait_ms + step_ms)


def over_delays(bench: Bench, far: Host, seconds: float) -> Iterator[Found]:
    """Every crowd, delay and pipeline; first, without any of these and with a plain cable, the best of three."""
    for crowd in CROWDS:
        alone, step_ms = max(bench.measure(crowd, 1, seconds) for _ in range(3))  # nothing is faster by chance
        alone_ms = 1e3 * crowd.environments / alone - step_ms
        yield Found(str(crowd), 0, 0.0, 1, alone, step_ms)
        for delay_ms in DELAYS_MS:
            with far.far(delay_ms / 1e3):
                for pipeline in PIPELINES:
                    steps_per_s, step_ms = bench.measure(crowd, pipeline, seconds)
                    theory = expected(crowd, pipeline, step_ms, alone_ms + 2 * delay_ms)
                    yield Found(str(crowd), delay_ms, 0.0, pipeline, steps_per_s, step_ms, theory)


def over_losses(bench: Bench, near: Host, far: Host, seconds: float, rto_ms: int) -> Iterator[Found]:
    """The small crowd at a short distance. Each request and each answer is one packet, and one that is lost comes
    `rto_ms` and a round trip late.

    Args:
      rto_ms: least time after which either host sends a packet again.
    """
    crowd = CROWDS[0]
    with far.far(LOSSY_DELAY_MS / 1e3):
        alone = {pipeline: bench.measure(crowd, pipeline, seconds) for pipeline in (1, 4)}
    for loss in LOSSES[1:]:
        with far.far(LOSSY_DELAY_MS / 1e3, loss), shortest_resend(rto_ms, near, far):
            for pipeline, (whole, step_ms) in alone.items():
                steps_per_s, _ = bench.measure(crowd, pipeline, 3 * seconds)
                late_ms = 2 * loss * (rto_ms + 2 * LOSSY_DELAY_MS)
                theory = 1e3 * crowd.environments / (1e3 * crowd.environments / whole + late_ms)
                yield Found(str(crowd), LOSSY_DELAY_MS, loss, pipeline, steps_per_s, step_ms, theory)


@contextlib.contextmanager
def shortest_resend(rto_ms: int, *both: Host) -> Iterator[None]:
    """The least time after which the hosts' TCP sends again, as `ip route` sets it, unless it is Linux's own."""
    if rto_ms != RTO_MS:
        for host in both:
            host.route("rto_min", f"{rto_ms}ms")
    yield
    if rto_ms != RTO_MS:
        for host in both:
            host.route()


def over_breaks(bench: Bench, far: Host) -> Iterator[tuple[float, float]]:
    """Seconds of a break, and seconds from its end to the next step."""
    with far.far(LOSSY_DELAY_MS / 1e3):
        for break_s in BREAKS_S:
            with bench.actor(CROWDS[0], 1):
                far.unplug()
                time.sleep(break_s)
                far.plug_in()
                healed, before = time.monotonic(), bench.figures()["rows"]
                until(lambda before=before: bench.figures()["rows"] > before, 60, "a step")
                yield break_s, time.monotonic() - healed


RULE = "|---" * 7 + "|"
HEAD = "| environments | delay, ms each way | loss, % | pipeline | a part's step, ms | steps/s | by the formula |"


def row(found: Found) -> str:
    """A row of the table under `HEAD`."""
    theory = f"{found.expected:,.0f}" if found.expected else ""
    cells = (found.crowd, f"{found.delay_ms:g}", f"{100 * found.loss:g}", found.pipeline, f"{found.step_ms:.2f}")
    return f"| {' | '.join(map(str, cells))} | {found.steps_per_s:,.0f} | {theory} |"


def show(title: str, rows: Iterable[Found]) -> list[dict[str, Any]]:
    """Print a table row by row, as it is measured; the figures."""
    print(f"\n{title}\n\n{HEAD}\n{RULE}", flush=True)
    figures = []
    for found in rows:
        print(row(found), flush=True)
        figures.append(asdict(found))
    return figures


def show_breaks(breaks: Iterable[tuple[float, float]]) -> list[dict[str, Any]]:
    """The same, of breaks."""
    print("\nbreaks\n\n| the break, s | from its end to the next step, s |\n|---|---|", flush=True)
    figures = []
    for break_s, back_s in breaks:
        print(f"| {break_s:g} | {back_s:.1f} |", flush=True)
        figures.append({"break_s": break_s, "back_s": back_s})
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement; thrice as long with loss")
    parser.add_argument("--only", choices=("delays", "losses", "breaks"), help="one kind of link alone")
    parser.add_argument("--json", type=Path, help="a file that every figure is written to")
    arguments = parser.parse_args()
    wanted = (arguments.only,) if arguments.only else ("delays", "losses", "breaks")
    seconds = arguments.seconds
    told: dict[str, Any] = {"machine": describe_machine(), "seconds": seconds}
    with tempfile.TemporaryDirectory(prefix="corral-links-") as folder, ExitStack() as stack:
        near, far = stack.enter_context(hosts(2))
        bench = Bench(near, far, Path(folder), stack)
        if "delays" in wanted:
            told["delays"] = show("delays", over_delays(bench, far, seconds))
        for rto_ms in (RTO_MS, SHORT_RTO_MS) if "losses" in wanted else ():
            title = f"losses, sent again after {rto_ms} ms at least"
            told[title] = show(title, over_losses(bench, near, far, seconds, rto_ms))
        if "breaks" in wanted:
            told["breaks"] = show_breaks(over_breaks(bench, far))
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
