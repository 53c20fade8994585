"""TensorFlow: concrete functions, gradients, packed weights."""

from corral.agents.backend.tensorflow.acting import CompiledAct
from corral.agents.backend.tensorflow.devices import (
    acting_devices,
    configure,
    repeat_bits,
    take_memory,
    training_devices,
)
from corral.agents.backend.tensorflow.training import Trainer

__all__ = [
    "CompiledAct",
    "Trainer",
    "acting_devices",
    "configure",
    "repeat_bits",
    "take_memory",
    "training_devices",
]
