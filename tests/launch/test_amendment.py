"""An experiment file with other batching in it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from corral.launch.amendment import amend, amended, check_amendable
from corral.launch.errors import UserError

ROOT = Path(__file__).parents[2]
CARTPOLE = ROOT / "examples" / "cartpole.toml"
WANTED = {"timeout_us": 500, "max_size": 64}


def test_only_the_two_lines_of_an_example_change() -> None:
    before = CARTPOLE.read_text().splitlines()
    after = amended(CARTPOLE.read_text(), WANTED, "x").splitlines()
    assert [(old, new) for old, new in zip(before, after, strict=True) if old != new] == [
        (
            "timeout_us = 1000           # wait so long for stragglers; a batch leaves when all are there",
            "timeout_us = 500           # wait so long for stragglers; a batch leaves when all are there",
        ),
        (
            "max_size = 48               # every environment at once",
            "max_size = 64               # every environment at once",
        ),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing but words\n",
        "[environment]\nid = 'x'  # mine\n",
        "[environment]\nid = 'x'",
        "[server]\nlease_s = 3.0\n\n[actor]\nprocesses = 2\n",
        "[server.unrolls]\nwhen_full = 'shed'\n\n[actor]\nprocesses = 2\n",
        "[server.batching]\nmax_size = 1_0  # small\n[actor]\nprocesses = 2\n[server]\nlease_s = 3.0\n",
        "server.batching.timeout_us = 'auto'\n[actor]\nprocesses = 2\n",
        "server.lease_s = 3.0\n[actor]\nprocesses = 2\n",
        "server = {lease_s = 3.0}\n",
        "server = {batching = {timeout_us = 3}}\n",
        "[server]\nbatching = {timeout_us = 3}\n",
        "[server.batching]\r\ntimeout_us = 3 # why\r\n",
    ],
)
def test_whatever_a_file_looks_like(text: str) -> None:
    after = amended(text, WANTED, "x")
    before = tomllib.loads(text)
    server = before.get("server", {})
    assert tomllib.loads(after) == before | {"server": server | {"batching": server.get("batching", {}) | WANTED}}
    assert all(line in after for line in text.splitlines() if "#" in line and "=" not in line)
    assert after.count("#") == text.count("#")
    assert amended(after, WANTED, "x") == after


def test_a_value_that_stands_there_stays_as_it_is_spelt() -> None:
    text = "[server.batching]\ntimeout_us = 5_00\nmax_size = 0x40\n"
    assert amended(text, WANTED, "x") == text


def test_buckets_of_the_files_own_must_go_with_it() -> None:
    fitting = "[server.batching]\nbuckets = [1, 64]\n"
    assert tomllib.loads(amended(fitting, WANTED, "x"))["server"]["batching"] == {"buckets": [1, 64], **WANTED}
    with pytest.raises(UserError, match=r"mine\.toml: the buckets there end at 48, not at max_size = 64"):
        amended("[server.batching]\nbuckets = [1, 48]\n", WANTED, "mine.toml")


def test_a_file_keeps_its_line_ends_its_mode_and_the_link_to_it(tmp_path: Path) -> None:
    file, link = tmp_path / "file.toml", tmp_path / "link.toml"
    file.write_bytes(b"[server.batching]\r\ntimeout_us = 3 # why\r\nmax_size = 64\r\n")
    file.chmod(0o640)
    link.symlink_to(file)
    check_amendable(link)
    amend(link, WANTED)
    assert link.is_symlink()
    assert file.read_bytes() == b"[server.batching]\r\ntimeout_us = 500 # why\r\nmax_size = 64\r\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert sorted(tmp_path.iterdir()) == [file, link]


def test_only_toml_can_be_amended() -> None:
    with pytest.raises(UserError, match=r"runs/x/experiment\.json is no TOML file"):
        check_amendable(Path("runs/x/experiment.json"))
    with pytest.raises(UserError, match=r"nowhere\.toml cannot be written"):
        check_amendable(Path("nowhere.toml"))
