from __future__ import annotations

import threading

import pytest

from actor_client import ActorSettings, EnvironmentSettings, UnansweredError, run_actor
from actor_client.seeds import environment_seeds


def test_every_environment_has_a_seed_of_its_own_wherever_it_runs() -> None:
    together = environment_seeds(5, 0, 100)
    assert len(set(together)) == 100
    assert environment_seeds(5, 40, 10) == together[40:50]
    assert environment_seeds(6, 0, 100) != together


def test_it_gives_up_when_told_how_long_to_wait(tmp_path: object) -> None:
    actor = ActorSettings(environments=1, resend_after_s=0.05, give_up_after_s=0.2)
    with pytest.raises(UnansweredError, match="does a server run there"):
        run_actor(EnvironmentSettings("CartPole-v1"), actor, f"ipc://{tmp_path}/nobody")


def test_it_stops_while_it_waits(tmp_path: object) -> None:
    stop = threading.Event()
    arguments = (EnvironmentSettings("CartPole-v1"), ActorSettings(environments=1), f"ipc://{tmp_path}/nobody")
    thread = threading.Thread(target=run_actor, args=arguments, kwargs={"stopping": stop.is_set})
    thread.start()
    stop.set()
    thread.join(10)
    assert not thread.is_alive()
