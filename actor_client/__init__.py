"""The thin client: ask a policy server from anywhere with numpy, pyzmq and msgpack, and nothing else.

`PolicyClient` asks for predictions; `ActorSession` steps environments of your own; `run_actor` is the loop that
`corral actor` runs with gymnasium.
"""

from actor_client.actor_session import ActorSession, Rows, SessionLostError
from actor_client.line import UnansweredError
from actor_client.policy_client import PolicyClient
from actor_client.runner import run_actor
from actor_client.settings import ActorSettings, EnvironmentSettings

__all__ = [
    "ActorSession",
    "ActorSettings",
    "EnvironmentSettings",
    "PolicyClient",
    "Rows",
    "SessionLostError",
    "UnansweredError",
    "run_actor",
]
