"""A server process with the scripted agent, as a past policy.

`python -m tests.support.past_server ADDRESS WEIGHTS EVERY`
"""

from __future__ import annotations

import sys

from corral.launch.leaving import leave
from corral.launch.roles import serve
from corral.launch.stopping import StopRequest
from corral.protocol.sockets import remove_socket_files
from inference_server import BatchingSettings, InferenceServer, ServerSettings
from inference_server.settings import Pace
from tests.support.scripted_agent import ScriptedAgent

if __name__ == "__main__":
    address, weights, every = sys.argv[1:]
    stop = StopRequest(last_act=remove_socket_files)
    stop.install()
    settings = ServerSettings(address=address, max_environments=64, batching=BatchingSettings(max_size=16))
    server = InferenceServer(settings, ScriptedAgent, learner=(None, weights), pace=Pace(versions=int(every)))
    leave(serve(server, stop))
