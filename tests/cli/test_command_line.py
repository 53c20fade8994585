"""The `corral` command: what it says, and the exit codes, without any other room."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import corral

ROOT = Path(__file__).parents[2]
CARTPOLE = ROOT / "examples" / "cartpole.toml"
COMMANDS = (
    "run", "serve", "server", "learner", "actor", "init", "config", "status", "set", "top", "dashboard", "evaluate",
    "export", "plan", "doctor", "scale",
)  # fmt: skip


def corral_command(
    *arguments: object, without: tuple[str, ...] = (), before: str = "", timeout_s: float = 60, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the command; modules in `without` look as if they were not installed; `before` is run first."""
    blocked = "".join(f"sys.modules[{name!r}] = None; " for name in without)
    code = f"import sys; {blocked}{before}from corral.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **environ},
        check=False,
    )


def error(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    return done.stderr.removeprefix("error: ").rstrip("\n")


def test_help_names_every_command() -> None:
    done = corral_command("--help")
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help(name: str) -> None:
    done = corral_command(name, "--help")
    assert done.returncode == 0
    assert f"{name} [OPTIONS]" in done.stdout


@pytest.mark.parametrize("without", [(), ("typer", "rich", "pydantic")])
def test_version(without: tuple[str, ...]) -> None:
    done = corral_command("--version", without=without)
    assert (done.returncode, done.stdout) == (0, f"corral {corral.__version__}\n")


def test_it_is_a_module_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "corral.cli", "--version"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == f"corral {corral.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [((), "actor"), (("--help",), "actor"), (("actor", CARTPOLE), "actor"), (("serve", "x.keras"), "server")],
)
def test_the_bare_install_says_what_to_install(arguments: tuple[object, ...], extra: str) -> None:
    text = error(corral_command(*arguments, without=("typer", "rich", "pydantic", "gymnasium", "keras")))
    assert text.startswith(f'the command line needs typer, which is not installed: pip install "corral[{extra}]"')


def test_an_experiment_without_pydantic_says_what_to_install() -> None:
    text = error(corral_command("actor", CARTPOLE, without=("pydantic",)))
    assert text == 'this needs pydantic, which is not installed: pip install "corral[actor]"'


def test_an_actor_without_gymnasium_says_what_to_install() -> None:
    text = error(corral_command("actor", CARTPOLE, without=("gymnasium",)))
    assert text == 'this needs gymnasium, which is not installed: pip install "corral[actor]"'


@pytest.mark.parametrize("name", ["server", "learner"])
def test_a_role_without_keras_says_what_to_install(name: str, tmp_path: Path) -> None:
    options = ["--set", f"run.folder={tmp_path}"]
    text = error(corral_command(name, CARTPOLE, *options, without=("keras", "tensorflow")))
    assert text in [
        f'this needs {module}, which is not installed: pip install "corral[server]"'
        for module in ("keras", "tensorflow")
    ]


def test_an_experiment_that_does_not_exist(tmp_path: Path) -> None:
    assert error(corral_command("run", tmp_path / "no.toml")) == f"{tmp_path / 'no.toml'}: no such experiment file"


def test_an_experiment_with_mistakes_lists_them() -> None:
    text = error(
        corral_command(
            "run", CARTPOLE, "--set", "agent.nam=x", "--seed", "-1", CORRAL_SERVER__BATCHING__TIMEOUT_US="soon"
        )
    )
    lines = text.splitlines()
    assert lines[0] == f"3 problems with {CARTPOLE}:"
    assert "agent.nam = x (--set agent.nam=x): no such key; did you mean agent.name?" in lines[1]
    assert "server.batching.timeout_us = soon (environment variable CORRAL_SERVER__BATCHING__TIMEOUT_US): " in text
    assert "run.seed = -1 (--set run.seed=-1): must be 0 to 4294967295, not -1" in text


def test_a_traceback_can_be_asked_for(tmp_path: Path) -> None:
    done = corral_command("run", tmp_path / "no.toml", CORRAL_TRACEBACK="1")
    assert done.returncode != 0
    assert "ExperimentError" in done.stderr
    assert "Traceback" in done.stderr


def test_a_run_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    text = error(corral_command("run", CARTPOLE, "--folder", tmp_path / "file"))
    made = "run folders are made there: choose another by --folder or run.folder"
    assert text == f"{tmp_path / 'file'}: File exists; {made}"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["no.keras"], "no.keras: no such file; name a model that Keras saved, such as policy.keras"),
        (["no.keras", "--max-size", "0"], "--max-size must be 1 to 65535 rows, not 0"),
        (["no.keras", "--timeout-us", "-1"], '--timeout-us must be 0 to 10000000 microseconds or "auto", not -1'),
        (
            ["no.keras", "--timeout-us", "auto"],
            "no.keras: no such file; name a model that Keras saved, such as policy.keras",
        ),
        (
            ["no.keras", "--timeout-us", "soon"],
            "--timeout-us soon: must be whole microseconds, such as 500, or auto",
        ),
    ],
)
def test_serve_with_mistakes(arguments: list[str], text: str) -> None:
    assert error(corral_command("serve", *arguments)) == text


def test_a_damaged_policy_is_told(tmp_path: Path) -> None:
    (tmp_path / "junk.keras").write_text("junk")
    done = corral_command("serve", tmp_path / "junk.keras", "--address", f"ipc://{tmp_path}/s")
    assert f"{tmp_path / 'junk.keras'} is no Keras file: it is damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 2


def test_the_working_directory_comes_last_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("raise RuntimeError('not this one')")
    (tmp_path / "mine.py").write_text("print('imported')")
    code = (
        "from corral.launch.workdir import put_working_directory_on_path as put; put(); "
        "import sys; assert sys.path[-1] != ''; import queue, mine"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert done.stdout == "imported\n"


def test_no_colour_where_nobody_sees_it(tmp_path: Path) -> None:
    assert "\033" not in corral_command("run", tmp_path).stderr
