"""When this process began: what a person waits from."""

from __future__ import annotations

import os
import time

_IMPORTED = time.monotonic()


def process_started() -> float:
    """`time.monotonic()` at the start of this process; where the system does not tell, at this import."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as stat:
            ticks = int(stat.read().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return _IMPORTED
    started = time.monotonic() - age
    # A sandbox may count from another start than its clock does.
    return started if _IMPORTED - 2.0 < started <= _IMPORTED else _IMPORTED
