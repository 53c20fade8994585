"""What one measurement found, and the median of several."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any


@dataclass
class Result:
    """One row of a benchmark's table. Rates are per second of the measured window, latencies from the moment that a
    request was due to its answer, as its client saw it."""

    # What was measured.
    model: str
    backend: str
    request: str
    clients: int
    processes: int
    rows: int
    transport: str
    rate: float
    think_us: float
    idle: int
    timeout_us: int | str
    max_size: int
    pinned: bool
    seconds: float
    # What came of it.
    answers_per_s: float = 0.0
    rows_per_s: float = 0.0
    p50_ms: float = 0.0
    p90_ms: float = 0.0
    p99_ms: float = 0.0
    max_ms: float = 0.0
    mean_batch: float = 0.0
    server_cpu: float = 0.0
    """Cores that the server kept busy."""
    client_cpu: float = 0.0
    """Cores that all client processes kept busy."""
    learner_cpu: float = 0.0
    """Cores that the process which took the unrolls kept busy."""
    compiled: int = 0
    """Compilations while it was measured."""
    errors: int = 0
    error_texts: dict[str, int] = field(default_factory=dict)
    overdue: int = 0
    """Open loop: requests that were due at the end and had found no client."""
    # The limits, from the same run; 0 where not measured.
    model_only_per_s: float = 0.0
    """Rows per second of the model alone, called again and again on the largest batch the clients can make."""
    efficiency: float = 0.0
    """`rows_per_s` over `model_only_per_s`."""
    model_call_ms: float = 0.0
    """The model called for one request alone."""
    echo_per_s: float = 0.0
    """Answers per second of sockets that only echo, with the same clients and bytes."""
    echo_ratio: float = 0.0
    """`answers_per_s` over `echo_per_s`."""
    copy_per_s: float = 0.0
    """Rows per second that memory alone could copy once."""
    # Connected actors that send signs of life alone.
    kb_per_idle: float = 0.0
    """Kilobytes (1,000 bytes) of the server's memory for each."""
    # Weight pushes.
    pushes: int = 0
    in_use_ms: float = 0.0
    """From publishing a version to the first answer computed with it: the longest."""
    checked: int = 0
    """Answers compared with what their policy version must say."""
    torn: int = 0
    """Those that were something else."""
    swap_max_ms: float = 0.0
    """The longest latency of a request that waited while a version was published and taken up."""
    quiet_max_ms: float = 0.0
    """The longest latency of all others."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def median(results: Sequence[Result]) -> Result:
    """Each figure's median; counts of what must not happen are summed, and the longest stays the longest."""
    merged = replace(results[0])
    summed = ("compiled", "errors", "overdue", "torn", "checked", "pushes")
    longest = ("in_use_ms", "swap_max_ms")
    for name in (item.name for item in fields(Result)):
        values = [getattr(result, name) for result in results]
        if name in summed:
            setattr(merged, name, sum(values))
        elif name in longest:
            setattr(merged, name, max(values))
        elif isinstance(values[0], float):
            setattr(merged, name, statistics.median(values))
    texts: Counter[str] = Counter()
    for result in results:
        texts.update(result.error_texts)
    merged.error_texts = dict(texts)
    return merged
