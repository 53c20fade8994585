"""An actor process with scripted environments.

`python -m tests.support.scripted_actor ADDRESS MODE COUNT RESEND_AFTER_S [PIPELINE [LEAVE_AFTER_S]]`, where MODE is
SINGLE, a reset mode of gymnasium, SLEEPY:SECONDS, or API:NAME for one of `tests.support.scripted_apis`, and ADDRESS
may be several with commas between.
"""

from __future__ import annotations

import sys

from actor_client import ActorSettings, EnvironmentSettings, run_actor
from corral.launch.stopping import StopRequest

if __name__ == "__main__":
    address, mode, count, resend_after_s, *more = sys.argv[1:]
    stop = StopRequest()
    stop.install()
    stop.call(lambda: None)
    scripted = "tests.support.scripted_environment"
    if mode == "SINGLE":
        environment = EnvironmentSettings(f"{scripted}:ScriptedEnvironment")
    elif mode.startswith("SLEEPY:"):
        sleep_s = float(mode.removeprefix("SLEEPY:"))
        environment = EnvironmentSettings("tests.support.sleepy_environment:make", kwargs={"sleep_s": sleep_s})
    elif mode.startswith("API:"):
        environment = EnvironmentSettings(f"tests.support.scripted_apis:{mode.removeprefix('API:')}")
    else:
        environment = EnvironmentSettings(f"{scripted}:Scripted-v0", kwargs={"mode": mode}, vectorization="native")
    actor = ActorSettings(
        environments=int(count),
        pipeline=int(more[0]) if more else 1,
        resend_after_s=float(resend_after_s),
        leave_after_s=float(more[1]) if more[1:] else 3.0,
    )
    run_actor(environment, actor, address.split(","), stopping=lambda: stop.asked)
