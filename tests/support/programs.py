"""Programs that tests need and a machine may lack."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str, package: str, required_by: str) -> str:
    """The path of a program. Skips without; fails where the environment says `required_by`=1.

    Args:
      package: what to install to have it.
    """
    found = shutil.which(name)
    if found is None:
        if os.environ.get(required_by) == "1":
            pytest.fail(f"{required_by}=1, and there is no {name}")
        pytest.skip(f"no {name} here: install {package}")
    return found
