"""A board over HTTP: /metrics for Prometheus, /livez and /readyz for whoever starts and stops processes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from corral.telemetry.board import Board, Value
from corral.telemetry.catalogue import Metric, metrics_of
from corral.telemetry.histogram import HistogramSnapshot

_TEXT = "text/plain; charset=utf-8"


class Exporter:
    """Serves a board until it is closed.

    Args:
      board: what to show.
      role: "server", "learner" or "actor": whose metrics are shown.
      host, port: where to listen; port 0 takes a free one.

    Attributes:
      address: where it listens, `http://HOST:PORT`.

    Raises:
      OSError: the address cannot be listened on.
    """

    def __init__(self, board: Board, role: str, host: str, port: int) -> None:
        registry = CollectorRegistry()
        registry.register(_Collector(board, metrics_of(role)))
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        self._server = _Server((host, port), _Handler)
        self._server.board, self._server.registry = board, registry
        self.address = f"http://{host}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="exporter", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Listen no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    board: Board
    registry: CollectorRegistry


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10  # of one that connects and says nothing

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, kind = exposition.choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, kind, encode(self.server.registry))
        elif path == "/livez":
            self._answer(200, _TEXT, b"ok\n")
        elif path == "/readyz":
            why = self.server.board.not_ready()
            self._answer(503 if why else 200, _TEXT, f"{why or 'ok'}\n".encode())
        else:
            self._answer(404, _TEXT, b"there are /metrics, /livez and /readyz\n")

    def _answer(self, code: int, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: it is asked every few seconds."""


class _Collector:
    """What prometheus_client asks for families of samples."""

    def __init__(self, board: Board, metrics: Iterable[Metric]) -> None:
        self._board = board
        self._metrics = tuple(metrics)

    def collect(self) -> Iterator[Family]:
        samples = self._board.samples
        for metric in self._metrics:
            if metric.name in samples:
                value = samples[metric.name]
                yield _family(metric, value if isinstance(value, Mapping) else {"": value})


def _family(metric: Metric, values: Mapping[str, Value]) -> Family:
    labels = [metric.label] if metric.label else []
    name, meaning = metric.full_name, metric.meaning
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(name, meaning, labels=labels)
        for label, value in values.items():
            assert isinstance(value, HistogramSnapshot)
            bounds = [*(f"{bound:g}" for bound in value.bounds), "+Inf"]
            counts = list(zip(bounds, map(float, value.cumulative), strict=True))
            histogram.add_metric([label] if labels else [], counts, value.total)
        return histogram
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(name, meaning, labels=labels)
    for label, value in values.items():
        assert not isinstance(value, HistogramSnapshot)
        family.add_metric([label] if labels else [], value)
    return family
