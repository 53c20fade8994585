"""A Slurm cluster of one machine: its controller, and two nodes that are two daemons, in a folder of their own."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.support.ports import free_ports
from tests.support.processes import until
from tests.support.programs import program

CPUS = 8
"""Processors that each node pretends to have."""
_CONFIGURATION = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
SlurmdParameters=config_overrides
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
KillWait=30
ReturnToService=2
NodeName=c1 NodeHostname=localhost NodeAddr=127.0.0.1 Port={first} CPUs={cpus}
NodeName=c2 NodeHostname=localhost NodeAddr=127.0.0.1 Port={second} CPUs={cpus}
PartitionName=all Nodes=c[1-2] Default=YES MaxTime=INFINITE State=UP
"""


class Cluster:
    """A running one.

    Attributes:
      folder: its own.
      environment: what its commands need to find it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start it, and wait until both nodes would take jobs."""
        controller, first, second = free_ports(3)
        for name, mode in (("munge", 0o711), ("state", 0o700), ("spool", 0o700)):
            (self.folder / name).mkdir(mode)
        munge = self.folder / "munge"
        (munge / "key").write_bytes(os.urandom(1024))
        (munge / "key").chmod(0o400)
        (self.folder / "slurm.conf").write_text(
            _CONFIGURATION.format(
                folder=self.folder,
                user=pwd.getpwuid(os.getuid()).pw_name,
                controller=controller,
                first=first,
                second=second,
                cpus=CPUS,
            )
        )
        own = [f"--{name}={munge}/{name}" for name in ("socket", "pid-file", "log-file", "seed-file")]
        # --force: other users may enter the folders above, such as /tmp.
        self._daemon("munged", "--foreground", "--force", f"--key-file={munge}/key", *own)
        until((munge / "socket").exists, 30, "munged")
        self._daemon("slurmctld", "-D")
        for node in ("c1", "c2"):
            self._daemon("slurmd", "-D", "-N", node)
        idle = ["sinfo", "--noheader", "--states=idle", "--format=%D"]
        until(lambda: self._run(*idle).stdout.strip() == "2", 60, f"two nodes: {self._words()}")

    def run(self, *command: str, **environment: str) -> str:
        """What one of Slurm's commands prints. Raises `AssertionError` where it fails."""
        done = self._run(*command, **environment)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """What the controller knows of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.run("scontrol", "--oneliner", "show", "job", number)))

    def until_state(self, number: str, state: str, timeout_s: float) -> dict[str, str]:
        """The job, once it is in `state`, such as COMPLETED."""

        def reached() -> dict[str, str] | None:
            job = self.job(number)
            return job if job["JobState"] == state else None

        return until(reached, timeout_s, f"{state}, instead of {self.job(number)}")

    def cancel_all(self) -> None:
        """End every job, and wait until nothing is left of any."""
        self._run("scancel", "--user", pwd.getpwuid(os.getuid()).pw_name)
        until(lambda: not self._run("squeue", "--noheader").stdout.strip(), 60, "the end of all jobs")

    def end(self) -> None:
        """End every job, and then the daemons."""
        with contextlib.suppress(subprocess.SubprocessError, TimeoutError):
            self.cancel_all()
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in self._daemons:
            daemon.wait(20)

    def _daemon(self, name: str, *arguments: str) -> None:
        with (self.folder / f"{name}-{len(self._daemons)}.log").open("wb") as log:
            self._daemons.append(
                subprocess.Popen(
                    [daemon(name), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self.environment,
                    cwd=self.folder,
                )
            )

    def _run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def _words(self) -> str:
        return "\n".join(file.read_text()[-1000:] for file in sorted(self.folder.glob("*.log")))


def daemon(name: str) -> str:
    """The path of one of Slurm's programs, or Munge's. Skips without; fails where REQUIRE_SLURM=1 is set."""
    os.environ["PATH"] += "" if "/usr/sbin" in os.environ["PATH"] else ":/usr/sbin"
    return program(name, "slurmctld, slurmd, slurm-client and munge", "REQUIRE_SLURM")


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster that is gone when the block ends."""
    for name in ("munged", "slurmctld", "slurmd", "sbatch"):
        daemon(name)
    found = Cluster(folder)
    try:
        found.start()
        yield found
    finally:
        found.end()
