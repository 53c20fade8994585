"""An actor process with scripted environments.

`python -m tests.support.scripted_actor ADDRESS MODE COUNT RESEND_AFTER_S [PIPELINE]`, where MODE is SINGLE, a reset
mode of gymnasium, or SLEEPY:SECONDS.
"""

from __future__ import annotations

import sys

from actor_client import ActorSettings, EnvironmentSettings, run_actor
from corral.launch.stopping import StopRequest

if __name__ == "__main__":
    address, mode, count, resend_after_s, *pipeline = sys.argv[1:]
    stop = StopRequest()
    stop.install()
    stop.call(lambda: None)
    scripted = "tests.support.scripted_environment"
    if mode == "SINGLE":
        environment = EnvironmentSettings(f"{scripted}:ScriptedEnvironment")
    elif mode.startswith("SLEEPY:"):
        sleep_s = float(mode.removeprefix("SLEEPY:"))
        environment = EnvironmentSettings("tests.support.sleepy_environment:make", kwargs={"sleep_s": sleep_s})
    else:
        environment = EnvironmentSettings(f"{scripted}:Scripted-v0", kwargs={"mode": mode}, vectorization="native")
    parts = int(pipeline[0]) if pipeline else 1
    actor = ActorSettings(environments=int(count), pipeline=parts, resend_after_s=float(resend_after_s))
    run_actor(environment, actor, address, stopping=lambda: stop.asked)
