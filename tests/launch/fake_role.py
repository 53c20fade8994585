"""A process that a launcher can start in place of a real role.

`python fake_role.py ROLE RUN_FOLDER SOCKET_FOLDER NUMBER`: makes the role's socket files, tells its process
id in `RUN_FOLDER/pids/`, then waits to be stopped, or does what a file `RUN_FOLDER/../plan.json` says.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from corral.launch import child
from corral.launch.errors import print_error
from corral.launch.stopping import StopRequest

RESULT = {"solved": True, "mean_return": 480.5, "env_steps": 12_345, "policy_version": 77, "policy_lag_p50": 1.0}


def play(role: str, run_folder: Path, sockets: Path, stop: StopRequest, number: str = "0") -> int:
    """Stands in for `child._run`."""
    for name in child.sockets_of(role, number):
        (sockets / name).touch()
    several = role == "server" and json.loads((run_folder / "experiment.json").read_text())["servers"] > 1
    name = f"{role}-{number}" if role == "actor" or several else role
    plan = json.loads((run_folder.parent / "plan.json").read_text()).get(name, {})
    stop.call(lambda: None)
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(0))
    if plan.get("grandchild"):
        pid = os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "600")
        tell(run_folder, f"{name}-grandchild", pid)
    tell(run_folder, name, os.getpid())
    print(f"{name} began", flush=True)
    if "log" in plan:
        print(plan["log"], flush=True)
    if "error" in plan:
        print_error(plan["error"])
        return 2
    if "exit" in plan:
        print("something broke", flush=True)
        return int(plan["exit"])
    if plan.get("finish") is not None:
        # Not before everybody has begun.
        count = len(json.loads((run_folder / "experiment.json").read_text())["actor"]) and plan["among"]
        while len(list((run_folder / "pids").iterdir())) < count:
            time.sleep(0.005)
        finish(run_folder, plan["finish"], env_steps_before=RESULT["env_steps"] if plan.get("idle") else 0)
        return 0 if plan["finish"] else 1
    while not stop.wait(600):
        pass
    if plan.get("ignore_stop"):
        time.sleep(600)
    if role == "learner":
        (run_folder / "checkpoints").mkdir()
        (run_folder / "policy.keras").touch()
        finish(run_folder, False)
    return stop.exit_code


def finish(run_folder: Path, solved: bool, env_steps_before: int = 0) -> None:
    result = {**RESULT, "solved": solved, "env_steps_before": env_steps_before}
    (run_folder / "result.json").write_text(json.dumps(result))


def tell(run_folder: Path, name: str, pid: int) -> None:
    (run_folder / "pids").mkdir(exist_ok=True)
    draft = run_folder / f".{name}.{pid}"
    draft.write_text(str(pid))
    draft.rename(run_folder / "pids" / name)


if __name__ == "__main__":
    signal.alarm(60)  # no test leaves one behind, however it fails
    child._run = play
    sys.exit(child.main(sys.argv[1:]))
