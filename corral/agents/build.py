"""From settings to an agent."""

from __future__ import annotations

import keras

from corral.agents.agent import Agent
from corral.agents.settings import AgentSettings
from corral.agents.vtrace import VTraceAgent
from corral.protocol.specs import Spec, TensorSpec


def build_agent(
    settings: AgentSettings, observation: Spec, action: TensorSpec, network: keras.Model | None = None
) -> Agent:
    """The agent that `settings.name` names, for these observations and actions.

    Args:
      network: a model to use in place of the one `settings.network` describes.

    Raises:
      ValueError: the agent cannot take such actions, or the network does not fit.
    """
    agents = {"vtrace": VTraceAgent}
    return agents[settings.name](settings, observation, action, network)
