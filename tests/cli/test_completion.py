"""What real shells offer behind Tab, after `corral --install-completion`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from corral.cli.bash_words import rejoin
from corral.cli.completion import changes, overrides
from corral.launch.experiment import Experiment
from corral.launch.sources import all_keys, dotted
from tests.support.command import Workplace, workplace
from tests.support.programs import program
from tests.support.terminal import Terminal, terminal

HEAVY = {"tensorflow", "jax", "keras", "gymnasium", "ray", "nicegui"}


@pytest.fixture
def place() -> Iterator[Workplace]:
    with workplace() as place:
        (place.folder / "mine.toml").write_text(
            '[environment]\nid = "CartPole-v1"\n[policies.red]\n[policies.blue]\n'
        )
        (place.folder / "runs" / "mine-1").mkdir(parents=True)
        (place.folder / "runs" / "mine-1" / "run.json").write_text("{}")
        yield place


def shell(place: Workplace, *command: str) -> AbstractContextManager[Terminal]:
    own = {"HOME": str(place.folder), "TERM": "vt100", "HISTFILE": ""}
    return terminal(list(command), place.folder, place.environment | own)


def installed(place: Workplace, *command: str) -> None:
    """As somebody who sits at that shell does it."""
    with shell(place, *command) as sitting:
        sitting.type("corral --install-completion; echo do''ne\r")
        assert "completion installed in" in sitting.until("done")


def in_bash(place: Workplace, line: str) -> list[str]:
    """The words after all that bash offers was inserted (Alt-*)."""
    with shell(place, "bash", "-i") as sitting:
        sitting.type("PS1=; echo rea''dy\r")
        sitting.until("ready")
        sitting.type(f"{line}\x1b*\x05; echo en''d\x01printf '<%s>\\n' \r")
        return re.findall(r"^<(.*)>$", sitting.until("end\n"), re.MULTILINE)


def test_bash_offers_what_was_meant(place: Workplace) -> None:
    installed(place, "bash", "-i")
    assert in_bash(place, "corral ru") == ["corral", "run"]
    assert in_bash(place, "corral run mi") == ["corral", "run", "mine.toml"]
    assert in_bash(place, "corral evaluate ru") == ["corral", "evaluate", "runs/mine-1"]
    assert in_bash(place, "corral server mine.toml --policy ") == [
        *("corral", "server", "mine.toml", "--policy"), "blue", "red",
    ]  # fmt: skip
    # bash takes "=" and ":" for words of their own.
    assert in_bash(place, "corral actor mine.toml --server tcp://a:5555 --set agent.name=p") == [
        *("corral", "actor", "mine.toml", "--server", "tcp://a:5555", "--set"), "agent.name=ppo",
    ]  # fmt: skip
    assert in_bash(place, "corral run mine.toml --set run.target_r") == [
        *("corral", "run", "mine.toml", "--set"), "run.target_return=",
    ]  # fmt: skip
    # Where nothing is known the shell offers files.
    assert in_bash(place, "corral keys list ex") == ["corral", "keys", "list", "examples"]


@pytest.mark.long
def test_zsh_offers_keys_with_their_sentences(place: Workplace) -> None:
    zsh = program("zsh", "zsh", "REQUIRE_SHELLS")
    (place.folder / ".zshrc").write_text("PS1=\n")
    installed(place, zsh, "-i")
    with shell(place, zsh, "-i") as sitting:
        sitting.type("echo rea''dy\r")
        sitting.until("ready")
        # typer's function for zsh defines itself at the first Tab of a shell, and no more.
        sitting.type("corral \t\x15corral run mine.toml --set server.batching.\t")
        shown = sitting.until("Most rows in one batch")
        assert "server.batching.max_size=" in shown
        sitting.type("\x15corral run mi\t\x01echo \r")
        sitting.until("run mine.toml\n")


@pytest.mark.long
def test_fish_offers_keys_with_their_sentences(place: Workplace) -> None:
    fish = program("fish", "fish", "REQUIRE_SHELLS")
    # Where these are missing fish begins to write them, and is still at it when the folder is to go.
    for kept in (".local/share", ".cache"):
        (place.folder / kept / "fish" / "generated_completions").mkdir(parents=True)
    installed(place, fish, "-i")
    offered = subprocess.run(
        [fish, "-c", "complete -C 'corral run mine.toml --set server.batching.'; complete -C 'corral run mi'"],
        cwd=place.folder,
        env=place.environment | {"HOME": str(place.folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    lines = offered.stdout.splitlines()
    assert any(re.match(r"server\.batching\.max_size=\tMost rows in one batch", line) for line in lines), lines
    assert lines[-1] == "mine.toml"


def test_every_key_has_its_sentence() -> None:
    for key in map(dotted, all_keys(Experiment)):
        (value, sentence), *values = overrides(key)
        assert value.startswith(key)
        assert sentence, f"{key} says nothing"
        assert all(other.startswith(f"{key}=") or other.startswith(key) for other, _ in values)


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("agent.name=p", ["agent.name=ppo"]),
        ("server.batching.timeout_us", ["server.batching.timeout_us=", "server.batching.timeout_us=0"]),
        ("server.insecure=", ["server.insecure=true", "server.insecure=false"]),
        ("environment.id", ["environment.id="]),
        ("nonsense", []),
        ("agent.nam=p", []),
    ],
)
def test_behind_a_key_its_values_are_offered(typed: str, offered: list[str]) -> None:
    assert [value for value, _ in overrides(typed)] == offered


def test_a_running_server_is_offered_what_it_can_change() -> None:
    assert [value for value, _ in changes("server.")] == [
        "server.batching.timeout_us=", "server.batching.max_size=", "server.batching.buckets=",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "at", "whole", "place"),
    [
        (["corral", "run", ""], 2, ["corral", "run", ""], 2),
        (["corral", "--set", "a.b", "=", "p"], 4, ["corral", "--set", "a.b=p"], 2),
        (["corral", "--set", "a.b", "="], 3, ["corral", "--set", "a.b="], 2),
        (["c", "--set", "a", "=", "", "x"], 4, ["c", "--set", "a=", "x"], 2),
        (["c", "tcp", ":", "//h", ":", "5555", "x"], 6, ["c", "tcp://h:5555", "x"], 2),
    ],
)
def test_words_are_put_together_again(words: list[str], at: int, whole: list[str], place: int) -> None:
    assert rejoin(words, at) == (whole, place)


def test_tab_loads_no_framework(tmp_path: Path) -> None:
    code = (
        "import os, sys\n"
        "os.environ.update(COMP_WORDS='corral\\nrun\\nx.toml\\n--set\\nserver.', COMP_CWORD='4',"
        " _CORRAL_COMPLETE='complete_bash')\n"
        "sys.argv = ['corral']\n"
        "from corral.cli import main\n"
        "try: main()\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "server.batching.timeout_us=" in done.stdout.splitlines()
    assert not HEAVY & set(done.stderr.split())
