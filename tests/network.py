"""Exactly once on a bad network, in the long form: `python -m tests.network --steps 1000000 --seed 1`.

Every line is bad: actors to server, server to learner, and weights back. Messages are dropped, doubled, delayed and
reordered by a plan that follows from the seed. A witness checks every unroll as it is accepted: each step of each
environment must be there once, in order, with the action and the policy version that belong to it. Environments
count their own steps, and in the end these counters must add up to what was seen. Exits with 1 where anything is
wrong, and says how to run it again.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from corral.protocol import fetch_status
from tests.support.processes import until_serving
from tests.support.scripted_run import ScriptedRun

MODES = ("SINGLE", "NEXT_STEP", "SAME_STEP", "DISABLED")
ENVIRONMENTS = 16
ACTORS_LINE = {"drop": 0.02, "double": 0.1, "hold": 0.05, "delay": 0.1, "delay_s": 0.02}
# A lost parcel costs half a second until it is sent again, a lost policy version five.
UNROLLS_LINE = {"drop": 0.01, "double": 0.1, "hold": 0.05, "delay": 0.1, "delay_s": 0.05}
WEIGHTS_LINE = {"drop": 0.05, "double": 0.1, "hold": 0.05, "delay": 0.1, "delay_s": 0.05}
RESEND_AFTER_S = 0.05
QUEUE = 1024
TURN = 50_000
"""Steps between two lines of output."""


def witness(steps: int, seed: int, folder: Path) -> dict[str, Any]:
    """Watch `steps` steps go by; what was seen. Raises `AssertionError` where one is lost, doubled or misplaced."""
    started = time.monotonic()
    with ExitStack() as stack:
        run = ScriptedRun(folder, stack, queue=QUEUE)
        # Chances differ between the lines.
        lines = {
            "actors": run.bad_network(run.address, seed=3 * seed, **ACTORS_LINE),
            "unrolls": run.bad_network(run.intake, seed=3 * seed + 1, **UNROLLS_LINE),
            "weights": run.bad_network(run.weights, seed=3 * seed + 2, **WEIGHTS_LINE),
        }
        run.intake, run.weights = f"{run.intake}-bad", f"{run.weights}-bad"
        server = run.start_server()
        run.publish()
        until_serving(run.address, timeout_s=180)  # a version that is lost is sent again after five seconds
        actors = [run.start_actor(mode, ENVIRONMENTS, f"{run.address}-bad", RESEND_AFTER_S) for mode in MODES]
        told = time.monotonic()
        while run.witness.steps < steps:
            run.see(min(TURN, steps - run.witness.steps), unrolls=32)
            now = time.monotonic()
            print(f"{run.witness.steps:,} steps, {TURN / (now - told):,.0f} a second", flush=True)
            told = now
        assert run.witness.steps == run.witness.steps_of_the_script(), "the environments counted other steps"
        assert len(run.witness.followed) == len(MODES) * ENVIRONMENTS, "an environment was never seen"
        for name, line in lines.items():
            assert min(line.dropped, line.doubled, line.reordered, line.delayed) > 0, f"the {name} line was not bad"
        status = fetch_status(run.address, 5.0) or {}
        assert all(actor.popen.poll() is None for actor in actors), "an actor ended"
        return {
            "seed": seed,
            "steps": run.witness.steps,
            "environments": len(run.witness.followed),
            "policy_versions": run.publisher.version,
            "policy_version_in_use": status.get("policy_version"),
            "server_errors": status.get("errors"),
            "faults": {name: line.faults for name, line in lines.items()},
            "server_exit_code": server.end(),
            "seconds": round(time.monotonic() - started, 1),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000, help="steps that the learner must accept")
    parser.add_argument("--seed", type=int, default=None, help="of every fault; drawn and told where not given")
    arguments = parser.parse_args()
    seed = secrets.randbits(20) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    try:
        # A folder of its own: pytest's have paths too long for sockets.
        with tempfile.TemporaryDirectory(prefix="corral-network-") as folder:
            found = witness(arguments.steps, seed, Path(folder))
    except Exception as error:
        print(f"FAILED: {error!r}. Again: make network STEPS={arguments.steps} SEED={seed}", flush=True)
        raise
    print(json.dumps(found, indent=2))
    print(f"every one of {found['steps']:,} steps was accepted once and in order")
    return 0


if __name__ == "__main__":
    sys.exit(main())
