from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from actor_client.spaces import action_spec, flatten, observation_spec
from corral.protocol import TensorSpec


def test_one_array_is_one_leaf() -> None:
    box = spaces.Box(0, 255, (84, 84), np.uint8)
    assert observation_spec(box) == {"observation": TensorSpec((84, 84), "uint8", 0.0, 255.0)}
    assert flatten(box, np.ones((84, 84), np.uint8))["observation"].shape == (84, 84)


def test_nested_spaces_are_named_by_their_path() -> None:
    space = spaces.Dict(
        {
            "camera": spaces.Box(0, 1, (2, 2), np.float32),
            "body": spaces.Tuple([spaces.Discrete(3), spaces.Dict({"touch": spaces.MultiBinary(4)})]),
        }
    )
    assert observation_spec(space) == {
        "body/0": TensorSpec((), "int64", 0, 2),
        "body/1/touch": TensorSpec((4,), "int8", 0, 1),
        "camera": TensorSpec((2, 2), "float32", 0.0, 1.0),
    }
    value = {"camera": np.ones((2, 2)), "body": (2, {"touch": np.array([0, 1, 0, 1])})}
    leaves = flatten(space, value)
    assert leaves["body/0"] == 2
    assert leaves["body/1/touch"].tolist() == [0, 1, 0, 1]
    assert {name: leaf.dtype for name, leaf in leaves.items()} == {
        name: np.dtype(leaf.dtype) for name, leaf in observation_spec(space).items()
    }


@pytest.mark.parametrize(
    ("space", "spec"),
    [
        (spaces.Discrete(4), TensorSpec((), "int64", 0, 3)),
        (spaces.Discrete(4, start=-1), TensorSpec((), "int64", -1, 2)),
        (spaces.MultiDiscrete([3, 2]), TensorSpec((2,), "int64", (0, 0), (2, 1))),
        (spaces.Box(-2, 2, (1,), np.float32), TensorSpec((1,), "float32", -2.0, 2.0)),
        (
            spaces.Box(np.array([-1, 0]), np.array([1, 5]), dtype=np.float32),
            TensorSpec((2,), "float32", (-1.0, 0.0), (1.0, 5.0)),
        ),
        (spaces.Box(-np.inf, np.inf, (3,), np.float64), TensorSpec((3,), "float64")),
    ],
)
def test_actions(space: spaces.Space, spec: TensorSpec) -> None:
    assert action_spec(space) == spec


def test_a_space_without_arrays_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"Text\("):
        observation_spec(spaces.Text(5))
    with pytest.raises(ValueError, match="wrap the environment"):
        action_spec(spaces.Dict({"a": spaces.Discrete(2)}))
