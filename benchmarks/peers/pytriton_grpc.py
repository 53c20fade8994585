"""NVIDIA's PyTriton: Triton Inference Server around a Python function, with Triton's dynamic batching.

Tried, with 64 clients: `ModelClient` over gRPC with a thread for each client (1,330 answers/s),
`AsyncioModelClient` over HTTP (1,130) and over gRPC (1,440, kept); queue delays of 0 and 5 ms lose a third and a
quarter against 1 ms (kept).
"""

from __future__ import annotations

import functools
import os
import sysconfig
from importlib.metadata import version

import numpy as np
import torch_model
from load import Answer, AsyncAsk, Load, by_tasks, host_and_port, measure, parse, report
from pytriton.client import AsyncioModelClient
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

WAIT_US = 1_000


async def connect(url: str, index: int, observation: np.ndarray) -> AsyncAsk:
    """A client of PyTriton's own, with its own connection."""
    client = AsyncioModelClient(url, "policy", init_timeout_s=60)

    async def ask() -> Answer:
        answer = await client.infer_batch(observation=observation)
        return answer["logits"], answer["value"]

    return ask


def bind(triton: Triton, load: Load) -> None:
    """Give the server its model. Triton counts rows, not requests."""
    predict = torch_model.predictor(load)

    @batch
    def answer(observation: np.ndarray) -> dict[str, np.ndarray]:
        logits, values = predict(observation)
        return {"logits": logits, "value": values[:, None]}

    shape, dtype = load.row
    logits = Tensor(name="logits", dtype=np.float32, shape=(load.actions,))
    value = Tensor(name="value", dtype=np.float32, shape=(1,))
    batcher = DynamicBatcher(max_queue_delay_microseconds=WAIT_US)
    triton.bind(
        model_name="policy",
        infer_func=answer,
        inputs=[Tensor(name="observation", dtype=dtype, shape=shape)],
        outputs=[logits, value],
        config=ModelConfig(max_batch_size=load.batch * load.rows, batcher=batcher),
        strict=False,
    )


def main() -> None:
    load = parse(__doc__)
    host, port = host_and_port(load)
    _, unused = host_and_port(Load())
    # Triton's backend must find the libpython of this very interpreter, not the first one of the system.
    libraries = (sysconfig.get_config_var("LIBDIR"), os.environ.get("LD_LIBRARY_PATH", ""))
    os.environ["LD_LIBRARY_PATH"] = ":".join(filter(None, libraries))
    config = TritonConfig(
        grpc_address=host, grpc_port=port, http_address=host, http_port=unused, allow_metrics=False
    )
    with Triton(config=config) as triton:
        bind(triton, load)
        triton.run()
        tally = measure(load, by_tasks, functools.partial(connect, f"grpc://{host}:{port}"))
    note = f"gRPC, AsyncioModelClient, batches of {load.batch}, queue delay {WAIT_US:,} us"
    report("pytriton", f"{version('nvidia-pytriton')}, PyTorch {version('torch')}", load, tally, note)


if __name__ == "__main__":
    main()
