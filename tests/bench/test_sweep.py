"""What is measured, from what was typed."""

from __future__ import annotations

import pytest

from corral.bench.load import Load
from corral.bench.sweep import plans
from corral.launch.errors import UserError


def test_every_combination_is_a_row() -> None:
    found = plans({"clients": "1,8", "timeout_us": "0,500,auto", "request": "infer", "max_size": "64"})
    assert [(plan.load.clients, plan.batching["timeout_us"]) for plan in found] == [
        (1, 0), (1, 500), (1, "auto"), (8, 0), (8, 500), (8, "auto")
    ]  # fmt: skip
    assert {plan.batching["max_size"] for plan in found} == {64}
    assert [plan.load.processes for plan in found] == [1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"clients": "many"}, "--clients: 'many' is no number"),
        ({"clients": "0"}, "--clients must be 1 to 100,000, not 0"),
        ({"clients": "2", "processes": "3"}, "--processes must be 1 to 2, not 3"),
        ({"clients": "2", "transport": "smoke"}, "--transport must be ipc, tcp or curve, not smoke"),
        ({"clients": "2", "rate": "5", "think_us": "5"}, "--think-us has no meaning in an open loop"),
        ({"clients": "2", "idle": "5", "request": "infer"}, "--idle actors have sessions"),
    ],
)
def test_what_cannot_be_is_told_by_the_option_s_name(options: dict[str, str], text: str) -> None:
    with pytest.raises(UserError) as caught:
        plans(options)
    assert str(caught.value).startswith(text)


def test_clients_are_spread_evenly() -> None:
    load = Load(clients=10, processes=4)
    assert [load.share(number) for number in range(4)] == [3, 3, 2, 2]
