"""Where a process writes of its doings, and in which form.

CORRAL_LOG_FORMAT (plain, json) and CORRAL_LOG_LEVEL (debug, info, warning, error) say how; the options
`--log-format` and `-v` set these two, so that the processes which a command starts do as it does.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from corral.launch.errors import UserError, tell_errors_by
from corral.launch.log_line import Format, LineFormatter

ROOMS = ("corral", "actor_client", "inference_server", "learner")
FORMAT, LEVEL = "CORRAL_LOG_FORMAT", "CORRAL_LOG_LEVEL"
_LEVELS = ("debug", "info", "warning", "error")

log = logging.getLogger(__name__)

_known: dict[str, Any] = {"run": None, "role": None, "actor": None}
_ask: dict[str, Callable[[], Any]] = {}


def log_to_stderr(
    role: str, *, run: str | None = None, actor: int | None = None, owns_stderr: bool = False
) -> None:
    """Write our rooms' news, and everybody's warnings, to stderr.

    Args:
      role: what this process is.
      run: the run's name, where it is known by now.
      actor: its number, where it has one.
      owns_stderr: whether stderr is a log file and nothing else: the last error of the process goes there as an
        event too, in place of `error: ...` for a person.

    Raises:
      UserError: the environment asks for a form or a level that there is not.
    """
    handler = logging.StreamHandler()
    form = _add(handler, role)
    know(run=run, actor=actor)
    sys.excepthook = _on_defect
    if owns_stderr or form == "json":
        tell_errors_by(log.critical)


def log_to_file(path: Path, role: str, *, run: str | None = None) -> None:
    """Write the same to `path` too, behind what is there. Arguments as for `log_to_stderr`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _add(logging.FileHandler(path, delay=True), role)
    know(run=run)


def know(**fields: Any) -> None:
    """From now on every line says this too: `run`, `actor`; None changes nothing."""
    _known.update({name: value for name, value in fields.items() if value is not None})


def know_version(version: Callable[[], int | None]) -> None:
    """From now on every line says the policy version that `version` returns at that moment."""
    _ask["policy_version"] = version


def fields() -> Mapping[str, Any]:
    """What every line says of this process."""
    return _known | {name: ask() for name, ask in _ask.items()}


def form_and_level(environ: Mapping[str, str] = os.environ) -> tuple[Format, int]:
    """The form of lines and the level of our rooms that the environment asks for. Raises `UserError`."""
    form = environ.get(FORMAT, "plain").lower()
    level = environ.get(LEVEL, "info").lower()
    if form not in ("plain", "json"):
        raise UserError(f"{FORMAT} = {form}: must be plain or json")
    if level not in _LEVELS:
        raise UserError(f"{LEVEL} = {level}: must be one of {', '.join(_LEVELS)}")
    return cast(Format, form), logging.getLevelNamesMapping()[level.upper()]


def _add(handler: logging.Handler, role: str) -> Format:
    form, level = form_and_level()
    handler.setFormatter(LineFormatter(form, fields))
    logging.getLogger().addHandler(handler)
    for room in ROOMS:
        logging.getLogger(room).setLevel(level)
    threading.excepthook = _on_thread_defect
    know(role=role)
    return form


def _on_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("this process ends by a defect: %s: %s", kind.__name__, error, exc_info=(kind, error, trace))


def _on_thread_defect(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit or args.exc_value is None:
        return
    name = args.thread.name if args.thread else "?"
    text = "the thread %s ended by a defect: %s: %s"
    told = (args.exc_type, args.exc_value, args.exc_traceback)
    log.error(text, name, args.exc_type.__name__, args.exc_value, exc_info=told)
