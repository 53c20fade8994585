"""Settings that change while a server runs: what is taken, what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from corral.protocol import ErrorCode, ProtocolError
from inference_server.settings import BatchingSettings
from inference_server.tuning import changed

COMPILED = (1, 2, 4, 8, 16, 32, 48)
START = BatchingSettings(max_size=48)


def change(**values: Any) -> BatchingSettings:
    return changed(START, {f"server.batching.{name}": value for name, value in values.items()}, COMPILED)


def refusal(changes: dict[str, Any]) -> str:
    with pytest.raises(ProtocolError) as caught:
        changed(START, changes, COMPILED)
    assert caught.value.code is ErrorCode.SETTING
    return caught.value.text


def test_the_timeout_changes_alone() -> None:
    assert change(timeout_us=500) == BatchingSettings(timeout_us=500, max_size=48)


def test_the_timeout_can_be_learned_and_given_again() -> None:
    learned = change(timeout_us="auto")
    assert learned == BatchingSettings(timeout_us="auto", max_size=48)
    assert changed(learned, {"server.batching.max_size": 16}, COMPILED).timeout_us == "auto"
    assert changed(learned, {"server.batching.timeout_us": 0}, COMPILED) == START


def test_a_smaller_batch_takes_the_buckets_up_to_it() -> None:
    assert change(max_size=16) == BatchingSettings(max_size=16, buckets=(1, 2, 4, 8, 16))


def test_buckets_say_how_large_a_batch_is() -> None:
    assert change(buckets=[8, 32]) == BatchingSettings(max_size=32, buckets=(8, 32))


def test_no_buckets_are_all_up_to_the_size() -> None:
    few = change(buckets=[8, 32])
    assert changed(few, {"server.batching.buckets": []}, COMPILED).buckets == (1, 2, 4, 8, 16, 32)


def test_how_many_rows_may_wait_is_any_number() -> None:
    assert change(max_waiting_rows=5).waiting_rows() == 5
    assert change(max_waiting_rows=0).waiting_rows() == 4 * 48
    assert change(max_size=16).waiting_rows() == 4 * 16


def test_what_is_not_named_stays() -> None:
    few = change(buckets=[8, 32], timeout_us=70)
    assert changed(few, {"server.batching.timeout_us": 0}, COMPILED) == BatchingSettings(0, 32, (8, 32))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"server.lease_s": 5},
            "server.lease_s cannot change while the server runs; what can: server.batching.tim",
        ),
        ({"timeout_us": 5}, "timeout_us cannot change while the server runs"),
        ({"server.batching.timeout": 5}, "server.batching.timeout cannot change"),
        (
            {"server.batching.timeout_us": "soon"},
            "server.batching.timeout_us must be a whole number or \"auto\", not 'soon'",
        ),
        (
            {"server.batching.timeout_us": True},
            'server.batching.timeout_us must be a whole number or "auto", not True',
        ),
        (
            {"server.batching.timeout_us": 1.5},
            'server.batching.timeout_us must be a whole number or "auto", not 1.5',
        ),
        (
            {"server.batching.timeout_us": [1]},
            'server.batching.timeout_us must be a whole number or "auto", not [1]',
        ),
        ({"server.batching.timeout_us": -1}, "server.batching.timeout_us must be 0 to 10000000 microseconds"),
        (
            {"server.batching.max_size": 20},
            "batches of 20 rows were not compiled when the server started, but these",
        ),
        (
            {"server.batching.max_waiting_rows": "auto"},
            "server.batching.max_waiting_rows must be a whole number, not 'auto'",
        ),
        ({"server.batching.max_waiting_rows": -1}, "server.batching.max_waiting_rows must be 0 to 1000000000 rows"),
        ({"server.batching.max_size": "auto"}, "server.batching.max_size must be a whole number, not 'auto'"),
        ({"server.batching.buckets": ["auto"]}, "must be a list of at most 7 whole numbers, not ['auto']"),
        ({"server.batching.max_size": 2**64}, "server.batching.max_size = 18446744073709551616: batches of"),
        (
            {"server.batching.buckets": 8},
            "server.batching.buckets must be a list of at most 7 whole numbers, not 8",
        ),
        (
            {"server.batching.buckets": [8, None]},
            "server.batching.buckets must be a list of at most 7 whole numbers",
        ),
        ({"server.batching.buckets": [1] * 1_000_000}, "not [1, 1, 1, 1, 1, 1, ...]"),
        ({"server.batching.buckets": [8, 9]}, "batches of 9 rows were not compiled"),
        ({"server.batching.buckets": [8, 4]}, "server.batching.buckets must ascend"),
        ({"server.batching.buckets": [4, 8], "server.batching.max_size": 16}, "end at max_size (16), not [4, 8]"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    assert words in refusal(changes)


def test_one_refusal_refuses_all() -> None:
    assert "cannot change" in refusal({"server.batching.timeout_us": 5, "server.address": "tcp://127.0.0.1:1"})
