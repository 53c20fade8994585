"""The trained policy that a run left: found, loaded, and asked for greedy actions."""

from __future__ import annotations

import importlib
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from corral.launch.errors import UserError
from corral.launch.folder import BEST_POLICY, POLICY, experiment_file
from corral.protocol.specs import Spec, TensorSpec

if TYPE_CHECKING:
    import keras

Act: TypeAlias = Callable[[Mapping[str, np.ndarray], np.ndarray, np.ndarray], np.ndarray]
"""The actions `[n, ...]` of `n` rows, from an observation's leaves `[n, ...]` and, bool `[n]` each, whether it
begins an episode, and whether it is shown now: whoever waits for its turn remembers nothing of it."""
_UNKNOWN = re.compile(r"Could not locate (?:class|function) '([^']+)'")


def policy_file(folder: Path, best: bool = False) -> Path:
    """The trained policy of the run in `folder`, its last or its best. Raises `UserError` where there is none."""
    if not folder.exists():
        raise UserError(f"{folder}: no such folder; name a run's, such as one of those in runs/")
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder: name the run's, which holds {POLICY}")
    experiment_file(folder)
    path = folder / (BEST_POLICY if best else POLICY)
    if best and not path.is_file():
        raise UserError(
            f"{folder} has no {BEST_POLICY}: a run keeps its best policy where it evaluates them beside training, "
            "which --set evaluation.episodes=10 tells it to"
        )
    if not path.is_file():
        raise UserError(
            f"{folder} has no {POLICY} yet: a run writes it when it ends. Let it end, stop it with Ctrl-C, or go "
            f"on with one that was killed: corral run --resume {folder}"
        )
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no Keras file: it is damaged, or something else under that name")
    return path


def load_policy(path: Path, build: str = "") -> keras.Model:
    """The model that Keras saved at `path`.

    Args:
      build: the experiment's `agent.network.build`. Its module is imported first: layer classes of the user's own
        register themselves there.

    Raises:
      UserError: Keras cannot load it.
    """
    complaint = _import_classes(build)
    return load_model(path, "name that as agent.network.build = MODULE:FUNCTION", complaint)


def load_model(path: Path, advice: str, complaint: str = "") -> keras.Model:
    """The model that Keras saved at `path`. What could run code of the file's own is not loaded.

    Args:
      advice: how to name the module where classes of the user's own are.
      complaint: what there is to say besides where the model cannot be loaded.

    Raises:
      UserError: Keras cannot load it.
    """
    import keras

    import corral.agents.networks  # noqa: F401  (Corral's own layer classes register themselves too)

    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise UserError(
            f'{path} is no model that Keras saved: its name would end in .keras (model.save("policy.keras"))'
        )
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        raise UserError(f"{path} is no Keras file: it is damaged, or something else under that name")
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise UserError(f"{path} cannot be loaded: {_reason(str(error), advice)}{complaint}") from error


def _reason(text: str, advice: str) -> str:
    """What Keras says of a model that it cannot load, and what to do where that is known."""
    unknown = _UNKNOWN.search(text)
    if unknown is not None:
        return (
            f"nobody knows {unknown[1]!r}, which is none of Keras' own. Decorate it with "
            f"@keras.saving.register_keras_serializable() in a module that can be imported here, and {advice}"
        )
    if "Lambda" in text and "safe_mode" in text:
        return (
            "it has a Lambda layer, that is, Python code of the file's own, which would run here. Make it a layer "
            f"class decorated with @keras.saving.register_keras_serializable(), save the model again, and {advice}"
        )
    return " ".join(text.split())


class GreedyPolicy:
    """A loaded policy, asked for the greedy actions of many environments at once.

    Attributes:
      counted: that the returns of all whom it acts for count, as `play_episodes` takes it.

    Args:
      model: takes the leaves of an observation, and those of a recurrent state where it has one; puts out a
        dictionary with "action" and the next state.
      observation: one row of what the environments give.
      action: what they take.
      frames: newest frames of each image that the model sees, where environments show one at a time.

    Raises:
      UserError: the model takes other observations, or gives no such action.
    """

    counted = (True,)

    def __init__(self, model: keras.Model, observation: Spec, action: TensorSpec, frames: int = 1) -> None:
        from corral.agents.frames import stacked_spec
        from corral.agents.frozen import FrozenAgent

        self._shown = observation
        self._seen = stacked_spec(observation, frames) if frames > 1 else observation
        try:
            state = FrozenAgent(model, self._seen, action).spec.state
        except ValueError as error:
            raise UserError(str(error)) from error
        self._model = model
        self._action = action
        self._state = state

    def player(self, rows: int) -> Act:
        """What chooses the actions of `rows` environments, and remembers the recurrent state of each."""
        from corral.agents.networks import feed

        state = {name: leaf.zeros(rows) for name, leaf in self._state.items()}
        stacks = {
            name: leaf.zeros(rows) for name, leaf in self._seen.items() if leaf.shape != self._shown[name].shape
        }

        def act(observation: Mapping[str, np.ndarray], first: np.ndarray, shown: np.ndarray) -> np.ndarray:
            first = first & shown
            for leaf in state.values():
                leaf[first] = 0  # where every state begins
            for name, leaf in stacks.items():
                newest = observation[name].reshape(*leaf.shape[:-1], -1)
                leaf[first] = 0
                leaf[shown] = np.concatenate([leaf[..., newest.shape[-1] :], newest], axis=-1)[shown]
            observation = {**observation, **stacks}
            outputs = self._model.predict_on_batch(feed(self._model, {**observation, **state}))
            for name, leaf in state.items():
                leaf[shown] = np.asarray(outputs[name])[shown]
            return np.asarray(outputs["action"], self._action.dtype)

        return act


def _import_classes(build: str) -> str:
    """Import the module that `build` names; what there is to say where that is not possible.

    No error by itself: a network of Keras' own layers needs nothing of it.
    """
    module = build.partition(":")[0]
    if not module:
        return ""
    try:
        importlib.import_module(module)
    except Exception as error:  # importing runs the user's code
        return f" (agent.network.build = {build!r} cannot be imported: {type(error).__name__}: {error})"
    return ""
