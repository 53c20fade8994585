from __future__ import annotations

import pytest

from actor_client.settings import ActorSettings, EnvironmentSettings


def test_a_label_says_id_and_arguments() -> None:
    assert EnvironmentSettings("CartPole-v1").label == "CartPole-v1"
    assert EnvironmentSettings("A", {"b": 2, "a": [1]}).label == 'A {"a": [1], "b": 2}'
    assert EnvironmentSettings("A", {"render_mode": "human"}).label == "A"


def test_long_arguments_are_told_by_their_digest() -> None:
    maps = ["F" * 64] * 64
    labels = [EnvironmentSettings("A", {"desc": maps, "z": z}).label for z in (1, 1, 2)]
    assert all(len(label) < 600 for label in labels)
    assert labels[0] == labels[1] != labels[2]


def test_parts_are_as_even_as_can_be() -> None:
    assert ActorSettings(environments=5).parts == [range(5)]
    assert ActorSettings(environments=5, pipeline=2).parts == [range(2), range(2, 5)]
    assert ActorSettings(environments=8, pipeline=4).parts == [range(start, start + 2) for start in (0, 2, 4, 6)]
    for pipeline in (0, 6):
        with pytest.raises(ValueError, match="pipeline must be 1 to the number of environments, 5"):
            ActorSettings(environments=5, pipeline=pipeline)
