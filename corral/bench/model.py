"""The model under load: a reference by name, a saved Keras model, or an experiment's agent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from corral.launch.errors import UserError
from corral.protocol import TensorSpec

if TYPE_CHECKING:
    import keras

    from corral.agents import Agent

REFERENCES = ("mlp", "nature_cnn")
"""`mlp`: 4 float32 -> 64 -> 64 -> 2 logits and a value. `nature_cnn`: 84x84x4 uint8 -> the network of Mnih et al.
2015 (Nature, "Human-level control") with 6 logits and a value."""

_OBSERVATIONS = {"mlp": TensorSpec((4,), "float32"), "nature_cnn": TensorSpec((84, 84, 4), "uint8")}
_ACTIONS = {"mlp": 2, "nature_cnn": 6}


def check_model(model: str, request: str) -> None:
    """Raises `UserError` for what is no model, or none that can be asked this way; imports nothing heavy."""
    if model in REFERENCES:
        return
    path = Path(model)
    if path.suffix not in (".keras", ".toml"):
        raise UserError(
            f"--model {model}: give {', '.join(REFERENCES)}, a saved model (.keras) or an experiment (.toml)"
        )
    if not path.exists():
        raise UserError(f"--model {model}: no such file")
    if path.suffix == ".keras" and request == "step":
        raise UserError(f"--model {model}: a saved model answers INFER only; say --request infer")


def choose_threads_of(model: str) -> None:
    """As a server of `model` does, before TensorFlow starts."""
    from corral.launch.threads import choose_threads, choose_threads_for, choose_threads_for_file

    if model in REFERENCES:
        from corral.agents.settings import NetworkSettings

        choose_threads(NetworkSettings(), {"observation": _OBSERVATIONS[model]})
    elif model.endswith(".keras"):
        choose_threads_for_file(Path(model))
    else:
        from corral.launch.experiment import load_experiment

        choose_threads_for(load_experiment(Path(model)))


def load_agent(model: str, request: Literal["step", "infer"]) -> Agent:
    """The agent that a server of `model` holds."""
    if model in REFERENCES:
        return _reference(model, request)
    if model.endswith(".keras"):
        from corral.launch.roles import saved_agent

        return saved_agent(Path(model))
    from corral.launch.experiment import load_experiment
    from corral.launch.roles import agent_of

    return agent_of(load_experiment(Path(model)))


def _reference(name: str, request: str) -> Agent:
    import keras

    from corral.agents import AgentSettings, ModelAgent, build_agent

    keras.utils.set_random_seed(0)
    network = _mlp() if name == "mlp" else _nature_cnn()
    if request == "infer":
        return ModelAgent(network)
    action = TensorSpec((), "int64", 0, _ACTIONS[name] - 1)
    return build_agent(AgentSettings(), {"observation": _OBSERVATIONS[name]}, action, network)


def _mlp() -> keras.Model:
    import keras
    from keras import layers

    observation = keras.Input((4,), name="observation")
    hidden = layers.Dense(64, "tanh")(layers.Dense(64, "tanh")(observation))
    return _with_heads(observation, hidden, _ACTIONS["mlp"])


def _nature_cnn() -> keras.Model:
    import keras
    from keras import layers

    observation = keras.Input((84, 84, 4), dtype="uint8", name="observation")
    hidden = layers.Rescaling(1 / 255)(observation)
    for filters, size, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
        hidden = layers.Conv2D(filters, size, stride, activation="relu")(hidden)
    hidden = layers.Dense(512, "relu")(layers.Flatten()(hidden))
    return _with_heads(observation, hidden, _ACTIONS["nature_cnn"])


def _with_heads(observation: keras.KerasTensor, hidden: keras.KerasTensor, actions: int) -> keras.Model:
    import keras
    from keras import layers

    heads = {"logits": layers.Dense(actions)(hidden), "value": layers.Dense(1)(hidden)}
    return keras.Model({"observation": observation}, heads)
