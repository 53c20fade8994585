"""Control messages: a header and a msgpack body in one frame (docs/protocol.md, "Control messages").

Each body is a dataclass; its fields are all the keys there are, and their types are checked.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, TypeVar

import msgpack

from corral.protocol.errors import ErrorCode, ProtocolError
from corral.protocol.header import HEADER_BYTES, VERSION, MessageType, pack_header
from corral.protocol.limits import MAX_CONTROL_BYTES, MAX_TEXT

Body = TypeVar("Body")

_SHOWN = 32
"""Items of a peer's list that an error repeats."""


@dataclass(frozen=True)
class Hello:
    """Who is calling, and what it holds.

    Attributes:
      role: "actor" (STEP), "client" (INFER), or "server" (towards the learner).
      versions: the protocol versions that the caller speaks.
      environments: how many environments an actor steps, one slot each; else 0.
      environment: what an actor runs, by name and arguments; empty where it does not say.
      first_environment: the run-wide number of the actor's first environment, which seeds its exploration;
        -1 lets the server choose.
      host: the name of the machine that an actor runs on, for people; empty where it does not say.
      epoch: on a server's weights line: of the weights that it holds (the header's sequence is their version).
      observation: the actor's observation spec; the stored unroll's spec from a server; else empty.
      action: the actor's action spec as one leaf named "action"; else empty.
    """

    role: str
    versions: list[int] = field(default_factory=lambda: [VERSION])
    environments: int = 0
    environment: str = ""
    first_environment: int = -1
    host: str = ""
    epoch: int = 0
    observation: dict[str, Any] = field(default_factory=dict)
    action: dict[str, Any] = field(default_factory=dict)

    def check_version(self) -> None:
        """Raises `ProtocolError` (VERSION) where no version is spoken by both sides."""
        if VERSION not in self.versions:
            raise ProtocolError(
                ErrorCode.VERSION,
                f"this side speaks protocol version {VERSION}, the caller speaks {_some(self.versions)}: "
                "install the same Corral release on both sides",
            )


@dataclass(frozen=True)
class Welcome:
    """What the server holds and grants.

    Attributes:
      version: the protocol version that both sides speak from here on.
      session: the token of the actor's session; 0 for a client.
      first_environment: the run-wide number of the actor's first environment; 0 for others.
      observation: leaf name -> tensor spec of the rows that the server takes.
      output: leaf name -> tensor spec of the rows that it answers with.
      max_rows: most rows of one message.
      lease_s: seconds of silence after which a session ends.
      policy_version: the policy version that now acts.
      cursor: towards a server: the last UNROLLS sequence that the learner has accepted from it.
      window: towards a server: most unrolls that may wait for acceptance.
      taken: how many environments the server steps, the caller's included.
      slots: how many it can step.
    """

    version: int
    session: int
    first_environment: int
    observation: dict[str, Any]
    output: dict[str, Any]
    max_rows: int
    lease_s: float
    policy_version: int
    cursor: int
    window: int
    taken: int = 0
    slots: int = 0


@dataclass(frozen=True)
class Failure:
    """The body of an ERROR."""

    code: str
    text: str

    def error(self) -> ProtocolError:
        """The failure as the exception that it stands for; an unknown code becomes INTERNAL."""
        known = self.code in ErrorCode.__members__
        return ProtocolError(ErrorCode(self.code) if known else ErrorCode.INTERNAL, self.text)


@dataclass(frozen=True)
class UnrollManifest:
    """What an UNROLLS message carries before its leaves.

    Attributes:
      unrolls: how many unrolls the leaves hold side by side.
      steps: environment steps completed since the last manifest.
      episodes: `[return, length]` of every episode that ended since the last manifest.
      held: environment steps that these unrolls hold and no earlier one did.
      held_before: the same of all parcels before this one, since the server began.
    """

    unrolls: int
    steps: int
    episodes: list[list[float]]
    held: int = 0
    held_before: int = 0


@dataclass(frozen=True)
class WeightManifest:
    """What a WEIGHTS message carries before its tensors; the header holds epoch and version.

    Attributes:
      tensors: name -> tensor spec, in the order of the frames.
      checksum: BLAKE2b-128 over the frames in order.
    """

    tensors: dict[str, Any]
    checksum: bytes


@dataclass(frozen=True)
class Change:
    """The body of a SET: settings that shall change while the server runs.

    Attributes:
      settings: dotted key, as in an experiment file ("server.batching.timeout_us") -> value.
    """

    settings: dict[str, Any]


