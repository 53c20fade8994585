"""Kill anything: a run whose processes are killed and frozen at random, and what became of it.

Nothing is imported until it is asked for.
"""

from corral.lazy import exports

__all__, __getattr__, __dir__ = exports(__name__)
