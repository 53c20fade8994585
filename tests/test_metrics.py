"""What the processes of a real run show to Prometheus."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from corral.telemetry.catalogue import metrics_of
from tests.support.command import Workplace, workplace
from tests.support.ports import free_ports
from tests.support.processes import Process, until

pytestmark = pytest.mark.timeout(120)


class Run:
    """A run that goes on without end, and the port of its server's metrics."""

    def __init__(self, place: Workplace, process: Process, port: int) -> None:
        self.place = place
        self.process = process
        self.port = port

    def get(self, offset: int, path: str) -> tuple[int, str]:
        """Status and text; 0 where nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port + offset}/{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def samples(self, offset: int) -> dict[str, float]:
        """Name -> sum over its labels; histograms by their counts."""
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(self.get(offset, "metrics")[1]):
            for sample in family.samples:
                if not sample.name.endswith("_bucket"):
                    found[sample.name] = found.get(sample.name, 0) + sample.value
        return found


SERVER, LEARNER, ACTOR = 0, 1, 10


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    (port,) = free_ports(1)
    with workplace() as place:
        arguments = (
            "-m", "corral.cli", "run", "examples/cartpole.toml", "--plain", "--folder", str(place.folder / "runs"),
            "--set", "run.target_return=1000", "--set", "run.max_env_steps=1000000000",
            "--set", "actor.processes=2", "--metrics-port", str(port),
        )  # fmt: skip
        started = Process(*arguments, TMPDIR=str(place.temporary))
        try:
            found = Run(place, started, port)
            until(lambda: found.samples(LEARNER).get("corral_learner_steps_total", 0) > 3, 60, "training steps")
            yield found
        finally:
            started.end(60)
            print(started.output)


@pytest.mark.parametrize(("role", "offset"), [("server", SERVER), ("learner", LEARNER), ("actor", ACTOR)])
def test_every_metric_of_the_catalogue_is_there(run: Run, role: str, offset: int) -> None:
    found = until(lambda: run.samples(offset), what=f"metrics of the {role}")
    for metric in metrics_of(role):
        name = f"{metric.full_name}_count" if metric.kind == "histogram" else metric.full_name
        assert name in found, metric
    assert run.get(offset, "readyz") == (200, "ok\n")


def test_the_figures_agree_with_each_other(run: Run) -> None:
    def agree() -> bool:
        server, actors = run.samples(SERVER), [run.samples(ACTOR + number) for number in range(2)]
        for name in ("batch_rows", "compute_seconds"):
            assert server[f"corral_inference_{name}_count"] == server["corral_inference_batches_total"]
        assert server["corral_inference_batch_rows_sum"] == server["corral_inference_rows_total"]
        assert server["corral_inference_recompiles_total"] == 0
        assert server["corral_actors_connected"] == 2
        assert server["corral_weights_version"] > 1
        steps = sum(actor["corral_actor_steps_total"] for actor in actors)
        # An actor's time is spent on the one or the other; one that has just begun has not met both.
        spent = [actor[f"corral_actor_{on}_seconds_total"] for actor in actors for on in ("environment", "wait")]
        return min(spent) > 0 and bool(0.5 * steps < server["corral_inference_rows_total"] < 2 * steps)

    until(agree, 20, "figures that agree")


def test_a_frozen_server_answers_nothing_and_is_ready_again(run: Run) -> None:
    child = run.place.child("server")
    assert child is not None
    assert run.get(SERVER, "readyz")[0] == 200
    child.send_signal(signal.SIGSTOP)
    try:
        assert run.get(SERVER, "livez")[0] == 0
    finally:
        child.send_signal(signal.SIGCONT)
    until(lambda: run.get(SERVER, "readyz")[0] == 200, 10, "a ready server")
