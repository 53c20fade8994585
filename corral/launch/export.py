"""A run's policy in the forms that others serve."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from corral.launch.errors import UserError
from corral.launch.estimate import Say, say_nothing
from corral.launch.experiment import load_experiment
from corral.launch.folder import experiment_file, write_whole
from corral.launch.policy import load_policy, policy_file
from corral.launch.quiet import import_keras
from corral.launch.threads import choose_threads_for_file

_MARK = "saved_model.pb"
"""What a SavedModel has in its folder."""
_STAGES = 3
_NO_ONNX = (
    "--format onnx: cannot be written yet. Keras 3.15 spells the argmax that chooses an action with operations on "
    "bits, which tf2onnx 1.17 does not convert. The network without its argmax can be: docs/results.md shows how"
)


def export_policy(
    folder: Path,
    form: str,
    output: Path | None = None,
    *,
    best: bool = False,
    force: bool = False,
    say: Say = say_nothing,
) -> Path:
    """Write the policy of the run in `folder`; where it lies.

    Args:
      form: one of `FORMATS`.
      output: a file, or the folder of a SavedModel; None takes one within the run's folder.
      best: the policy that evaluations beside training found best, not the last one.
      force: write over what an earlier export left there.
      say: told what is going on.

    Raises:
      UserError: there is no such form or no policy, Keras cannot load that, or `output` cannot be taken.
      OSError: it cannot be written.
      ImportError: TensorFlow is missing: a SavedModel needs it on any backend.
    """
    if form == "onnx":
        raise UserError(_NO_ONNX)
    if form not in FORMATS:
        raise UserError(f"--format {form}: must be {' or '.join(FORMATS)}")
    kind = FORMATS[form]
    policy = policy_file(folder, best)
    path = folder / kind.default if output is None else output
    kind.check(path, force)
    kind.write(folder, policy, path, say)
    return path


def _check_file(path: Path, force: bool) -> None:
    if path.suffix != ".keras":
        raise UserError(f"--output {path}: a Keras file's name ends in .keras")
    if path.is_dir():
        raise UserError(f"--output {path} is a folder: name a file in it")
    if path.exists() and not force:
        raise _taken(path)


def _check_folder(path: Path, force: bool) -> None:
    if path.exists() and not path.is_dir():
        raise UserError(f"--output {path} is a file: a SavedModel is a folder, so name another")
    if not path.exists() or not any(path.iterdir()):
        return
    if not (path / _MARK).is_file():
        raise UserError(f"--output {path} is a folder with something else in it: name one that is new or empty")
    if not force:
        raise _taken(path)


def _taken(path: Path) -> UserError:
    return UserError(f"{path} exists: --force overwrites it, --output PATH writes another")


def _copy(folder: Path, policy: Path, path: Path, say: Say) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, policy.read_bytes())


def _write_saved_model(folder: Path, policy: Path, path: Path, say: Say) -> None:
    """Write it beside its place and move it there: a server that looks for new versions never meets half of one."""
    build = load_experiment(experiment_file(folder), (), {}).agent.network.build
    choose_threads_for_file(policy)
    say("starting TensorFlow", 0, _STAGES)
    import_keras()
    say(f"loading {policy}", 1, _STAGES)
    model = load_policy(policy, build)
    path = path.resolve()  # so that it has a name and a folder, "." too
    path.parent.mkdir(parents=True, exist_ok=True)
    draft, before = (path.with_name(f".{path.name}.{os.getpid()}.{word}") for word in ("new", "old"))
    try:
        say(f"writing {path}", 2, _STAGES)
        with _without_warnings("absl"):  # which name every "." that becomes a "_"
            model.export(draft, format="tf_saved_model", verbose=False)
        if path.exists():
            path.replace(before)
        try:
            draft.replace(path)
        except OSError:
            if before.exists():
                before.replace(path)
            raise
    finally:
        for rest in (draft, before):
            shutil.rmtree(rest, ignore_errors=True)


@contextmanager
def _without_warnings(name: str) -> Iterator[None]:
    def is_error(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    logger = logging.getLogger(name)
    logger.addFilter(is_error)  # its level is set again and again meanwhile
    try:
        yield
    finally:
        logger.removeFilter(is_error)


@dataclass(frozen=True)
class _Form:
    """One way of writing a policy.

    Attributes:
      default: where it goes within the run's folder.
      check: raises `UserError` where a path cannot be taken.
      write: writes a run's policy, given the run's folder and the policy's file, to a path, and says what goes on.
    """

    default: str
    check: Callable[[Path, bool], None]
    write: Callable[[Path, Path, Path, Say], None]


FORMATS = {
    "keras": _Form("export/policy.keras", _check_file, _copy),
    # TensorFlow Serving looks for folders with numbers, which are versions.
    "savedmodel": _Form("export/savedmodel/1", _check_folder, _write_saved_model),
}
"""The forms that there are, by the name that `--format` takes."""
