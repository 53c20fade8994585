"""The whole learner, against a real server and a real actor that outlive one learner after the other."""

from __future__ import annotations

import dataclasses
import logging
import resource
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from corral.agents import AgentSettings, NetworkSettings, OptimizerSettings, VTraceAgent, load_backend
from corral.agents.agent import Batch, Call, Losses
from corral.protocol import AddressError, ErrorCode, ProtocolError, TensorSpec, fetch_status, send_command
from learner import Learner, LearnerSettings, UnrollSource
from learner.checkpoints import CheckpointError, load, load_newest
from learner.learner import REFUSALS, DivergedError, LearnerResult
from learner.settings import ReplaySettings
from tests.support.processes import process, until

OBSERVATION = {"observation": TensorSpec((4,), "float32", None, None)}
ACTION = TensorSpec((), "int64", 0, 1)
EXPERIMENT = """
[environment]
id = "CartPole-v1"
[actor]
environments = 4
[server]
address = "{server}"
[server.batching]
max_size = 4
[learner]
unrolls_address = "{unrolls}"
weights_address = "{weights}"
[agent]
unroll_length = 5
[agent.network]
hidden = [8]
"""


def make_agent() -> VTraceAgent:
    return VTraceAgent(AgentSettings(unroll_length=5, network=NetworkSettings(hidden=(8,))), OBSERVATION, ACTION)


