"""Walks through a page: what its blocks say is done, in order, in a folder of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO

from tests.docs.pages import COMMANDS, Block, Page
from tests.support.command import Workplace
from tests.support.processes import until

MEANT = {"SERVER": "127.0.0.1", "HOST": "127.0.0.1"}
"""What the pages' placeholders are here."""
_RUN = re.compile(r"\bruns/(\w+)-\d{8}-\d{6}\b")
"""An example of a run's folder: here it is the one that a block before it has made."""
_PLACEHOLDER = re.compile(rf"\b({'|'.join(MEANT)})\b(?!=)")
_LONGEST_S = 240


class Walk:
    """One page after the other; the block ends what they have left running."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._stack = ExitStack()
        self._python: subprocess.Popen[str] | None = None
        self._said = ""

    def __enter__(self) -> Walk:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def through(self, page: Page) -> None:
        """Do what a page says, and before that what the page says that it goes on from."""
        if page.before is not None:
            self.through(page.before)
        for block in page.blocks:
            if block.runs:
                self._do(block)

    def _do(self, block: Block) -> None:
        name = block.told("file") or block.told("module")
        if name is not None:
            (self._place.folder / name).write_text(block.text)
            if block.told("module"):
                self._said = self._execute(replace(block, text=f"import {Path(name).stem}"))
        elif block.told("output") is not None:
            assert matches(block.text, self._said), f"{block.place}: the block before said\n{self._said}"
        elif block.told("background") is not None:
            self._start(block)
        elif block.kind in COMMANDS:
            self._said = "".join(self._run(block, line) for line in block.commands)
        elif block.kind == "python":
            self._said = self._execute(block)

    def _run(self, block: Block, line: str) -> str:
        done = subprocess.run(
            ["bash", "-c", _here(line)],
            cwd=self._place.folder,
            env=self._place.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LONGEST_S,
        )
        assert done.returncode == 0, f"{block.place}: {line}\n{done.stdout}"
        print(f"{block.place}: {line}\n{done.stdout}")
        return done.stdout

    def _start(self, block: Block) -> None:
        word = (block.told("background") or "").removeprefix("until ")
        for number, line in enumerate(block.commands):
            log = self._place.temporary / f"{Path(block.page).stem}-{block.line}-{number}.log"
            process = subprocess.Popen(
                ["bash", "-c", f"exec {_here(line)}"],
                cwd=self._place.folder,
                env=self._place.environment,
                stdin=subprocess.DEVNULL,
                stdout=self._stack.enter_context(log.open("w")),
                stderr=subprocess.STDOUT,
            )
            self._stack.callback(_end, process)

            def said(log: Path = log, process: subprocess.Popen[bytes] = process, line: str = line) -> bool:
                text = log.read_text()
                assert process.poll() is None, f"{block.place}: {line}\n{text}"
                return word in text

            until(said, 100, f"{block.place}: {line}: {word!r}")

    def _execute(self, block: Block) -> str:
        if self._python is None:
            self._python = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("interpreter.py"))],
                cwd=self._place.folder,
                env=self._place.environment | {"PYTHONPATH": str(self._place.folder)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._stack.callback(_end, self._python)
        asked: IO[str] | None = self._python.stdin
        answers: IO[str] | None = self._python.stdout
        assert asked is not None
        assert answers is not None
        asked.write(json.dumps({"page": block.page, "line": block.line, "text": block.text}) + "\n")
        asked.flush()
        answer = json.loads(answers.readline())
        assert answer["failed"] == "", f"{block.place}:\n{answer['failed']}"
        print(f"{block.place}:\n{answer['said']}")
        return str(answer["said"])


def matches(shown: str, said: str) -> bool:
    """Whether lines that a page shows were said, in their order: "..." is anything, and a number any number."""
    found = [re.escape(line.strip()).replace(r"\.\.\.", ".*") for line in shown.splitlines() if line.strip()]
    any_number = [re.sub(r"\d+(?:(?:\\?[.,])\d+)*", r"\\d[\\d.,]*", line) for line in found]
    return re.search(r"\s*".join(any_number), said, re.DOTALL) is not None


def _here(line: str) -> str:
    line = _RUN.sub(lambda found: f"runs/{found[1]}-*", line)
    return _PLACEHOLDER.sub(lambda found: MEANT[found[1]], line)


def _end(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(20)
    finally:
        process.kill()
        process.wait(20)
