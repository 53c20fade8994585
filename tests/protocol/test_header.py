from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.protocol import (
    HEADER_BYTES,
    ROW,
    VERSION,
    ErrorCode,
    Header,
    MessageType,
    ProtocolError,
    RowFlags,
    pack_header,
    unpack_header,
)
from tests.protocol.outcome import outcome

U16 = st.integers(0, 2**16 - 1)
U64 = st.integers(0, 2**64 - 1)


def test_golden_bytes() -> None:
    frame = pack_header(MessageType.STEP, 0x0123456789ABCDEF, 0x1122334455667788, rows=0x0201, ended=0x0403)
    assert frame.hex(" ") == "43 52 01 03 01 02 03 04 ef cd ab 89 67 45 23 01 88 77 66 55 44 33 22 11"
    assert len(frame) == HEADER_BYTES == 24


@given(st.sampled_from(MessageType), U64, U64, U16, U16)
def test_what_is_packed_is_unpacked(type_: MessageType, session: int, sequence: int, rows: int, ended: int) -> None:
    frame = pack_header(type_, session, sequence, rows, ended)
    assert unpack_header(frame) == Header(VERSION, type_, rows, ended, session, sequence)


@given(st.binary(max_size=64))
def test_any_bytes_are_a_header_or_a_protocol_error(frame: bytes) -> None:
    header = outcome(unpack_header, frame)
    if isinstance(header, ProtocolError):
        assert header.code in (ErrorCode.MALFORMED, ErrorCode.VERSION)
    else:
        assert frame.startswith(b"CR\x01")
        assert header.version == VERSION


@given(st.binary(min_size=HEADER_BYTES - 3, max_size=64).map(lambda rest: b"CR\x01" + rest))
def test_any_bytes_behind_magic_and_version_are_a_header(frame: bytes) -> None:
    assert unpack_header(frame).version == VERSION


@pytest.mark.parametrize("length", [0, 1, HEADER_BYTES - 1])
def test_a_short_frame_is_malformed_and_both_lengths_are_told(length: int) -> None:
    with pytest.raises(ProtocolError, match=f"24 header bytes; got {length}") as caught:
        unpack_header(pack_header(MessageType.STATUS, 1, 2)[:length])
    assert caught.value.code is ErrorCode.MALFORMED


def test_other_magic_is_malformed() -> None:
    with pytest.raises(ProtocolError, match="begins with b'CR', not b'XY'") as caught:
        unpack_header(b"XY" + pack_header(MessageType.STATUS, 1, 2)[2:])
    assert caught.value.code is ErrorCode.MALFORMED


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_version_is_refused_with_both_numbers(version: int) -> None:
    frame = bytearray(pack_header(MessageType.HELLO, 1, 2))
    frame[2] = version
    with pytest.raises(ProtocolError, match=rf"speaks protocol version 1, the message is of version {version}"):
        unpack_header(bytes(frame))


def test_the_row_table_takes_8_bytes_a_row() -> None:
    table = np.array([(1.5, 0x0102, RowFlags.FIRST | RowFlags.TRUNCATED)], ROW)
    assert ROW.itemsize == 8
    assert table.tobytes().hex(" ") == "00 00 c0 3f 02 01 05 00"


def test_a_row_that_truncates_and_one_that_terminates_are_told_apart() -> None:
    assert [flag.value for flag in RowFlags] == [1, 2, 4]
