"""docs/protocol.md says what the code does: its tables and its example are read, and compared."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import numpy as np
import pytest

from actor_client.answers import unpack_answer
from corral.protocol import (
    ENDED,
    ROW,
    VERSION,
    Change,
    Command,
    ErrorCode,
    Failure,
    Hello,
    MessageType,
    Question,
    Report,
    RowFlags,
    TensorSpec,
    UnrollManifest,
    WeightManifest,
    Welcome,
    Work,
    limits,
    pack_header,
    unpack_header,
)
from corral.protocol.specs import DTYPES
from corral.protocol.tensors import from_frame, to_frame
from inference_server.answers import Answers
from inference_server.stats import Stats
from learner.progress import Progress

DOCUMENT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
TOKEN = 0x0123456789ABCDEF
BODIES = {
    "HELLO": Hello,
    "WELCOME": Welcome,
    "ERROR": Failure,
    "REPORT": Report,
    "SET": Change,
    "COMMAND": Command,
    "STATUS": Question,
    "HEARTBEAT": Work,
    "UNROLLS": UnrollManifest,
    "WEIGHTS": WeightManifest,
}
TYPES = {
    "text": str,
    "integer": int,
    "float": float,
    "bytes": bytes,
    "map": dict[str, typing.Any],
    "list of integers": list[int],
    "list of lists of floats": list[list[float]],
}


def example(name: str) -> bytes:
    """The bytes of one frame of the worked example."""
    (block,) = re.findall(rf"^```hex {name}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    return bytes.fromhex("".join(line.partition(";")[0] for line in block.splitlines()))


def table(*columns: str, document: str = DOCUMENT) -> list[list[str]]:
    """The cells of the only table of a document whose heading begins with these columns, cut to them."""
    tables = re.findall(r"(?:^\|.*\n)+", document, re.MULTILINE)
    rows = [[[cell.strip() for cell in line.split("|")[1:-1]] for line in each.splitlines()] for each in tables]
    (found,) = [cells for cells in rows if tuple(cells[0][: len(columns)]) == columns]
    return [cells[: len(columns)] for cells in found[2:]]


def test_the_step_of_the_example() -> None:
    head = pack_header(MessageType.STEP, TOKEN, 3, rows=2, ended=1)
    rows = np.array([(1.0, 0, 0), (-0.5, 1, RowFlags.FIRST | RowFlags.TERMINATED)], ROW)
    assert example("step 0") == head + rows.tobytes()
    assert example("step 1") == to_frame(np.array([[1, 2], [3, 4]], np.float32))
    assert example("step 2") == to_frame(np.array([[5, 6]], np.float32))


def test_the_step_of_the_example_reads_as_the_text_says() -> None:
    header = unpack_header(example("step 0"))
    assert (header.type, header.rows, header.ended, header.session, header.sequence) == (3, 2, 1, TOKEN, 3)
    rows = np.frombuffer(example("step 0"), ROW, header.rows, 24)
    assert np.count_nonzero(rows["flags"] & ENDED) == header.ended
    leaf = TensorSpec((2,), "float32")
    assert from_frame(example("step 1"), leaf, header.rows).tolist() == [[1, 2], [3, 4]]
    assert from_frame(example("step 2"), leaf, header.ended).tolist() == [[5, 6]]


def test_the_answer_of_the_example() -> None:
    outputs = {"action": np.array([9, 1, 0], np.int64)}
    frame = Answers(MessageType.ACTIONS, outputs, ("action",), version=7).cut(TOKEN, 3, 1, 3)
    assert frame == example("actions 0")
    version, arrived = unpack_answer(unpack_header(frame), frame, {"action": TensorSpec((), "int64")})
    assert version == 7
    assert arrived["action"].tolist() == [1, 0]


@pytest.mark.parametrize("name", ["step 0", "step 1", "step 2", "actions 0"])
def test_the_lengths_of_the_example(name: str) -> None:
    before, _, _ = DOCUMENT.partition(f"```hex {name}\n")
    assert re.findall(r"(\d+) bytes", before)[-1] == str(len(example(name)))


def test_the_version() -> None:
    assert f"# The protocol, version {VERSION}\n" in DOCUMENT


def test_the_messages() -> None:
    documented = {(int(type_), name) for type_, name in table("type", "name")}
    assert documented == {(type_.value, type_.name) for type_ in MessageType}


def test_the_errors() -> None:
    assert [code for (code,) in table("code")] == list(ErrorCode)


def test_the_bodies() -> None:
    documented: dict[str, dict[str, object]] = {name: {} for name in BODIES}
    for name, field, type_ in table("body of", "field", "type"):
        documented[name][field] = TYPES[type_]
    assert documented == {name: typing.get_type_hints(body) for name, body in BODIES.items()}


def test_the_dtypes() -> None:
    (listed,) = re.findall(r"- `dtype`: one of (.*?)\.\n", DOCUMENT, re.DOTALL)
    assert set(re.findall("`(.*?)`", listed)) == DTYPES


def test_the_limits() -> None:
    documented = {name: int(value) for name, value in table("limit", "value")}
    assert documented == {name: value for name, value in vars(limits).items() if name.isupper()}


def test_the_header_and_the_row_table() -> None:
    (header, rows) = re.findall(r"\| offset \| bytes \| type \| field \| meaning \|\n\|.*\n((?:\|.*\n)+)", DOCUMENT)
    for text, total in ((header, 24), (rows, ROW.itemsize)):
        end = 0
        for line in text.splitlines():
            offset, size = map(int, line.split("|")[1:3])
            assert offset == end
            end += size
        assert end == total
    fields = [line.split("|")[4].strip() for line in rows.splitlines()]
    assert fields == list(ROW.names or ())
    assert [ROW.fields[name][1] for name in fields] == [0, 4, 6]  # type: ignore[index]


def test_the_figures() -> None:
    server = {name for (name,) in table("server figure")}
    learner = {name for (name,) in table("learner figure")}
    assert Stats(lambda: 0.0).figures().keys() <= server
    assert Progress(None).figures().keys() <= learner
