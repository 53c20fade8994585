from __future__ import annotations

import json

import numpy as np

from corral.protocol import StepType, Unroll
from learner.progress import Progress


def episodes(*returns: float) -> list[tuple[float, int]]:
    return [(value, 10) for value in returns]


def unroll(version: list[int], step_type: list[int]) -> Unroll:
    column = np.zeros((len(version), 1), np.float32)
    kinds = np.array(step_type, np.uint8)[:, None]
    return Unroll({}, {}, column, column, kinds, np.array(version)[:, None], {})


def test_solved_takes_a_full_hundred() -> None:
    progress = Progress(target_return=10)
    progress.add_episodes(episodes(*[50] * 99))
    assert not progress.solved
    progress.add_episodes(episodes(50))
    assert progress.solved


def test_the_mean_is_over_the_last_hundred() -> None:
    progress = Progress(target_return=10)
    progress.add_episodes(episodes(*[0] * 60, *[10] * 99))
    assert progress.mean_return == 9.9  # one 0 is left among the last hundred
    assert not progress.solved
    progress.add_episodes(episodes(10))
    assert progress.mean_return == 10
    assert progress.solved


def test_what_comes_after_it_was_solved_does_not_undo_it() -> None:
    progress = Progress(target_return=10)
    progress.add_episodes(episodes(*[10] * 100, *[0] * 50))
    assert progress.solved
    assert progress.episodes == 100


def test_without_a_target_nothing_is_ever_solved() -> None:
    progress = Progress(target_return=None)
    progress.add_episodes(episodes(*[1e9] * 200))
    assert not progress.solved
    assert progress.episodes == 200


def test_the_lag_is_counted_where_somebody_acted() -> None:
    progress = Progress(None)
    progress.policy_version = 10
    # The last index acts in the next unroll, and nobody acts at LAST: versions 7, 8, 8 remain, lags 3, 2, 2.
    progress.add_training_step(unroll([7, 8, 1, 8, 1], [0, 1, StepType.LAST, 0, 1]), {"loss": 0.5, "x": np.nan})
    assert progress.policy_lag_p50 == 2
    assert progress.figures()["losses"] == {"loss": 0.5}
    assert progress.training_steps == 1


def test_the_lag_is_the_median_over_training_steps() -> None:
    progress = Progress(None)
    for version, acted in ((10, [9, 9, 9]), (11, [4, 4, 0]), (12, [11, 10, 0])):
        progress.policy_version = version
        progress.add_training_step(unroll(acted, [1, 1, 1]), {})
    # Lags of the steps: 1; 7; the median of 1 and 2.
    assert progress.policy_lag_p50 == 1.5


def test_unrolls_in_which_nobody_acted_have_no_lag() -> None:
    progress = Progress(None)
    progress.policy_version = 5
    progress.add_training_step(unroll([1, 1], [StepType.LAST, StepType.FIRST]), {})
    assert progress.training_steps == 1
    assert progress.policy_lag_p50 == 0


def test_the_episode_that_solves_is_the_last_that_counts() -> None:
    progress = Progress(target_return=10)
    progress.add_episodes(episodes(*[10] * 99))
    progress.add_episodes(episodes(9, 11, 500))
    # 99 x 10 and 9 are not enough; with 11 in the place of the first 10 they are.
    assert progress.mean_return == 10
    assert progress.episodes == 101
    assert progress.figures()["solved"] is True


def test_what_was_restored_counts_on() -> None:
    before = Progress(target_return=10)
    before.add_episodes(episodes(*[9] * 60, *[10] * 60))
    before.policy_version = 7
    before.add_training_step(unroll([4, 4], [1, 1]), {})
    before.env_steps = 1234
    state = json.loads(json.dumps(before.state()))
    after = Progress(target_return=10)
    after.restore(state)
    assert (after.env_steps, after.training_steps, after.episodes) == (1234, 1, 120)
    # 40 x 9 and 60 x 10 of the last 100; forty of 10 push the nines out.
    assert after.mean_return == before.mean_return == 9.6
    assert after.policy_lag_p50 == 3
    after.add_episodes(episodes(*[10] * 39))
    assert not after.solved
    after.add_episodes(episodes(10))
    assert after.solved
    assert after.episodes == 160


def test_rows_of_a_version_that_is_yet_to_come_have_no_lag() -> None:
    progress = Progress(None)
    progress.policy_version = 5  # gone on from a checkpoint; the server acts with version 9 of the life before
    progress.add_training_step(unroll([9, 9], [1, 1]), {})
    assert progress.policy_lag_p50 == 0
