"""Bytes on the wire, counted by hand."""

from __future__ import annotations

from corral.bench.traffic import answer_bytes, in_a_stream, on_the_wire, request_bytes
from corral.protocol import TensorSpec

PACKET = 14 + 20 + 32  # Ethernet, IPv4, TCP with timestamps


def test_a_step_of_twelve_rows() -> None:
    # 24 + 12 * 8 = 120 in the first frame, 12 * 4 * 4 = 192 in the second, two bytes before each.
    observation = {"observation": TensorSpec((4,), "float32")}
    assert request_bytes(observation, 12, keys=False) == 120 + 192 + 4 + PACKET


def test_its_answer() -> None:
    # Header, policy version, and twelve actions of 8 bytes.
    assert answer_bytes(TensorSpec((), "int64"), 12, keys=False) == 24 + 8 + 96 + 2 + PACKET


def test_keys_add_a_seal_to_each_frame() -> None:
    assert on_the_wire([10, 20], keys=True) - on_the_wire([10, 20], keys=False) == 2 * 33


def test_long_frames_have_longer_heads_and_take_more_packets() -> None:
    assert on_the_wire([255], keys=False) == 255 + 2 + PACKET
    assert on_the_wire([256], keys=False) == 256 + 9 + PACKET
    assert on_the_wire([28_224], keys=False) == 28_224 + 9 + 20 * PACKET  # 19.5 packets of 1,448 bytes


def test_a_stream_pays_for_packets_in_proportion() -> None:
    assert in_a_stream(1_448_000) == 1_448_000 + 1_000 * PACKET
