"""The `corral` command.

`main` works on the bare install too: there it says which extra is missing.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import nullcontext
from types import FrameType

# The commands that hold a Keras model, here or in a process that they start.
_WITH_KERAS = ("run", "serve", "server", "learner", "bench", "tune", "chaos", "evaluate", "export")


def main() -> None:
    """Run the command line and exit: 0 well, 1 not solved or a process failed, 2 the user can mend it,
    130 after Ctrl-C."""
    from corral.launch.errors import guarded
    from corral.launch.leaving import leave
    from corral.launch.workdir import put_working_directory_on_path

    signal.signal(signal.SIGINT, _interrupted)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    put_working_directory_on_path()
    if sys.argv[1:] == ["--version"]:
        print_version()
        sys.exit(0)
    try:
        code = guarded(_command_line)
    except SystemExit as end:
        if not sys.modules.keys() & {"tensorflow", "jax", "torch"} or not isinstance(end.code, int):
            raise
        code = end.code
    leave(code)


def print_version() -> None:
    """Print `corral 0.1.0`."""
    from corral import __version__

    print(f"corral {__version__}")


def _command_line() -> int:
    from corral.launch.errors import UserError, missing_extra

    try:
        from corral.cli.app import app
    except ImportError as error:
        if missing_extra(error) is None:
            raise
        extra = "server" if sys.argv[1:2] and sys.argv[1] in _WITH_KERAS else "actor"
        raise UserError(
            f"the command line needs {error.name}, which is not installed: "
            f'pip install "corral[{extra}]"\n'
            "  corral[actor]   the command line, and actors that run environments\n"
            "  corral[server]  that, and what servers and learners need: TensorFlow and Keras\n"
            "  The client alone (`from actor_client import PolicyClient`) works without either."
        ) from None
    from corral.cli.bash_words import asked, whole_words

    with whole_words() if asked(os.environ) else nullcontext():
        app()
    return 0


def _interrupted(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
