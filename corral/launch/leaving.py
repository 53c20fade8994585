"""The end of a process that has done all it had to."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End the process now, with everything written out.

    Taking TensorFlow down in order costs a second (measured) and saves nothing: every room has closed its
    sockets and files by then.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
