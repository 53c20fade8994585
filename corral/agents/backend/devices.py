"""Which devices act and which train: accelerators where there are any, else processors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from corral.agents.settings import Count

D = TypeVar("D")


def for_replicas(count: Count, accelerators: Sequence[D], processors: Sequence[D]) -> list[D]:
    """The device of each replica of a policy. More replicas than devices share them, one after the other."""
    if count == "auto":
        return list(accelerators) or list(processors[:1])
    devices = accelerators or processors
    return [devices[number % len(devices)] for number in range(count)]


def for_training(count: Count, accelerators: Sequence[D], processors: Sequence[D]) -> list[D]:
    """The devices that share a training step.

    Raises:
      ValueError: there are not so many.
    """
    devices = accelerators or processors
    if count == "auto":
        return list(accelerators) or list(processors[:1])
    if count > len(devices):
        kind = "accelerators" if accelerators else "accelerators, and of processors that count as devices"
        found = len(devices) if accelerators else f"none, and {len(devices)}"
        raise ValueError(f"{count} devices are wanted to train on; of {kind} this process sees {found}")
    return list(devices[:count])


def share_of(batch: int, devices: int) -> int:
    """The sequences of a batch that each device takes. Raises ValueError where it cannot be shared out evenly."""
    if batch % devices:
        fit = batch // devices * devices
        near = f"{fit} or {fit + devices}" if fit else f"{devices}"
        raise ValueError(f"{batch} sequences cannot be shared evenly by {devices} devices; {near} can")
    return batch // devices
