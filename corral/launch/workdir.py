"""The working directory on the import path, so that `my_package.nets:build` just works."""

from __future__ import annotations

import os
import sys


def put_working_directory_on_path() -> None:
    """Let modules of the working directory be imported, after all installed ones.

    Last, because a `learner.py` or `queue.py` of the user's must not stand in for ours or Python's own.
    """
    here = os.getcwd()
    sys.path[:] = [entry for entry in sys.path if entry not in ("", here)]
    sys.path.append(here)
