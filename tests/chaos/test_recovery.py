from __future__ import annotations

from pathlib import Path
from typing import Any

from corral.chaos.plan import Injury
from corral.chaos.recovery import Patient


def figures(identity: str = "a", seats: int = 8, epoch: int = 1, steps: int = 10, acts: int = 1) -> dict[str, Any]:
    return {
        "server": {"identity": identity, "ready": True, "environments": seats, "epoch": acts},
        "learner": {"epoch": epoch, "training_steps": steps},
    }


def patient(kind: str, folder: Path) -> Patient:
    log = folder / "log"
    log.write_text("12:00 joined a server\n")
    return Patient(Injury(kind, kind.partition("-")[2]), 0.0, figures(), log, environments=8)


def test_a_killed_server_has_recovered_when_another_acts_and_training_goes_on(tmp_path: Path) -> None:
    server = patient("kill-server", tmp_path)
    assert not server.recovered(figures(steps=11))  # what the old one had sent
    assert not server.recovered(figures("b", seats=7, steps=11))
    assert not server.recovered(figures("b", steps=10))
    assert server.recovered(figures("b", steps=11))


def test_one_of_several_servers_has_recovered_when_it_answers_itself(tmp_path: Path) -> None:
    def both(uptime_s: float, identity: str = "b") -> dict[str, Any]:
        own = {"identity": identity, "ready": True, "uptime_s": uptime_s}
        return figures("a+b", steps=11 + int(uptime_s)) | {"server-0": {"ready": True}, "server-1": own}

    log = tmp_path / "log"
    frozen = Patient(Injury("freeze-server", "server-1", 5.0), 0.0, both(7.0), log, environments=8)
    assert not frozen.recovered(both(7.0))  # the others act, and the learner trains
    assert frozen.recovered(both(8.0))
    killed = Patient(Injury("kill-server", "server-1"), 0.0, both(7.0), log, environments=8)
    assert not killed.recovered(both(8.0))
    assert killed.recovered(both(9.0, identity="c"))


def test_a_killed_learner_has_recovered_when_the_next_ones_weights_act_and_it_trains(tmp_path: Path) -> None:
    learner = patient("kill-learner", tmp_path)
    assert not learner.recovered(figures(steps=99))
    assert not learner.recovered(figures(epoch=2, steps=5, acts=2))  # fewer than before: since its checkpoint
    assert not learner.recovered(figures(epoch=2, steps=6))
    assert learner.recovered(figures(epoch=2, steps=6, acts=2))


def test_a_killed_actor_has_recovered_when_the_next_one_has_joined(tmp_path: Path) -> None:
    actor = patient("kill-actor", tmp_path)
    assert not actor.recovered(figures())  # its seats stay taken until its lease ends
    with (tmp_path / "log").open("a") as log:
        log.write("12:01 joined a server\n")
    assert not actor.recovered(figures(seats=4))
    assert actor.recovered(figures())


def test_a_frozen_actor_has_recovered_when_all_seats_are_taken(tmp_path: Path) -> None:
    actor = patient("freeze-actor", tmp_path)
    assert not actor.recovered(figures(seats=4))
    assert actor.recovered(figures())


def test_nobody_recovers_while_nobody_answers(tmp_path: Path) -> None:
    for kind in ("kill-server", "freeze-learner", "freeze-actor"):
        assert not patient(kind, tmp_path).recovered({})
