"""deploy/slurm/corral.sbatch on a real Slurm: a cluster of one machine, with two nodes."""

from __future__ import annotations

import contextlib
import json
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from corral.protocol import fetch_status
from corral.protocol.keys import Role, caller
from tests.support.command import BIN, ROOT
from tests.support.ports import free_ports
from tests.support.processes import until
from tests.support.slurm import Cluster, cluster

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

OUT_OF_REACH = ("--set", "run.target_return=501", "--set", "run.max_env_steps=100_000_000")


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="corral-slurm-"))
    try:
        with cluster(folder) as found:
            yield found
            for log in [*sorted(folder.glob("corral-*.log")), *sorted(folder.glob("*/logs/*"))]:
                print(f"--- {log}\n{log.read_text()}")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def _nothing_else_runs(slurm: Cluster) -> Iterator[None]:
    yield
    slurm.cancel_all()


class Job:
    """A submitted job.

    Attributes:
      number: the job's.
      folder: where its run is.
    """

    def __init__(self, slurm: Cluster, name: str, *settings: str) -> None:
        self.slurm = slurm
        self.folder = slurm.folder / name
        self._port = consecutive_ports(3)
        said = slurm.run(
            "sbatch", "--parsable", str(ROOT / "deploy" / "slurm" / "corral.sbatch"),
            str(ROOT / "examples" / "cartpole.toml"), *settings,
            PATH=f"{BIN}:{slurm.environment['PATH']}", RUN_FOLDER=str(self.folder), PORT=str(self._port),
            SERVER_HOST="127.0.0.1", LISTEN_HOST="127.0.0.1", TF_CPP_MIN_LOG_LEVEL="3",
        )  # fmt: skip
        self.number = said.split(";")[0]

    def until(self, state: str, timeout_s: float) -> dict[str, str]:
        """What Slurm says of it, once it is in a state."""
        return self.slurm.until_state(self.number, state, timeout_s)

    def until_learning(self, steps: int = 2000) -> int:
        """Wait until the learner has accepted so many steps since its start; how many it has in all."""

        def done() -> int | None:
            assert self.slurm.job(self.number)["JobState"] in ("PENDING", "RUNNING"), self.log
            keys = caller(self.folder / "keys", Role.OPERATOR, Role.LEARNER) if self.ready else None
            figures = keys and fetch_status(f"tcp://127.0.0.1:{self._port + 1}", 0.5, keys=keys)
            if not figures or figures["env_steps"] < figures["env_steps_before"] + steps:
                return None
            return int(figures["env_steps"])

        return int(until(done, 120, f"{steps} steps"))

    @property
    def ready(self) -> bool:
        return (self.folder / "keys" / "operators" / "operator.key_secret").exists()

    @property
    def log(self) -> str:
        """What job and steps said."""
        files = [self.slurm.folder / f"corral-{self.number}.log", *sorted(self.folder.glob("logs/*"))]
        return "\n".join(f"--- {file.name}\n{file.read_text()}" for file in files if file.exists())

    @property
    def result(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.folder / "result.json").read_text())
        return found

    def processes(self) -> dict[str, list[str]]:
        """Role -> the node of each of its processes."""
        found: dict[str, list[str]] = {}
        for role, process in self._processes():
            with contextlib.suppress(psutil.Error):
                found.setdefault(role, []).append(process.environ()["SLURMD_NODENAME"])
        return found

    def kill(self, role: str) -> None:
        """Kill the processes of a role where they stand."""
        for found, process in self._processes():
            if found == role:
                process.kill()

    def _processes(self) -> list[tuple[str, psutil.Process]]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, IndexError):
                words = process.cmdline()
                if str(self.folder / "keys") in words and words[1].endswith("/corral"):
                    found.append((words[2], process))
        return found


def consecutive_ports(number: int) -> int:
    """The first of so many free ports in a row."""

    def row() -> int | None:
        (first,) = free_ports(1)
        return first if first + number < 65_536 else None

    return int(until(row, 10, "ports"))


def test_cartpole_is_solved(slurm: Cluster) -> None:
    job = Job(slurm, "solved", "--set", "run.target_return=195")
    job.until_learning()
    assert job.processes() == {"learner": ["c1"], "server": ["c1"], "actor": ["c2"] * 4}
    assert stat.S_IMODE((job.folder / "keys").stat().st_mode) == 0o700
    assert job.until("COMPLETED", 200)["ExitCode"] == "0:0"
    assert json.loads((job.folder / "summary.json").read_text())["solved"]
    assert (job.folder / "policy.keras").exists()
    assert job.processes() == {}
    assert "Traceback" not in job.log


def test_scancel_ends_it_with_a_checkpoint(slurm: Cluster) -> None:
    job = Job(slurm, "cancelled", *OUT_OF_REACH)
    steps = job.until_learning()
    before = set(job.folder.glob("checkpoints/*"))
    slurm.run("scancel", job.number)
    job.until("CANCELLED", 60)
    until(lambda: not job.processes(), 30, "the end of its processes")
    assert job.result["stopped"]
    assert int(str(job.result["env_steps"])) >= steps
    assert len(set(job.folder.glob("checkpoints/*")) - before) == 1  # the next would have come after a minute
    assert "Traceback" not in job.log


def test_a_job_that_is_out_of_time_goes_on(slurm: Cluster) -> None:
    job = Job(slurm, "requeued", *OUT_OF_REACH)
    steps = job.until_learning()
    # What --signal=B:USR1@120 sends two minutes before the end.
    slurm.run("scancel", "--batch", "--signal=USR1", job.number)
    job.until("PENDING", 60)
    assert job.processes() == {}
    assert job.result["stopped"]
    before = int(str(job.result["env_steps"]))
    assert before >= steps
    # By itself Slurm waits for two minutes: the nodes must have forgotten the first life.
    slurm.run("scontrol", "update", f"JobId={job.number}", "StartTime=now+10")
    assert int(job.until("RUNNING", 60)["Restarts"]) == 1
    assert job.until_learning() >= before + 2000
    slurm.run("scancel", job.number)
    job.until("CANCELLED", 60)


def test_a_server_that_dies_is_started_again(slurm: Cluster) -> None:
    job = Job(slurm, "killed", *OUT_OF_REACH)
    job.until_learning()
    job.kill("server")
    until(lambda: "server ended with 137" in job.log, 30, "the script's word")
    job.until_learning()
    slurm.run("scancel", job.number)
    job.until("CANCELLED", 60)
