"""The site: built as `make docs` does, complete, offline, and strict about what it links to."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from corral.cli.app import app
from corral.launch.document import kind_at
from corral.launch.experiment import Experiment, tables_of
from tests.support.browser import browser
from tests.support.command import ROOT

pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """What `make docs` runs, elsewhere."""
    would = subprocess.run(["make", "-n", "docs"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (line,) = [line for line in would.splitlines() if "sphinx-build" in line]
    _, *arguments, _, _ = shlex.split(line)
    arguments[arguments.index("--doctree-dir") + 1] = str(site.parent / "doctrees")
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *arguments, str(source), str(site)],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("docs") / "site"
    built = build(ROOT, site)
    assert built.returncode == 0, built.stdout + built.stderr
    return site


def test_it_begins_at_its_root(site: Path) -> None:
    (target,) = re.findall(r"url=([^\"]+)", (site / "index.html").read_text())
    assert (site / target).exists()


def test_it_needs_no_network(site: Path) -> None:
    fetched = (
        r"<(?:script|img|iframe)[^>]* src=\"http[^\"]*|<link[^>]* href=\"http[^\"]*|url\([\"']?http|@import \"?http"
    )
    pages = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(pages) > 40
    assert [
        (page.name, re.findall(fetched, page.read_text())) for page in pages if re.search(fetched, page.read_text())
    ] == []


@pytest.mark.parametrize(("width", "dark"), [(420, False), (1440, True)])
def test_every_page_fits_and_has_its_pictures(site: Path, tmp_path: Path, width: int, dark: bool) -> None:
    with browser(tmp_path) as shown:
        for file in sorted(site.rglob("*.html")):
            shown.open(file.as_uri(), width=width, dark=dark)
            missing = "return [...document.images].filter(each => !each.naturalWidth).map(each => each.src)"
            assert shown.run(missing) == [], file
            assert shown.run("return document.documentElement.scrollWidth") <= width, file
            assert shown.errors() == [], file


def test_it_can_be_searched_without_a_server(site: Path, tmp_path: Path) -> None:
    with browser(tmp_path) as shown:
        shown.open((site / "search.html").as_uri() + "?q=bucket_sizes")
        shown.until_words("inference_server.BatchingSettings.bucket_sizes", "#search-results")


def test_every_public_name_is_described(site: Path) -> None:
    page = (site / "docs" / "reference" / "python.html").read_text()
    lines = (ROOT / "tests" / "public_api.txt").read_text().splitlines()
    names = {re.split(r"[(: ]", line, maxsplit=1)[0] for line in lines}
    classes = {name for name in names if re.fullmatch(r"[a-z_.]+\.[A-Za-z_]\w*", name)}
    assert len(classes) > 60
    assert sorted(name for name in classes if f'id="{name}"' not in page) == []


def test_every_key_is_described(site: Path) -> None:
    page = (site / "docs" / "reference" / "configuration.html").read_text()

    def keys(kind: type, table: tuple[str, ...] = ()) -> list[str]:
        found = []
        for field in fields(kind):
            value = kind_at((*table, field.name))
            if is_dataclass(value):
                assert isinstance(value, type)
                found += keys(value, (*table, field.name))
            elif tables_of(value) is None:
                found.append(field.name)
        return found

    every = keys(Experiment)
    assert len(every) > 100
    assert [key for key in every if f'<span class="pre">{key}</span>' not in page] == []


def test_every_command_is_described(site: Path) -> None:
    page = (site / "docs" / "reference" / "commands.html").read_text()
    names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    assert len(names) > 15
    assert [name for name in names if f'id="corral-{name}"' not in page] == []


def test_what_leads_nowhere_fails_the_build(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in ROOT.iterdir():
        if path.name not in ("docs", "site", "build", "runs") and not path.name.startswith("."):
            (source / path.name).symlink_to(path)
    shutil.copytree(ROOT / "docs", source / "docs")
    broken = "\n[a page](nowhere.md), [a heading](design.md#no-such-heading)\n"
    with (source / "docs" / "versions.md").open("a") as page:
        page.write(broken)
    (source / "docs" / "forgotten.md").write_text("# Forgotten\n")
    built = build(source, tmp_path / "site")
    said = built.stdout + built.stderr
    assert built.returncode != 0
    for what in ("nowhere.md", "no-such-heading", "forgotten.md"):
        assert what in said, said
