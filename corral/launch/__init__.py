"""The launchers: the experiment file, and what starts, watches and ends the processes of a run.

Nothing is imported until it is asked for: a launcher's first task is to start other processes soon.
"""

from corral.lazy import exports

__all__, __getattr__, __dir__ = exports(__name__)