class Place:
    """A server and an actor, and the addresses where they look for their learner."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.server, self.unrolls, self.weights = (f"ipc://{folder}/{name}" for name in ("s", "u", "w"))
        self.file = folder / "experiment.toml"
        self.file.write_text(EXPERIMENT.format(**vars(self)))
        self._processes = [
            stack.enter_context(process("-m", "corral.cli", role, str(self.file))) for role in ("server", "actor")
        ]

    def settings(self, **changes: object) -> LearnerSettings:
        return LearnerSettings(self.unrolls, self.weights, batch_unrolls=4, **changes)  # type: ignore[arg-type]

    def learner(
        self, folder: Path, max_env_steps: int = 10**9, replays: bool = False, **changes: object
    ) -> Learner:
        keras.utils.set_random_seed(3)
        agent = make_agent()
        agent.spec = dataclasses.replace(agent.spec, replay=replays)
        return Learner(
            self.settings(**changes),
            agent,
            OptimizerSettings(),
            target_return=10_000.0,
            max_env_steps=max_env_steps,
            folder=folder,
        )

    def assert_well(self) -> None:
        for each in self._processes:
            assert each.popen.poll() is None, each.output


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with ExitStack() as stack:
        place = Place(tmp_path_factory.mktemp("learner"), stack)
        yield place
        place.assert_well()


@contextmanager
def running(learner: Learner) -> Iterator[list[LearnerResult]]:
    """The learner at work; stopped when the block ends, and its result is then in the list."""
    results: list[LearnerResult] = []
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(learner.run)
        try:
            yield results
        finally:
            learner.stop()
        results.append(done.result(60))


def test_a_learner_that_is_stopped_leaves_all_that_it_has_learned(place: Place, tmp_path: Path) -> None:
    learner = place.learner(tmp_path)
    with running(learner) as results:
        until(lambda: learner.progress.training_steps >= 5, what="five training steps")
        status = fetch_status(place.unrolls, 10)
        assert status is not None
        assert (status["role"], status["ready"], status["solved"]) == ("learner", True, False)
        assert status["training_steps"] >= 5
        assert status["losses"].keys() >= {"loss", "entropy"}
        assert status["servers"] == 1
    (result,) = results
    assert not result.solved
    assert result.training_steps >= 5
    assert result.policy_version == result.training_steps + 1  # the first version is what it began with
    # What waited in the queue at the end was stepped and accepted, but not trained on.
    assert result.env_steps >= result.training_steps * 4 * 5 * 0.5
    assert not Path(place.unrolls.removeprefix("ipc://")).exists()
    assert not Path(place.weights.removeprefix("ipc://")).exists()

    checkpoint = load(Path(result.checkpoint))
    assert checkpoint.progress["policy_version"] == result.policy_version
    assert checkpoint.progress["env_steps"] == result.env_steps
    trainer = load_backend().Trainer(make_agent(), OptimizerSettings())
    trainer.restore(checkpoint.state)
    assert trainer.steps == result.training_steps

    policy = keras.models.load_model(result.policy)
    observation = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    actions = np.asarray(policy({"observation": observation})["action"])
    restored = trainer.agent.policy()({"observation": observation})
    np.testing.assert_array_equal(actions, np.asarray(restored["action"]))
    np.testing.assert_array_equal(actions, np.asarray(restored["logits"]).argmax(-1))
    assert set(actions.tolist()) == {0, 1}


def test_a_learner_is_told_to_pause_to_save_to_resume_and_to_leave(place: Place, tmp_path: Path) -> None:
    learner = place.learner(tmp_path, checkpoint_every_s=3600.0)
    with running(learner) as results:
        until(lambda: learner.progress.training_steps >= 3, what="training")
        assert send_command(place.unrolls, "pause")
        # The step that is under way when the word comes is the last.
        until(lambda: (fetch_status(place.unrolls, 10) or {}).get("paused"), what="a pause")
        steps = until_still(lambda: learner.progress.training_steps)
        before = len(list((tmp_path / "checkpoints").iterdir()))
        assert send_command(place.unrolls, "checkpoint")
        until(lambda: len(list((tmp_path / "checkpoints").iterdir())) > before, what="a checkpoint")
        found = load_newest(tmp_path / "checkpoints")
        assert found is not None
        assert found[1].progress["training_steps"] == learner.progress.training_steps == steps
        assert send_command(place.unrolls, "resume")
        until(lambda: learner.progress.training_steps > steps + 3, what="more training")
        with pytest.raises(ProtocolError, match="pause, resume, checkpoint or drain, not to 'dance'") as caught:
            send_command(place.unrolls, "dance")
        assert caught.value.code is ErrorCode.COMMAND
        assert send_command(place.unrolls, "drain")
        until(lambda: learner.progress.training_steps > steps and not learner_answers(place), what="an end")
    (result,) = results
    assert result.stopped
    assert not result.solved


def learner_answers(place: Place) -> bool:
    return fetch_status(place.unrolls, 0.2) is not None


def until_still(look: Callable[[], int]) -> int:
    """What `look` gives, once it has given the same for half a second."""
    seen: list[tuple[float, int]] = [(time.monotonic(), look())]

    def still() -> bool:
        if look() != seen[-1][1]:
            seen.append((time.monotonic(), look()))
        return time.monotonic() - seen[-1][0] > 0.5

    until(still, what="a figure that stays")
    return seen[-1][1]


def test_a_learner_goes_on_where_the_one_before_it_stopped(place: Place, tmp_path: Path) -> None:
    first = place.learner(tmp_path)
    with running(first) as results:
        until(lambda: first.progress.episodes >= 3, what="three episodes")
    before = load(Path(results[0].checkpoint))

    second = place.learner(tmp_path)  # the weights that its agent began with are other ones now
    assert second.progress.state() == {name: before.progress[name] for name in first.progress.state()}
    state = second._trainer.state()
    # What waited when it stopped travels in the checkpoint, too; seldom does nothing wait.
    trained = {name: values for name, values in before.state.items() if not name.startswith("replay/")}
    assert state.keys() == trained.keys()
    for name, values in trained.items():
        np.testing.assert_array_equal(state[name], values, err_msg=name)
    with running(second) as results:
        until(lambda: second.progress.training_steps >= first.progress.training_steps + 5, what="five more steps")
        until(lambda: second.progress.env_steps > first.progress.env_steps, what="more steps")
        status = fetch_status(place.unrolls, 10)
        assert status is not None
        assert status["epoch"] > before.progress["epoch"]
        assert status["parcels_lost"] == 0  # the first one's last checkpoint knew of all that it had accepted
    after = results[0]
    assert after.policy_version == after.training_steps + 2  # each life publishes once before it trains
    newest = load_newest(tmp_path / "checkpoints")
    assert newest is not None
    assert newest[0] == Path(after.checkpoint)
    # The server is the same one, and so is its line in the books.
    (identity,) = before.progress["accounts"]
    assert newest[1].progress["accounts"][identity] > before.progress["accounts"][identity]


def test_a_learner_that_finds_all_done_leaves_it_alone(place: Place, tmp_path: Path) -> None:
    result = place.learner(tmp_path, max_env_steps=300).run()
    before = {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()}
    (tmp_path / "policy.keras").unlink()
    again = place.learner(tmp_path, max_env_steps=300).run()
    assert (again.env_steps, again.policy_version) == (result.env_steps, result.policy_version)
    assert again.env_steps_before == again.env_steps
    assert {path: path.read_bytes() for path in (tmp_path / "checkpoints").iterdir()} == before
    assert (tmp_path / "policy.keras").exists()  # what was missing is made up for


def test_a_clock_that_was_set_back_makes_no_earlier_epoch(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = place.learner(tmp_path)
    with running(first):
        until(lambda: first.progress.training_steps >= 1, what="a training step")
    monkeypatch.setattr(time, "time_ns", lambda: 10**9)
    second = place.learner(tmp_path)
    with running(second):
        until(lambda: second.progress.training_steps > first.progress.training_steps, what="a training step")
        assert second.figures()["epoch"] == first.figures()["epoch"] + 1


def test_a_checkpoint_of_another_network_is_told(place: Place, tmp_path: Path) -> None:
    learner = place.learner(tmp_path)
    with running(learner):
        until(lambda: learner.progress.training_steps >= 1, what="a training step")
    other = AgentSettings(unroll_length=5, network=NetworkSettings(hidden=(9,)))
    with pytest.raises(
        CheckpointError, match=r"checkpoint-.*npz does not fit this experiment: the weights do not fit"
    ):
        Learner(
            place.settings(),
            VTraceAgent(other, OBSERVATION, ACTION),
            OptimizerSettings(),
            target_return=None,
            max_env_steps=1,
            folder=tmp_path,
        )


def replay_settings(**changes: object) -> ReplaySettings:
    settings = ReplaySettings(capacity=500, min_size=100, samples_per_insert=2.0, slack=20)
    return dataclasses.replace(settings, **changes)  # type: ignore[arg-type]


def test_a_learner_that_replays_trains_on_each_unroll_again(place: Place, tmp_path: Path) -> None:
    learner = place.learner(tmp_path, replays=True, replay=replay_settings())
    with running(learner) as results:
        until(lambda: learner.progress.training_steps >= 100, what="a hundred training steps")
        status = fetch_status(place.unrolls, 10)
        assert status is not None
        assert status["replay_steps"] == 500
        assert status["replay_bytes"] > 500 * 4 * 4
        assert abs(status["samples_per_insert"] - 2.0) < 0.5
    # A batch of 4 unrolls, each drawn twice, is 10 steps.
    assert results[0].env_steps >= results[0].training_steps * 10 * 0.9
    assert not any(name.startswith("replay/") for name in load(Path(results[0].checkpoint)).state)


def test_a_replay_goes_on_from_a_checkpoint(place: Place, tmp_path: Path) -> None:
    settings = replay_settings(checkpoint=True)
    first = place.learner(tmp_path, replays=True, replay=settings)
    with running(first) as results:
        until(lambda: first.progress.training_steps >= 20, what="twenty training steps")
    before = load(Path(results[0].checkpoint))
    second = place.learner(tmp_path, replays=True, replay=settings)
    for name, values in second._feed.state([]).items():
        np.testing.assert_array_equal(before.state[f"replay/{name}"], values, err_msg=name)
    with running(second):
        until(lambda: second.progress.training_steps >= first.progress.training_steps + 5, what="five more")
        assert second.figures()["replay_steps"] >= first.figures()["replay_steps"]


def test_a_checkpoint_of_another_replay_is_told_and_leaves_nobody_listening(place: Place, tmp_path: Path) -> None:
    settings = replay_settings(checkpoint=True)
    first = place.learner(tmp_path, replays=True, replay=settings)
    with running(first):
        until(lambda: first.progress.training_steps >= 5, what="five training steps")
    before = threading.active_count()
    with pytest.raises(CheckpointError, match=r"checkpoint-.*npz does not fit this experiment: the replay was of"):
        place.learner(tmp_path, replays=True, replay=dataclasses.replace(settings, capacity=100))
    assert threading.active_count() == before
    assert not Path(place.unrolls.removeprefix("ipc://")).exists()
    # An agent that replays nothing has no use for it.
    third = place.learner(tmp_path)
    with running(third):
        until(lambda: third.progress.training_steps > first.progress.training_steps, what="a training step")


def test_the_step_limit_ends_it_unsolved(place: Place, tmp_path: Path) -> None:
    result = place.learner(tmp_path, max_env_steps=300).run()
    assert not result.solved
    assert 300 <= result.env_steps < 300 + 200  # what one queue holds may be accepted at once
    assert result.training_steps > 5
    assert result.episodes > 0
    assert result.mean_return > 0
    assert 0 <= result.policy_lag_p50 < 20


def test_checkpoints_come_while_it_trains(place: Place, tmp_path: Path) -> None:
    learner = place.learner(tmp_path, checkpoint_every_s=1e-6, keep_checkpoints=2)
    with running(learner):
        until(lambda: learner.progress.training_steps >= 5, what="five training steps")
    files = sorted((tmp_path / "checkpoints").iterdir())
    assert len(files) == 2
    newest = load_newest(tmp_path / "checkpoints")
    assert newest is not None
    assert newest[0] == files[-1]


def test_a_folder_that_cannot_be_written_costs_the_files_and_not_the_training(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    learner = place.learner(tmp_path / "file" / "run", checkpoint_every_s=1e-6)
    with caplog.at_level(logging.ERROR), running(learner) as results:
        until(lambda: learner.progress.training_steps >= 5, what="five training steps")
        figures = figures_of(place.unrolls)
        assert figures["checkpoints_failed"] >= 5
        assert "no checkpoint could be written" in figures["checkpoint_failure"]
    assert (results[0].checkpoint, results[0].policy) == ("", "")
    said = [record.message for record in caplog.records]
    assert sum("no checkpoint could be written" in line for line in said) >= 5
    assert sum("the policy could not be written" in line for line in said) == 1


def test_weights_that_are_no_numbers_take_no_checkpoints_place(place: Place, tmp_path: Path) -> None:
    learner = place.learner(tmp_path)
    learner._save()
    good = learner._trainer.state()
    spoilt = {name: np.full_like(leaf, np.nan) if leaf.dtype.kind == "f" else leaf for name, leaf in good.items()}
    learner._trainer.restore(spoilt)
    learner._save()
    newest = load_newest(tmp_path / "checkpoints")
    assert newest is not None
    for name, leaf in good.items():
        np.testing.assert_array_equal(newest[1].state[name], leaf, err_msg=name)
        np.testing.assert_array_equal(learner._trainer.state()[name], leaf, err_msg=name)
    learner.close()


def figures_of(address: str) -> dict[str, Any]:
    return fetch_status(address, 10) or {}


@pytest.mark.long
def test_a_full_disk_costs_checkpoints_and_nothing_else(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A real learner: its disk fills up, and empties; its folder is read-only for a while; it is killed."""
    run, limit = tmp_path / "run", resource.getrlimit(resource.RLIMIT_FSIZE)
    checkpoints, disk, link = run / "checkpoints", tmp_path / "disk", tmp_path / "link"

    def lead_to(folder: Path) -> None:
        link.symlink_to(folder)
        link.replace(checkpoints)  # in one step

    run.mkdir()
    disk.mkdir()
    lead_to(disk)
    options = (
        "--run-folder",
        str(run),
        "--set",
        "learner.batch_unrolls=4",
        "--set",
        "learner.checkpoint_every_s=0.1",
    )
    with process("-m", "corral.cli", "learner", str(place.file), *options) as learner:

        def goes_on(what: str, failed: bool) -> dict[str, Any]:
            """Its figures, once it has trained on for a while with or without checkpoints."""
            before = until(lambda: figures_of(place.unrolls), what="a learner")
            wanted = before["training_steps"] + 20

            def look() -> dict[str, Any] | None:
                figures = figures_of(place.unrolls)
                failing = bool(figures["checkpoint_failure"])
                return figures if failing == failed and figures["training_steps"] >= wanted else None

            figures: dict[str, Any] = until(look, what=what)
            return figures

        until(lambda: list(checkpoints.glob("*.npz")), what="a checkpoint")
        assert goes_on("training", failed=False)["checkpoints_failed"] == 0

        # No file may grow beyond half a checkpoint: for the learner the disk is full.
        size = min(path.stat().st_size for path in checkpoints.glob("*.npz"))
        resource.prlimit(learner.popen.pid, resource.RLIMIT_FSIZE, (size // 2, limit[1]))
        full = goes_on("a full disk", failed=True)
        assert full["checkpoints_failed"] > 0
        assert "File too large" in full["checkpoint_failure"]
        until(lambda: f"no checkpoint could be written to {run}" in learner.output, what="a line in the view")
        assert not list(checkpoints.glob("*.partial"))
        resource.prlimit(learner.popen.pid, resource.RLIMIT_FSIZE, limit)
        goes_on("room again", failed=False)

        # Now its folder is one that nobody writes into.
        lead_to(Path("/sys"))
        goes_on("a read-only folder", failed=True)
        lead_to(disk)
        last = goes_on("the folder again", failed=False)
        assert last["checkpoints_failed"] > full["checkpoints_failed"]
        learner.kill()

    # The newest may have been torn: the one before is gone on from.
    *_, before, newest = sorted(checkpoints.glob("*.npz"))
    newest.write_bytes(newest.read_bytes()[:-1])
    progress = load(before).progress
    with running(place.learner(run)):
        figures = until(lambda: figures_of(place.unrolls), what="a learner")
    assert figures["env_steps_before"] == progress["env_steps"]
    assert figures["epoch"] > progress["epoch"]
    assert figures["training_steps"] >= progress["training_steps"]
    assert f"passed over: {newest} is damaged" in caplog.text


def test_unrolls_of_another_length_are_refused_and_end_nothing(place: Place, tmp_path: Path) -> None:
    agent = VTraceAgent(AgentSettings(unroll_length=6), OBSERVATION, ACTION)
    learner = Learner(
        place.settings(),
        agent,
        OptimizerSettings(),
        target_return=None,
        max_env_steps=10**9,
        folder=tmp_path,
    )

    def failure() -> str:
        status = fetch_status(place.server, 10)
        return status["learner_failure"] if status else ""

    with running(learner):
        until(lambda: "6 transitions here and 5 there" in failure(), what="the refusal")
        assert learner.progress.training_steps == 0


def test_an_address_in_use_leaves_nobody_listening(tmp_path: Path) -> None:
    unrolls, weights = f"ipc://{tmp_path}/u", f"ipc://{tmp_path}/w"
    before = threading.active_count()
    with UnrollSource(unrolls), pytest.raises(AddressError, match="in use"):
        Learner(
            LearnerSettings(unrolls, weights),
            make_agent(),
            OptimizerSettings(),
            target_return=None,
            max_env_steps=1,
            folder=tmp_path,
        )
    assert not list(tmp_path.iterdir())
    assert threading.active_count() == before


class Diverging(VTraceAgent):
    """Loses its numbers for good from the fourth training step on."""

    def losses(self, call: Call, target: Call, batch: Batch) -> Losses:
        losses = super().losses(call, target, batch)
        spoilt = keras.ops.where(batch.step >= 3, float("nan"), 1.0)
        return losses._replace(groups={name: loss * spoilt for name, loss in losses.groups.items()})


def test_training_that_diverges_goes_back_and_then_gives_up(
    place: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = AgentSettings(unroll_length=5, network=NetworkSettings(hidden=(8,)))
    learner = Learner(
        place.settings(max_rollbacks=2, checkpoint_every_s=1000.0),
        Diverging(settings, OBSERVATION, ACTION),
        OptimizerSettings(),
        target_return=None,
        max_env_steps=10**9,
        folder=tmp_path,
    )
    with pytest.raises(
        DivergedError, match=r"20 training steps in a row .* 2 times the last checkpoint did not help"
    ):
        learner.run()
    went_back = [record.getMessage() for record in caplog.records if "going on with the nets of" in record.message]
    assert [text[-8:] for text in went_back] == ["(1 of 2)", "(2 of 2)"]
    assert "loss = nan" in went_back[0]
    # Three good steps before each time, none of which the checkpoint knew.
    assert learner.progress.training_steps == 3 * (3 + REFUSALS)
