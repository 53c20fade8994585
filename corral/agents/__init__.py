"""Agents: what a policy does (`act`) and how it learns (`losses`). No sockets, no threads.

Nothing is imported until it is asked for: `corral.agents.settings` and this package itself stay free of
Keras, so that a command line or an actor machine can read an experiment file without it.
"""

from corral.lazy import exports

__all__, __getattr__, __dir__ = exports(__name__)
