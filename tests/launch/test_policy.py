"""A saved policy, loaded and asked."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from actor_client.environments import spaces
from actor_client.settings import EnvironmentSettings
from corral.launch.errors import UserError
from corral.launch.policy import GreedyPolicy, load_model, load_policy
from corral.protocol.specs import TensorSpec
from tests.support.models import save_two_headed_model
from tests.support.own_layer import Lean
from tests.support.run_folder import PAINTED, cartpole_run, painted_run

OBSERVATION = {"observation": TensorSpec((4,), "float32")}
ACTION = TensorSpec((), "int64", 0, 1)


def test_actions_come_as_the_environment_takes_them(tmp_path: Path) -> None:
    policy = GreedyPolicy(load_policy(cartpole_run(tmp_path / "run") / "policy.keras"), OBSERVATION, ACTION)
    leans = np.array([[0, 0, -0.1, 0], [0, 0, 0.1, 0], [0, 0, 0.2, 0]], np.float32)
    action = policy.player(3)({"observation": leans}, np.ones(3, bool), np.ones(3, bool))
    assert action.tolist() == [0, 1, 1]
    assert action.dtype == np.int64


def test_continuous_actions() -> None:
    observation = keras.Input((4,), name="anything")  # a single input may be called so
    model = keras.Model(observation, {"action": observation[:, :2] * 2.0})
    policy = GreedyPolicy(model, OBSERVATION, TensorSpec((2,), "float64", -9.0, 9.0))
    action = policy.player(1)(
        {"observation": np.array([[1, 2, 3, 4]], np.float32)}, np.array([True]), np.array([True])
    )
    assert action.tolist() == [[2.0, 4.0]]
    assert action.dtype == np.float64


def test_the_state_of_each_row_begins_as_zeros_where_an_episode_does() -> None:
    observation, seen = keras.Input((4,), name="observation"), keras.Input((1,), name="seen")
    after = seen + observation[:, :1]
    model = keras.Model(
        {"observation": observation, "seen": seen}, {"action": keras.ops.cast(after[:, 0], "int64"), "seen": after}
    )
    act = GreedyPolicy(model, OBSERVATION, ACTION).player(2)
    row = {"observation": np.array([[1, 0, 0, 0], [10, 0, 0, 0]], np.float32)}
    starts = [[True, True], [False, False], [False, True], [False, False]]
    actions = [act(row, np.array(first), np.ones(len(first), bool)).tolist() for first in starts]
    assert actions == [[1, 10], [2, 20], [3, 10], [4, 20]]


def test_other_observations_are_refused(tmp_path: Path) -> None:
    model = load_policy(painted_run(tmp_path / "run") / "policy.keras")
    with pytest.raises(UserError) as refused:
        GreedyPolicy(model, OBSERVATION, ACTION)
    told = str(refused.value)
    assert "where.x [1]" in told
    assert "door []" in told
    assert "the environment gives observation [4]: it was trained on another environment" in told
    save_two_headed_model(tmp_path / "other.keras")
    with pytest.raises(
        UserError, match=r"the policy takes observation \[4\], the environment gives door \[\], where.x \[1\]"
    ):
        GreedyPolicy(load_policy(tmp_path / "other.keras"), *spaces(EnvironmentSettings(PAINTED)))


def test_other_actions_are_refused(tmp_path: Path) -> None:
    model = save_two_headed_model(tmp_path / "model.keras")
    with pytest.raises(UserError, match='gives no "action", the environment takes int64'):
        GreedyPolicy(model, OBSERVATION, ACTION)
    observation = keras.Input((4,), name="observation")
    model = keras.Model({"observation": observation}, {"action": observation[:, :3]})
    with pytest.raises(UserError, match=r"gives actions of shape \[3\], the environment takes int64\[\]"):
        GreedyPolicy(model, OBSERVATION, ACTION)


def test_layers_of_ones_own(tmp_path: Path) -> None:
    observation = keras.Input((4,), name="observation")
    keras.Model({"observation": observation}, {"action": Lean()(observation)}).save(tmp_path / "policy.keras")
    model = load_policy(tmp_path / "policy.keras", "tests.support.own_layer:build")
    assert np.asarray(model({"observation": np.eye(4, dtype=np.float32)})["action"]).tolist() == [0, 0, 1, 0]


def test_layers_that_nobody_registers_are_told(tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable(package="here")
    class Passing(keras.layers.Layer):
        def call(self, inputs: object) -> object:
            return inputs

    observation = keras.Input((4,), name="observation")
    keras.Model({"observation": observation}, {"action": Passing()(observation)}).save(tmp_path / "policy.keras")
    del keras.saving.get_custom_objects()["here>Passing"]
    with pytest.raises(UserError) as refused:
        load_policy(tmp_path / "policy.keras", "nowhere:build")
    told = str(refused.value)
    assert told.startswith(
        f"{tmp_path / 'policy.keras'} cannot be loaded: nobody knows 'Passing', which is none of Keras' own. "
        "Decorate it with @keras.saving.register_keras_serializable() in a module that can be imported here, "
        "and name that "
    )
    assert told.endswith(
        "(agent.network.build = 'nowhere:build' cannot be imported: ModuleNotFoundError: No module named 'nowhere')"
    )


def test_what_would_run_code_of_the_file_is_not_loaded(tmp_path: Path) -> None:
    x = keras.Input((4,))
    keras.Model(x, keras.layers.Lambda(lambda x: 2 * x)(x)).save(tmp_path / "policy.keras")
    with pytest.raises(UserError, match=r"it has a Lambda layer.*Make it a layer class.*, and by that option$"):
        load_model(tmp_path / "policy.keras", "by that option")


def test_frames_are_stacked_for_the_model_as_in_training(tmp_path: Path) -> None:
    frames = {"observation": TensorSpec((2, 2), "uint8", 0, 255)}
    seen = keras.Input((2, 2, 3), dtype="uint8", name="observation")
    oldest, newest = (keras.ops.cast(seen[:, 0, 0, place], "int32") for place in (0, 2))
    model = keras.Model({"observation": seen}, {"action": 10 * oldest + newest})
    act = GreedyPolicy(model, frames, TensorSpec((), "int32", 0, 99), 3).player(2)
    shown = [(1, 5, True, True), (2, 6, False, False), (3, 7, False, True), (4, 8, False, False)]
    actions = [
        act(
            {"observation": np.array([np.full((2, 2), one), np.full((2, 2), other)], np.uint8)},
            np.array([one_begins, other_begins]),
            np.ones(2, bool),
        ).tolist()
        for one, other, one_begins, other_begins in shown
    ]
    # The second row begins anew at its 7: what came before is not shown.
    assert actions == [[1, 5], [2, 6], [13, 7], [24, 8]]
