"""What users may import stays as it is, unless somebody means to change it (docs/versions.md)."""

from __future__ import annotations

import difflib
from pathlib import Path

from tests.public_api import describe

KNOWN = Path(__file__).with_name("public_api.txt")


def test_the_public_names_and_signatures_are_those_that_were_agreed() -> None:
    changes = difflib.unified_diff(KNOWN.read_text().splitlines(), describe().splitlines(), "agreed", "now", n=0)
    text = "\n".join(changes)
    assert not text, (
        f"the public interface has changed:\n{text}\nIf that is meant, write it into CHANGELOG.md, and:\n"
        "python -m tests.public_api > tests/public_api.txt"
    )
