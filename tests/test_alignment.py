"""Every step of every environment reaches the learner once, in order and whole: through real processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from corral.protocol import fetch_status
from tests.support.processes import until, until_serving
from tests.support.scripted_run import ScriptedRun


@pytest.fixture(params=[1, pytest.param(2, marks=pytest.mark.long)], ids=["whole actors", "actors in two parts"])
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ScriptedRun]:
    with ExitStack() as stack:
        yield ScriptedRun(tmp_path, stack, pipeline=request.param)


def test_every_step_is_stored_once_and_aligned(run: ScriptedRun) -> None:
    server = run.start_server()
    run.publish()
    until_serving(run.address)
    for mode in ("SINGLE", "NEXT_STEP", "SAME_STEP", "DISABLED"):
        run.start_actor(mode, environments=5)

    run.see(5_000)
    until(lambda: len(run.witness.followed) == 20 or run.see(500), what="every environment")
    assert sorted(run.witness.numbers.values()) == list(range(20))
    assert run.publisher.version > 50
    assert server.end() == 0


@pytest.mark.long
def test_every_interface_is_stored_once_and_aligned(tmp_path: Path) -> None:
    """Players that die before their match ends, in one step and by turns; dm_env; a plain function."""
    with ExitStack() as stack:
        run = ScriptedRun(tmp_path, stack)
        server = run.start_server()
        run.publish()
        until_serving(run.address)
        for name in ("DyingMatch", "turns", "DmScript", "play"):
            run.start_actor(f"API:{name}", environments=3)
        run.see(2_000)
        until(lambda: len(run.witness.followed) == 24 or run.see(500), what="every player and environment")
        assert sorted(run.witness.numbers.values()) == list(range(24))
        assert run.witness.steps == run.witness.steps_of_the_script()
        assert server.end() == 0


@pytest.mark.parametrize("backend", ["tensorflow", pytest.param("jax", marks=pytest.mark.long)])
def test_every_step_is_stored_once_and_aligned_by_two_replicas(
    run: ScriptedRun, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """Each on a processor of its own; the witness also sees that no environment's versions go backwards."""
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setenv("JAX_ENABLE_X64", "1")  # the script counts in 64 bits
    server = run.start_server(replicas=2)
    run.publish()
    until_serving(run.address)
    for mode in ("SINGLE", "NEXT_STEP", "SAME_STEP", "DISABLED"):
        run.start_actor(mode, environments=5)

    run.see(5_000)
    status = fetch_status(run.address, 5)
    assert status is not None
    assert len(status["replica_busy_s"]) == 2
    assert min(status["replica_busy_s"]) > 0
    assert run.publisher.version > 50
    assert server.end() == 0


def test_an_actor_that_dies_takes_its_open_steps_along_and_nothing_else(run: ScriptedRun) -> None:
    run.start_server(lease_s=1)
    run.publish()
    until_serving(run.address)
    survivor = run.start_actor("NEXT_STEP")
    victim = run.start_actor("SINGLE")
    until(lambda: len(run.witness.followed) == 8 or run.see(200), what="both actors")

    victim.kill()
    run.see(2_000)
    newcomer = run.start_actor("SAME_STEP")
    until(lambda: len(run.witness.followed) == 12 or run.see(200), what="the newcomer")
    assert survivor.end() == 0
    assert newcomer.end() == 0


@pytest.mark.long
def test_actors_rejoin_a_server_that_was_killed(run: ScriptedRun) -> None:
    server = run.start_server()
    run.publish()
    actor = run.start_actor("SINGLE")
    run.see(500)

    server.kill()
    run.witness.expect_reset()
    run.start_server()
    run.see(2_000)
    assert actor.end() == 0


@pytest.mark.long
def test_every_step_counts_once_between_actors_and_server_on_a_bad_network(run: ScriptedRun) -> None:
    run.start_server()
    run.publish()
    until_serving(run.address)
    network = run.bad_network(run.address, drop=0.03, double=0.1, hold=0.05, delay=0.1, seed=1)
    for mode in ("SINGLE", "NEXT_STEP"):
        run.start_actor(mode, address=f"{run.address}-bad", resend_after_s=0.05)
    run.see(5_000)
    assert min(network.dropped, network.doubled, network.reordered, network.delayed) > 20
    assert run.witness.steps == run.witness.steps_of_the_script()


def test_every_step_counts_once_between_server_and_learner_on_a_bad_network(run: ScriptedRun) -> None:
    network = run.bad_network(run.intake, drop=0.05, double=0.2, hold=0.05, delay=0.2, seed=2, drops=4)
    run.intake = f"{run.intake}-bad"
    run.start_server()
    run.publish()
    until_serving(run.address)
    run.start_actor("SINGLE", environments=8)
    run.see(5_000)
    assert network.dropped == 4
    assert min(network.doubled, network.reordered, network.delayed) > 2
    assert run.witness.steps == run.witness.steps_of_the_script()
