"""Compiled functions of JAX, to which Keras' variables are arguments, and what becomes of them results."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import keras

from corral.agents.agent import Tensor

Updates = dict[int, Tensor]
"""What variables become, by their positions in a list."""


@contextmanager
def in_place_of(variables: Sequence[keras.Variable], values: Sequence[Tensor]) -> Iterator[Updates]:
    """Has Keras take these values for those variables.

    Yields:
      a dictionary, empty so far: at the end it holds what was assigned to variables in the meantime.
    """
    updates: Updates = {}
    with keras.StatelessScope(list(zip(variables, values, strict=True))) as scope:
        before = [scope.get_current_value(variable) for variable in variables]
        yield updates
        after = [scope.get_current_value(variable) for variable in variables]
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        if new is not old:
            updates[place] = new


def compiled(function: Callable[..., Any], examples: Sequence[Any], **shardings: Any) -> Callable[..., Any]:
    """`function` for arguments like `examples`. It refuses others, where `jax.jit` would compile once more."""
    with warnings.catch_warnings():
        # Agents name the dtypes of their specs. What JAX has no 64 bits for is widened when it is out.
        warnings.filterwarnings("ignore", message="Explicitly requested dtype")
        return jax.jit(function, **shardings).lower(*examples).compile()


def values_of(variables: Sequence[keras.Variable]) -> list[jax.Array]:
    """What the variables are."""
    # Not `.value`: that looks for scopes which are not open here, and takes 15 us for a small net's variables.
    return [variable._value for variable in variables]


def assign(variables: Sequence[keras.Variable], updates: Mapping[int, jax.Array]) -> None:
    """Has variables become what `updates` say of their positions."""
    for place, value in updates.items():
        variables[place]._value = value


def split(arguments: Sequence[Tensor], at: int) -> tuple[list[Tensor], list[Tensor]]:
    """The first `at` arguments, and the others."""
    return list(arguments[:at]), list(arguments[at:])
