"""A server process with the scripted agent: `python -m tests.support.scripted_server ADDRESS UNROLLS WEIGHTS`."""

from __future__ import annotations

import signal
import sys

from inference_server import BatchingSettings, InferenceServer, ServerSettings
from tests.support.scripted_agent import ScriptedAgent

if __name__ == "__main__":
    address, unrolls, weights, *lease = sys.argv[1:]
    settings = ServerSettings(
        address=address,
        max_environments=64,
        lease_s=float(lease[0]) if lease else 10.0,
        batching=BatchingSettings(max_size=16),
    )
    server = InferenceServer(settings, ScriptedAgent, learner=(unrolls, weights))
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.warm()
    server.run()
