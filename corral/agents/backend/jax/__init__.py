"""JAX: executables compiled ahead of time, which variables enter and leave as arguments."""

from corral.agents.backend.jax.acting import CompiledAct
from corral.agents.backend.jax.devices import (
    acting_devices,
    configure,
    repeat_bits,
    take_memory,
    training_devices,
)
from corral.agents.backend.jax.training import Trainer

__all__ = [
    "CompiledAct",
    "Trainer",
    "acting_devices",
    "configure",
    "repeat_bits",
    "take_memory",
    "training_devices",
]
