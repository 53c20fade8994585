"""Links to folders of the repository, which the site does not have: they become plain names."""

from __future__ import annotations

import re
from pathlib import Path

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:)([^)#\s]+)\)")


def rewritten(text: str, page: str) -> str:
    """`text` of the page at the path `page`, without its links to folders."""

    def plain(link: re.Match[str]) -> str:
        return link[1] if (Path(page).parent / link[2]).is_dir() else link[0]

    return _LINK.sub(plain, text)
