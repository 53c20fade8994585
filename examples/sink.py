"""Where a run's figures go beside its folder: corral run EXPERIMENT --set metrics.sink=examples.sink:to_csv

With W&B these are the three lines of a module of yours:

    import wandb
    wandb.init(project="corral")
    def to_wandb(figures): wandb.log(figures, step=int(figures["env_steps"]))

and with MLflow:

    import mlflow
    mlflow.start_run()
    def to_mlflow(figures): mlflow.log_metrics(figures, step=int(figures["env_steps"]))
"""

from __future__ import annotations

import csv
import sys

COLUMNS = ("env_steps", "elapsed_s", "mean_return", "server/rows_per_s", "learner/policy_lag")


def to_csv(figures: dict[str, float]) -> None:
    """Print the columns as comma-separated values."""
    csv.writer(sys.stderr).writerow(figures.get(name, "") for name in COLUMNS)
