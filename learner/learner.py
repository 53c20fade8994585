"""The learner: takes unrolls in, trains, publishes, keeps checkpoints, and knows when it is done."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from corral.agents import Agent, AgentSpec, load_backend
from corral.agents.settings import OptimizerSettings
from corral.protocol import ErrorCode, ProtocolError
from corral.protocol.unrolls import unroll_spec
from corral.protocol.weights import check_finite
from corral.telemetry import Board, Histogram
from corral.telemetry.catalogue import SECONDS
from corral.telemetry.tracer import span
from learner import checkpoints
from learner.checkpoints import REPLAY, Checkpoint, CheckpointError
from learner.feed import Feed, FreshFeed, ReplayFeed
from learner.lockstep import ChunkedFeed, chunks_of, fingerprint
from learner.pace import Pace
from learner.policy_file import save_policy
from learner.progress import Progress
from learner.random_state import random_state, restore_random_state
from learner.replay import Sample
from learner.returns_file import ReturnsFile
from learner.server_line import Account
from learner.settings import LearnerSettings
from learner.unroll_source import Position, UnrollSource
from learner.weight_publisher import WeightPublisher

log = logging.getLogger(__name__)

POLICY_FILE = "policy.keras"
CHECKPOINTS = "checkpoints"
PAUSE_S = 0.05
"""Seconds between two looks, while it pauses, at whether it should go on."""
SHOW_EVERY_S = 0.25
"""Seconds between two looks that others may have at how it does."""
REFUSALS = 20
"""Training steps in a row that may not be finite until the nets are taken for the cause."""
_LEAST_QUEUE = 8


class DivergedError(RuntimeError):
    """Training came to numbers that are none, again and again: says which, and what may help."""


@dataclass(frozen=True)
class LearnerResult:
    """How training ended.

    Attributes:
      solved: whether the target was reached.
      stopped: whether it was told to end.
      mean_return: of the last 100 training episodes.
      env_steps, training_steps, episodes: totals, over all of the run's lives.
      env_steps_before: environment steps of the lives before this one.
      policy_version: the last one published.
      policy_lag_p50: median policy lag over the last training steps, in versions.
      checkpoint, policy: the files left behind; "" where one could not be written.
      steps_accepted: by server identity, as 16 hexadecimal digits: environment steps of its unrolls that were
        accepted and not lost again.
      weights_sha256: of a run in lockstep, the `fingerprint` of all that training goes on from.
    """

    solved: bool
    mean_return: float
    env_steps: int
    env_steps_before: int
    training_steps: int
    episodes: int
    policy_version: int
    policy_lag_p50: float
    checkpoint: str
    policy: str
    stopped: bool = False
    steps_accepted: dict[str, int] = field(default_factory=dict)
    weights_sha256: str = ""


class Learner:
    """Trains one agent until its target, its step limit, or `stop`.

    Args:
      settings: addresses, batch, checkpoints.
      agent: what to train.
      optimizer: how.
      target_return: mean return of 100 training episodes at which it is solved; None trains to the limit.
      max_env_steps: environment steps after which it gives up.
      folder: where checkpoints and the policy go. A learner that finds checkpoints there goes on from the newest
        that is whole.
      chunk: in lockstep, unrolls from one policy version to the next: what happens depends on these alone, and on
        no time (docs/determinism.md). 0 goes on as fast as can be.
      clock: seconds, monotonic.

    Raises:
      AddressError: an address cannot be listened on.
      CheckpointError: there are checkpoints, and none can be used.
      ValueError: the agent has nothing to train, or there are not so many devices.

    `run` raises `DivergedError` where going back to a checkpoint has not helped `max_rollbacks` times.
    """

    def __init__(
        self,
        settings: LearnerSettings,
        agent: Agent,
        optimizer: OptimizerSettings,
        *,
        target_return: float | None,
        max_env_steps: int,
        folder: Path,
        keys: Path | str | None = None,
        board: Board | None = None,
        chunk: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._agent = agent
        self._max_env_steps = max_env_steps
        self._folder = folder
        self._board = board
        self._chunk = chunk
        self._chunks: ChunkedFeed | None = None
        self._shown_at = -math.inf
        self._step_s = Histogram(SECONDS)
        self._waited_s = 0.0
        self._clock = clock
        self._stopping = self._paused = self._save_asked = False
        self._began = clock()
        self._refusals = 0
        self._rollbacks = 0
        self._saved_at = clock()
        self._checkpoint = self._checkpoint_failure = ""
        self._checkpoints_failed = 0
        self._feed_figures: dict[str, Any] = {}
        self.progress = Progress(target_return)
        spec = agent.spec
        self._trainer = load_backend().Trainer(agent, optimizer, settings.devices)
        self._pace = Pace(settings.device_share, clock)
        before, replayed = self._restore()
        self._steps_before = self.progress.env_steps
        self._returns = ReturnsFile(folder, self.progress.episodes)
        self._accepted_before, self._lost_before = self.progress.steps_accepted, self.progress.steps_lost
        self.progress.policy_version = int(before.get("policy_version", 0))
        self._publisher = WeightPublisher(
            settings.weights_address,
            insecure=settings.insecure,
            keys=keys,
            # Later than the life before, whatever the clock says.
            epoch=max(time.time_ns() // 1_000_000, int(before.get("epoch", 0)) + 1),
            version=self.progress.policy_version,
        )
        try:
            self._source = UnrollSource(
                settings.unrolls_address,
                queue=chunk or _queue(settings, spec),
                ahead=bool(chunk or spec.replay or settings.queue_batches),
                insecure=settings.insecure,
                keys=keys,
                report=self.figures,
                obey=self.obey,
                expect=unroll_spec(spec.observation, spec.outputs, spec.state),
                length=spec.unroll_length,
                accounts={int(name): Account(*at) for name, at in before["accounts"].items()} if before else None,
                epoch=(lambda: self._publisher.epoch) if chunk else None,
            )
        except BaseException:
            self._publisher.close()  # or its thread would go on listening for nobody
            raise
        try:
            self._feed = self._make_feed(replayed)
        except BaseException:
            self.close()
            raise

    def run(self) -> LearnerResult:
        """Train until the target, the limit or `stop`; leaves a checkpoint and the policy behind.

        One that goes on from a checkpoint at which all was done already leaves everything as it is.
        """
        try:
            if not self._finished():
                self._train()
            elif not (self._folder / POLICY_FILE).exists():
                self._save_policy()  # the life before was killed, and another target makes this the end
        finally:
            self._returns.write()
            self.close()
        progress = self.progress
        policy = self._folder / POLICY_FILE
        return LearnerResult(
            solved=progress.solved,
            mean_return=progress.mean_return,
            env_steps=progress.env_steps,
            env_steps_before=self._steps_before,
            training_steps=progress.training_steps,
            episodes=progress.episodes,
            policy_version=progress.policy_version,
            policy_lag_p50=progress.policy_lag_p50,
            checkpoint=self._checkpoint,
            policy=str(policy) if policy.exists() else "",
            stopped=self._stopping,
            steps_accepted={
                f"{identity:016x}": account.accepted
                for identity, account in self._source.position().accounts.items()
            },
            weights_sha256=fingerprint(self._trainer.state()) if self._chunk else "",
        )

    def stop(self) -> None:
        """Make `run` finish soon. From any thread or signal handler; more than once is fine."""
        self._stopping = True

    def obey(self, command: str) -> None:
        """Do what an operator wants, soon; from any thread.

        Args:
          command: "pause" and "resume" training; "checkpoint" between two training steps; "drain", which is `stop`.

        Raises:
          ProtocolError: COMMAND for anything else.
        """
        if command == "checkpoint" and self._chunk:
            raise ProtocolError(
                ErrorCode.COMMAND,
                "with run.determinism checkpoints are made every learner.checkpoint_every_versions",
            )
        if command == "checkpoint":
            self._save_asked = True
        elif command == "drain":
            self.stop()
        elif command in ("pause", "resume"):
            self._paused = command == "pause"
        else:
            known = "pause, resume, checkpoint or drain"
            raise ProtocolError(ErrorCode.COMMAND, f"a learner can be told to {known}, not to {command[:100]!r}")
        log.info("told to %s", command)

    def close(self) -> None:
        """Stop listening."""
        self._source.close()
        self._publisher.close()

    def _make_feed(self, replayed: Mapping[str, np.ndarray]) -> Feed:
        settings, spec = self._settings, self._agent.spec
        feed: Feed
        if self._chunk:
            feed = self._chunks = chunks_of(settings, spec, self._source, self._chunk)
        elif spec.replay:
            feed = ReplayFeed(settings, spec, self._source)
        else:
            lag, publisher = settings.max_policy_lag, self._publisher
            feed = FreshFeed(self._source, settings.batch_unrolls, lag, lambda: publisher.version)
        if replayed:
            try:
                feed.restore(replayed)
            except (ValueError, KeyError, TypeError) as error:
                raise CheckpointError(
                    f"{self._checkpoint} does not fit this experiment: {error}. Go on with the settings that it "
                    "was made with, or begin in another folder"
                ) from error
        return feed

    def _finished(self) -> bool:
        progress = self.progress
        return self._stopping or progress.solved or progress.env_steps >= self._max_env_steps

    def _train(self) -> None:
        if self._chunk:
            self._save()  # the life that goes on from here publishes the same version
        self.progress.policy_version = self._publisher.publish(self._trainer.weights())
        if not self._chunk:
            self._save()  # so that a later life knows of this one, and of its epoch, from the first moment
        # Servers begin to act on the first weights while the training step compiles.
        chances = random_state()
        self._trainer.warm(self._settings.batch_unrolls)
        restore_random_state(chances)  # a life that goes on warms up once more than one that was not interrupted
        while not self._finished():
            if self._paused:
                self._pause()
            elif rest_s := self._pace.rest_s:
                self._rest(rest_s)
            else:
                self._advance()
            if self._save_asked:
                self._save_asked = False
                self._save()
        self._source.close()  # nothing is accepted any more that the checkpoint would not know of
        if not self._chunk:
            self._save()
        self._save_policy()

    @span("pause")
    def _pause(self) -> None:
        """Take nothing in for a moment. Servers that have filled their windows make actors wait, or shed."""
        time.sleep(PAUSE_S)
        if not self._chunk:
            self._take_count()
        self._show(self._clock())

    @span("rest")
    def _rest(self, seconds: float) -> None:
        """Leave the devices to others for a while; words to the learner are heard meanwhile."""
        time.sleep(min(seconds, PAUSE_S))
        self._show(self._clock())

    def _advance(self) -> None:
        """One training step, if there is enough to train on soon."""
        began = self._clock()
        sample = self._feed.next()
        fed = self._clock()
        self._waited_s += fed - began
        self._show(fed)
        self._feed_figures = self._feed.figures()
        if self._chunks is None or self._chunks.came:
            self._take_count()
        if self.progress.solved or (self._chunk and self._finished()):
            return  # in lockstep a chunk that ends the run is not trained on, whenever its counts were seen
        if sample is None:
            self._turn_if_due()
            return
        self.progress.policy_version = self._publisher.version
        began = self._clock()
        metrics, priorities = self._learn(sample)
        self._pace.worked(self._clock() - began)
        self._feed.learned(sample, priorities)
        self.progress.add_training_step(sample.unroll, metrics)
        if metrics["finite"]:
            self._refusals = 0
        else:
            self._refused(metrics)
        if self._chunks is not None:
            self._turn_if_due()
        elif self.progress.training_steps % self._settings.publish_every == 0:
            self._publish()
        self._step_s.observe(self._clock() - fed)
        if not self._chunk and self._clock() - self._saved_at >= self._settings.checkpoint_every_s:
            self._save()

    def _turn_if_due(self) -> None:
        """In lockstep, end a policy version whose chunk is used up; with a checkpoint, where one is due."""
        if self._chunks is None or not self._chunks.used_up:
            return
        due = self._publisher.version + 1
        if due % self._settings.checkpoint_every_versions == 0:
            self._save()
            log.info("policy version %d: weights_sha256 %s", due, fingerprint(self._trainer.state()))
        self._publish()
        self._chunks.turn()

    @span("train step", work=True)
    def _learn(self, sample: Sample) -> tuple[Mapping[str, float], np.ndarray | None]:
        learned: tuple[Mapping[str, float], np.ndarray | None] = self._trainer.step(sample.unroll, sample.weights)
        return learned

    def _show(self, now: float) -> None:
        if self._board is None or now - self._shown_at < SHOW_EVERY_S:
            return
        self._shown_at = now
        self._returns.write()
        self._board.show(
            {
                **self.progress.samples(),
                "learner_step_seconds": self._step_s.snapshot(),
                "learner_wait_seconds_total": self._waited_s,
                "servers_connected": self._publisher.servers,
                "rollbacks_total": self._rollbacks,
                "parcels_lost_total": self._source.parcels_lost,
            }
        )

    def _refused(self, metrics: Mapping[str, float]) -> None:
        """A step was not finite and changed nothing. One may be a bad batch; many in a row are bad weights."""
        self._refusals += 1
        wrong = ", ".join(f"{name} = {value}" for name, value in metrics.items() if not math.isfinite(value))
        log.error("a training step was not finite and changed nothing: %s", wrong or metrics)
        if self._refusals >= REFUSALS:
            self._roll_back(f"{self._refusals} training steps in a row were not finite ({wrong})")

    def _roll_back(self, why: str) -> None:
        """Go on with the newest checkpoint's nets. Raises `DivergedError` when that has not helped often enough."""
        self._refusals = 0
        self._rollbacks += 1
        found = checkpoints.load_newest(self._folder / CHECKPOINTS)
        if found is None or self._rollbacks > self._settings.max_rollbacks:
            raise DivergedError(
                f"training has diverged: {why}, and {self._rollbacks - 1} times the last checkpoint did not help. "
                "Lower agent.optimizer.learning_rate, or clip gradients (clip_norm) and rewards (agent.reward_clip)"
            )
        path, checkpoint = found
        self._trainer.restore(_split(checkpoint)[0])
        log.error(
            "%s: going on with the nets of %s (%d of %d)", why, path, self._rollbacks, self._settings.max_rollbacks
        )

    def _take_count(self) -> Position:
        """Count what has been accepted by now."""
        position = self._source.position()
        self.progress.env_steps = self._steps_before + position.env_steps
        self.progress.steps_accepted = self._accepted_before + position.steps_accepted
        self.progress.steps_lost = self._lost_before + position.steps_lost
        self.progress.add_episodes(position.episodes)
        self._returns.add((value for value, _ in position.episodes), self.progress.episodes)
        return position

    @span("publish")
    def _publish(self) -> None:
        try:
            self.progress.policy_version = self._publisher.publish(self._trainer.weights())
        except ProtocolError as error:  # they are not finite
            self._roll_back(error.text)
            self._publish()

    @span("checkpoint")
    def _save(self) -> None:
        """Write a checkpoint; a disk that is full costs the checkpoint, never the training.

        What is not finite is not written: it would take the place of what can be gone back to.
        """
        self._saved_at = self._clock()
        state = self._trainer.state()
        try:
            check_finite(state)
        except ProtocolError as error:
            self._roll_back(error.text)
            state = self._trainer.state()
        position = self._take_count()
        progress = self.progress.state() | {
            "policy_version": self._publisher.version,
            "epoch": self._publisher.epoch,
            # Names, since JSON's numbers are not always whole up to 64 bits.
            "accounts": {str(identity): account for identity, account in position.accounts.items()},
            "random": random_state(),
        }
        replayed = self._feed.state(position.waiting)
        checkpoint = Checkpoint({**state, **{f"{REPLAY}{name}": leaf for name, leaf in replayed.items()}}, progress)
        try:
            keep = self._settings.keep_checkpoints
            self._checkpoint = str(checkpoints.save(self._folder / CHECKPOINTS, checkpoint, keep=keep))
            self._checkpoint_failure = ""
            log.info("checkpoint %s at %d environment steps", self._checkpoint, self.progress.env_steps)
        except OSError as error:
            self._checkpoints_failed += 1
            self._checkpoint_failure = f"no checkpoint could be written to {self._folder}: {error}"
            log.error("%s", self._checkpoint_failure)

    def _restore(self) -> tuple[Mapping[str, Any], Mapping[str, np.ndarray]]:
        """Go on from the newest checkpoint; its progress and replay, or nothing where there is none."""
        found = checkpoints.load_newest(self._folder / CHECKPOINTS)
        if found is None:
            return {}, {}
        path, checkpoint = found
        state, replayed = _split(checkpoint)
        try:
            self._trainer.restore(state)
            self.progress.restore(checkpoint.progress)
            restore_random_state(checkpoint.progress["random"])
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path} does not fit this experiment: {error}. Go on with the agent that it was made with, or "
                "begin in another folder"
            ) from error
        self._checkpoint = str(path)
        log.info("going on from %s: %d environment steps", path, self.progress.env_steps)
        return checkpoint.progress, replayed

    def _save_policy(self) -> None:
        try:
            save_policy(self._agent, self._folder / POLICY_FILE)
        except OSError as error:
            log.error("the policy could not be written to %s: %s", self._folder, error)

    def figures(self) -> dict[str, Any]:
        """How training goes; names as in docs/protocol.md. From any thread."""
        return (
            self.progress.figures()
            | self._feed_figures
            | {
                "role": "learner",
                "ready": self._publisher.version > 0,
                "uptime_s": self._clock() - self._began,
                "wait_s": self._waited_s,
                "paused": self._paused,
                "servers": self._publisher.servers,
                "epoch": self._publisher.epoch,
                "env_steps_before": self._steps_before,
                "last_refusal": self._publisher.last_refusal,
                "checkpoints_failed": self._checkpoints_failed,
                "checkpoint_failure": self._checkpoint_failure,
            }
        )


def _queue(settings: LearnerSettings, spec: AgentSpec) -> int:
    """Unrolls that may wait here: whole batches of fresh ones; for a replay what it may take in ahead."""
    if spec.replay:
        return max(_LEAST_QUEUE, settings.replay.slack // spec.unroll_length)
    return settings.window


def _split(checkpoint: Checkpoint) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What the trainer goes on from, and what the replay does, in a checkpoint."""
    replayed = [name for name in checkpoint.state if name.startswith(REPLAY)]
    return (
        {name: leaf for name, leaf in checkpoint.state.items() if name not in replayed},
        {name.removeprefix(REPLAY): checkpoint.state[name] for name in replayed},
    )
