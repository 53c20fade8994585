"""The recorded exchanges: up to date, and read alike by our own unpackers and by the suite's."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from actor_client.answers import unpack_answer
from corral.protocol import (
    ROW,
    Failure,
    Hello,
    MessageType,
    Question,
    Report,
    TensorSpec,
    Welcome,
    Work,
    spec_from_wire,
    unpack_header,
    unpack_optional,
)
from corral.protocol.tensors import from_frame
from tests.conformance import wire
from tests.conformance.record import FOLDER, TOPICS, document
from tests.conformance.scenarios import SCENARIOS

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
BODIES = {
    MessageType.HELLO: Hello,
    MessageType.WELCOME: Welcome,
    MessageType.ERROR: Failure,
    MessageType.HEARTBEAT: Work,
    MessageType.STATUS: Question,
    MessageType.REPORT: Report,
}
TENSORS = (MessageType.STEP, MessageType.INFER)
ANSWERS = (MessageType.ACTIONS, MessageType.OUTPUTS)

RECORDED = [json.loads(file.read_text()) for file in sorted(FOLDER.iterdir())]
EXCHANGES = [
    pytest.param(recorded["specs"], exchange, id=f"{recorded['topic']}: {exchange['name']}")
    for recorded in RECORDED
    for exchange in recorded["exchanges"]
]


@pytest.mark.parametrize("topic", TOPICS)
def test_the_files_are_up_to_date(topic: str) -> None:
    assert (FOLDER / f"{topic}.json").read_text() == document(topic), "run: python -m tests.conformance.record"


def test_there_are_no_other_files() -> None:
    assert {file.name for file in FOLDER.iterdir()} == {f"{topic}.json" for topic in TOPICS}


def test_the_sections_are_those_of_the_page() -> None:
    named = {exchange["section"] for recorded in RECORDED for exchange in recorded["exchanges"]}
    for play in SCENARIOS.values():
        (sections,) = re.findall(r"\(([^()]+)\)\.$", play.__doc__ or "")
        named.update(sections.split("; "))
    headings = re.findall(r"^##+ (.*)$|^\*\*(.*?)\.?\*\*", PAGE, re.MULTILINE)
    assert named <= {name for pair in headings for name in pair}


@pytest.mark.parametrize(("specs", "exchange"), EXCHANGES)
def test_our_unpackers_read_what_was_meant(specs: dict[str, Any], exchange: dict[str, Any]) -> None:
    for message in exchange["messages"]:
        frames = [bytes.fromhex(frame) for frame in message["frames"]]
        header = unpack_header(frames[0])
        assert message["header"] == {
            "type": MessageType(header.type).name,
            "code": header.type,
            "rows": header.rows,
            "ended": header.ended,
            "session": str(header.session),
            "sequence": str(header.sequence),
        }
        type_ = MessageType(header.type)
        if type_ in TENSORS:
            assert message["rows"] == our_rows(frames, spec_from_wire(specs["observation"]))
        elif type_ in ANSWERS:
            names = ("action",) if type_ is MessageType.ACTIONS else tuple(specs["output"])
            version, leaves = unpack_answer(
                header, frames[0], spec_from_wire({name: specs["output"][name] for name in names})
            )
            assert message["policy_version"] == str(version)
            assert message["output"] == {name: leaf.tolist() for name, leaf in leaves.items()}
        elif type_ in BODIES:
            body = unpack_optional(BODIES[type_], frames[0])
            assert message.get("body") == (None if body is None else readable(vars(body)))
        else:
            assert frames == [frames[0][:24]]


@pytest.mark.parametrize(("specs", "exchange"), EXCHANGES)
def test_the_suite_reads_what_was_meant(specs: dict[str, Any], exchange: dict[str, Any]) -> None:
    for message in exchange["messages"]:
        frames = [bytes.fromhex(frame) for frame in message["frames"]]
        header = wire.read_header(frames[0])
        found = (header.name, header.rows, header.ended, str(header.session), str(header.sequence))
        assert found == tuple(message["header"][name] for name in ("type", "rows", "ended", "session", "sequence"))
        if header.type == wire.STEP:
            rows = [vars(row) for row in wire.read_step(frames, specs["observation"])]
            assert rows == [{"final": None} | row for row in message["rows"]]
        elif header.type == wire.INFER:
            leaves = wire.read_rows(frames[1:], specs["observation"], header.rows, "observations")
            assert [{"observation": each} for each in leaves] == message["rows"]
        elif header.type in (wire.ACTIONS, wire.OUTPUTS):
            typed = [(specs["output"][name][1], values) for name, values in message["output"].items()]
            assert wire.pack_answer(header, int(message["policy_version"]), typed) == frames[0]
        elif "body" in message:
            assert readable(wire.read_body(frames[0])) == message["body"]


def our_rows(frames: list[bytes], spec: dict[str, TensorSpec]) -> list[dict[str, Any]]:
    """The rows of a STEP or an INFER, as our unpackers read them."""
    header = unpack_header(frames[0])
    observations = our_leaves(frames[1 : 1 + len(spec)], spec, header.rows)
    if header.type == MessageType.INFER:
        return [{"observation": each} for each in observations]
    finals = iter(our_leaves(frames[1 + len(spec) :], spec, header.ended))
    rows = []
    for entry, observation in zip(np.frombuffer(frames[0], ROW, header.rows, 24), observations, strict=True):
        row = {name: entry[name].item() for name in ("environment", "reward", "flags")}
        rows.append(row | {"observation": observation} | ({"final": next(finals)} if row["flags"] & 6 else {}))
    assert next(finals, None) is None
    return rows


def our_leaves(frames: list[bytes], spec: dict[str, TensorSpec], count: int) -> list[dict[str, list[float]]]:
    """Row for row what the frames hold, each leaf flat."""
    columns = {
        name: from_frame(frame, leaf, count).reshape(count, math.prod(leaf.shape)).tolist()
        for (name, leaf), frame in zip(spec.items(), frames, strict=bool(frames))
    }
    return [{name: column[row] for name, column in columns.items()} for row in range(count)]


def readable(body: dict[str, Any]) -> dict[str, Any]:
    """As JSON has it: a token is text."""
    return {name: str(value) if name == "session" else value for name, value in body.items()}
