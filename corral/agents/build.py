"""From settings to an agent."""

from __future__ import annotations

import pkgutil
from dataclasses import replace

import keras

from corral.agents.agent import Agent
from corral.agents.settings import AgentSettings, NetworkSettings
from corral.agents.vtrace import VTraceAgent
from corral.protocol.specs import Spec, TensorSpec


def build_agent(
    settings: AgentSettings, observation: Spec, action: TensorSpec, network: keras.Model | None = None
) -> Agent:
    """The agent that `settings.name` names, for these observations and actions.

    Args:
      network: a model to use in place of the one `settings.network` describes.

    Raises:
      ValueError: the agent cannot take such actions, or the network does not fit; where `settings.network.build`
        named it, the text says so, and what was wrong with it.
    """
    agents = {"vtrace": VTraceAgent}
    kind = agents[settings.name]
    build = settings.network.build
    if network is not None or not build:
        return kind(settings, observation, action, network)
    try:
        return kind(settings, observation, action, _own_network(build, observation, action))
    except Exception as error:  # a user's function may fail in any way
        # Where not even the built-in network works, it is the actions that do not: then this raises, and says so.
        kind(replace(settings, network=NetworkSettings()), observation, action)
        raise ValueError(f"agent.network.build = {build!r}: {_in_one_line(error)}") from error


def _own_network(build: str, observation: Spec, action: TensorSpec) -> keras.Model:
    """What the function "module:function" makes of the specs. Raises `ValueError` for anything but a network."""
    try:
        function = pkgutil.resolve_name(build)
    except Exception as error:  # importing runs the user's code
        raise ValueError(
            f"cannot be imported: {_named(error)}. The working directory and installed packages are searched"
        ) from error
    try:
        network = function(observation, action)
    except Exception as error:
        raise ValueError(
            f"the function must take (observation, action) and return a Keras model; it raised {_named(error)} "
            "(CORRAL_TRACEBACK=1 shows where)"
        ) from error
    if not isinstance(network, keras.Model) or not getattr(network, "inputs", None):
        raise ValueError(
            "the function must return a keras.Model(inputs, outputs), which knows its own inputs; "
            f"it returned {'None' if network is None else f'a {type(network).__name__}'}"
        )
    try:
        keras.models.clone_model(network)
    except Exception as error:
        raise ValueError(
            "the server must be able to copy the network: layers of your own need a get_config() that tells all "
            f"arguments; {_named(error)}"
        ) from error
    return network


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
