"""Which files of a folder have changed since one looked last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

_SMALL = 65_536
"""Bytes up to which a file is compared as a whole: one that is mapped into memory changes without a new date."""


class Mirror:
    """Follows the files of `folder` that match `patterns`.

    Args:
      known: whether what is there now counts as seen.
    """

    def __init__(self, folder: Path, patterns: Sequence[str], *, known: bool = True) -> None:
        self._folder = folder
        self._patterns = patterns
        self._seen: dict[str, object] = {}
        if known:
            for _ in self.news():
                pass

    def news(self) -> Iterator[tuple[str, bytes | None]]:
        """Each file that is new or changed, with its contents, and each that has gone, with None."""
        there = set()
        for pattern in self._patterns:
            for path in sorted(self._folder.glob(pattern)):
                name = path.relative_to(self._folder).as_posix()
                try:
                    mark, content = self._look(path)
                    if self._seen.get(name) != mark:
                        yield name, path.read_bytes() if content is None else content
                except FileNotFoundError:
                    continue  # gone between two looks
                there.add(name)
                self._seen[name] = mark
        for name in self._seen.keys() - there:
            del self._seen[name]
            yield name, None

    @staticmethod
    def _look(path: Path) -> tuple[object, bytes | None]:
        """What tells a file from its earlier self, and its contents where they had to be read."""
        status = path.stat()
        if status.st_size <= _SMALL:
            content = path.read_bytes()
            return content, content
        return (status.st_ino, status.st_mtime_ns, status.st_size), None
