"""The pages' code and commands run, as they stand there: page by page, block by block."""

from __future__ import annotations

import pytest

from tests.docs.pages import COMMANDS, Page, pages
from tests.docs.walk import Walk, matches
from tests.support.command import workplace

CONTINUED = {page.before.name for page in pages() if page.before is not None}
WALKED = [
    page
    for page in pages()
    if page.name not in CONTINUED | {"README.md"}  # whose commands tests/test_readme.py runs
    and any(block.runs and block.kind in (*COMMANDS, "python") for block in page.blocks)
]


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", WALKED, ids=lambda page: page.name)
def test_a_page_can_be_walked(page: Page) -> None:
    with workplace() as place, Walk(place) as walk:
        walk.through(page)


def test_what_is_shown_is_compared_with_what_was_said() -> None:
    said = "warm\n8000 steps, 757 episodes ended\nmean return 12.5\n"
    assert matches("8000 steps, 312 episodes ended\n", said)
    assert matches("warm\n...\nmean return 499.0\n", said)
    assert not matches("8000 steps, 312 episodes began\n", said)
    assert not matches("mean return 3\nwarm\n", said)
