"""A server whose model takes its time: `python -m tests.support.slow_server ADDRESS UNROLLS WEIGHTS SETTINGS`.

SETTINGS is JSON: `sleep_ms` of each batch, `max_size`, `timeout_us`, `max_waiting_rows`, `slots`, `when_full`.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Any

import keras
import numpy as np

from corral.protocol.sockets import is_private
from inference_server import BatchingSettings, InferenceServer, ServerSettings
from inference_server.settings import UnrollSettings
from tests.support.scripted_agent import ScriptedAgent


class SlowAgent(ScriptedAgent):
    """Does what the scripted agent does, and sleeps for a while first: as slow whatever else the machine does."""

    def __init__(self, sleep_ms: float) -> None:
        super().__init__()
        self._sleep_s = sleep_ms * 1e-3

    def act(self, call: Any, observation: Any, state: Any, first: Any, noise: Any, explore: Any) -> Any:
        seen = observation["observation"]
        return super().act(call, {"observation": self._after_a_while(seen)}, state, first, noise, explore)

    def _after_a_while(self, seen: Any) -> Any:
        if keras.backend.backend() == "jax":
            import jax

            return jax.pure_callback(self._wait, jax.ShapeDtypeStruct(seen.shape, seen.dtype), seen)
        import tensorflow as tf

        waited = tf.numpy_function(self._wait, [seen], tf.int64)
        waited.set_shape(seen.shape)
        return waited

    def _wait(self, seen: Any) -> np.ndarray:
        time.sleep(self._sleep_s)
        return np.asarray(seen)


if __name__ == "__main__":
    address, unrolls, weights, text = sys.argv[1:]
    settings = json.loads(text)
    sleep_ms = settings["sleep_ms"]
    server = InferenceServer(
        ServerSettings(
            address=address,
            insecure=not is_private(address),  # between the hosts of a test
            max_environments=settings["slots"],
            lease_s=settings.get("lease_s", 10.0),
            batching=BatchingSettings(
                timeout_us=settings.get("timeout_us", 0),
                max_size=settings["max_size"],
                buckets=(settings["max_size"],),
                max_waiting_rows=settings.get("max_waiting_rows", 0),
            ),
            unrolls=UnrollSettings(settings.get("when_full", "block")),
        ),
        lambda: SlowAgent(sleep_ms),
        learner=(unrolls, weights),
    )
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.warm()
    server.run()
