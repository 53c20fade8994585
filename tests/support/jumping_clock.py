"""A module, run with a wall clock that jumps: `python -m tests.support.jumping_clock MODULE ARGUMENT...`."""

from __future__ import annotations

import random
import runpy
import sys
import time

_YEARS_NS = 20 * 365 * 24 * 3600 * 10**9

if __name__ == "__main__":
    chance, now_ns = random.Random(1), time.time_ns
    time.time_ns = lambda: now_ns() + chance.randint(-_YEARS_NS, _YEARS_NS)
    time.time = lambda: time.time_ns() / 1e9
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
