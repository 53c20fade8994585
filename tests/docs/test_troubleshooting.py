"""What docs/troubleshooting.md quotes is what the code says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.command import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
QUOTED = re.findall(r"^\| `(.+?)` \|", PAGE, re.MULTILINE)
ROOMS = ("actor_client", "corral", "inference_server", "learner")
VALUE = "…"


def said() -> Iterator[str]:
    """Every text in the code, with `VALUE` for what is filled in."""
    for file in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.sub(r"%[sdr]", VALUE, node.value)


@pytest.fixture(scope="module")
def texts() -> str:
    return "\n".join(said())


def test_the_page_quotes_many() -> None:
    assert len(QUOTED) > 30


@pytest.mark.parametrize("quoted", QUOTED)
def test_what_is_quoted_is_said(texts: str, quoted: str) -> None:
    assert quoted in texts, f"nothing says {quoted!r}: it has changed, or is quoted wrongly"
