"""Messages as our own packers write them, each with what it means beside its bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from corral.protocol import (
    ENDED,
    ROW,
    ErrorCode,
    Failure,
    Hello,
    MessageType,
    Welcome,
    pack_control,
    pack_header,
)
from corral.protocol.tensors import to_frame
from inference_server.answers import Answers
from tests.conformance.counter import ACTION, LABEL, OBSERVATION
from tests.conformance.wire import Leaves, Row, Spec

NONCE, NEXT_NONCE = 0x0102030405060708, 0x1112131415161718
TOKEN, NEXT_TOKEN = 0xFEDCBA9876543210, 0x89ABCDEF01234567
OUTPUT: Spec = {"value": [[], "float32", None, None], "action": [[], "int64", 0, 4]}
POLICY_VERSION = 7
Said = dict[str, Any]
"""One message: who says it, its frames in hexadecimal, and what they mean."""


def said(by: str, header: Said, frames: Sequence[bytes], **means: Any) -> Said:
    """One message. Numbers of 64 bits are text: JSON readers hold them as floats."""
    return {"from": by, "frames": [bytes(frame).hex() for frame in frames], "header": header} | means


def header(type_: MessageType, session: int, sequence: int, rows: int = 0, ended: int = 0) -> Said:
    """What the 24 bytes say."""
    numbers = {"rows": rows, "ended": ended, "session": str(session), "sequence": str(sequence)}
    return {"type": type_.name, "code": int(type_)} | numbers


def control(by: str, type_: MessageType, session: int, sequence: int, body: Any = None) -> Said:
    """A message with a body, or the header alone."""
    frames = [pack_control(type_, session, sequence, body)]
    means = {} if body is None else {"body": _readable(asdict(body))}
    return said(by, header(type_, session, sequence), frames, **means)


def error(session: int, sequence: int, code: ErrorCode, text: str) -> Said:
    """An ERROR of the server's."""
    return control("server", MessageType.ERROR, session, sequence, Failure(code.value, text))


def hello(sequence: int = 1, nonce: int = NONCE) -> Said:
    """An actor's."""
    body = Hello("actor", environments=2, environment=LABEL, host="node-7", observation=OBSERVATION, action=ACTION)
    return control("actor", MessageType.HELLO, nonce, sequence, body)


def welcome(sequence: int = 1, nonce: int = NONCE, token: int = TOKEN) -> Said:
    """To an actor."""
    return control("server", MessageType.WELCOME, nonce, sequence, granted(token, ACTION))


def step(rows: Sequence[Row], sequence: int, token: int = TOKEN) -> Said:
    """STEP."""
    table = np.array([(row.reward, row.environment, row.flags) for row in rows], ROW)
    finals = [row.final for row in rows if row.final is not None]
    assert len(finals) == np.count_nonzero(table["flags"] & ENDED)
    head = pack_header(MessageType.STEP, token, sequence, len(rows), len(finals)) + table.tobytes()
    frames = [head, *tensors([row.observation for row in rows]), *(tensors(finals) if finals else [])]
    means = [{"environment": row.environment, "reward": row.reward, "flags": row.flags} for row in rows]
    for row, meant in zip(rows, means, strict=True):
        meant["observation"] = row.observation  # type: ignore[assignment]
        if row.final is not None:
            meant["final"] = row.final  # type: ignore[assignment]
    return said("actor", header(MessageType.STEP, token, sequence, len(rows), len(finals)), frames, rows=means)


def actions(chosen: Sequence[int], sequence: int, token: int = TOKEN) -> Said:
    """ACTIONS."""
    outputs = {"action": np.array(chosen, np.int64)}
    frame = Answers(MessageType.ACTIONS, outputs, ("action",), POLICY_VERSION).cut(token, sequence, 0, len(chosen))
    head = header(MessageType.ACTIONS, token, sequence, len(chosen))
    return said("server", head, [frame], policy_version=str(POLICY_VERSION), output={"action": list(chosen)})


def infer(observations: Sequence[Leaves], sequence: int) -> Said:
    """INFER."""
    frames = [pack_header(MessageType.INFER, 0, sequence, len(observations)), *tensors(observations)]
    meant = [{"observation": each} for each in observations]
    return said("client", header(MessageType.INFER, 0, sequence, len(observations)), frames, rows=meant)


def outputs(values: Sequence[float], chosen: Sequence[int], sequence: int) -> Said:
    """OUTPUTS, of two leaves."""
    leaves: dict[str, np.ndarray] = {"value": np.array(values, np.float32), "action": np.array(chosen, np.int64)}
    frame = Answers(MessageType.OUTPUTS, leaves, tuple(OUTPUT), POLICY_VERSION).cut(0, sequence, 0, len(chosen))
    meant = {"value": list(values), "action": list(chosen)}
    head = header(MessageType.OUTPUTS, 0, sequence, len(chosen))
    return said("server", head, [frame], policy_version=str(POLICY_VERSION), output=meant)


def tensors(rows: Sequence[Leaves]) -> list[bytes]:
    """One frame for each leaf."""
    columns = {name: [row[name] for row in rows] for name in OBSERVATION}
    return [bytes(to_frame(np.array(columns[name], leaf[1]))) for name, leaf in OBSERVATION.items()]


def granted(token: int, output: Spec) -> Welcome:
    """The body of a WELCOME."""
    return Welcome(
        version=1,
        session=token,
        first_environment=0,
        observation=OBSERVATION,
        output=dict(output),
        max_rows=16,
        lease_s=30.0,
        policy_version=POLICY_VERSION,
        cursor=0,
        window=1,
        taken=2,
        slots=64,
    )


def _readable(body: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if name == "session" else value for name, value in body.items()}
