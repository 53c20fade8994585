"""`corral run` with every kind of environment: it trains, nobody crashes, and what it learned can be evaluated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.support.command import ROOT, Workplace, workplace

EPISODE = '''
import gymnasium


def play(rng, places=7):
    """From the middle to either end; the right one is worth 1."""
    place = places // 2
    while 0 < place < places - 1:
        action = yield place / places, 0.0
        place += 1 if action else -1
    return place / places, float(place > 0)


play.action_space = gymnasium.spaces.Discrete(2)
'''
KINDS = {
    "envpool": 'id = "envpool:CartPole-v1"',
    "dm_control": 'id = "dm_control/cartpole-balance-v0"',
    "plain function": 'id = "my_episode:play"',
    # This form of the game breaks off where a cell is taken twice.
    "turns, masked": 'id = "pettingzoo.classic.tictactoe_v3:raw_env"',
    "players that die": 'id = "pettingzoo.butterfly.knights_archers_zombies_v11:parallel_env"\n'
    "kwargs = {max_cycles = 100, line_death = true}",
    "masks in info": 'id = "Taxi-v4"\naction_mask = true',
}


@pytest.fixture
def place() -> Iterator[Workplace]:
    with workplace() as place:
        place.environment["PYTHONPATH"] = str(ROOT)
        del place.environment["CORRAL_RUN__TARGET_RETURN"]
        yield place


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("kind", "name"), [*((kind, "vtrace") for kind in KINDS), ("turns, masked", "dqn")])
def test_it_trains_and_is_evaluated(place: Workplace, kind: str, name: str) -> None:
    (place.folder / "my_episode.py").write_text(EPISODE)
    (place.folder / "experiment.toml").write_text(
        f"""
        [run]
        max_env_steps = 4_000
        [environment]
        {KINDS[kind]}
        [actor]
        processes = 1
        environments = 4
        [agent]
        name = "{name}"
        [agent.network]
        hidden = [16]
        """
    )
    ran = place.corral("run", "experiment.toml", "--summary", "summary.json", timeout_s=200)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    summary = json.loads((place.folder / "summary.json").read_text())
    assert summary["env_steps"] >= 4_000
    assert summary["policy_version"] > 3
    logs = "".join(path.read_text() for path in (place.run_folder / "logs").glob("*actor*"))
    assert "Traceback" not in logs
    assert "AssertionError" not in logs
    assert len(re.findall(r"joined \S+ with environments", logs)) == 1, "the actor was started again"
    told = place.corral("evaluate", str(place.run_folder), "--episodes", "3", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["episodes"] >= 3