@dataclass(frozen=True)
class Command:
    """The body of a COMMAND: something to do once.

    Attributes:
      name: "drain" (to a server or learner); "pause", "resume" or "checkpoint" (to a learner).
    """

    name: str


@dataclass(frozen=True)
class Question:
    """The body of a STATUS that asks for more than figures; it may be left out.

    Attributes:
      actors: how many actors the report shall list at most; 0 for none.
    """

    actors: int


@dataclass(frozen=True)
class Work:
    """The body of a HEARTBEAT: what the actor's session has come to so far; it may be left out.

    Attributes:
      environment_s: seconds spent in the environments: stepping, resetting, and all that is not waiting.
      wait_s: seconds spent waiting for answers.
      requests: STEPs answered.
      steps: rows of these.
    """

    environment_s: float
    wait_s: float
    requests: int
    steps: int


@dataclass(frozen=True)
class Report:
    """The body of a REPORT: flat figures under the names that docs/protocol.md lists."""

    figures: dict[str, Any]


def pack_control(type_: MessageType, session: int, sequence: int, body: Any = None) -> bytes:
    """One frame: a header, and `body` (a dataclass of this module) behind it where there is one."""
    head = pack_header(type_, session, sequence)
    return head if body is None else head + msgpack.packb(asdict(body))


def unpack_optional(body_type: type[Body], frame: bytes) -> Body | None:
    """The body behind the header of `frame`, or None where there is none. Raises like `unpack_control`."""
    return unpack_control(body_type, frame) if len(frame) > HEADER_BYTES else None


def unpack_control(body_type: type[Body], frame: bytes) -> Body:
    """The body behind the header of `frame`.

    Raises:
      ProtocolError: MALFORMED, naming the first field that is missing, unknown or of a wrong type.
    """
    if len(frame) > MAX_CONTROL_BYTES:
        raise ProtocolError(
            ErrorCode.MALFORMED, f"a control message of {len(frame)} bytes; at most {MAX_CONTROL_BYTES}"
        )
    name = body_type.__name__
    try:
        value = msgpack.unpackb(frame[HEADER_BYTES:], strict_map_key=True)
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise ProtocolError(ErrorCode.MALFORMED, f"the body of {name} is no msgpack: {error}") from error
    if not isinstance(value, dict):
        raise ProtocolError(ErrorCode.MALFORMED, f"the body of {name} is no map")
    expected = _field_types(body_type)  # type: ignore[arg-type]
    if value.keys() != expected.keys():
        raise ProtocolError(
            ErrorCode.MALFORMED, f"{name} has the fields {sorted(expected)}, not {_some(sorted(map(str, value)))}"
        )
    for key, kind in expected.items():
        if not _check_of(kind)(value[key]):
            raise ProtocolError(ErrorCode.MALFORMED, f"{name}.{key} is no {kind}")
    return body_type(**value)


def _some(values: list[Any]) -> str:
    """The first of a list that can be long."""
    return f"[{', '.join(map(repr, values[:_SHOWN]))}, ...]" if len(values) > _SHOWN else str(values)


@cache
def _field_types(body_type: Any) -> dict[str, Any]:
    return typing.get_type_hints(body_type)


_EXACT: dict[Any, frozenset[type]] = {
    int: frozenset({int}),
    float: frozenset({int, float}),
    bytes: frozenset({bytes}),
}
"""What a value's type alone decides."""


@cache
def _check_of(kind: Any) -> Callable[[Any], bool]:
    """Whether a value is of `kind`, as a function."""
    if kind is Any:
        return lambda value: True
    if kind is str:
        return lambda value: isinstance(value, str) and len(value) <= MAX_TEXT
    if kind in _EXACT:
        return lambda value: type(value) in _EXACT[kind]
    all_fit = [_check_all_of(argument) for argument in typing.get_args(kind)]
    if typing.get_origin(kind) is list:
        return lambda value: isinstance(value, list) and all_fit[0](value)
    return lambda value: isinstance(value, dict) and all_fit[0](value) and all_fit[1](value.values())


def _check_all_of(kind: Any) -> Callable[[Iterable[Any]], bool]:
    """Whether all values are of `kind`: a body can hold a million, and the receiver serves others too."""
    if kind is Any:
        return lambda values: True
    if kind in _EXACT:
        return lambda values: _EXACT[kind].issuperset(map(type, values))
    return lambda values: all(map(_check_of(kind), values))
