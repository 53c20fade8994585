"""Every metric: its name, meaning and label. docs/metrics.md is made from this (`python -m corral.telemetry`).

Names follow Prometheus' conventions: base units, `_total` on counters. No label names an actor or an environment:
there are thousands of them, and each value of a label is a series for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SECONDS = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds of times."""
ROWS = tuple(float(1 << power) for power in range(17))
"""Bounds of batch sizes."""
VERSIONS = (0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 21.0, 34.0, 55.0, 89.0, 144.0)
"""Bounds of policy lags."""


@dataclass(frozen=True)
class Metric:
    """One name.

    Attributes:
      role: which process shows it: "server", "learner" or "actor".
      name: without `corral_`; with `_total` on counters.
      label: the one label's name; empty for none.
      bounds: of a histogram's buckets.
    """

    role: Literal["server", "learner", "actor"]
    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    label: str = ""
    bounds: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """As Prometheus sees it."""
        return f"corral_{self.name}"


CATALOGUE = (
    Metric(
        "server", "inference_requests_total", "counter",
        "Requests answered, by `outcome`: ok, or the code of an ERROR.", "outcome",
    ),
    Metric("server", "inference_rows_total", "counter", "Observations answered."),
    Metric(
        "server", "inference_batches_total", "counter",
        "Batches computed, by the `reason` for which they left: full, all_live, timeout, idle.", "reason",
    ),
    Metric("server", "inference_batch_rows", "histogram", "Observations in a batch.", bounds=ROWS),
    Metric(
        "server", "inference_padding_rows_total", "counter",
        "Rows computed for nobody, to fill batches up to a compiled size.",
    ),
    Metric(
        "server", "inference_queue_seconds", "histogram", "From reading a request to the start of its batch.",
        bounds=SECONDS,
    ),
    Metric(
        "server", "inference_compute_seconds", "histogram",
        "From the start of a batch until its answers are sent: the model, and all around it.", bounds=SECONDS,
    ),
    Metric(
        "server", "inference_request_seconds", "histogram", "From reading a request to its answer.", bounds=SECONDS
    ),
    Metric(
        "server", "inference_recompiles_total", "counter",
        "Compilations since the server was warm: 0, or there is a defect.",
    ),
    Metric(
        "server", "inference_replica_busy_seconds_total", "counter",
        "Spent computing, by `replica` of the policy, from 0 on.", "replica",
    ),
    Metric("server", "weights_version", "gauge", "The policy version that acts."),
    Metric("server", "weights_age_seconds", "gauge", "Since the policy version that acts was taken up."),
    Metric(
        "server", "weights_swap_seconds", "histogram",
        "From weights that are verified and loaded until they act: the batch that was under way.", bounds=SECONDS,
    ),
    Metric("server", "weights_refused_total", "counter", "Policy versions that were refused."),
    Metric("server", "actors_connected", "gauge", "Sessions that live."),
    Metric("server", "environments_connected", "gauge", "Environments that those sessions step."),
    Metric(
        "server", "unrolls_total", "counter",
        "Unrolls, by `outcome`: accepted by the learner, or shed because it had fallen behind.", "outcome",
    ),
    Metric("server", "blocked", "gauge", "1 while actors wait because the learner has fallen behind, else 0."),
    Metric("server", "environment_steps_total", "counter", "Environment steps completed."),
    Metric("server", "episodes_total", "counter", "Episodes that ended."),
    Metric("server", "keys_refused_total", "counter", "Connections turned away for their keys."),
    Metric("learner", "learner_steps_total", "counter", "Training steps."),
    Metric(
        "learner", "learner_step_seconds", "histogram", "Duration of a training step, and of publishing after it.",
        bounds=SECONDS,
    ),
    Metric("learner", "learner_wait_seconds_total", "counter", "Spent waiting for something to train on."),
    Metric("learner", "learner_environment_steps_total", "counter", "Environment steps accepted in all lives."),
    Metric(
        "learner", "policy_lag", "histogram",
        "How many versions old the policy was that acted: the median of each training step's rows.",
        bounds=VERSIONS,
    ),
    Metric("learner", "learner_weights_version", "gauge", "The policy version published last."),
    Metric("learner", "servers_connected", "gauge", "Servers that have come in this learner's life."),
    Metric("learner", "episode_return_mean", "gauge", "Mean return of the last 100 training episodes."),
    Metric("learner", "episode_length_mean", "gauge", "Mean length of the last 100 training episodes, in steps."),
    Metric("learner", "learner_episodes_total", "counter", "Training episodes that ended."),
    Metric(
        "learner", "loss", "gauge", "What the newest training step reported, by `name`: losses, norms.", "name"
    ),
    Metric("learner", "rollbacks_total", "counter", "Times that training diverged and went back to a checkpoint."),
    Metric("learner", "parcels_lost_total", "counter", "Parcels accepted after a checkpoint, and lost in a crash."),
    Metric("actor", "actor_steps_total", "counter", "Environment steps taken."),
    Metric(
        "actor", "actor_environment_seconds_total", "counter", "Spent in the environments: stepping and resetting."
    ),
    Metric("actor", "actor_wait_seconds_total", "counter", "Spent waiting for the server's answers."),
    Metric("actor", "actor_rejoins_total", "counter", "Sessions that were joined again."),
    Metric("actor", "actor_moves_total", "counter", "Those of them that went on with another server."),
)  # fmt: skip


def metrics_of(role: str) -> tuple[Metric, ...]:
    """The metrics that processes of a role show."""
    return tuple(metric for metric in CATALOGUE if metric.role == role)
