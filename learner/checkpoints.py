"""Checkpoints: everything that training goes on from, written whole or not at all, and verified when read."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SUFFIX = ".npz"


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: says which file, and why."""


@dataclass(frozen=True)
class Checkpoint:
    """One moment of training.

    Attributes:
      state: what the trainer goes on from, by name.
      progress: counters, plain numbers: policy version, environment steps, epoch.
    """

    state: Mapping[str, np.ndarray]
    progress: Mapping[str, Any]


def save(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write `checkpoint` into `folder`, and remove all but the newest `keep`.

    The file appears under its name only when it is complete and on the disk. It is a numpy archive without
    pickled objects, behind a line with its own BLAKE2b checksum.

    Raises:
      OSError: the disk is full or read-only; older checkpoints are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f"state/{name}": array for name, array in checkpoint.state.items()}
    arrays["progress"] = np.frombuffer(json.dumps(dict(checkpoint.progress)).encode(), np.uint8)
    np.savez(buffer, **arrays)
    body = buffer.getvalue()
    path = folder / f"checkpoint-{int(checkpoint.progress['policy_version']):010d}{SUFFIX}"
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(_digest(body) + b"\n" + body)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    for old in _all(folder)[:-keep]:
        with contextlib.suppress(FileNotFoundError):
            old.unlink()
    return path


def load(path: Path) -> Checkpoint:
    """The checkpoint in `path`. Raises `CheckpointError` for a file that is torn, damaged or none of ours."""
    digest, _, body = path.read_bytes().partition(b"\n")
    if digest != _digest(body):
        raise CheckpointError(f"{path} is damaged: its checksum does not match")
    with np.load(io.BytesIO(body), allow_pickle=False) as archive:
        state = {name.removeprefix("state/"): archive[name] for name in archive.files if name != "progress"}
        progress = json.loads(archive["progress"].tobytes())
    return Checkpoint(state, progress)


def load_newest(folder: Path) -> tuple[Path, Checkpoint] | None:
    """The newest checkpoint in `folder` that is whole, or None; damaged ones are passed over."""
    for path in reversed(_all(folder)):
        with contextlib.suppress(CheckpointError):
            return path, load(path)
    return None


def _all(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"checkpoint-*{SUFFIX}"))


def _digest(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).hexdigest().encode()
