"""How many threads the backend uses within one operation; decided before it starts, for it cannot change its mind.

A small network's operations are too short to be shared out: with a pool of threads a call of a 64-64 perceptron
takes a third longer alone, and much longer on busy cores (benchmarks/DATA_PLANE.md). A large one needs the pool.
TF_NUM_INTRAOP_THREADS and OMP_NUM_THREADS, TensorFlow's and PyTorch's own variables, win over what is decided
here.
Where results shall be the same bit by bit, the number has to be as well: one thread, whatever the network.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile, ZipFile

from corral.agents.settings import NetworkSettings
from corral.protocol.specs import Spec

if TYPE_CHECKING:
    from corral.launch.experiment import Experiment

_VARIABLES = ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
_FIXED = (*_VARIABLES, "TF_NUM_INTEROP_THREADS", "NPROC")
"""The last is where JAX looks."""
WIDEST = 512
"""Units of the widest layer that counts as small."""
LARGEST_BYTES = 2_000_000
"""Bytes of the largest saved model that counts as small."""


def choose_threads(network: NetworkSettings, observation: Spec) -> None:
    """For a server of the network that an experiment describes; one of the user's own counts as large, and so does
    one that may convolve images."""
    convolves = network.torso in ("nature_cnn", "impala") or (
        network.torso == "auto" and any(len(leaf.shape) > 2 for leaf in observation.values())
    )
    if not network.build and not convolves and max(network.hidden, default=0) <= WIDEST:
        _take_one()


def choose_threads_for(experiment: Experiment) -> None:
    """For a process that holds the net of an experiment, before TensorFlow starts.

    Raises:
      BadEnvironmentError: what it observes has to be known, and the environment cannot be made.
    """
    from actor_client.environments import spaces

    if experiment.run.determinism:
        for name in _FIXED:
            os.environ.setdefault(name, "1")
        return
    network = experiment.agent.network
    # Making an environment can take long, and only here does the answer hang on it.
    undecided = network.torso == "auto" and not network.build
    choose_threads(network, spaces(experiment.environment)[0] if undecided else {})


def choose_threads_for_file(policy: Path) -> None:
    """For a server of a saved model; one with convolutions counts as large, however few its weights."""
    try:
        with ZipFile(policy) as archive:
            convolves = b'"Conv' in archive.read("config.json")
    except (OSError, BadZipFile, KeyError):
        return  # whoever loads it says what is wrong with it
    if not convolves and policy.stat().st_size <= LARGEST_BYTES:
        _take_one()


def _take_one() -> None:
    for variable in _VARIABLES:
        os.environ.setdefault(variable, "1")
