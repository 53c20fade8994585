"""Tries a client: `python -m tests.conformance [SCENARIO...] -- COMMAND...`; README.md says what COMMAND is."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from tests.conformance.scenarios import SCENARIOS
from tests.conformance.stage import Failed, Stage
from tests.conformance.wire import WireError


@dataclass(frozen=True)
class Verdict:
    """What became of one scenario: one line of JSON.

    Attributes:
      tries: what the scenario is about, and the sections of docs/protocol.md that ask for it.
      failure: what was wrong, empty where nothing was.
      words: the last that a client wrote to its outputs which failed.
    """

    scenario: str
    passed: bool
    seconds: float
    tries: str
    failure: str = ""
    words: str = ""


def judge(name: str, command: Sequence[str]) -> Verdict:
    """Play one scenario with a client of its own."""
    play = SCENARIOS[name]
    begun = time.monotonic()
    failure = words = ""
    with Stage(command) as stage:
        try:
            play(stage)
        except (Failed, WireError) as error:
            failure, words = str(error), stage.words
    seconds = round(time.monotonic() - begun, 2)
    return Verdict(name, not failure, seconds, (play.__doc__ or "").strip(), failure, words)


def judge_all(names: Sequence[str], command: Sequence[str], jobs: int) -> Iterator[Verdict]:
    """Play scenarios, `jobs` at a time; the verdicts in the order of `names`."""
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda name: judge(name, command), names)


def main(arguments: Sequence[str]) -> int:
    """Try a client; the exit code: 0 where every scenario passed."""
    ours, _, command = _split(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance",
        usage="%(prog)s [--jobs N] [--list] [SCENARIO...] -- COMMAND...",
        description="Tries whether a client keeps to docs/protocol.md: a server with a script plays each scenario "
        "with a client of its own, over loopback. One line of JSON a scenario; exits with 1 where one failed. "
        "tests/conformance/README.md says what COMMAND must do.",
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="which to play; all where none is named")
    parser.add_argument("--jobs", type=int, default=4, help="scenarios at a time (%(default)s)")
    parser.add_argument("--list", action="store_true", help="say which scenarios there are, and leave")
    options = parser.parse_args(ours)
    if options.list:
        print("\n".join(f"{name:18}{(play.__doc__ or '').strip()}" for name, play in SCENARIOS.items()))
        return 0
    unknown = sorted(set(options.scenarios) - SCENARIOS.keys())
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}; --list shows those that there are")
    if not command:
        parser.error("the client's command is missing: it stands behind --")
    failed = 0
    for verdict in judge_all(options.scenarios or list(SCENARIOS), command, options.jobs):
        print(json.dumps(asdict(verdict)), flush=True)
        failed += not verdict.passed
    return 1 if failed else 0


def _split(arguments: Sequence[str]) -> tuple[list[str], str, list[str]]:
    if "--" not in arguments:
        return list(arguments), "", []
    at = list(arguments).index("--")
    return list(arguments[:at]), "--", list(arguments[at + 1 :])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
