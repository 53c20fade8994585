"""A process that works for ever, and records a trace when its launcher says so through its standard input."""

from __future__ import annotations

import sys
import time

from corral.launch.lifeline import watch
from corral.launch.recorder import Recorder
from corral.launch.run_trace import obey
from corral.launch.stopping import StopRequest
from corral.telemetry.tracer import span


class Role:
    @span("work")
    def work(self) -> None:
        time.sleep(0.002)


if __name__ == "__main__":
    recorders: list[Recorder] = []

    def on_line(line: str) -> None:
        if recorder := obey(line, sys.argv[1]):
            recorders.append(recorder)
            print("records", flush=True)

    stop = StopRequest()
    stop.install()
    stop.call(lambda: None)
    watch(stop, lambda: None, 5.0, on_line=on_line)
    print("works", flush=True)
    while not stop.asked:
        Role().work()
    for recorder in recorders:
        recorder.close()
