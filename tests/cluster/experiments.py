"""A small experiment for tests of a cluster's parts."""

from __future__ import annotations

from dataclasses import replace

from actor_client.settings import ActorSettings, EnvironmentSettings
from corral.launch.experiment import Experiment


def experiment(servers: int = 1, actors: int = 2) -> Experiment:
    made = Experiment(environment=EnvironmentSettings(id="CartPole-v1"), actor=ActorSettings(processes=actors))
    return replace(made, servers=servers)
