"""From settings to an agent."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any, TypeAlias

import keras

from corral.agents.agent import Agent
from corral.agents.frames import FrameStack, stacked_spec
from corral.agents.settings import AgentSettings, NetworkSettings
from corral.protocol.specs import Spec, TensorSpec

Network: TypeAlias = keras.Model | Mapping[str, keras.Model]

_AGENTS = {
    "vtrace": "vtrace:VTraceAgent",
    "a2c": "vtrace:VTraceAgent",
    "ppo": "ppo:PPOAgent",
    "dqn": "dqn:DQNAgent",
    "r2d2": "r2d2:R2D2Agent",
    "ddpg": "ddpg:DDPGAgent",
    "td3": "ddpg:TD3Agent",
    "sac": "sac:SACAgent",
}


def build_agent(
    settings: AgentSettings, observation: Spec, action: TensorSpec, network: Network | None = None
) -> Agent:
    """The agent that `settings.name` names, for these observations and actions.

    Args:
      network: a model to use in place of the one `settings.network` describes; where an agent has several, by name.

    Raises:
      ValueError: the agent cannot take such actions, or the network does not fit; where `settings.network.build`
        named it, the text says so, and what was wrong with it.
    """
    kind, build = _kind(settings.name), settings.network.build
    if settings.frame_stack > 1:
        shown, observation = observation, stacked_spec(observation, settings.frame_stack)
        agent = build_agent(replace(settings, frame_stack=1), observation, action, network)
        return FrameStack(agent, shown, settings.frame_stack)
    if network is not None or not build:
        return kind(settings, observation, action, network)
    try:
        return kind(settings, observation, action, _own_network(build, observation, action))
    except Exception as error:  # a user's function may fail in any way
        # Where not even the built-in network works, it is the actions that do not: then this raises, and says so.
        kind(replace(settings, network=NetworkSettings()), observation, action)
        raise ValueError(f"agent.network.build = {build!r}: {_in_one_line(error)}") from error


def _kind(name: str) -> Callable[..., Agent]:
    # Named by module, so that an agent's file is read where it is wanted alone.
    module, _, kind = _AGENTS[name].partition(":")
    made: Callable[..., Agent] = getattr(import_module(f"corral.agents.{module}"), kind)
    return made


def _own_network(build: str, observation: Spec, action: TensorSpec) -> Network:
    """What the function "module:function" makes of the specs. Raises `ValueError` for anything but networks."""
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
    for each in network.values() if isinstance(network, Mapping) else [network]:
        _check_network(each)
    return network


def _check_network(network: Any) -> None:
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


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())
