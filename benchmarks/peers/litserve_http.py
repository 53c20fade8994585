"""LitServe over HTTP, with batching; observations travel as base64 within JSON, as its own guide sends images.

Tried, with 64 clients: `fast_queue` off and on (on is 12 % faster, kept), one and two API servers (two are 10 %
faster, kept), and a wait for batches of 1, 5 and 20 ms (5 ms kept; the others lose 10 %).
"""

from __future__ import annotations

import base64
import functools
import json
from importlib.metadata import version

import lean_http
import litserve
import numpy as np
import torch_model
from load import (
    Answer,
    AsyncAsk,
    Load,
    background,
    by_tasks,
    host_and_port,
    measure,
    parse,
    report,
    until_listening,
)

WAIT_S = 0.005
API_SERVERS = 2


class Api(litserve.LitAPI):
    """The steps of a request, as LitServe names them.

    What arrives and what is returned as JSON is not annotated: LitServe would have it validated by that.
    """

    def __init__(self, load: Load) -> None:
        super().__init__(max_batch_size=load.batch, batch_timeout=WAIT_S)
        self._load = load

    def setup(self, device: str) -> None:
        self._predict = torch_model.predictor(self._load)

    def decode_request(self, request) -> np.ndarray:
        shape, dtype = self._load.row
        return np.frombuffer(base64.b64decode(request["observation"]), dtype).reshape(-1, *shape)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, batch: np.ndarray) -> Answer:
        return self._predict(batch)

    def unbatch(self, output: Answer) -> list[Answer]:
        return list(zip(*output, strict=True))

    def encode_response(self, output: Answer):
        logits, values = output
        return {"logits": logits.tolist(), "value": values.tolist()}


def serve(load: Load, host: str, port: int) -> None:
    """The server, until it is ended."""
    server = litserve.LitServer(Api(load), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(
        host=host,
        port=port,
        num_api_servers=API_SERVERS,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )


async def connect(host: str, port: int, index: int, observation: np.ndarray) -> AsyncAsk:
    """A client: one connection that is kept."""
    body = json.dumps({"observation": base64.b64encode(observation.tobytes()).decode()}).encode()
    post = await lean_http.connect(host, port, "/predict", body, "application/json")

    async def ask() -> Answer:
        answer = json.loads(await post())
        return answer["logits"], answer["value"]

    return ask


def main() -> None:
    load = parse(__doc__)
    host, port = host_and_port(load)
    with background(serve, load, host, port) as process:
        until_listening(host, port, process)
        tally = measure(load, by_tasks, functools.partial(connect, host, port))
    note = f"HTTP, fast_queue, {API_SERVERS} API servers, batches of {load.batch}, wait {WAIT_S * 1e3:g} ms"
    report("litserve", f"{version('litserve')}, PyTorch {version('torch')}", load, tally, note)


if __name__ == "__main__":
    main()
