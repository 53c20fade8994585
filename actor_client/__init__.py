"""The thin client: ask a policy server from anywhere with numpy, pyzmq and msgpack, and nothing else.

`PolicyClient` asks for predictions; `ActorSession` steps environments of your own; `run_actor` is the loop that
`corral actor` runs with gymnasium. Nothing is imported until it is asked for.
"""

from corral.lazy import exports

__all__, __getattr__, __dir__ = exports(__name__)
