"""A learner process with the scripted agent, which remembers every transition that it was given.

`python -m tests.support.scripted_learner UNROLLS WEIGHTS FOLDER`: goes on from the checkpoints in FOLDER, and
leaves `result.json` there. What it was given lies in its checkpoints, and goes back with them: see `remembered`.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from corral.agents import OptimizerSettings
from corral.agents.agent import Batch, Call, Losses
from corral.protocol.unrolls import Leaves, to_unroll
from learner import Learner, LearnerSettings
from learner.checkpoints import Checkpoint
from learner.feed import Feed
from learner.replay import Sample
from tests.support.scripted_agent import ScriptedAgent
from tests.support.scripted_environment import transitions

_TRAINED, _WAITING = "replay/trained", "replay/waiting/"


class TrainedScript(ScriptedAgent):
    """Acts by rule, and learns nothing of use."""

    def losses(self, call: Call, target: Call, batch: Batch) -> Losses:
        loss = ops.mean(call("policy", ops.ones((1, 1))))
        return Losses({"policy": loss}, {"loss": loss})

    def policy(self) -> keras.Model:
        return self.nets["policy"]


class WitnessedFeed:
    """A feed beside which somebody writes down what it gives."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._seen: list[np.ndarray] = [np.zeros((0, 3), np.int64)]

    def next(self) -> Sample | None:
        sample = self._feed.next()
        if sample is not None:
            self._seen.append(transitions(sample.unroll))
        return sample

    def learned(self, sample: Sample, priorities: np.ndarray | None) -> None:
        self._feed.learned(sample, priorities)

    def figures(self) -> dict[str, Any]:
        return self._feed.figures()

    def state(self, waiting: list[Leaves]) -> Mapping[str, np.ndarray]:
        self._seen = [np.concatenate(self._seen)]
        return {**self._feed.state(waiting), "trained": self._seen[0]}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self._seen = [state["trained"]]
        self._feed.restore(state)


class WitnessedLearner(Learner):
    """The learner as it is, its feed witnessed."""

    def _make_feed(self, replayed: Mapping[str, np.ndarray]) -> Feed:
        feed = WitnessedFeed(super()._make_feed({}))
        if replayed:
            feed.restore(replayed)
        return feed


def remembered(checkpoint: Checkpoint) -> np.ndarray:
    """Every transition that the learner of this checkpoint had accepted, trained on or waiting: `[n, 3]`."""
    waiting = {
        name.removeprefix(_WAITING): leaf for name, leaf in checkpoint.state.items() if name.startswith(_WAITING)
    }
    parts = [checkpoint.state[_TRAINED]]
    if waiting:
        parts.append(transitions(to_unroll(waiting)))
    return np.concatenate(parts)


if __name__ == "__main__":
    unrolls, weights, folder = sys.argv[1:]
    logging.basicConfig(level=logging.INFO)
    learner = WitnessedLearner(
        LearnerSettings(unrolls, weights, batch_unrolls=4, queue_batches=4, checkpoint_every_s=0.5),
        TrainedScript(),
        OptimizerSettings(name="sgd"),
        target_return=None,
        max_env_steps=10**15,
        folder=Path(folder),
    )
    signal.signal(signal.SIGTERM, lambda *_: learner.stop())
    result = learner.run()
    (Path(folder) / "result.json").write_text(json.dumps(asdict(result)))
