"""The long form: `python -m tests.fuzz [--inputs N] [--seconds S] [--seed N]`; `make fuzz` calls it.

A line of progress every ten seconds, and one at the end that says it all. A failure prints the seed to repeat it.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time

from tests.fuzz.lines import lines
from tests.fuzz.rounds import Rounds
from tests.fuzz.stage import stage


def main() -> int:
    """Fuzz; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--inputs", type=int, default=1_000_000, help="inputs to send")
    parser.add_argument(
        "--seconds", type=float, default=86_400, help="end after so many, however many inputs it was"
    )
    parser.add_argument("--seed", type=int, default=secrets.randbits(32), help="of the first round")
    options = parser.parse_args()
    begun = said = time.monotonic()
    print(f"seed {options.seed}", flush=True)
    with stage() as here:
        rounds = Rounds(here, lines(here), options.seed)
        while rounds.inputs < options.inputs and time.monotonic() - begun < options.seconds:
            rounds.play()
            if time.monotonic() - said > 10:
                said = time.monotonic()
                print(rounds.summary(said - begun), flush=True)
        print("well: " + rounds.summary(time.monotonic() - begun), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
