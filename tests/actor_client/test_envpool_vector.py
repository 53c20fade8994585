"""EnvPool, the real library: no step is lost or made up at an episode's end, seeds, images, and what is refused."""

from __future__ import annotations

from typing import Any

import envpool
import gymnasium
import numpy as np
import pytest

from actor_client.environments import make_group, make_single, players, spaces
from actor_client.groups import BadEnvironmentError
from actor_client.gymnasium_vector import VectorGroup
from actor_client.settings import EnvironmentSettings
from corral.protocol import ENDED, RowFlags
from tests.actor_client.test_atari import apart

CARTPOLE = "envpool:CartPole-v1"


def pool(identifier: str = CARTPOLE, **kwargs: Any) -> EnvironmentSettings:
    return EnvironmentSettings(identifier, kwargs)


def test_spaces_and_the_group() -> None:
    group = make_group(pool(), 3)
    assert isinstance(group, VectorGroup)
    assert group.size == 3
    assert spaces(pool()) == (group.observation, group.action)
    assert group.observation["observation"].shape == (4,)
    assert group.action.num_values == 2
    assert players(pool()) == ()
    group.close()


@pytest.mark.parametrize("limit", [500, 12])
def test_every_step_is_one_of_cartpoles(limit: int) -> None:
    """Each row against gymnasium's CartPole, set to the state before: at the ends, and around them."""
    group = make_group(pool(max_episode_steps=limit), 4)
    oracle: Any = gymnasium.make("CartPole-v1").unwrapped
    rows = group.reset([1, 2, 3, 4])
    assert rows.flags.tolist() == [RowFlags.FIRST] * 4
    before, length = rows.observation["observation"].copy(), np.zeros(4, int)
    done, lengths, drawn = np.zeros(4, int), [], np.random.default_rng(0)
    for _ in range(300):
        # What ends shows its row a step later, so the action that ended it is kept.
        done[rows.environment] = drawn.integers(0, 2, len(rows.environment))
        rows = group.step(rows.environment, done[rows.environment])
        finals = iter(rows.final["observation"])
        for index, flags, reward, observation in zip(
            rows.environment.tolist(), rows.flags, rows.reward, rows.observation["observation"], strict=True
        ):
            oracle.reset()
            oracle.state = before[index].astype(np.float64)
            expected, _, fell, _, _ = oracle.step(int(done[index]))
            length[index] += 1
            assert reward == 1.0
            if flags & ENDED:
                np.testing.assert_allclose(next(finals), expected, rtol=1e-4, atol=1e-5)
                assert (np.abs(observation) <= 0.05).all(), "the first of the next episode"
                cut = length[index] == limit
                assert flags == RowFlags.FIRST | (RowFlags.TRUNCATED if cut else RowFlags.TERMINATED)
                assert cut or fell
                lengths.append(int(length[index]))
                length[index] = 0
            else:
                assert not fell
                np.testing.assert_allclose(observation, expected, rtol=1e-4, atol=1e-5)
            before[index] = observation
    assert len(lengths) > 20
    assert max(lengths) <= limit
    group.close()


def test_an_end_in_the_last_step_that_is_allowed_counts_as_cut_short() -> None:
    """EnvPool's own word (docs/environments.md): a pole that falls just then is told as truncated."""

    def end(**kwargs: int) -> tuple[int, int]:
        group = make_group(pool(**kwargs), 1)
        rows, steps = group.reset([7]), 0
        while not rows.flags[0] & ENDED:
            rows, steps = group.step(rows.environment, np.ones(1, np.int64)), steps + 1
        return steps, int(rows.flags[0])

    steps, flags = end()
    assert flags == RowFlags.FIRST | RowFlags.TERMINATED
    assert end(max_episode_steps=steps) == (steps, RowFlags.FIRST | RowFlags.TRUNCATED)


def test_seeds() -> None:
    group = make_group(pool(), 2)

    def start(seeds: list[int] | None) -> list[list[float]]:
        return group.reset(seeds).observation["observation"].tolist()

    once = start([5, 6])
    assert once[0] != once[1]
    assert start(None) != once
    assert start([5, 6]) == once
    assert start([6, 7]) != once


@pytest.mark.parametrize(("stack", "shape"), [(1, (84, 84)), (4, (84, 84, 4))])
def test_images_have_their_channels_last(stack: int, shape: tuple[int, ...]) -> None:
    group = make_group(pool("envpool:Pong-v5", stack_num=stack, noop_max=1), 2)
    bare = envpool.make_gymnasium("Pong-v5", num_envs=2, stack_num=stack, noop_max=1, seed=0)
    bare.reset()
    rows = group.reset([0, 1])
    assert group.observation["observation"].shape == shape
    for _ in range(30):
        rows = group.step(rows.environment, np.array([2, 3]))
        frames = bare.step(np.array([2, 3]))[0]
    seen = rows.observation["observation"]
    assert seen.dtype == np.uint8
    assert len(np.unique(seen)) > 3, "nothing is to be seen"
    np.testing.assert_array_equal(seen, frames[:, 0] if stack == 1 else np.transpose(frames, (0, 2, 3, 1)))


def test_vectors_of_numbers() -> None:
    group = make_group(pool("envpool:HalfCheetah-v4"), 2)
    rows = group.reset([0, 1])
    rows = group.step(rows.environment, np.ones((2, 6), group.action.dtype))
    assert rows.observation["observation"].shape == (2, 17)
    assert np.isfinite(rows.reward).all()
    assert rows.reward.all()


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (pool("envpool:CartPole-v7"), "EnvPool has no CartPole-v7; CartPole-v"),
        (pool("envpool:Qqq-v1"), "EnvPool has no Qqq-v1; .*list_all_envs"),
        (pool(no_such_argument=1), "no_such_argument"),
        (pool(num_envs=3), r"kwargs\.num_envs cannot be set for EnvPool: actor\.environments says how many"),
        (pool(batch_size=1), "stepped together"),
        (EnvironmentSettings(CARTPOLE, action_mask=True), "EnvPool's environments have no masks"),
    ],
)
def test_what_cannot_be_made_is_said(settings: EnvironmentSettings, text: str) -> None:
    with pytest.raises(BadEnvironmentError, match=text):
        make_group(settings, 2)


def test_no_single_environments() -> None:
    with pytest.raises(BadEnvironmentError, match="no single environments"):
        make_single(pool())


def test_the_extra_is_named_where_it_is_missing() -> None:
    told = apart(CARTPOLE, "envpool").splitlines()[-1]
    assert "BadEnvironmentError" in told
    assert 'pip install "corral[envpool]"' in told
