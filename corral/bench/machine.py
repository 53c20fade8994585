"""What a measurement ran on: a figure without it says nothing."""

from __future__ import annotations

import platform
from pathlib import Path

from corral.launch.provenance import usable_cores, versions

_PACKAGES = ("corral", "keras", "tensorflow", "jax", "torch", "numpy", "pyzmq")


def describe_machine() -> dict[str, object]:
    """Processor, cores and versions."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: found for name, found in versions().items() if name in _PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.lower().startswith("model name"))
    return next(named, platform.processor() or platform.machine())
