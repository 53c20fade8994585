from __future__ import annotations

import dataclasses
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.protocol import (
    Change,
    Command,
    ErrorCode,
    Failure,
    Hello,
    MessageType,
    ProtocolError,
    Question,
    Report,
    UnrollManifest,
    WeightManifest,
    Welcome,
    Work,
    pack_control,
    unpack_control,
    unpack_header,
    unpack_optional,
)
from corral.protocol.limits import MAX_CONTROL_BYTES, MAX_TEXT
from tests.protocol.outcome import outcome

BODIES = [Hello, Welcome, Failure, UnrollManifest, WeightManifest, Report, Change, Command, Question, Work]
HEAD = bytes(24)

INTEGERS = st.integers(-(2**63), 2**64 - 1)
FLOATS = st.floats(allow_nan=False)
LEAVES = st.none() | st.booleans() | INTEGERS | FLOATS | st.text(max_size=9) | st.binary(max_size=9)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
MAPS = st.dictionaries(st.text(max_size=5), VALUES, max_size=4)
TEXTS = st.text(max_size=30)
GOOD = st.one_of(
    st.builds(Hello, TEXTS, st.lists(INTEGERS), INTEGERS, TEXTS, INTEGERS, TEXTS, INTEGERS, MAPS, MAPS),
    st.builds(Welcome, INTEGERS, INTEGERS, INTEGERS, MAPS, MAPS, INTEGERS, FLOATS, INTEGERS, INTEGERS, INTEGERS),
    st.builds(Failure, TEXTS, TEXTS),
    st.builds(UnrollManifest, INTEGERS, INTEGERS, st.lists(st.lists(FLOATS, max_size=3), max_size=3)),
    st.builds(WeightManifest, MAPS, st.binary(max_size=16)),
    st.builds(Report, MAPS),
    st.builds(Change, MAPS),
    st.builds(Command, TEXTS),
    st.builds(Question, INTEGERS),
    st.builds(Work, FLOATS, FLOATS, INTEGERS, INTEGERS),
)


def frame(body: Any) -> bytes:
    return HEAD + msgpack.packb(body)


def error_of(body_type: type, frame: bytes) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        unpack_control(body_type, frame)
    assert caught.value.code is ErrorCode.MALFORMED
    return caught.value


@given(GOOD)
def test_what_is_packed_is_unpacked(body: Any) -> None:
    packed = pack_control(MessageType.HELLO, 5, 7, body)
    header = unpack_header(packed)
    assert (header.session, header.sequence) == (5, 7)
    assert unpack_control(type(body), packed) == body


@given(st.sampled_from(BODIES), st.binary(max_size=200))
def test_any_bytes_are_a_body_or_malformed(body_type: type, noise: bytes) -> None:
    error_of(body_type, HEAD + noise)


@given(st.sampled_from(BODIES), st.data())
def test_any_values_under_the_right_names_are_a_body_or_malformed(body_type: type, data: st.DataObject) -> None:
    names = [field.name for field in dataclasses.fields(body_type)]
    values = data.draw(st.fixed_dictionaries(dict.fromkeys(names, VALUES)))
    body = outcome(unpack_control, body_type, frame(values))
    if isinstance(body, ProtocolError):
        assert body.code is ErrorCode.MALFORMED
        assert body.text.startswith(body_type.__name__)
    else:
        assert dataclasses.asdict(body) == values


@given(GOOD, st.data())
def test_a_damaged_body_is_a_body_or_malformed(body: Any, data: st.DataObject) -> None:
    packed = bytearray(pack_control(MessageType.HELLO, 0, 0, body))
    place = data.draw(st.integers(24, len(packed) - 1))
    packed[place] = data.draw(st.integers(0, 255))
    arrived = outcome(unpack_control, type(body), bytes(packed))
    assert isinstance(arrived, type(body)) or arrived.code is ErrorCode.MALFORMED


@given(GOOD, st.data())
def test_a_cut_body_is_malformed(body: Any, data: st.DataObject) -> None:
    packed = pack_control(MessageType.HELLO, 0, 0, body)
    error_of(type(body), packed[: data.draw(st.integers(0, len(packed) - 1))])


def test_a_message_without_a_body_is_its_header() -> None:
    assert len(pack_control(MessageType.STATUS, 1, 2)) == 24


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hat": 1}, "'hat'"),
        ({"role": None}, "Hello.role is no <class 'str'>"),
        ({"role": "x" * (MAX_TEXT + 1)}, "Hello.role"),
        ({"environments": True}, "Hello.environments"),
        ({"environments": 1.0}, "Hello.environments"),
        ({"versions": 1}, "Hello.versions"),
        ({"versions": [1, "2"]}, "Hello.versions is no list"),
        ({"observation": []}, "Hello.observation"),
        ({"observation": {b"x": 1}}, "Hello.observation"),
        ({"action": {"x" * (MAX_TEXT + 1): 1}}, "Hello.action"),
    ],
)
def test_the_first_wrong_field_is_named(change: dict[str, Any], words: str) -> None:
    assert words in error_of(Hello, frame(dataclasses.asdict(Hello("actor")) | change)).text


