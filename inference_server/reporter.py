"""What a server says of itself: a REPORT to whoever asks for its status, samples to Prometheus."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from corral.protocol import is_private
from corral.protocol.keys import Gate
from corral.telemetry.board import Samples
from inference_server.engine import Engine
from inference_server.frontend import Frontend
from inference_server.infer_service import InferService
from inference_server.learner_link import LearnerLink
from inference_server.outbox import Outbox
from inference_server.sessions import Sessions
from inference_server.settings import BatchingSettings
from inference_server.slots import Slots
from inference_server.stats import Stats
from inference_server.step_service import StepService
from inference_server.unrolls import UnrollAssembler
from inference_server.workforce import Workforce


class Reporter:
    """Looks at every part of a server, for its serving thread. Of the parts, those of STEP may be None."""

    def __init__(
        self,
        *,
        environment: str,
        engine: Engine,
        frontend: Frontend,
        gate: Gate | None,
        slots: Slots,
        sessions: Sessions,
        workforce: Workforce,
        stats: Stats,
        outbox: Outbox,
        infer: InferService,
        step: StepService | None,
        assembler: UnrollAssembler | None,
        link: LearnerLink | None,
        clock: Callable[[], float],
    ) -> None:
        self._environment = environment
        self._engine = engine
        self._frontend = frontend
        self._gate = gate
        self._slots = slots
        self._sessions = sessions
        self._workforce = workforce
        self._stats = stats
        self._outbox = outbox
        self._infer = infer
        self._step = step
        self._assembler = assembler
        self._link = link
        self._clock = clock
        self._began = clock()

    def samples(self) -> Samples:
        """The figures for Prometheus; names as in `corral.telemetry.catalogue`."""
        engine, outbox = self._engine, self._outbox
        return {
            **self._stats.samples(),
            "inference_recompiles_total": engine.recompiles,
            "inference_replica_busy_seconds_total": {
                str(replica.number): replica.busy_s for replica in engine.replicas
            },
            "weights_version": engine.version,
            "weights_age_seconds": self._clock() - engine.taken_up,
            "weights_swap_seconds": engine.swap_s.snapshot(),
            "weights_refused_total": self._link.refused if self._link else 0,
            "actors_connected": len(self._sessions),
            "environments_connected": self._slots.used,
            "unrolls_total": {"accepted": outbox.accepted_unrolls, "shed": outbox.shed_unrolls},
            "blocked": outbox.blocked,
            "keys_refused_total": self._gate.refused if self._gate else 0,
        }

    def figures(self, batching: BatchingSettings, *, draining: bool) -> dict[str, Any]:
        """The figures as msgpack takes them; names as in docs/protocol.md."""
        engine, outbox, link = self._engine, self._outbox, self._link
        service = self._step or self._infer
        return {
            **self._stats.figures(),
            "role": "server",
            "identity": f"{link.identity:016x}" if link else "",
            "ready": engine.ready and not draining,
            "uptime_s": self._clock() - self._began,
            "local": is_private(self._frontend.address),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0,
            "environment": self._environment,
            "timeout_us": service.timeout_us,
            "timeout_auto": batching.timeout_us == "auto",
            "max_size": batching.max_size,
            "buckets": list(batching.bucket_sizes()),
            "compiled_sizes": list(engine.buckets),
            "replica_busy_s": [replica.busy_s for replica in engine.replicas],
            "policy_version": engine.version,
            "epoch": engine.epoch,
            "actors": len(self._sessions),
            "environments": self._slots.used,
            "waiting_rows": self._infer.waiting_rows + (self._step.waiting_rows if self._step else 0),
            "answers_dropped": self._frontend.dropped,
            "traces": engine.traces,
            "blocked": outbox.blocked,
            "unrolls_accepted": outbox.accepted_unrolls,
            "unrolls_waiting": outbox.unaccepted_unrolls,
            "unrolls_shed": outbox.shed_unrolls,
            "learner_found": link is None or link.welcomed or not link.delivers,
            "learner_failure": link.failure if link else "",
            "weights_refused": link.refused if link else 0,
            "keys_refused": self._gate.refused if self._gate else 0,
            **self._whereabouts(),
            **self._times(),
        }

    def actor_table(self, limit: int) -> list[dict[str, Any]]:
        """What each of at most `limit` actors does."""
        return self._workforce.table(self._sessions, limit)

    def _whereabouts(self) -> dict[str, int]:
        """Where the completed steps are: the three add up to `env_steps`."""
        if self._step is None or self._assembler is None:
            return {"steps_accepted": 0, "steps_dropped": 0, "steps_underway": 0}
        steps = self._outbox.steps
        return {
            "steps_accepted": steps.accepted,
            "steps_dropped": self._step.dropped_steps,
            "steps_underway": self._step.open_steps + steps.waiting,
        }

    def _times(self) -> dict[str, float]:
        """What the verdict is made of: where actors spent their time, and what held their STEPs up here."""
        delays, workforce = self._stats.delays, self._workforce
        return {
            "actor_environment_s": workforce.environment_s,
            "actor_wait_s": workforce.wait_s,
            "actor_requests": workforce.requests,
            "step_requests": delays.requests,
            "step_engine_s": delays.engine_s,
            "step_gather_s": delays.gather_s,
            "step_learner_s": delays.learner_s(self._step.waiting_requests if self._step else 0),
        }
