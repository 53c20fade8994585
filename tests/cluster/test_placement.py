from __future__ import annotations

from dataclasses import replace

import pytest

from corral.cluster.placement import asked, automatic_gpus, missing
from corral.launch.cast import cast
from corral.launch.settings import RaySettings
from tests.cluster.experiments import experiment

SETTINGS = RaySettings(server_cpus=2, learner_cpus=4, actor_cpus=0.5)


def test_each_role_reserves_what_its_settings_say() -> None:
    parts = {part.name: part for part in cast(experiment())}
    assert asked(parts["server"], SETTINGS, 1) == {"CPU": 2, "GPU": 1}
    assert asked(parts["learner"], SETTINGS, 0) == {"CPU": 4}
    assert asked(parts["actor-1"], SETTINGS, 1) == {"CPU": 0.5}
    told = replace(SETTINGS, server_gpus=0.5, learner_gpus=0)
    assert asked(parts["server"], told, 1) == {"CPU": 2, "GPU": 0.5}
    assert asked(parts["learner"], told, 1) == {"CPU": 4}


@pytest.mark.parametrize(("there", "each"), [(0, 0), (2, 0), (3, 1), (8, 1)])
def test_gpus_are_taken_where_there_are_enough_for_all(there: int, each: int) -> None:
    parts = cast(experiment(servers=2))  # and a learner
    assert automatic_gpus(parts, SETTINGS, {"GPU": there}) == each


def test_what_is_told_comes_off_what_is_there() -> None:
    told = replace(SETTINGS, server_gpus=0.5)
    assert automatic_gpus(cast(experiment()), told, {"GPU": 1}) == 0
    assert automatic_gpus(cast(experiment()), told, {"GPU": 2}) == 1


def test_what_is_missing_is_told() -> None:
    bundles = [{"CPU": 2.0}, {"CPU": 1.0, "GPU": 1.0}]
    assert missing(bundles, {"CPU": 3.0, "GPU": 1.0}) == ""
    assert missing(bundles, {"CPU": 2.5}) == "3 CPU wanted, 2.5 there, 1 GPU wanted, 0 there"
