"""The pages of the documentation, and the fenced blocks in them.

A comment says what becomes of a block where its language alone does not; it stands on the line above it:

    <!-- block: file nets.py -->                 it is a file, which later blocks find beside them
    <!-- block: module nets.py -->               it is a file, and is imported
    <!-- block: background until serving -->     its commands go on to the page's end; once they say so, so do we
    <!-- block: output -->                       what was printed before: "..." is anything, a number any number
    <!-- block: tested in tests/test_ray.py -->  another test runs it
    <!-- block: not run: needs a GPU -->         nobody does, and this is why

and for a whole page, on a line by itself:

    <!-- blocks: tested in tests/test_own_loop.py -->
    <!-- blocks: after serve.md -->               the page goes on where that one ends
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.support.command import ROOT

_FENCE = re.compile(r"^( *)```(.*)$")
_MARK = re.compile(r"^ *<!-- block: (.+) -->$")
_PAGE_MARK = re.compile(r"^<!-- blocks: (.+) -->$", re.MULTILINE)
COMMANDS = ("sh", "bash")
KINDS = (*COMMANDS, "python", "toml", "ini", "js", "hex actions", "hex step", "text")
"""Languages that somebody knows what to do with."""


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
      page: its file, relative to the repository.
      line: of its first line.
      language: what stands behind its fence.
      mark: what the comment above it says; "" where there is none.
      text: what is in it.
    """

    page: str
    line: int
    language: str
    mark: str
    text: str

    @property
    def kind(self) -> str:
        """Its language, without the number of a frame of the protocol's."""
        return re.sub(r" \d+$", "", self.language)

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.page}:{self.line}"

    def told(self, word: str) -> str | None:
        """What the mark says behind `word`; None where it does not begin with it."""
        found = re.fullmatch(rf"{word}[: ]*(.*)", self.mark)
        return found[1] if found else None

    @property
    def runs(self) -> bool:
        """Whether it is run from the page."""
        return self.told("tested in") is None and self.told("not run") is None

    @property
    def commands(self) -> list[str]:
        """Its command lines, those that go on in the next line joined."""
        return [line for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]


@dataclass(frozen=True)
class Page:
    """A page, by its path relative to the repository."""

    name: str

    @cached_property
    def text(self) -> str:
        """What is in it."""
        return (ROOT / self.name).read_text()

    @cached_property
    def marks(self) -> list[str]:
        """What is said of all its blocks."""
        return _PAGE_MARK.findall(self.text)

    @cached_property
    def blocks(self) -> list[Block]:
        """Its blocks, in order."""
        return list(_blocks(self.name, self.text, next((mark for mark in self.marks if "tested in" in mark), "")))

    @property
    def before(self) -> Page | None:
        """The page that this one goes on from."""
        names = [mark.removeprefix("after ") for mark in self.marks if mark.startswith("after ")]
        return Page(str(Path(self.name).parent / names[0])) if names else None


def pages() -> list[Page]:
    """Every page of the documentation, and the README."""
    found = sorted((ROOT / "docs").rglob("*.md"))
    return [Page("README.md"), *(Page(str(path.relative_to(ROOT))) for path in found)]


def _blocks(page: str, text: str, common: str) -> Iterator[Block]:
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        number += 1
        if fence is None:
            continue
        mark = _MARK.match(lines[number - 2]) if number > 1 else None
        first, indent = number, len(fence[1])
        while lines[number].strip() != "```":
            number += 1
        inside = "".join(f"{line[indent:]}\n" for line in lines[first:number])
        yield Block(page, first + 1, fence[2].strip(), mark[1] if mark else common, inside)
        number += 1
