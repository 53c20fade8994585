"""The rules that ship, in a real Prometheus that scrapes a real run."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corral.telemetry.catalogue import CATALOGUE
from tests.support.command import ROOT
from tests.support.ports import free_ports
from tests.support.processes import until
from tests.support.programs import program
from tests.test_metrics import LEARNER, SERVER, Run, run  # noqa: F401  (a fixture)

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]

RULES = ROOT / "docker" / "alerts.yml"
CONFIGURATION = ROOT / "docker" / "prometheus.yml"


def tool(name: str) -> str:
    """The path of one of Prometheus' programs."""
    return program(name, "Prometheus", "REQUIRE_PROMETHEUS")


class Prometheus:
    """A running one, at `address`."""

    def __init__(self, address: str) -> None:
        self.address = address

    def ask(self, what: str, **query: str) -> Any:
        url = f"{self.address}/api/v1/{what}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]

    def value(self, expression: str) -> float | None:
        """The only value of an expression; None where there is none."""
        result = self.ask("query", query=expression)["result"]
        return float(result[0]["value"][1]) if result else None

    def firing(self) -> set[str]:
        return {
            alert["labels"]["alertname"] for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"
        }


@pytest.fixture(scope="module")
def prometheus(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:  # noqa: F811
    command = tool("prometheus")
    folder: Path = tmp_path_factory.mktemp("prometheus")
    # What ships, but for where the processes are and how soon it looks.
    text = CONFIGURATION.read_text().replace("5s", "1s")
    text = text.replace("inference-server:9100", f"127.0.0.1:{run.port + SERVER}")
    text = text.replace("learner:9100", f"127.0.0.1:{run.port + LEARNER}")
    text = text[: text.index("  - job_name: actor")]
    (folder / "prometheus.yml").write_text(text)
    (folder / "alerts.yml").write_text(re.sub(r"for: \d+m", "for: 1s", RULES.read_text()))
    (port,) = free_ports(1)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [command, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{port}"],
            stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
    try:
        found = Prometheus(f"http://127.0.0.1:{port}")

        def scraped() -> bool:
            try:
                return found.value("sum(up)") == 2
            except OSError:
                return False

        until(scraped, 30, "two processes that are up")
        yield found
    finally:
        process.terminate()
        process.wait(20)
        print((folder / "log").read_text()[-3000:])


def test_the_rules_are_well_formed() -> None:
    done = subprocess.run([tool("promtool"), "check", "rules", RULES], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_name_metrics_that_there_are() -> None:
    names = {metric.full_name for metric in CATALOGUE}
    assert set(re.findall(r"corral_\w+", RULES.read_text())) <= names


def test_a_real_run_is_scraped(prometheus: Prometheus) -> None:
    assert until(lambda: prometheus.value("rate(corral_inference_rows_total[15s])"), 30, "a rate of rows") > 0
    assert until(lambda: prometheus.value("rate(corral_learner_steps_total[15s])"), 30, "a rate of steps") > 0
    p99 = "histogram_quantile(0.99, rate(corral_inference_request_seconds_bucket[15s]))"
    assert 0 < until(lambda: prometheus.value(p99), 30, "a percentile") < 10
    assert prometheus.firing() == set()


def test_a_server_that_hangs_is_told(prometheus: Prometheus, run: Run) -> None:  # noqa: F811
    server = run.place.child("server")
    assert server is not None
    server.send_signal(signal.SIGSTOP)
    try:
        until(lambda: "CorralDown" in prometheus.firing(), 60, "the alert")
    finally:
        server.send_signal(signal.SIGCONT)
    until(lambda: "CorralDown" not in prometheus.firing(), 60, "its end")
