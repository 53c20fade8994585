"""Verdicts by figures made up by hand."""

from __future__ import annotations

from typing import Any

import pytest

from corral.telemetry.verdict import Bound, Judge, Verdict, judge

BEFORE = {
    "uptime_s": 100.0, "actor_environment_s": 10.0, "actor_wait_s": 10.0, "actor_requests": 1000,
    "step_requests": 1000, "step_gather_s": 1.0, "step_engine_s": 2.0, "step_learner_s": 3.0,
    "compute_s": 5.0, "rows": 4000, "batches": 500, "padding_rows": 0, "unrolls_accepted": 100, "unrolls_shed": 0,
}  # fmt: skip


def after(seconds: float = 10.0, **grown: Any) -> dict[str, Any]:
    """`seconds` later, with these figures grown by so much; texts and flags as they are."""
    counts = {"uptime_s": seconds, "actor_requests": 100, "step_requests": 100} | {
        name: value for name, value in grown.items() if name in BEFORE
    }
    figures = {name: value + counts.get(name, 0) for name, value in BEFORE.items()}
    others = {name: value for name, value in grown.items() if name not in BEFORE}
    return figures | {"environments": 32, "max_size": 64, "timeout_us": 0} | others


def verdict(learner: dict[str, Any] | None = None, **grown: Any) -> Verdict:
    found = judge(after(**grown), learner or {}, BEFORE)
    assert found is not None
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert found.sentence.startswith(f"{found.bound}: {found.numbers}; most worth changing: {found.setting} (")
    return found


def test_environments() -> None:
    found = verdict(actor_environment_s=15.0, actor_wait_s=5.0, step_engine_s=5.0, compute_s=2.0)
    assert found.bound is Bound.ENVIRONMENT
    assert found.shares[Bound.ENVIRONMENT] == 0.75
    assert found.shares[Bound.ENGINE] == 0.25
    # 15 s of 100 steps are 150 ms each; 2 of 10 s are 20 %.
    assert "75 % of their time in their environments, 150.0 ms a step, and the model is busy 20 %" in found.sentence
    assert found.setting == "actor.processes"


def test_what_the_server_knows_nothing_of_went_by_on_the_way() -> None:
    found = verdict(actor_environment_s=2.0, actor_wait_s=18.0, step_engine_s=2.0)
    assert found.bound is Bound.NETWORK
    assert found.shares[Bound.NETWORK] == pytest.approx(16 / 20)
    assert "80 % of their time for messages under way, 160.0 ms a step" in found.sentence
    assert found.setting == "actor.environments"


def test_on_one_busy_machine_it_is_the_cores_that_are_missing() -> None:
    busy = {"local": True, "cores": 2, "load": 9.0}
    found = verdict(actor_environment_s=2.0, actor_wait_s=18.0, step_engine_s=2.0, **busy)
    assert "on a machine of 2 cores with a load of 9.0" in found.sentence
    assert found.setting == "actor.processes"
    found = verdict(actor_environment_s=2.0, actor_wait_s=18.0, step_engine_s=2.0, **busy | {"load": 1.0})
    assert found.setting == "actor.environments"


def test_a_timeout() -> None:
    found = verdict(
        actor_environment_s=2.0, actor_wait_s=8.0, step_gather_s=6.0, step_engine_s=1.0, timeout_us=60_000
    )
    assert found.bound is Bound.BATCH
    assert found.shares[Bound.BATCH] == pytest.approx(0.6)
    assert "60 % of their time for a fuller batch, 60.0 ms a step, with a timeout of 60 ms" in found.sentence
    assert (found.setting, found.advice) == ("server.batching.timeout_us", "less than 60000, or auto")


@pytest.mark.parametrize(
    ("grown", "setting"),
    [
        ({"rows": 3200, "batches": 100}, "agent.network"),
        ({"rows": 3200, "batches": 100, "padding_rows": 3200}, "server.batching.buckets"),
        ({"rows": 400, "batches": 100}, "server.batching.timeout_us"),
        ({"rows": 6400, "batches": 100, "environments": 200}, "server.batching.max_size"),
    ],
)
def test_an_engine_and_what_it_needs(grown: dict[str, Any], setting: str) -> None:
    found = verdict(actor_environment_s=2.0, actor_wait_s=8.0, step_engine_s=7.5, compute_s=9.5, **grown)
    assert found.bound is Bound.ENGINE
    assert found.setting == setting
    batch = grown["rows"] / 100
    assert f"busy 95 % of the time: 95.0 ms for a batch of {batch:.1f} rows" in found.sentence


