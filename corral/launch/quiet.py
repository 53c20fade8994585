"""TensorFlow's start without what it says there."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


def import_keras(gpu_memory_mb: int = 0) -> None:
    """Import Keras and wake its backend, whose C++ parts then write to a person's terminal what no setting
    of theirs turns off. CORRAL_TRACEBACK=1 lets it through.

    Of a GPU's memory it takes what it needs, as it needs it: a server, a learner and others may share the GPU.

    Args:
      gpu_memory_mb: and at most so much; 0 is no limit.

    Raises:
      ImportError: Keras or its backend is not installed.
    """
    with contextlib.nullcontext() if os.environ.get("CORRAL_TRACEBACK") == "1" else _no_stderr():
        import keras

        from corral.agents.backend import SUPPORTED, load_backend

        if keras.backend.backend() in SUPPORTED:
            load_backend().take_memory(gpu_memory_mb)
        keras.ops.zeros(())


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """File descriptor 2 leads nowhere meanwhile: C++ knows no `sys.stderr`."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
