"""A server process with the scripted agent.

`python -m tests.support.scripted_server ADDRESS UNROLLS WEIGHTS [LEASE_S [LEDGERS]]`
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from inference_server import BatchingSettings, InferenceServer, ServerSettings
from tests.support.scripted_agent import ScriptedAgent

if __name__ == "__main__":
    address, unrolls, weights, *more = sys.argv[1:]
    settings = ServerSettings(
        address=address,
        max_environments=64,
        lease_s=float(more[0]) if more else 10.0,
        batching=BatchingSettings(max_size=16),
    )
    ledgers = Path(more[1]) if more[1:] else None
    server = InferenceServer(settings, ScriptedAgent, learner=(unrolls, weights), ledgers=ledgers)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.warm()
    server.run()
