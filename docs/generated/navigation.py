"""The site's navigation: the lists of links of the first page, heading by heading."""

from __future__ import annotations

import re

_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_ENTRY = re.compile(r"^(?:-|\d+\.) \[([^\]]+)\]\(([^)#]+)\.md\)", re.MULTILINE)


def trees(text: str) -> str:
    """One hidden tree of pages for each heading of `text` that has a list of links beneath it."""
    _, *parts = _HEADING.split(text)
    found = []
    for heading, body in zip(parts[::2], parts[1::2], strict=True):
        entries = [f"{title} <{page}>" for title, page in _ENTRY.findall(body)]
        if entries:
            found.append("\n".join(["```{toctree}", ":hidden:", f":caption: {heading}", "", *entries, "```"]))
    return "\n\n" + "\n\n".join(found)
