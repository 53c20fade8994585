"""A stage: every process that one load needs, started once and measured again and again."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from corral.bench.child import Message
from corral.bench.load import Load
from corral.bench.processes import BenchProcess
from corral.bench.result import Result
from corral.bench.rounds import Gauges, Round, add_pushes
from corral.launch.errors import UserError
from corral.protocol import fetch_status, spec_from_wire
from corral.protocol.keys import Role, caller, make_pair

WARM_UP_S = 0.7
"""Seconds of load before the clock starts."""
IN_ONE_CROWD = 2_000
"""Idle actors in one process: two file descriptors each, of some 20,000 that a process may have."""


class Stage:
    """A server (started here, or one that runs), a learner for STEP, an echo, the model alone, and the clients.

    Args:
      model: a reference's name, a .keras file or an experiment; ignored where `server` is given.
      batching: the server's settings: "timeout_us", "max_size", "buckets".
      server: the address of a running server; None starts one.
      keys: the folder of an actor's and an operator's keys, where that server has keys.
      floors: whether the limits are measured too.
      serving: settings of a server that is started, beside its batching.
      pin: the server on the first core, the clients on the others.
      say: told what is being waited for.

    Raises:
      UserError: a process could not start; the text says why.
    """

    def __init__(
        self,
        model: str,
        load: Load,
        batching: dict[str, Any],
        *,
        server: str | None = None,
        keys: str = "",
        floors: bool = True,
        pin: bool = False,
        serving: Mapping[str, Any] = MappingProxyType({}),
        say: Callable[[str], object] = lambda text: None,
    ) -> None:
        self.load = load
        self._batching = batching
        self._serving = dict(serving)
        self._model = model
        self._pin = pin
        self._stack = ExitStack()
        self._floors = floors
        self._say = say
        if pin and not hasattr(os, "sched_getaffinity"):
            raise UserError("--pin: this system cannot tie processes to cores")
        cores = sorted(os.sched_getaffinity(0)) if pin else []
        if pin and len(cores) < 2:
            raise UserError("--pin needs two cores: one for the server, the others for the clients")
        self._server_cores, self._client_cores = cores[:1], cores[1:]
        self._folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="corral-bench-"))
        self._keys = keys if server is not None else self._own_keys()
        self._operator = caller(self._keys, Role.OPERATOR, towards=Role.SERVER)
        try:
            self._start(server)
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process."""
        self._stack.close()

    @property
    def needs_learner(self) -> bool:
        """Whether the server's weights come from a learner."""
        return self.load.request == "step" or self.load.push_every_s > 0

    @property
    def _largest_batch(self) -> int:
        """The most rows that the clients can make the server compute at once."""
        return min(self.load.clients * self.load.rows, int(self._batching["max_size"]))

    def measure(self, seconds: float) -> Result:
        """One measurement of `seconds`, and as long for each of the limits."""
        result = self._measure_server(seconds)
        if self._floors:
            self._measure_floors(result, seconds)
        return result

    def _start(self, server: str | None) -> None:
        load = self.load
        self._echo = self._alone = self._server = self._learner = None
        self._clients = [
            self._process("clients", self._client_cores, load=asdict(load), number=number, folder=self._folder)
            for number in range(load.processes)
        ]
        addresses = [self._address(name) for name in ("unrolls", "weights")] if self.needs_learner else []
        served_for = "step" if addresses else "infer"
        if server is None:
            self._server = self._process(
                "server",
                self._server_cores,
                model=self._model,
                request=served_for,
                address=self._address("server"),
                environments=load.clients * load.rows + load.idle,
                batching=self._batching,
                serving=self._serving,
                learner=addresses,
                keys=self._keys,
            )
        if addresses:
            self._learner = self._process(
                "learner",
                self._client_cores,
                model=self._model,
                request="step",
                learner=addresses,
                keys=self._keys,
            )
        if self._floors and server is None:
            self._alone = self._process(
                "alone",
                self._server_cores,
                model=self._model,
                request=served_for,
                rows=load.rows,
                batch=self._largest_batch,
            )
        self._know_server(server)
        if self._floors:
            self._echo = self._process(
                "echo",
                self._server_cores,
                address=self._address("echo"),
                frame_bytes=self._frame_bytes(),
                keys=self._keys,
            )
            self._echo_address = self._echo.hear()["address"]
        for process in (*self._clients, self._learner, self._alone):
            if process is not None:
                process.hear()
        self._wait_until_ready()
        if load.push_every_s:
            self._expected = f"{self._folder}/expected.npz"
            assert self._learner is not None
            self._learner.ask({"expect": self._expected, "rows": load.rows, "clients": load.clients})
        self._kb_per_idle = self._start_crowd()

    def _know_server(self, server: str | None) -> None:
        if self._server is not None:
            self._say("starting the server")
            self._facts = self._server.hear()
            self.address: str = self._facts["address"]
            return
        assert server is not None
        from actor_client import PolicyClient
        from corral.protocol import spec_to_wire

        with PolicyClient(server, timeout_s=10, keys=self._keys) as client:
            self._facts = {"observation": spec_to_wire(client.observation), "outputs": spec_to_wire(client.outputs)}
        self.address = server

    def _process(self, role: str, cores: list[int], **settings: Any) -> BenchProcess:
        return self._stack.enter_context(BenchProcess(role=role, cores=cores, **settings))

    def _own_keys(self) -> str:
        """The folder of keys for this occasion; empty where the load wants none."""
        if self.load.transport != "curve":
            return ""
        folder = Path(self._folder) / "keys"
        for role, name in ((Role.SERVER, ""), (Role.LEARNER, ""), (Role.ACTOR, "bench"), (Role.OPERATOR, "bench")):
            make_pair(folder, role, name)
        return str(folder)

    def _status(self, timeout_s: float) -> Message:
        return fetch_status(self.address, timeout_s, keys=self._operator) or {}

    def _address(self, name: str) -> str:
        return f"ipc://{self._folder}/{name}" if self.load.transport == "ipc" else _free_tcp()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while not self._status(1.0).get("ready"):
            if time.monotonic() > deadline:
                raise UserError(f"the server at {self.address} is not ready after 60 s")
            time.sleep(0.02)

    def _start_crowd(self) -> float:
        idle = self.load.idle
        if not idle:
            return 0.0
        assert self._server is not None
        self._say(f"connecting {idle:,} idle actors")
        before = self._server.memory_bytes()
        shares = [min(IN_ONE_CROWD, idle - start) for start in range(0, idle, IN_ONE_CROWD)]
        for share in shares:
            where = {"address": self.address, "keys": self._keys}
            crowd = self._process("crowd", self._client_cores, count=share, **where, **self._specs())
            crowd.hear()
        return (self._server.memory_bytes() - before) / idle / 1e3

    def _specs(self) -> Message:
        return {name: self._facts.get(name, {}) for name in ("observation", "action", "outputs")}

    def _frame_bytes(self) -> int:
        spec = spec_from_wire(self._facts["observation"])
        return self.load.rows * max(leaf.nbytes for leaf in spec.values())

    def _play(self, address: str, seconds: float, *, join: bool, checked: bool = False) -> Round:
        expected = self._expected if checked else None
        for client in self._clients:
            words = {"address": address, "keys": self._keys, "join": join, "expected": expected}
            client.tell(words | self._specs())
        for client in self._clients:
            client.hear()
        start = time.monotonic() + WARM_UP_S
        stop = start + seconds
        for client in self._clients:
            client.tell({"start": start, "stop": stop})
        if checked and self._learner is not None:
            self._learner.tell({"start": start, "stop": stop - 0.2, "every_s": self.load.push_every_s})
        time.sleep(max(0.0, start - time.monotonic()))
        before = self._gauges(address)
        time.sleep(max(0.0, stop - 0.05 - time.monotonic()))
        after = self._gauges(address)
        told = [client.hear(seconds + 60) for client in self._clients]
        return Round(before, after, told)

    def _gauges(self, address: str) -> Gauges:
        figures = self._status(5.0) if address == self.address else {}
        return {
            "moment": time.monotonic(),
            "server": self._server.cpu_s() if self._server else 0.0,
            "learner": self._learner.cpu_s() if self._learner else 0.0,
            "clients": sum(client.cpu_s() for client in self._clients),
            **{name: float(figures.get(name, 0)) for name in ("rows", "batches", "traces")},
        }

    def _measure_server(self, seconds: float) -> Result:
        load = self.load
        self._say(f"{load.clients} clients in {load.processes} processes")
        round_ = self._play(self.address, seconds, join=load.request == "step", checked=load.push_every_s > 0)
        result = self._result(round_, seconds)
        if load.push_every_s:
            assert self._learner is not None
            add_pushes(result, round_, self._learner.hear()["published"])
        return result

    def _result(self, round_: Round, seconds: float) -> Result:
        load, status = self.load, self._status(5.0)
        latency_ms = round_.collect("latency_s") * 1e3
        if not len(latency_ms):
            raise UserError(f"nobody was answered: {round_.errors().most_common(1) or 'no answer came in time'}")
        p50, p90, p99 = np.percentile(latency_ms, (50, 90, 99)).tolist()
        answers = len(latency_ms) / seconds
        errors = round_.errors()
        return Result(
            model=self._model if self._server else f"at {self.address}",
            backend=_backend(),
            request=load.request,
            clients=load.clients,
            processes=load.processes,
            rows=load.rows,
            transport="curve" if self._keys else self.address.partition(":")[0],
            rate=load.rate,
            think_us=load.think_us,
            idle=load.idle,
            timeout_us=status.get("timeout_us", 0),
            max_size=status.get("max_size", 0),
            pinned=self._pin,
            seconds=seconds,
            answers_per_s=answers,
            rows_per_s=answers * load.rows,
            p50_ms=p50,
            p90_ms=p90,
            p99_ms=p99,
            max_ms=float(latency_ms.max()),
            mean_batch=round_.gained("rows") / max(1.0, round_.gained("batches")),
            server_cpu=round_.per_s("server"),
            client_cpu=round_.per_s("clients"),
            learner_cpu=round_.per_s("learner"),
            compiled=int(round_.gained("traces")),
            errors=sum(errors.values()),
            error_texts=dict(errors),
            overdue=sum(told["overdue"] for told in round_.told),
            kb_per_idle=self._kb_per_idle,
            torn=sum(told["wrong"] for told in round_.told),
        )

    def _measure_floors(self, result: Result, seconds: float) -> None:
        load = self.load
        self._say("the sockets alone")
        if not load.rate and not load.think_us:
            echo = self._play(self._echo_address, seconds, join=False)
            result.echo_per_s = len(echo.collect("latency_s")) / seconds
            result.echo_ratio = result.answers_per_s / result.echo_per_s
        if self._alone is not None:
            self._say("the model alone")
            found = self._alone.ask({"seconds": seconds})
            batch = self._largest_batch
            result.model_only_per_s = batch / found["full_s"]
            result.efficiency = result.rows_per_s / result.model_only_per_s
            result.model_call_ms = found["call_s"] * 1e3
            result.copy_per_s = batch / found["copy_s"]


def _backend() -> str:
    return os.environ.get("KERAS_BACKEND", "tensorflow")


def _free_tcp() -> str:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"