def test_a_missing_field_is_malformed_and_what_there_should_be_is_told() -> None:
    values = dataclasses.asdict(Failure("BUSY", "later"))
    del values["text"]
    assert "Failure has the fields ['code', 'text'], not ['code']" in error_of(Failure, frame(values)).text


@pytest.mark.parametrize("body", [None, 1, "text", [], b"bytes"])
def test_what_is_no_map_is_malformed(body: Any) -> None:
    assert "is no map" in error_of(Hello, frame(body)).text


def test_an_integer_will_do_for_a_float() -> None:
    body = {"unrolls": 1, "steps": 2, "held": 0, "held_before": 0, "episodes": [[3, 4]]}
    assert unpack_control(UnrollManifest, frame(body)).episodes == [[3, 4]]


def test_bytes_behind_the_body_are_malformed() -> None:
    assert (
        "no msgpack" in error_of(Failure, pack_control(MessageType.ERROR, 0, 0, Failure("BUSY", "")) + b"\0").text
    )


def test_deep_nesting_is_malformed() -> None:
    assert "no msgpack" in error_of(Report, HEAD + b"\x81\xa7figures" + b"\x91" * 100_000 + b"\x00").text


def test_a_body_that_promises_more_than_it_holds_is_malformed_at_once() -> None:
    assert "no msgpack" in error_of(Report, HEAD + b"\x81\xa7figures\xdf\xff\xff\xff\xff").text


def test_an_oversized_message_is_malformed_and_its_size_told() -> None:
    assert str(MAX_CONTROL_BYTES + 1) in error_of(Report, bytes(MAX_CONTROL_BYTES + 1)).text


def test_a_failure_is_the_exception_that_it_stands_for() -> None:
    error = Failure("EXPIRED", "join again").error()
    assert (error.code, error.text) == (ErrorCode.EXPIRED, "join again")


def test_a_failure_of_an_unknown_code_is_internal() -> None:
    assert Failure("NEW_IN_VERSION_9", "what?").error().code is ErrorCode.INTERNAL


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_survives_the_way(code: ErrorCode) -> None:
    assert Failure(code, "").error().code is code


def test_a_text_too_long_to_be_sent_is_cut() -> None:
    error = ProtocolError(ErrorCode.SPEC, "x" * (MAX_TEXT + 1))
    sent = pack_control(MessageType.ERROR, 0, 0, Failure(error.code, error.text))
    assert unpack_control(Failure, sent).text.endswith("x...")


def test_versions_with_one_in_common_are_enough() -> None:
    Hello("actor", versions=[0, 1, 2]).check_version()


@pytest.mark.parametrize("versions", [[], [2], [0, 2**64 - 1]])
def test_no_version_in_common_is_refused_with_both_sides(versions: list[int]) -> None:
    with pytest.raises(ProtocolError) as caught:
        Hello("actor", versions=versions).check_version()
    assert caught.value.code is ErrorCode.VERSION
    assert "version 1" in caught.value.text
    assert str(versions) in caught.value.text


def test_a_long_list_of_versions_is_told_in_part() -> None:
    with pytest.raises(ProtocolError) as caught:
        Hello("actor", versions=list(range(2, 100_000))).check_version()
    assert "the caller speaks [2, 3, 4" in caught.value.text
    assert "install the same Corral release" in caught.value.text


def test_an_error_is_one_line_that_can_be_printed() -> None:
    """Or a peer could write lines of its own into our log."""
    error = ProtocolError(ErrorCode.MALFORMED, "not 'x\n2026-01-01 all is well\x1b[2J\x00'")
    assert error.text == "not 'x 2026-01-01 all is well [2J '"


@pytest.mark.parametrize("item", [True, None, "1", 1.0, [1]])
def test_one_item_of_another_type_among_many(item: Any) -> None:
    versions = [1] * 1000 + [item]
    assert (
        "Hello.versions is no"
        in error_of(Hello, frame(dataclasses.asdict(Hello("actor")) | {"versions": versions})).text
    )


@pytest.mark.parametrize("episodes", [[[1.0, 2], 3], [[1.0, True]], [["1"]], [None]])
def test_lists_of_lists_are_looked_at_item_by_item(episodes: Any) -> None:
    body = {"unrolls": 1, "steps": 1, "held": 0, "held_before": 0, "episodes": episodes}
    assert "UnrollManifest.episodes is no" in error_of(UnrollManifest, frame(body)).text


def test_a_body_that_may_be_left_out() -> None:
    assert unpack_optional(Question, HEAD) is None
    assert unpack_optional(Question, frame({"actors": 3})) == Question(3)
    with pytest.raises(ProtocolError):
        unpack_optional(Question, frame({}))
