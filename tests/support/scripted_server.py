"""A server process with the scripted agent.

`python -m tests.support.scripted_server ADDRESS UNROLLS WEIGHTS [LEASE_S [DRAIN_S [LEDGERS [NUMBER]]]]`
"""

from __future__ import annotations

import sys
from pathlib import Path

from corral.launch.leaving import leave
from corral.launch.roles import serve
from corral.launch.stopping import StopRequest
from corral.protocol.sockets import remove_socket_files
from inference_server import BatchingSettings, InferenceServer, ServerSettings
from tests.support.scripted_agent import ScriptedAgent

if __name__ == "__main__":
    address, unrolls, weights, *more = sys.argv[1:]
    stop = StopRequest(last_act=remove_socket_files)
    stop.install()
    settings = ServerSettings(
        address=address,
        max_environments=64,
        batching=BatchingSettings(max_size=16),
        **dict(zip(("lease_s", "drain_s"), map(float, more[:2]), strict=False)),
    )
    ledgers = Path(more[2]) if more[2:] else None
    number = int(more[3]) if more[3:] else 0
    server = InferenceServer(settings, ScriptedAgent, number=number, learner=(unrolls, weights), ledgers=ledgers)
    leave(serve(server, stop))
