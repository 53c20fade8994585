"""TorchRL's `InferenceServer` in a process of its own, asked by client processes through shared memory.

Tried, with 64 clients: `MPTransport` (300 answers/s), `SharedMemoryTransport` (1,500), `ProcessSlotTransport` with
a thread for each client (3,900) and with futures (kept); batches of at least 1, 32, 48 and 64 with a wait of 2 or
4 ms (48 and 2 ms kept: 1.7 times what 1 gets). PyTorch with one and two threads: with two, `mlp` loses a third and
`nature_cnn` gains a fifth.
"""

from __future__ import annotations

import functools
from importlib.metadata import version

import numpy as np
import torch
import torch_model
from load import CONTEXT, Answer, Load, Pending, Submit, by_futures, measure, parse, report
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torchrl.modules.inference_server import InferenceServerConfig, ProcessInferenceServer, ProcessSlotTransport

WAIT_S = 0.002


class Answering:
    """The transport's future, as the clients take it."""

    def __init__(self, future: Pending) -> None:
        self.done = future.done
        self._future = future

    def result(self) -> Answer:
        answer = self._future.result()
        return answer["logits"], answer["value"]


def connect(clients: list, index: int, observation: np.ndarray) -> Submit:
    """A client of the transport: it owns one slot of the shared memory."""
    torch.set_num_threads(1)
    client, request = clients[index], TensorDict({"observation": torch.from_numpy(observation)})
    return lambda: Answering(client.submit(request))


def make_policy(load: Load) -> TensorDictModule:
    """What the server's process builds."""
    policy = torch_model.policy(load, threads=1 if load.model == "mlp" else 2)
    return TensorDictModule(policy, in_keys=["observation"], out_keys=["logits", "value"])


def main() -> None:
    load = parse(__doc__)
    request = TensorDict({"observation": torch.from_numpy(load.observation(0))})
    answer = TensorDict({"logits": torch.zeros(load.rows, load.actions), "value": torch.zeros(load.rows)})
    transport = ProcessSlotTransport(request, answer, num_slots=load.clients, ctx=CONTEXT, copy_result=False)
    at_least = max(1, load.batch * 3 // 4)
    config = InferenceServerConfig(
        "process", max_batch_size=load.batch, min_batch_size=at_least, timeout=WAIT_S, collect_stats=False
    )
    server = ProcessInferenceServer(
        policy_factory=functools.partial(make_policy, load),
        transport=transport,
        server_config=config,
        policy_version_key=None,
        mp_context=CONTEXT,
    )
    clients = [transport.client() for _ in range(load.clients)]
    with server:
        tally = measure(load, by_futures, functools.partial(connect, clients))
    note = f"ProcessSlotTransport, batches of {at_least} to {load.batch}, wait {WAIT_S * 1e3:g} ms"
    report("torchrl_server", f"{version('torchrl')}, PyTorch {version('torch')}", load, tally, note)


if __name__ == "__main__":
    main()
