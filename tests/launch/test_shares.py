"""What a learner is told at its start where its devices cannot share a batch."""

from __future__ import annotations

from typing import Any

import pytest

from corral.agents import load_backend
from corral.launch.errors import UserError
from corral.launch.roles import _check_shares
from learner.settings import LearnerSettings


def check(monkeypatch: pytest.MonkeyPatch, minibatches: int = 1, **settings: Any) -> None:
    """As on a machine with four accelerators."""
    devices = f"{load_backend().__name__}.devices._devices"
    monkeypatch.setattr(devices, lambda: (["a", "b", "c", "d"], ["p"]))
    _check_shares(LearnerSettings(**settings), minibatches)


def test_what_divides_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    check(monkeypatch, devices=4, batch_unrolls=32)
    check(monkeypatch, devices="auto", batch_unrolls=32, minibatches=8)
    check(monkeypatch, devices=1, batch_unrolls=31)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"devices": 3, "batch_unrolls": 32}, ["learner.devices = 3", "batch_unrolls = 32", "30 or 33 can"]),
        ({"devices": "auto", "batch_unrolls": 30}, ["learner.devices = auto", "28 or 32 can", "Change one"]),
        (
            {"devices": 4, "batch_unrolls": 32, "minibatches": 16},
            ["each of 16 minibatches (agent.ppo.minibatches)", "2 sequences cannot be shared evenly by 4 devices"],
        ),
        ({"devices": 5, "batch_unrolls": 40}, ["5 devices are wanted", "of accelerators this process sees 4"]),
    ],
)
def test_what_does_not_is_refused_with_what_to_change(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(UserError) as refused:
        check(monkeypatch, **settings)
    for word in words:
        assert word in str(refused.value)
