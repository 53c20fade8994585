"""Acts and trains from the weights of a file, so that two processes on two backends can be compared.

    python -m tests.agents.backend.agreement WEIGHTS RESULTS

WEIGHTS and RESULTS are .npz files. Where there are no WEIGHTS yet, this process' own are written there first.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np

from corral.agents import load_backend
from corral.agents.backend import TRAINING
from corral.agents.settings import AgentSettings, NetworkSettings, OptimizerSettings
from corral.agents.vtrace import VTraceAgent
from tests.agents.conftest import ACTION, OBSERVATION, _make_unroll

STEPS = 5
ROWS = (1, 8, 64)


def main(weights: Path, results: Path) -> None:
    """Writes what acting put out, and what each training step reported and left behind."""
    settings = AgentSettings(unroll_length=8, network=NetworkSettings(hidden=(64, 64)))
    agent = VTraceAgent(settings, OBSERVATION, ACTION)
    backend = load_backend()
    act = backend.CompiledAct(agent, ROWS)
    if not weights.exists():
        np.savez(weights, **act.weights())
    with np.load(weights) as stored:
        act.load(dict(stored))
    found = {"backend": np.array(keras.backend.backend())} | acted(agent, act)
    for name in ("adam", "rmsprop", "sgd") if keras.backend.backend() in TRAINING else ():
        with np.load(weights) as stored:
            act.load(dict(stored))
        # Entropy and learning rate both decay, so that the count of steps matters.
        trainer = backend.Trainer(agent, OptimizerSettings(name=name, learning_rate=0.01, decay_steps=10))
        found |= trained(agent, trainer, name)
    np.savez(results, **found)


def acted(agent: VTraceAgent, act: Any) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    rng = np.random.default_rng(3)
    for rows in ROWS:
        observation = rng.standard_normal((rows, 4)).astype(np.float32)
        noise, explore = rng.random((rows, 1), np.float32), np.ones((rows, 1), np.float32)
        outputs, _ = act(rows, {"observation": observation}, {}, np.zeros(rows, bool), noise, explore)
        found |= {f"act/{rows}/{name}": value for name, value in outputs.items()}
    return found


def trained(agent: VTraceAgent, trainer: Any, name: str) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for step in range(STEPS):
        metrics = trainer.step(_make_unroll(agent, 16, seed=step)).metrics
        found |= {f"{name}/{step}/{metric}": np.array(value) for metric, value in metrics.items()}
        found |= {f"{name}/{step}/{variable}": value for variable, value in trainer.state().items()}
    return found


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
