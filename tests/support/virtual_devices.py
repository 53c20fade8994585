"""Processors that count as several devices, in a process that has not computed anything yet."""

from __future__ import annotations

import os


def virtual_processors(count: int) -> None:
    """Make this process see `count` processors, on whichever backend Keras runs."""
    if os.environ.get("KERAS_BACKEND") == "jax":
        import jax

        jax.config.update("jax_num_cpu_devices", count)
        assert len(jax.local_devices()) == count
        return
    import tensorflow as tf

    (processor,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(processor, [tf.config.LogicalDeviceConfiguration()] * count)
    assert len(tf.config.list_logical_devices("CPU")) == count
