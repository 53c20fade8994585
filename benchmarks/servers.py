"""Steps per second with 1, 2 and 4 servers, and actors in proportion: does each server add what the first one did?

    python benchmarks/servers.py --servers 1,2,4 --seconds 10

The model sleeps, so that cores do not limit: what is lost is lost to sharing actors and one learner. Actors are
processes of `run_actor` with scripted environments, which choose their servers themselves. Run it in the project's
root; `--json FILE` writes the figures too. It measures once the servers are level, then kills one, and counts the
seconds until all its actors have a seat at the others.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from corral.launch.cast import following
from corral.protocol import fetch_status
from tests.support.processes import Process, until, until_serving

START_S = 300.0


def status(address: str) -> dict[str, Any]:
    """The figures of one server. Raises `TimeoutError`."""
    figures = fetch_status(address, 10.0)
    if figures is None:
        raise TimeoutError(f"{address} does not answer")
    return figures


def measure(servers: int, settings: argparse.Namespace, say: Callable[[str], object]) -> dict[str, Any]:
    """What so many servers do together, each with its actors."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        first, unrolls, weights = (f"ipc://{folder}/{name}" for name in ("server", "unrolls", "weights"))
        addresses = [following(first, number) for number in range(servers)]
        rows = settings.actors * settings.environments
        server = json.dumps({"sleep_ms": settings.sleep_ms, "max_size": rows, "slots": 2 * rows * servers})

        def start(module: str, *arguments: str) -> Process:
            started = Process("-m", f"tests.support.{module}", *arguments)
            stack.callback(started.kill)
            return started

        start("idle_learner", unrolls, weights, "1024")
        processes = [start("slow_server", address, unrolls, weights, server) for address in addresses]
        say(f"{servers} servers: starting")
        for address in addresses:
            until_serving(address, START_S)
        actor = (",".join(addresses), "SINGLE", str(settings.environments), "2.0")
        for _ in range(settings.actors * servers):
            start("scripted_actor", *actor)
        whole = rows * servers

        def is_level() -> bool:
            loads = [status(address)["environments"] for address in addresses]
            return sum(loads) == whole and max(loads) - min(loads) <= settings.environments

        began = time.monotonic()
        until(is_level, START_S, f"{servers} servers, level")
        say(f"{servers} servers: level after {time.monotonic() - began:.1f} s; measuring")
        rates = [_rates(addresses, settings.seconds) for _ in range(settings.rounds)]
        failover_s = None
        if servers > 1:
            say(f"{servers} servers: killing one")
            processes[-1].kill()
            killed = time.monotonic()
            rest = addresses[:-1]
            until(
                lambda: sum(status(each)["environments"] for each in rest) == whole, START_S, "all with the others"
            )
            failover_s = time.monotonic() - killed
    together = statistics.median(sum(each) for each in rates)
    return {
        "servers": servers,
        "actors": settings.actors * servers,
        "steps_per_s": together,
        "steps_per_s_of_each_server": together / servers,
        "failover_s": failover_s,
        "rounds": rates,
    }


def _rates(addresses: list[str], seconds: float) -> list[float]:
    """Rows per second of each server, over so many seconds."""
    before = [status(address) for address in addresses]
    time.sleep(seconds)
    after = [status(address) for address in addresses]
    return [
        (now["rows"] - then["rows"]) / (now["uptime_s"] - then["uptime_s"])
        for then, now in zip(before, after, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", default="1,2,4", help="numbers of servers, with commas between")
    parser.add_argument("--actors", type=int, default=4, help="actor processes for each server")
    parser.add_argument("--environments", type=int, default=4, help="of each actor")
    parser.add_argument("--sleep-ms", type=float, default=20.0, help="that the model takes for a batch")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    settings = parser.parse_args()
    found = [
        measure(int(count), settings, lambda text: print(text, flush=True)) for count in settings.servers.split(",")
    ]
    alone = found[0]["steps_per_s_of_each_server"]
    print("| servers | actors | steps/s | steps/s of each server | relative | one killed, all act again after |")
    print("|---|---|---|---|---|---|")
    for row in found:
        row["relative"] = row["steps_per_s_of_each_server"] / alone
        print(
            f"| {row['servers']} | {row['actors']} | {row['steps_per_s']:,.0f} "
            f"| {row['steps_per_s_of_each_server']:,.0f} | {row['relative']:.2f} "
            f"| {'-' if row['failover_s'] is None else format(row['failover_s'], '.1f') + ' s'} |"
        )
    load = os.getloadavg()[0]
    print(f"\nload average {load:.1f} on {os.cpu_count()} cores, {time.strftime('%Y-%m-%d')}")
    if settings.json:
        told = {key: value for key, value in vars(settings).items() if key != "json"}
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip()
        figures = {"settings": told, "commit": commit, "load": load, "cores": os.cpu_count(), "rows": found}
        settings.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
