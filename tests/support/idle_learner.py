"""A learner process that takes every unroll and publishes once: `python -m tests.support.idle_learner UNROLLS
WEIGHTS QUEUE [SECONDS]`, with a pause of SECONDS behind each."""

from __future__ import annotations

import sys
import time

from learner import UnrollSource, WeightPublisher
from tests.support.scripted_agent import ScriptedAgent

if __name__ == "__main__":
    unrolls, weights, queue, *pause = sys.argv[1:]
    with UnrollSource(unrolls, queue=int(queue)) as source, WeightPublisher(weights) as publisher:
        publisher.publish(ScriptedAgent().weights(1))
        while True:
            source.next(1, timeout_s=60)
            time.sleep(float(pause[0]) if pause else 0)
