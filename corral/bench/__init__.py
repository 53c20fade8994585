"""The load generator and the tuner: how fast a server answers, and beside what limits.

Nothing is imported until it is asked for.
"""

from corral.lazy import exports

__all__, __getattr__, __dir__ = exports(__name__)