def test_several_replicas_are_busy_together() -> None:
    grown = {"actor_environment_s": 2.0, "actor_wait_s": 8.0, "step_engine_s": 7.5, "compute_s": 10.0}
    assert "busy 100 %" in verdict(**grown).numbers
    assert "busy 50 %" in verdict(**grown, replica_busy_s=[5.0, 5.0]).numbers


def test_a_learner() -> None:
    learner = {"uptime_s": 10.0, "wait_s": 0.5}
    found = verdict(learner, actor_environment_s=2.0, actor_wait_s=8.0, step_learner_s=7.0, step_engine_s=1.0)
    assert found.bound is Bound.LEARNER
    assert "70 % of their time for the learner, it trains 95 % of the time" in found.sentence
    assert found.setting == "learner.batch_unrolls"


def test_a_learner_that_stands_still_answers_no_step_at_all() -> None:
    found = verdict(
        actor_environment_s=0.0, actor_wait_s=20.0, actor_requests=0, step_requests=0, step_learner_s=18.0,
        blocked=True, learner_found=False,
    )  # fmt: skip
    assert found.shares[Bound.LEARNER] == 1.0
    assert "no learner is connected" in found.sentence


def test_unrolls_thrown_away_are_the_learner_s_fault_though_nobody_waits() -> None:
    found = verdict(actor_environment_s=9.0, actor_wait_s=1.0, unrolls_accepted=70, unrolls_shed=30)
    assert found.bound is Bound.LEARNER
    assert "30 % of the unrolls are never trained on" in found.sentence
    found = verdict(
        {"unrolls_too_old": 25}, actor_environment_s=9.0, actor_wait_s=1.0, unrolls_accepted=100, unrolls_shed=0
    )
    assert "25 % of the unrolls are never trained on" in found.sentence


def test_a_learner_that_pauses() -> None:
    found = verdict({"paused": True}, actor_environment_s=9.0, actor_wait_s=1.0)
    assert found.bound is Bound.LEARNER
    assert "training is paused" in found.sentence


def test_what_actors_tell_late_is_set_against_as_much_of_the_server_s() -> None:
    # The actors have told of 100 steps, of the 200 that the server has answered by now.
    found = verdict(actor_environment_s=2.0, actor_wait_s=8.0, step_engine_s=16.0, step_requests=200)
    assert found.shares[Bound.ENGINE] == pytest.approx(0.8)
    assert found.shares[Bound.NETWORK] == pytest.approx(0.0)


def test_no_actors_no_verdict() -> None:
    assert judge(after(step_engine_s=1.0), {}, BEFORE) is None
    assert judge({}, {}) is None


def test_since_the_start() -> None:
    found = judge(BEFORE, {})
    assert found is not None
    assert found.shares[Bound.ENVIRONMENT] == 0.5


def test_as_json() -> None:
    found = verdict(actor_environment_s=15.0, actor_wait_s=5.0, step_engine_s=5.0).as_dict()
    assert found["bound"] == "environment-bound"
    assert found["shares"] == {"environment": 0.75, "network": 0.0, "batch": 0.0, "engine": 0.25, "learner": 0.0}
    assert found["sentence"].startswith("environment-bound: ")


def readings(judge: Judge, *servers: dict[str, Any]) -> list[Verdict | None]:
    return [judge.hear(server, {}) for server in servers]


def test_a_judge_looks_at_the_last_seconds() -> None:
    def at(uptime_s: float, environment_s: float, wait_s: float) -> dict[str, Any]:
        return {"identity": "a", "uptime_s": uptime_s, "actor_environment_s": environment_s, "actor_wait_s": wait_s}

    # Ten seconds of environments, then ten of waiting.
    found = readings(Judge(10.0), at(0, 0, 0), at(5, 5, 0), at(10, 10, 0), at(15, 10, 5), at(20, 10, 10))
    assert found[0] is None
    assert [each and each.bound for each in found[1:4]] == [Bound.ENVIRONMENT] * 3
    assert found[4] is not None
    assert found[4].shares[Bound.NETWORK] == 1.0


def test_a_judge_begins_anew_with_another_server() -> None:
    def at(identity: str, uptime_s: float, environment_s: float) -> dict[str, Any]:
        return {"identity": identity, "uptime_s": uptime_s, "actor_environment_s": environment_s}

    found = readings(Judge(), at("a", 5, 5), at("a", 6, 6), at("b", 1, 1), at("b", 2, 2), at("b", 1, 1))
    assert [each is None for each in found] == [True, False, True, False, True]
