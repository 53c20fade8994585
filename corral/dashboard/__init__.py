"""The live page: shows servers and learners as they run, and steers them.

Nothing is imported until it is asked for: only the process that serves the page needs the web's libraries.
"""

from corral.lazy import exports

__all__, __getattr__, __dir__ = exports(__name__)
