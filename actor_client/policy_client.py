"""`PolicyClient`: ask a server for what its policy would do, from any number of threads."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import zmq

from actor_client.answers import unpack_answer
from actor_client.backoff import Backoff
from actor_client.line import LATER, Line
from corral.protocol import (
    ErrorCode,
    Header,
    Hello,
    MessageType,
    ProtocolError,
    Spec,
    Welcome,
    pack_control,
    pack_header,
    spec_from_wire,
    unpack_control,
)
from corral.protocol.keys import Role, caller
from corral.protocol.tensors import check_rows, to_frame


class PolicyClient:
    """Asks a server for predictions. Threads share it freely; a forked child gets sockets of its own.

        client = PolicyClient("tcp://127.0.0.1:5555")
        outputs = client.infer(observations)  # {"logits": [n, 2], "value": [n, 1]}

    Args:
      address: the server's, `tcp://HOST:PORT` or `ipc://PATH`.
      keys: the folder of an actor's keys, where the server has keys.
      timeout_s: silence after which `infer` gives up; a request is sent again every quarter of it. One that a busy
        server will not take is asked again, at growing intervals, for as long.

    Raises:
      AddressError: the address is malformed.
      KeysError: the keys cannot be used.
    """

    def __init__(self, address: str, *, timeout_s: float = 30.0, keys: Path | str | None = None) -> None:
        self.address = address
        self._keys = caller(keys, Role.ACTOR, towards=Role.SERVER)
        self._timeout_s = timeout_s
        self._idle: list[Line] = []
        self._welcome: tuple[Spec, Spec, int] | None = None
        self._forget_sockets()
        self._line().close()  # a malformed address is told here, not at the first request

    def __enter__(self) -> PolicyClient:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def observation(self) -> Spec:
        """What the server takes: leaf name -> spec of one row."""
        return self._greeted()[0]

    @property
    def outputs(self) -> Spec:
        """What the server answers with: leaf name -> spec of one row."""
        return self._greeted()[1]

    def infer(self, observation: Mapping[str, Any] | Any) -> dict[str, np.ndarray]:
        """The policy's outputs for `n` rows.

        Args:
          observation: an array `[n, ...]`, or leaf name -> array `[n, ...]` where the policy takes several.
            Numbers of another precision are converted where nothing is lost in kind (float64 to float32,
            int64 to uint8 in range); anything else is refused. More rows than the server takes at once are
            sent in several requests.

        Returns:
          leaf name -> array `[n, ...]`.

        Raises:
          ProtocolError: SPEC for wrong leaves, shapes or dtypes; BUSY where the server took nothing in all that
            time; whatever else it refused.
          UnansweredError: no server answered in time.
        """
        spec, outputs, max_rows = self._greeted()
        leaves = self._as_leaves(observation, spec)
        rows = check_rows(leaves, spec)
        if rows == 0:
            return {name: leaf.zeros(0) for name, leaf in outputs.items()}
        with self._borrowed_line() as line:
            parts = [
                self._ask(line, {name: leaf[start : start + max_rows] for name, leaf in leaves.items()}, outputs)
                for start in range(0, rows, max_rows)
            ]
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in outputs}

    def close(self) -> None:
        """Close every idle socket. The client can be used again all the same."""
        with self._lock:
            idle, self._idle = self._idle, []
        for line in idle:
            line.close()

    def _ask(self, line: Line, leaves: Mapping[str, np.ndarray], outputs: Spec) -> dict[str, np.ndarray]:
        rows = len(next(iter(leaves.values())))
        frames = [to_frame(leaf) for leaf in leaves.values()]

        def message(sequence: int) -> list[bytes | memoryview]:
            return [pack_header(MessageType.INFER, 0, sequence, rows=rows), *frames]

        header, frame = self._ask_until_served(line, message)
        return unpack_answer(header, frame, outputs)[1]

    def _ask_until_served(
        self, line: Line, message: Callable[[int], list[bytes | memoryview]]
    ) -> tuple[Header, bytes]:
        """Ask, and ask again, ever more seldom, while the server is busy, drains, or has no weights yet."""
        backoff, deadline = Backoff(), time.monotonic() + self._timeout_s
        while True:
            # A number of its own for each try: the refusal of an earlier one may come late.
            sequence = next(self._sequence)
            try:
                return line.ask(message(sequence), 0, sequence)
            except ProtocolError as error:
                pause_s = backoff.next_s()
                if error.code not in LATER or time.monotonic() + pause_s > deadline:
                    raise
                time.sleep(pause_s)

    def _as_leaves(self, observation: Mapping[str, Any] | Any, spec: Spec) -> dict[str, np.ndarray]:
        if not isinstance(observation, Mapping):
            if len(spec) != 1:
                raise ProtocolError(ErrorCode.SPEC, f"this policy takes a mapping with the leaves {list(spec)}")
            observation = {next(iter(spec)): observation}
        if observation.keys() != spec.keys():
            raise ProtocolError(ErrorCode.SPEC, f"the leaves are {list(spec)}, not {list(observation)}")
        return {name: _converted(observation[name], leaf.dtype) for name, leaf in spec.items()}

    def _greeted(self) -> tuple[Spec, Spec, int]:
        self._look_out_for_fork()
        with self._lock:
            if self._welcome is None:
                self._welcome = self._greet()
            return self._welcome

    def _greet(self) -> tuple[Spec, Spec, int]:
        line = self._line()
        hello = Hello("client")
        try:
            _, frame = self._ask_until_served(
                line, lambda sequence: [pack_control(MessageType.HELLO, 0, sequence, hello)]
            )
        finally:
            line.close()
        welcome = unpack_control(Welcome, frame)
        return spec_from_wire(welcome.observation), spec_from_wire(welcome.output), welcome.max_rows

    @contextmanager
    def _borrowed_line(self) -> Iterator[Line]:
        """A socket that no other thread uses: an idle one, else a new one. One that failed is not used again."""
        with self._lock:
            line = self._idle.pop() if self._idle else None
        line = line or self._line()
        try:
            yield line
        except BaseException:
            line.close()
            raise
        with self._lock:
            self._idle.append(line)

    def _line(self) -> Line:
        return Line(
            self._context,
            self.address,
            resend_after_s=self._timeout_s / 4,
            give_up_after_s=self._timeout_s,
            keys=self._keys,
        )

    def _look_out_for_fork(self) -> None:
        # Sockets of the parent must not be touched in a child, not even to close them.
        if self._pid != os.getpid():
            self._forget_sockets()

    def _forget_sockets(self) -> None:
        self._pid = os.getpid()
        self._context = zmq.Context()
        self._lock = threading.Lock()
        self._sequence = itertools.count(1)
        self._idle = []
        self._welcome = None


def _converted(values: Any, dtype: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype == dtype:
        return array
    target = np.dtype(dtype)
    if array.dtype.kind in "iu" and target.kind in "iu" and array.size:
        limits = np.iinfo(target)
        fits = limits.min <= int(array.min()) and int(array.max()) <= limits.max
    else:
        fits = np.can_cast(array.dtype, target, "same_kind")
    return array.astype(target) if fits else array
