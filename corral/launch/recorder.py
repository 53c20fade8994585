"""Recording a trace of this process beside its work: for a number of seconds, then into a file."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corral.telemetry.trace_file import join_parts, write_part
from corral.telemetry.tracer import Tracer

log = logging.getLogger(__name__)

TRACE = "trace.json.gz"
"""What a run's trace is called in its folder."""
_PATIENCE_S = 0.05


class Recorder(threading.Thread):
    """Records for a while and writes a file, both on a thread of its own, while the process goes on.

    Args:
      process: what the process is called in the trace.
      part: the file, for `join_parts`.
      seconds: how long to record.
      whole: a trace to make of the part alone; None leaves that to whoever gathers parts.
      at_work: begin with the first call that does what the process is there for, in place of at once.
    """

    def __init__(
        self, process: str, part: Path, seconds: float, *, whole: Path | None = None, at_work: bool = False
    ) -> None:
        super().__init__(name="trace", daemon=True)
        self._process = process
        self._part = part
        self._seconds = seconds
        self._whole = whole
        self._at_work = at_work
        self._ended = threading.Event()

    def run(self) -> None:
        tracer = Tracer()
        try:
            tracer.begin(at_work=self._at_work)
        except RuntimeError as error:
            log.error("no trace: %s", error)
            return
        while not tracer.began_ns and not self._ended.wait(_PATIENCE_S):
            pass
        self._ended.wait(self._seconds)
        tracer.end()
        try:
            write_part(self._part, tracer, self._process)
            if self._whole is not None:
                join_parts([self._part], self._whole)
                log.info("the trace is in %s: open it at https://ui.perfetto.dev", self._whole)
        except OSError as error:
            log.error("the trace could not be written: %s", error)

    def close(self) -> None:
        """End it where it stands, and write what there is."""
        self._ended.set()
        if self.is_alive():
            self.join()


@contextmanager
def recording(process: str, path: Path, seconds: float | None) -> Iterator[None]:
    """Write a trace of the first `seconds` of this process's work to `path`, within the block; None writes none.

    A process that ends before leaves what there is by then; one that is killed leaves nothing.
    """
    if seconds is None:
        yield
        return
    part = path.with_name(f".{path.name}.part")
    recorder = Recorder(process, part, seconds, whole=path, at_work=True)
    recorder.start()
    try:
        yield
    finally:
        recorder.close()
