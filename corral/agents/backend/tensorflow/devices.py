"""The devices that TensorFlow sees, their memory, and its threads."""

from __future__ import annotations

import os

import tensorflow as tf

from corral.agents.backend.devices import for_replicas, for_training
from corral.agents.backend.tensorflow.function import Function
from corral.agents.settings import Count


def acting_devices(count: Count) -> list[str]:
    """The device of each replica of a policy: accelerators, or processors where there are none."""
    return for_replicas(count, *_devices())


def training_devices(count: Count) -> list[str]:
    """The devices that share a training step. Raises ValueError where there are not so many."""
    return for_training(count, *_devices())


def take_memory(limit_mb: int = 0) -> None:
    """Has GPUs' memory be taken as it is needed, and at most `limit_mb` MB of each; 0: as much as there is.

    Raises:
      RuntimeError: TensorFlow has already run something, and is set in its ways.
    """
    for gpu in tf.config.list_physical_devices("GPU"):
        if limit_mb:
            # A limited device is set up in its own way, to which only this variable brings growth.
            os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
            limited = tf.config.LogicalDeviceConfiguration(memory_limit=limit_mb)
            tf.config.set_logical_device_configuration(gpu, [limited])
        else:
            tf.config.experimental.set_memory_growth(gpu, True)


def configure(intra_threads: int = 0, inter_threads: int = 0) -> None:
    """Sets how many threads TensorFlow uses within one operation, and for operations at once; 0: its choice.

    Raises:
      RuntimeError: TensorFlow has already run something, and is set in its ways.
    """
    tf.config.threading.set_intra_op_parallelism_threads(intra_threads)
    tf.config.threading.set_inter_op_parallelism_threads(inter_threads)


def repeat_bits() -> None:
    """Gives the same results each time: no operation of several results, and no choice that hangs on time."""
    tf.config.experimental.enable_op_determinism()
    Function.chooses = False


def _devices() -> tuple[list[str], list[str]]:
    """The accelerators and the processors that this process sees, by name."""
    devices = tf.config.list_logical_devices()
    processors = [device.name for device in devices if device.device_type == "CPU"]
    return [device.name for device in devices if device.device_type in ("GPU", "TPU")], processors
