"""The folder of a run that has ended, without the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actor_client.settings import EnvironmentSettings
from corral.launch.experiment import Experiment
from corral.launch.folder import EXPERIMENT, POLICY, write_json

PAINTED = "tests.support.painted_environment:PaintedEnvironment"


def run_folder(folder: Path, environment: str = "CartPole-v1", **kwargs: Any) -> Path:
    """A run's folder as far as it is known before training ends: with its experiment, and no policy."""
    folder.mkdir()
    experiment = Experiment(environment=EnvironmentSettings(environment, kwargs=kwargs))
    write_json(folder / EXPERIMENT, experiment.effective())
    return folder


def cartpole_run(folder: Path) -> Path:
    """With the policy of an agent that balances a little: it pushes to where the pole falls."""
    import numpy as np

    from corral.agents import build_agent
    from corral.agents.settings import AgentSettings, NetworkSettings
    from corral.protocol.specs import TensorSpec
    from learner.policy_file import save_policy

    settings = AgentSettings(network=NetworkSettings(hidden=()))
    agent = build_agent(settings, {"observation": TensorSpec((4,), "float32")}, TensorSpec((), "int64", 0, 1))
    (network,) = agent.nets.values()
    push = np.array([[0.0, 0.0], [0.0, 0.0], [-1.0, 1.0], [0.0, 0.0]], np.float32)
    network.get_layer("logits").set_weights([push, np.zeros(2, np.float32)])
    save_policy(agent, run_folder(folder) / POLICY)
    return folder


def untrained_run(folder: Path, environment: str = "CartPole-v1", name: str = "vtrace", **network: Any) -> Path:
    """With the first policy of an agent that Corral builds.

    Args:
      name: the algorithm.
      network: `[agent.network]`.
    """
    from actor_client.environments import spaces
    from corral.agents import build_agent
    from corral.agents.settings import AgentSettings, NetworkSettings
    from learner.policy_file import save_policy

    settings = AgentSettings(name=name, network=NetworkSettings(**network))  # type: ignore[arg-type]
    agent = build_agent(settings, *spaces(EnvironmentSettings(environment)))
    save_policy(agent, run_folder(folder, environment) / POLICY)
    return folder


def painted_run(folder: Path, environment: str = PAINTED, **kwargs: Any) -> Path:
    """With a policy that always names the door of a `PaintedEnvironment`."""
    import keras

    where = keras.Input((1,), name="where.x")
    door = keras.Input((), dtype="int64", name="door")
    doors = keras.ops.cast(door, "float32") + 0.0 * where[:, 0]
    model = keras.Model({"where.x": where, "door": door}, {"action": keras.ops.cast(doors, "int64")})
    model.save(run_folder(folder, environment, **kwargs) / POLICY)
    return folder
