"""The server's settings: plain values, no TensorFlow. The experiment file's `[server]` table."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, get_args

from corral.agents.settings import Precision, check_count, check_memory

WAITING_BATCHES = 4
"""Full batches of INFER that wait unless it is said otherwise: they keep the model busy, and nobody for long."""
LARGE_BATCH_BYTES = 32 << 20
"""Bytes of observations in one batch from which on more rows gain nothing and take memory many times as large."""
MOST_DRAIN_S = 60.0
"""Longest `server.drain_s`: whoever started the server has to wait for it."""


@dataclass(frozen=True)
class BatchingSettings:
    """When a batch leaves, and how large it can be."""

    timeout_us: int | Literal["auto"] = 0
    """Longest wait of the oldest request, in microseconds; 0 sends whenever the engine is free, "auto" learns."""
    max_size: int = 256
    """Most rows in one batch; also the most rows of one message."""
    buckets: tuple[int, ...] = ()
    """Batch sizes to compile and warm, ascending; empty takes powers of two up to max_size."""
    max_waiting_rows: int = 0
    """Most rows of INFER that wait; a request beyond is told BUSY and comes again. 0 takes four times max_size."""

    def __post_init__(self) -> None:
        timeout: int | str = self.timeout_us  # whatever it should be
        if timeout != "auto" and (isinstance(timeout, str) or not 0 <= timeout <= 10_000_000):
            raise ValueError(f'timeout_us must be 0 to 10000000 microseconds or "auto", not {self.timeout_us}')
        if not 1 <= self.max_size <= 65_535:
            raise ValueError(f"max_size must be 1 to 65535 rows, not {self.max_size}")
        if not 0 <= self.max_waiting_rows <= 1_000_000_000:
            raise ValueError(f"max_waiting_rows must be 0 to 1000000000 rows, not {self.max_waiting_rows}")
        buckets = self.buckets
        ascending = all(low < high for low, high in pairwise(buckets))
        if buckets and not (ascending and buckets[0] >= 1 and buckets[-1] == self.max_size):
            raise ValueError(
                f"buckets must ascend from 1 or more and end at max_size ({self.max_size}), not {list(buckets)}"
            )

    def waiting_rows(self) -> int:
        """Most rows of INFER that wait."""
        return self.max_waiting_rows or WAITING_BATCHES * self.max_size

    def bucket_sizes(self) -> tuple[int, ...]:
        """The batch sizes to compile, ascending; the last is `max_size`."""
        if self.buckets:
            return self.buckets
        powers = [1 << n for n in range(self.max_size.bit_length()) if 1 << n < self.max_size]
        return (*powers, self.max_size)


def size_for(row_bytes: int) -> int:
    """The `max_size` for rows of so many bytes where nobody chose one: fewer than by default where they are large,
    such as images, for every batch size is compiled and tried on arrays of its size."""
    most = max(1, LARGE_BATCH_BYTES // max(1, row_bytes))
    return min(BatchingSettings.max_size, 1 << most.bit_length() - 1)


@dataclass(frozen=True)
class UnrollSettings:
    """What happens to completed unrolls between the server and the learner."""

    when_full: Literal["block", "shed"] = "block"
    """When the learner falls behind: "block" makes actors wait (bounded lag), "shed" drops the oldest, counted."""


@dataclass(frozen=True)
class ServerSettings:
    """The inference server: its address, its actors, its batches."""

    address: str = "tcp://127.0.0.1:5555"
    """Where actors and clients connect."""
    insecure: bool = False
    """Serve on an address that other machines can reach, without keys."""
    max_environments: int = 1024
    """Most environments at once, over all actors: one slot each."""
    lease_s: float = 10.0
    """Seconds without a word from an actor until its slots are freed."""
    drain_s: float = 5.0
    """Seconds for which a server that was asked to stop waits at most, until the learner has accepted every unroll
    that is complete; 0 waits for none."""
    non_finite: Literal["refuse", "pass"] = "refuse"
    """Observations with NaN or infinity: "refuse" answers with an error, "pass" gives them to the model."""
    replicas: int | Literal["auto"] = 1
    """Copies of the policy that compute side by side, each on an accelerator of its own as far as there are any;
    "auto" has one on each, or one where there is none."""
    precision: Precision = "float32"
    """What the acting nets compute in: "float32", or "bfloat16" or "float16", which accelerators do faster.
    Training, distributions and log-probabilities stay in float32."""
    gpu_memory_mb: int = 0
    """Most memory of each GPU that the server takes, in MB of 2^20 bytes; 0 takes what it needs, as it needs it."""
    batching: BatchingSettings = field(default_factory=BatchingSettings)
    unrolls: UnrollSettings = field(default_factory=UnrollSettings)

    def __post_init__(self) -> None:
        if not 1 <= self.max_environments <= 1_000_000:
            raise ValueError(f"max_environments must be 1 to 1000000, not {self.max_environments}")
        check_count("replicas", self.replicas)
        check_memory(self.gpu_memory_mb)
        if self.precision not in get_args(Precision):
            raise ValueError(f"precision must be one of {', '.join(get_args(Precision))}, not {self.precision!r}")
        if self.non_finite not in ("refuse", "pass"):
            raise ValueError(f'non_finite must be "refuse" or "pass", not {self.non_finite!r}')
        if not 0.1 <= self.lease_s <= 86_400:
            raise ValueError(f"lease_s must be 0.1 to 86400 seconds, not {self.lease_s}")
        if not 0 <= self.drain_s <= MOST_DRAIN_S:
            raise ValueError(f"drain_s must be 0 to {MOST_DRAIN_S:g} seconds, not {self.drain_s}")


@dataclass(frozen=True)
class Pace:
    """How a past policy follows the one that is trained.

    Attributes:
      versions: versions from one that was held to the next; 0 leaves it to `seconds`.
      seconds: seconds from one that was held to the next; counts where `versions` is 0.
      pool: how many held versions are kept; which of them acts is drawn anew each time that one is added.
    """

    versions: int = 1
    seconds: float = 0.0
    pool: int = 1
