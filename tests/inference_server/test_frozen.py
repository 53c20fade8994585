"""A server whose own process was stopped, by the clock that it looks at."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference_server.server import InferenceServer
from inference_server.settings import ServerSettings
from tests.support.scripted_agent import ScriptedAgent


@pytest.mark.parametrize(
    ("steps_s", "left"), [([30.0], 1), ([1.0] * 9, 1), ([1.0] * 11, 0), ([30.0, *[1.0] * 11], 0)]
)
def test_leases_end_by_the_time_that_it_could_listen(tmp_path: Path, steps_s: list[float], left: int) -> None:
    now = 0.0
    server = InferenceServer(
        ServerSettings(f"ipc://{tmp_path}/server", lease_s=10.0),
        ScriptedAgent,
        learner=(f"ipc://{tmp_path}/unrolls", f"ipc://{tmp_path}/weights"),
        clock=lambda: now,
    )
    try:
        server._sessions.open(1, b"actor", 2, 0)
        for seconds in steps_s:
            now += seconds
            server._keep_house()
        assert len(server._sessions) == left
    finally:
        server.stop()
        server.run()
