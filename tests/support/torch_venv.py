"""The virtual environment with PyTorch and no TensorFlow, which `make test-torch` makes."""

from __future__ import annotations

import os

import pytest

from tests.support.processes import ROOT

PYTHON = ROOT / ".venv-torch" / "bin" / "python"


def torch_python() -> str:
    """Its interpreter. Skips the test where there is none, or fails where REQUIRE_TORCH is set."""
    if not PYTHON.exists():
        assert not os.environ.get("REQUIRE_TORCH"), f"{PYTHON} is wanted, and is not there"
        pytest.skip("no .venv-torch here: make test-torch makes it")
    return str(PYTHON)
