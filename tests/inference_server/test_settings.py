from __future__ import annotations

from typing import Any

import pytest

from inference_server.settings import BatchingSettings, ServerSettings, size_for


def test_buckets_are_powers_of_two_up_to_the_largest_batch() -> None:
    assert BatchingSettings(max_size=1).bucket_sizes() == (1,)
    assert BatchingSettings(max_size=8).bucket_sizes() == (1, 2, 4, 8)
    assert BatchingSettings(max_size=48).bucket_sizes() == (1, 2, 4, 8, 16, 32, 48)
    assert BatchingSettings(max_size=48, buckets=(12, 48)).bucket_sizes() == (12, 48)


def test_the_timeout_can_be_learned() -> None:
    assert BatchingSettings(timeout_us="auto").timeout_us == "auto"


@pytest.mark.parametrize(
    ("kind", "values", "names"),
    [
        (BatchingSettings, {"timeout_us": -1}, "timeout_us"),
        (BatchingSettings, {"timeout_us": 10_000_001}, "timeout_us"),
        (BatchingSettings, {"timeout_us": "soon"}, "timeout_us"),
        (BatchingSettings, {"max_size": 0}, "max_size"),
        (BatchingSettings, {"max_size": 65_536}, "max_size"),
        (BatchingSettings, {"max_waiting_rows": -1}, "max_waiting_rows"),
        (BatchingSettings, {"max_size": 8, "buckets": (4, 2, 8)}, "buckets"),
        (BatchingSettings, {"max_size": 8, "buckets": (1, 4)}, "buckets"),
        (ServerSettings, {"lease_s": 0}, "lease_s"),
        (ServerSettings, {"replicas": 0}, "replicas"),
        (ServerSettings, {"replicas": 65}, "replicas"),
        (ServerSettings, {"replicas": "all"}, "replicas"),
        (ServerSettings, {"precision": "float8"}, "precision"),
        (ServerSettings, {"gpu_memory_mb": -1}, "gpu_memory_mb"),
        (ServerSettings, {"non_finite": "keep"}, "non_finite"),
        (ServerSettings, {"max_environments": 0}, "max_environments"),
    ],
)
def test_a_wrong_value_is_named(kind: Any, values: dict[str, Any], names: str) -> None:
    with pytest.raises(ValueError, match=f"^{names} must"):
        kind(**values)


@pytest.mark.parametrize(
    ("row_bytes", "rows"),
    [(0, 256), (16, 256), (84 * 84 * 4, 256), (224 * 224 * 3 * 4, 32), (32 << 20, 1), (1 << 30, 1)],
)
def test_batches_of_large_rows_are_small(row_bytes: int, rows: int) -> None:
    assert size_for(row_bytes) == rows
    assert BatchingSettings(max_size=rows).bucket_sizes()[-1] == rows
