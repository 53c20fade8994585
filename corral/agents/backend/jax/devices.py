"""The devices that JAX sees, their memory, and its threads."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import jax
from jax._src.xla_bridge import backends_are_initialized

from corral.agents.backend.devices import for_replicas, for_training
from corral.agents.settings import Count


def acting_devices(count: Count) -> list[jax.Device]:
    """The device of each replica of a policy: accelerators, or processors where there are none."""
    return for_replicas(count, *_devices())


def training_devices(count: Count) -> list[jax.Device]:
    """The devices that share a training step. Raises ValueError where there are not so many."""
    return for_training(count, *_devices())


def take_memory(limit_mb: int = 0) -> None:
    """Has GPUs' memory be taken as it is needed, and at most `limit_mb` MB of each; 0: as JAX limits itself.

    JAX takes a part of the memory for its limit: of several GPUs, this is told by the largest.

    Raises:
      RuntimeError: JAX has already run something, and is set in its ways.
    """
    if backends_are_initialized():
        if limit_mb:
            raise RuntimeError("JAX has already run something: its memory can be limited before that alone")
        return
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if limit_mb and (memories := _memories_mb()):
        os.environ["XLA_CLIENT_MEM_FRACTION"] = f"{min(limit_mb / max(memories), 1.0):.4f}"


def _memories_mb() -> list[int]:
    """The memory of each NVIDIA GPU of this machine, in MB, without JAX, which would begin to use them."""
    command = ("nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits")
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
        return [int(line) for line in said.split()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []  # no driver, no such GPU


def configure(intra_threads: int = 0, inter_threads: int = 0) -> None:
    """Sets how many threads JAX uses on the CPU, 0: its choice, and has it compute in the thread that calls.

    JAX has one pool of threads, of `intra_threads`; `inter_threads` has no counterpart and changes nothing.
    Whoever waits for each result, as a server does, gains nothing from a second thread and loses the hand-over.

    Raises:
      RuntimeError: JAX has already run something, and is set in its ways.
    """
    if backends_are_initialized():
        raise RuntimeError("JAX has already run something: its threads can be set before that alone")
    jax.config.update("jax_cpu_enable_async_dispatch", False)  # type: ignore[no-untyped-call]
    with _environment("NPROC", str(intra_threads) if intra_threads else None):  # where JAX looks as it starts
        jax.devices("cpu")


def repeat_bits() -> None:
    """Gives the same results each time: what XLA compiles for the CPU does, with as many threads."""


def _devices() -> tuple[list[jax.Device], list[jax.Device]]:
    """The accelerators and the processors that this process sees."""
    devices = jax.local_devices()
    return [device for device in devices if device.platform != "cpu"], jax.local_devices(backend="cpu")


@contextmanager
def _environment(name: str, value: str | None) -> Iterator[None]:
    """An environment variable that is `value` meanwhile; None leaves it as it is."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if value is not None and before is None:
            del os.environ[name]
        elif before is not None:
            os.environ[name] = before
