from __future__ import annotations

from actor_client.settings import EnvironmentSettings


def test_a_label_says_id_and_arguments() -> None:
    assert EnvironmentSettings("CartPole-v1").label == "CartPole-v1"
    assert EnvironmentSettings("A", {"b": 2, "a": [1]}).label == 'A {"a": [1], "b": 2}'
    assert EnvironmentSettings("A", {"render_mode": "human"}).label == "A"


def test_long_arguments_are_told_by_their_digest() -> None:
    maps = ["F" * 64] * 64
    labels = [EnvironmentSettings("A", {"desc": maps, "z": z}).label for z in (1, 1, 2)]
    assert all(len(label) < 600 for label in labels)
    assert labels[0] == labels[1] != labels[2]
