"""What actors and clients have in common: how they greet, how they are answered, what they may repeat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.conformance.counter import ACTION, ENVIRONMENTS, LABEL, OBSERVATION
from tests.conformance.stage import Failed, Message
from tests.conformance.wire import ERROR, VERSION, Header, WireError, pack_body, read_body

FIELDS = {
    "role": str,
    "versions": list,
    "environments": int,
    "environment": str,
    "first_environment": int,
    "host": str,
    "epoch": int,
    "observation": dict,
    "action": dict,
}
TOO_SOON_S = 0.2
"""A request that is sent again within so many seconds is no resend but a flood."""


def expect(found: Any, wanted: Any, what: str) -> None:
    """Raises `Failed` where they differ."""
    if found != wanted:
        raise Failed(f"{what} is {found!r}, not {wanted!r}")


def error(message: Message, code: str, text: str = "as the script has it") -> bytes:
    """An ERROR that answers `message`."""
    header = message.header
    return pack_body(Header(ERROR, 0, 0, header.session, header.sequence), {"code": code, "text": text})


def welcome(spec: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """The body of WELCOME."""
    body = {
        "version": VERSION,
        "session": 0,
        "first_environment": 0,
        "observation": dict(spec),
        "output": {},
        "max_rows": 16,
        "lease_s": 30,
        "policy_version": 7,
        "cursor": 0,
        "window": 1,
        "taken": 2,
        "slots": 64,
    }
    return body | changes


def check_actor(message: Message) -> Mapping[str, Any]:
    """The HELLO of an actor; its observation spec, in its order."""
    body = check_hello(message)
    expect(body["role"], "actor", "role")
    expect(body["environments"], ENVIRONMENTS, "environments")
    expect(body["environment"], LABEL, "environment")
    if body["first_environment"] < -1 or body["first_environment"] > 2**62:
        raise Failed(f"first_environment is {body['first_environment']} (Bodies)")
    shapes = {name: leaf[:2] for name, leaf in body["observation"].items()}
    expect(shapes, {name: leaf[:2] for name, leaf in OBSERVATION.items()}, "observation, leaf by leaf")
    if any(len(leaf) != 4 for leaf in body["observation"].values()):
        raise Failed("a leaf of a spec is [shape, dtype, minimum, maximum] (Tensors)")
    expect(body["action"], ACTION, "action")
    return body["observation"]  # type: ignore[no-any-return]


def check_client(message: Message) -> None:
    """The HELLO of a client."""
    body = check_hello(message)
    expect(message.header.session, 0, "the session of a client's HELLO")
    expect((body["role"], body["environments"]), ("client", 0), "role and environments")
    expect((body["observation"], body["action"]), ({}, {}), "observation and action")


def check_hello(message: Message) -> dict[str, Any]:
    """What every HELLO has: exactly the fields of the page."""
    expect((message.header.rows, message.header.ended), (0, 0), "rows and ended of HELLO (The header)")
    body = read_body(message.frames[0])
    expect(sorted(body), sorted(FIELDS), "the fields of HELLO (Bodies)")
    wrong = [name for name, type_ in FIELDS.items() if type(body[name]) is not type_]
    if wrong:
        raise WireError(f"HELLO.{wrong[0]} is {body[wrong[0]]!r}, which is of another type (Bodies)")
    if VERSION not in body["versions"]:
        raise Failed(f"versions are {body['versions']}; {VERSION} is not among them (HELLO)")
    expect(body["epoch"], 0, "epoch")
    return body


def not_too_soon(first: Message, again: Message, pause_s: float = TOO_SOON_S) -> None:
    """Raises `Failed` where something was sent again at once."""
    if again.at - first.since < pause_s:
        after = f"a {again.header.name} was sent again after {again.at - first.at:.3f} s"
        raise Failed(f"{after}; {pause_s:g} s are the least (Asking)")
