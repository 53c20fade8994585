"""Every fenced block of every page: somebody runs it, or the page says who does or why nobody can."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from corral.launch.experiment import load_experiment
from tests.docs.command_line import commands, complaint
from tests.docs.pages import COMMANDS, KINDS, Block, pages
from tests.support.command import ROOT

PAGES = pages()
BLOCKS = [block for page in PAGES for block in page.blocks]
MARKS = ("file", "module", "background", "output", "tested in", "not run")
README_TESTS = "tests/test_readme.py"


def one_for_each(blocks: list[Block]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", blocks, ids=lambda block: block.place)


def test_each_block_is_of_a_known_kind() -> None:
    unknown = [f"{block.place} {block.language!r}" for block in BLOCKS if block.kind not in KINDS]
    assert unknown == [], f"name its language, one of {KINDS}, or teach tests/docs what to do with it"
    bad = [f"{block.place} {block.mark!r}" for block in BLOCKS if block.mark and not block.mark.startswith(MARKS)]
    assert bad == [], f"a mark is one of {MARKS} (tests/docs/pages.py says what they mean)"
    unsaid = [block.place for block in BLOCKS if block.told("not run") == ""]
    assert unsaid == [], "say why it is not run"
    print("\n".join(f"{count:4} {what}" for what, count in sorted(counted().items())))


def counted() -> Counter[str]:
    """How many blocks there are of each kind, and how many nobody runs."""
    found = Counter(block.kind for block in BLOCKS)
    return found + Counter("not run" for block in BLOCKS if block.told("not run"))


def test_what_is_tested_elsewhere_is_tested_there() -> None:
    for block in BLOCKS:
        path = block.told("tested in")
        if path is not None:
            test = ROOT / path
            assert test.exists(), f"{block.place}: there is no {path}"
            text = "".join(each.read_text() for each in ([test] if test.is_file() else test.glob("*.py")))
            # It reads the page, or runs every such command.
            names = [words[0] for line in block.commands for words in commands(line)]
            unknown = [name for name in names if not re.search(rf"[\"\s]{name}[\"\s]", text)]
            assert Path(block.page).name in text or unknown == [], f"{block.place}: {path} does not know {unknown}"


def test_what_is_not_marked_is_of_a_kind_that_runs() -> None:
    # The README's commands are run one by one, in their own test.
    left = [block.place for block in BLOCKS if block.runs and block.kind in ("js", "hex step", "hex actions")]
    assert left == [], "say with a mark which test runs it"


@one_for_each([block for block in BLOCKS if block.kind in COMMANDS])
def test_commands_exist_with_their_options(block: Block) -> None:
    for line in block.commands:
        for words in commands(line):
            assert complaint(words) == "", f"{block.place}: {line}"


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ("run examples/cartpole.toml --sed 3", "No such option"),
        ("trian examples/cartpole.toml", "No such command"),
        ("run examples/cartpole.toml --set server.batching.timeout=5", "no such key"),
        ("run examples/nothing.toml", "does not exist"),
        ("keys bundle keys actor", "Missing argument"),
    ],
)
def test_an_invented_command_is_seen(words: str, wrong: str) -> None:
    assert wrong in complaint(words.split())


@one_for_each([block for block in BLOCKS if block.kind == "toml"])
def test_tables_load_as_an_experiment(block: Block, tmp_path: Path) -> None:
    given = tomllib.loads(block.text)
    whole = block.text
    if "id" not in given.get("environment", {}):
        whole += "\n[environment]\n" if "environment" not in given else ""
        whole = whole.replace("[environment]\n", '[environment]\nid = "CartPole-v1"\n')
    (tmp_path / "shown.toml").write_text(whole)
    load_experiment(tmp_path / "shown.toml", [], {})


@one_for_each([block for block in BLOCKS if block.kind == "ini"])
def test_variables_are_those_of_keys(block: Block) -> None:
    variables = dict(line.split("=", 1) for line in block.commands)
    experiment = load_experiment(ROOT / "examples" / "cartpole.toml", [], variables)
    assert experiment != load_experiment(ROOT / "examples" / "cartpole.toml", [], {})


@one_for_each([block for block in BLOCKS if block.kind == "python"])
def test_code_compiles(block: Block) -> None:
    compile(block.text, block.place, "exec")


def test_every_page_is_in_the_navigation() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    linked = {(ROOT / "docs" / target).resolve() for target in re.findall(r"\]\(([^)#]+\.md)\)", index)}
    left = [page.name for page in PAGES if (ROOT / page.name) not in linked and page.name != "docs/index.md"]
    assert left == [], "give it a line in docs/index.md: that is the site's navigation"
