"""Checkpoints: everything that training goes on from, written whole or not at all, and verified when read."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from corral.protocol import ProtocolError
from corral.protocol.weights import check_finite

log = logging.getLogger(__name__)

SUFFIX = ".npz"
REPLAY = "replay/"
"""What the names of a replay's leaves begin with: what it holds was observed, and may be no number."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: says which file, and why."""


@dataclass(frozen=True)
class Checkpoint:
    """One moment of training.

    Attributes:
      state: what the trainer goes on from, by name.
      progress: whatever else, as JSON takes it: policy version, epoch, counters, cursors, random state.
    """

    state: Mapping[str, np.ndarray]
    progress: Mapping[str, Any]


def save(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write `checkpoint` into `folder`, and remove all but the newest `keep`.

    The file appears under its name only when it is complete and on the disk. It is a numpy archive without
    pickled objects, behind a line with its own BLAKE2b checksum. The newest is the one of the latest epoch and,
    within an epoch, of the highest policy version: a learner that begins anew in a folder begins at version 1.

    Raises:
      OSError: the disk is full or read-only; older checkpoints are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f"state/{name}": array for name, array in checkpoint.state.items()}
    arrays["progress"] = np.frombuffer(json.dumps(dict(checkpoint.progress)).encode(), np.uint8)
    np.savez(buffer, **arrays)
    body = buffer.getvalue()
    epoch, version = (int(checkpoint.progress.get(name, 0)) for name in ("epoch", "policy_version"))
    path = folder / f"checkpoint-{epoch:013d}-{version:010d}{SUFFIX}"
    partial = path.with_suffix(".partial")
    for stale in folder.glob("*.partial"):  # of a process that was killed
        with contextlib.suppress(FileNotFoundError):
            stale.unlink()
    try:
        with partial.open("wb") as file:
            file.write(_digest(body) + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(folder)
    except OSError:
        # A disk that is full has no room for half a checkpoint either.
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    for old in _all(folder)[:-keep]:
        with contextlib.suppress(FileNotFoundError):
            old.unlink()
    return path


def load(path: Path) -> Checkpoint:
    """The checkpoint in `path`.

    Raises:
      CheckpointError: the file is torn, damaged or none of ours, or what it holds are no numbers to go on from.
    """
    digest, _, body = path.read_bytes().partition(b"\n")
    if digest != _digest(body):
        raise CheckpointError(f"{path} is damaged: its checksum does not match")
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            state = {name.removeprefix("state/"): archive[name] for name in archive.files if name != "progress"}
            progress = json.loads(archive["progress"].tobytes())
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is no checkpoint: {error}") from error
    try:
        check_finite({name: leaf for name, leaf in state.items() if not name.startswith(REPLAY)})
    except ProtocolError as error:
        raise CheckpointError(f"{path} cannot be gone on from: {error.text}") from error
    return Checkpoint(state, progress)


def load_newest(folder: Path) -> tuple[Path, Checkpoint] | None:
    """The newest checkpoint in `folder` that can be gone on from, or None where there is none; damaged ones are
    passed over, with an error in the log.

    Raises:
      CheckpointError: there are some, and all are damaged.
    """
    paths = _all(folder)
    for path in reversed(paths):
        try:
            return path, load(path)
        except (CheckpointError, OSError) as error:
            log.error("passed over: %s", error)
    if paths:
        raise CheckpointError(
            f"none of the {len(paths)} checkpoints in {folder} can be used: all are damaged; the log says how. Put "
            "one back from a backup, or begin anew in another folder"
        )
    return None


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"checkpoint-*{SUFFIX}"))


def _sync_folder(folder: Path) -> None:
    """Make sure that the new name is on the disk too, where the system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).hexdigest().encode()
