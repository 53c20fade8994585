"""What is recommended, from made-up figures."""

from __future__ import annotations

import pytest

from corral.bench.recommendation import LEAST_NOISE, Found, Recommendation, Setting, noise, recommend


def found(rates: dict[int, float | tuple[float, ...]], size: int = 48, batch: float = 40.0) -> list[Found]:
    """Timeout -> rows per second of each round, for one size."""
    rounds = {timeout: rate if isinstance(rate, tuple) else (rate,) * 3 for timeout, rate in rates.items()}
    return [Found(Setting(size, timeout), each, batch, 1.0, 2.0) for timeout, each in rounds.items()]


def recommended(rates: dict[int, float | tuple[float, ...]]) -> Recommendation:
    return recommend(found(rates), max_size=48, environments=48)


def test_a_clear_winner_is_taken() -> None:
    told = recommended({0: 1000.0, 500: 1120.0, 5000: 700.0})
    assert (told.setting, told.times_shortest, told.noise) == (Setting(48, 500), 1.12, LEAST_NOISE)
    assert told.reason == (
        "timeout_us = 500: 1.12 times the rows of 0, mean batch 40 of 48; max_size stays 48 (noise: 2%)"
    )


def test_the_shortest_of_those_within_the_noise_is_taken() -> None:
    told = recommended({0: 1000.0, 200: 1100.0, 500: 1119.0, 1000: 1121.0})
    assert told.setting.timeout_us == 200
    assert "timeout_us = 200: 1.10 times the rows of 0" in told.reason
    assert "1000 gives no more than chance may" in told.reason


def test_nothing_is_waited_for_where_nothing_wins_clearly() -> None:
    told = recommended({0: 1000.0, 500: 1019.0, 1000: 990.0})
    assert (told.setting.timeout_us, told.times_shortest) == (0, 1.0)
    assert (
        "waiting wins no more than chance may (500 gives 1.02 times the rows), mean batch 40 of 48" in told.reason
    )


def test_nothing_is_waited_for_where_that_is_best() -> None:
    told = recommended({0: 1000.0, 500: 900.0})
    assert told.setting.timeout_us == 0
    assert told.reason.startswith("timeout_us = 0: no longer wait gives more rows, mean batch 40 of 48")


def test_rounds_that_differ_ask_for_a_larger_gain() -> None:
    told = recommended({0: (1000.0, 1000.0, 1000.0), 500: (1060.0, 960.0, 1040.0), 1000: (900.0, 990.0, 950.0)})
    assert told.noise > 0.04
    assert (told.setting.timeout_us, told.is_worth_writing) == (0, True)


def test_rounds_that_differ_wildly_are_worth_no_change() -> None:
    assert not recommended({0: (1000.0, 600.0, 1000.0), 500: (600.0, 1000.0, 700.0)}).is_worth_writing


def test_a_round_in_which_the_machine_was_slow_counts_as_no_noise() -> None:
    rates: dict[int, float | tuple[float, ...]] = {0: (1000.0, 600.0, 1100.0), 500: (1100.0, 660.0, 1210.0)}
    assert noise(found(rates)) == LEAST_NOISE
    assert recommended(rates).setting.timeout_us == 500


def test_one_setting_that_was_disturbed_once_does_not_hide_the_others() -> None:
    steady: dict[int, float | tuple[float, ...]] = {timeout: 1000.0 + timeout for timeout in range(0, 500, 100)}
    assert noise(found({**steady, 500: (1500.0, 300.0, 1500.0)})) < 0.25


def test_one_round_is_enough() -> None:
    assert recommended({0: (1000.0,), 500: (1100.0,)}).setting.timeout_us == 500


def test_without_0_the_shortest_stands_for_it() -> None:
    told = recommended({200: 1000.0, 500: 1100.0})
    assert (told.setting.timeout_us, told.times_shortest) == (500, 1.1)
    assert recommended({300: 1000.0}).setting.timeout_us == 300


@pytest.mark.parametrize(
    ("ours", "theirs", "wanted", "words"),
    [
        (1000.0, 1010.0, Setting(256, 0), "max_size stays 256 (48 gives 1.01 times its rows)"),
        (1000.0, 900.0, Setting(256, 0), "max_size stays 256 (48 gives 0.90 times its rows)"),
        (1000.0, 1100.0, Setting(48, 0), "max_size = 48, every environment at once: 1.10 times the rows of 256"),
    ],
)
def test_the_experiments_size_stays_unless_the_other_wins_clearly(
    ours: float, theirs: float, wanted: Setting, words: str
) -> None:
    measured = found({0: ours}, size=256) + found({0: theirs}, size=48)
    told = recommend(measured, max_size=256, environments=48)
    assert told.setting == wanted
    assert words in told.reason


def test_a_size_that_could_not_be_measured_cannot_stay() -> None:
    told = recommend(found({0: 1000.0}, size=48), max_size=8, environments=48)
    assert told.setting == Setting(48, 0)
