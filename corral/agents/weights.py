"""A net's variables under names that both ends of the wire agree on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import keras
import numpy as np

if TYPE_CHECKING:
    from corral.agents.agent import Agent


def published_nets(agent: Agent) -> dict[str, keras.Model]:
    """The nets that `agent` acts with, by name: those whose weights go from learners to servers."""
    return {name: agent.nets[name] for name in agent.published}


def weights_of(nets: Mapping[str, keras.Model]) -> dict[str, np.ndarray]:
    """The weights of `nets` as `WeightPublisher.publish` takes them: "net/variable" -> array.

    Args:
      nets: the nets that the served agent publishes, by its names: `{"policy": model}`.
    """
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in named_variables(nets).items()}


def named_variables(nets: Mapping[str, keras.Model]) -> dict[str, keras.Variable]:
    """The variables of `nets`, by paths that do not depend on what else the process has built.

    Keras numbers layers by process ("dense_7"); here they are numbered anew, by first appearance in the net.
    """
    return {
        f"{net}/{name}": variable for net, model in nets.items() for name, variable in _renumbered(model).items()
    }


def _renumbered(net: keras.Model) -> dict[str, keras.Variable]:
    numbers: dict[str, dict[str, int]] = {}

    def renumber(part: str) -> str:
        base = re.sub(r"_\d+$", "", part)
        seen = numbers.setdefault(base, {})
        number = seen.setdefault(part, len(seen))
        return base if number == 0 else f"{base}_{number}"

    return {"/".join(map(renumber, variable.path.split("/"))): variable for variable in net.variables}
