"""A training step on two devices is the step on one: in processes of their own, which see two processors."""

from __future__ import annotations

import json

import pytest

from corral.agents.backend.devices import for_replicas, for_training, share_of
from tests.agents.backend.test_jax import run_on

MOST_APART = 1e-5


@pytest.mark.parametrize(
    ("backend", "agents"),
    [
        ("tensorflow", ("vtrace", "dqn")),
        pytest.param("tensorflow", ("ppo", "sac"), marks=pytest.mark.long),
        pytest.param("jax", ("vtrace", "dqn", "ppo", "sac"), marks=pytest.mark.long),
    ],
)
@pytest.mark.timeout(300)
def test_two_devices_train_as_one_does(backend: str, agents: tuple[str, ...]) -> None:
    """Figures and weights after five steps; sequences that end unevenly, memory, normalised observations."""
    done = run_on(backend, "-m", "tests.agents.backend.sharing", *agents)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == list(agents)
    for figures, weights, moved in found.values():
        assert max(figures, weights) < MOST_APART
        assert moved > 100 * MOST_APART  # it has learned something at all


def test_replicas_take_accelerators_where_there_are_any() -> None:
    assert for_replicas("auto", ["g0", "g1"], ["c0", "c1"]) == ["g0", "g1"]
    assert for_replicas("auto", [], ["c0", "c1"]) == ["c0"]
    assert for_replicas(3, ["g0", "g1"], ["c0"]) == ["g0", "g1", "g0"]
    assert for_replicas(2, [], ["c0"]) == ["c0", "c0"]


def test_training_takes_no_device_twice() -> None:
    assert for_training("auto", ["g0", "g1"], ["c0"]) == ["g0", "g1"]
    assert for_training("auto", [], ["c0", "c1"]) == ["c0"]
    assert for_training(1, ["g0", "g1"], ["c0"]) == ["g0"]
    with pytest.raises(ValueError, match="3 devices are wanted to train on; of accelerators this process sees 2"):
        for_training(3, ["g0", "g1"], ["c0"] * 4)
    with pytest.raises(ValueError, match=r"this process sees none, and 1$"):
        for_training(2, [], ["c0"])


def test_a_batch_is_shared_evenly_or_not_at_all() -> None:
    assert share_of(8, 2) == 4
    with pytest.raises(ValueError, match="15 sequences cannot be shared evenly by 4 devices; 12 or 16 can"):
        share_of(15, 4)
    with pytest.raises(ValueError, match="3 sequences cannot be shared evenly by 4 devices; 4 can"):
        share_of(3, 4)
