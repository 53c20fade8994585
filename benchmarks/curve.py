"""What CURVE costs: sockets that echo, with and without keys, turn by turn.

    python benchmarks/curve.py --seconds 3 --repeats 5

One connection per client, each with one request outstanding, over TCP; server, clients and I/O threads share this
process and its cores. The payloads are those of a request of `mlp` (16 bytes) and of `nature_cnn` (28,224 bytes).
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time

import zmq

CLIENTS = 16


def echo_per_s(payload: int, seconds: float, *, keys: bool) -> float:
    """Answers per second."""
    context = zmq.Context()
    server_public, server_secret = zmq.curve_keypair()
    client_public, client_secret = zmq.curve_keypair()
    server = context.socket(zmq.ROUTER)
    clients = [context.socket(zmq.DEALER) for _ in range(CLIENTS)]
    if keys:
        server.curve_server, server.curve_secretkey = True, server_secret
        for client in clients:
            client.curve_serverkey = server_public
            client.curve_publickey, client.curve_secretkey = client_public, client_secret
    port = server.bind_to_random_port("tcp://127.0.0.1")
    for client in clients:
        client.connect(f"tcp://127.0.0.1:{port}")
    over = threading.Event()
    thread = threading.Thread(target=_serve, args=(server, over))
    thread.start()
    answers = _ask(clients, b"\0" * payload, seconds)
    over.set()
    thread.join()
    context.destroy(linger=0)
    return answers / seconds


def _serve(server: zmq.Socket, over: threading.Event) -> None:
    while not over.is_set():
        while server.poll(50):
            routing, payload = server.recv_multipart()
            server.send_multipart([routing, payload[:40]])


def _ask(clients: list[zmq.Socket], payload: bytes, seconds: float) -> int:
    poller = zmq.Poller()
    for client in clients:
        poller.register(client, zmq.POLLIN)
        client.send(payload)
        client.poll()  # the handshake is over
    answers = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for client, _ in poller.poll(100):
            client.recv()
            client.send(payload)
            answers += 1
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print("| payload, bytes | open, answers/s | CURVE, answers/s | ratio | us more per answer |")
    print("|---|---|---|---|---|")
    for payload in (16, 28_224):
        found: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(arguments.repeats):
            for keys, figures in found.items():
                figures.append(echo_per_s(payload, arguments.seconds, keys=keys))
        plain, curve = (statistics.median(figures) for figures in found.values())
        more_us = (1 / curve - 1 / plain) * 1e6
        print(f"| {payload:,} | {plain:,.0f} | {curve:,.0f} | {curve / plain:.2f} | {more_us:.0f} |")


if __name__ == "__main__":
    main()
