"""What the site has beside the pages: navigation, taken from docs/index.md, and reference, taken from the code.

A page says `<!-- generated: NAME -->` where what is generated shall stand; on a code host it is a comment.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from docutils import nodes
from pygments.lexers.special import TextLexer

from generated import commands, configuration, navigation, outside, python

GENERATORS: dict[str, Callable[[], str]] = {
    "commands": commands.page,
    "configuration": configuration.page,
    "python": python.page,
}
_MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)


def setup(app: Any) -> dict[str, Any]:
    """Join Sphinx."""
    app.connect("source-read", _read)
    app.connect("autodoc-process-docstring", python.as_code, priority=400)  # before napoleon takes sections apart
    app.connect("doctree-resolved", _dash)
    app.add_lexer("hex", TextLexer)  # the protocol's bytes
    return {"parallel_read_safe": True}


def _dash(app: Any, tree: Any, page: str) -> None:
    """Sphinx's own hyphens between a parameter and its text: a dash, since smart quotes are off."""
    for text in list(tree.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def _read(app: Any, page: str, source: list[str]) -> None:
    text = _MARK.sub(lambda mark: GENERATORS[mark[1]](), source[0])
    text = outside.rewritten(text, app.env.doc2path(page))
    if page == app.config.root_doc:
        text += navigation.trees(text)
    source[0] = text
