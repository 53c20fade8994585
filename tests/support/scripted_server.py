"""A server process with the scripted agent.

`python -m tests.support.scripted_server ADDRESS UNROLLS WEIGHTS [LEASE_S [DRAIN_S [LEDGERS [NUMBER [REPLICAS]]]]]`

Replicas beyond the first get a processor of their own: a virtual one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from corral.launch.leaving import leave
from corral.launch.roles import serve
from corral.launch.stopping import StopRequest
from corral.protocol.sockets import is_private, remove_socket_files
from inference_server import BatchingSettings, InferenceServer, ServerSettings
from tests.support.scripted_agent import ScriptedAgent
from tests.support.virtual_devices import virtual_processors

if __name__ == "__main__":
    address, unrolls, weights, *more = sys.argv[1:]
    stop = StopRequest(last_act=remove_socket_files)
    stop.install()
    replicas = int(more[4]) if more[4:] else 1
    if replicas > 1:
        virtual_processors(replicas)
    settings = ServerSettings(
        replicas=replicas,
        address=address,
        insecure=not is_private(address),  # between the hosts of a test
        max_environments=64,
        batching=BatchingSettings(max_size=16),
        **dict(zip(("lease_s", "drain_s"), map(float, more[:2]), strict=False)),
    )
    ledgers = Path(more[2]) if more[2:] else None
    number = int(more[3]) if more[3:] else 0
    server = InferenceServer(settings, ScriptedAgent, number=number, learner=(unrolls, weights), ledgers=ledgers)
    leave(serve(server, stop))
