"""Where a planned run meets a limit first, and what to do there: a sentence each."""

from __future__ import annotations

import math

from corral.bench.planning import MOST_BUSY, Demand, RunPlan, Serving

DESCRIPTORS = 1024
"""Files that a process may have open where nobody has raised it (`ulimit -n`)."""
_NETWORK = 1.25e9
"""Bytes per second of a network of 10 Gbit/s."""
_FULL_CORE = 1.0


def limits(demand: Demand, serving: Serving, plan: RunPlan) -> list[str]:
    """What is most worth knowing of a plan, the worst first; nothing where nothing is near its limit."""
    return [text for text in (_training(plan), *_serving(demand, serving, plan), *_lines(plan)) if text]


def _training(plan: RunPlan) -> str:
    if plan.learners <= 1:
        return ""
    return (
        f"the learner is the limit: one like this machine's trains on {plan.trained_per_s:,.0f} steps/s of "
        f"{plan.acting_per_s:,.0f}. Actors would wait for it; it needs {plan.learners:.1f} times that: a GPU or "
        "learner.devices, larger batches (learner.batch_unrolls), or fewer actors"
    )


def _serving(demand: Demand, serving: Serving, plan: RunPlan) -> list[str]:
    said = []
    if plan.busy > MOST_BUSY:
        said.append(
            f"{plan.servers:,} servers are too few: each would be at {plan.busy:.0%} of what it can do "
            f"({serving.curve.most_per_s * demand.environments:,.0f} rows/s)"
        )
    rows = demand.environments
    if plan.servers > 1 and demand.max_size < 8 * rows:
        said.append(
            f"batches hold {demand.max_size // rows} requests at most: fewer servers may do with a larger "
            f"server.batching.max_size than {demand.max_size}"
        )
    files = plan.connections + 64
    if files > DESCRIPTORS:
        said.append(
            f"each server needs {files:,} open files, and a process often has {DESCRIPTORS:,}: raise `ulimit -n`"
        )
    return said


def _lines(plan: RunPlan) -> list[str]:
    said = []
    if plan.acting_per_s > plan.intake_per_s * _FULL_CORE:
        said.append(
            f"one learner accepts {plan.intake_per_s:,.0f} steps/s at most, without training: longer unrolls, or "
            "smaller observations"
        )
    into_learner = plan.unrolls * min(1.0, plan.steps_per_s / plan.acting_per_s)
    for name, rate in (("the learner's machine receives", into_learner), ("it sends, of weights,", plan.weights)):
        if rate > _NETWORK:
            said.append(f"{name} {rate * 8 / 1e9:,.0f} Gbit/s: more than a network of 10 Gbit/s carries")
    if plan.weights > _NETWORK:
        slower = math.ceil(plan.weights / _NETWORK)
        said.append(f"publish more seldom: learner.publish_every {slower} times as large")
    each = (plan.requests + plan.answers) / plan.servers
    if each > _NETWORK:
        said.append(f"each server's machine carries {each * 8 / 1e9:,.0f} Gbit/s: give it a faster network")
    return said
