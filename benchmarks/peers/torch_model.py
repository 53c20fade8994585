"""The models in PyTorch, for peers that have a venv of their own.

PyTorch runs such small models eagerly in less time than Keras on TensorFlow does, so this favours the peers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from load import Load
from torch import nn


class Policy(nn.Module):
    """The network `load.model`: observations of any number of leading dimensions to logits and values."""

    def __init__(self, load: Load) -> None:
        super().__init__()
        self._shape = load.row[0]
        body, width = _mlp() if load.model == "mlp" else _nature_cnn()
        self.body = body
        self.logits = nn.Linear(width, load.actions)
        self.value = nn.Linear(width, 1)

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        leading = observation.shape[: -len(self._shape)]
        hidden = observation.reshape(-1, *self._shape)
        if len(self._shape) == 3:
            hidden = hidden.permute(0, 3, 1, 2).float() / 255  # a view: PyTorch runs it as channels last
        hidden = self.body(hidden)
        return self.logits(hidden).reshape(*leading, -1), self.value(hidden).reshape(leading)


def policy(load: Load, threads: int = 1) -> Policy:
    """The network, ready to answer in this process, which computes with so many threads.

    One is the best for all but one peer and model: clients want the other core, and LitServe with two loses half.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    return Policy(load).eval().requires_grad_(False)


def predictor(load: Load) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Logits and values of observations `[rows, ...]`, numpy to numpy."""
    network = policy(load)

    def predict(observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            logits, values = network(torch.from_numpy(observations))
            return logits.numpy(), values.numpy()

    return predict


def _mlp() -> tuple[nn.Module, int]:
    return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh()), 64


def _nature_cnn() -> tuple[nn.Module, int]:
    convolutions = (nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3, 1))
    dense = (nn.ReLU(), nn.Flatten(), nn.Linear(7 * 7 * 64, 512), nn.ReLU())
    return nn.Sequential(*convolutions, *dense).to(memory_format=torch.channels_last), 512
