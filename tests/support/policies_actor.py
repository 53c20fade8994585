"""An actor process with scripted environments, in which several policies act.

`python -m tests.support.policies_actor ENVIRONMENT COUNT FIRST POLICY...`, where ENVIRONMENT is a class in a
module, and each POLICY is NAME,ADDRESS,SHARE,PLAYER: the share and the player may be empty.
"""

from __future__ import annotations

import sys

from actor_client import ActorSettings, EnvironmentSettings, run_actor
from actor_client.settings import Entrant
from corral.launch.stopping import StopRequest


def entrant(text: str) -> Entrant:
    name, address, share, player = text.split(",")
    return Entrant(name, (address,), float(share) if share else None, tuple(player.split("+")) if player else ())


if __name__ == "__main__":
    environment, count, first, *policies = sys.argv[1:]
    stop = StopRequest()
    stop.install()
    stop.call(lambda: None)
    run_actor(
        EnvironmentSettings(environment),
        ActorSettings(environments=int(count), resend_after_s=0.5),
        [entrant(text) for text in policies],
        first_environment=int(first),
        stopping=lambda: stop.asked,
    )
