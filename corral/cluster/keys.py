"""The keys of a run on a cluster: made for it, carried by Ray, gone with it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from corral.launch.poller import Fetch
from corral.protocol.keys import Role, caller, copy_bundle, make_pair
from corral.protocol.status import fetch_status

_NAME = "run"


def make_keys(folder: Path) -> Path:
    """Make keys for one run in a new `folder` that only this user can enter; in place of an earlier run's there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    for role in (Role.SERVER, Role.LEARNER):
        make_pair(folder, role)
    for role in (Role.ACTOR, Role.OPERATOR):
        make_pair(folder, role, _NAME)
    return folder


def bundles_of(folder: Path) -> dict[str, Mapping[str, bytes]]:
    """Role of a process -> the keys that its machine needs, by their path."""
    bundles = {str(role): _bundle(folder, role) for role in (Role.SERVER, Role.LEARNER, Role.ACTOR)}
    # An evaluator asks the learner for weights as a server does.
    return {**bundles, "evaluator": bundles[str(Role.SERVER)]}


def operator_fetch(folder: Path, learner: Callable[[], str]) -> Fetch:
    """How the launcher asks server and learner; `learner` is where that one is by now."""
    callers = {towards: caller(folder, Role.OPERATOR, towards) for towards in (Role.SERVER, Role.LEARNER)}

    def fetch(address: str, timeout_s: float) -> dict[str, Any] | None:
        towards = Role.LEARNER if address == learner() else Role.SERVER
        return fetch_status(address, timeout_s, keys=callers[towards])

    return fetch


def _bundle(folder: Path, role: Role) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as place:
        name = _NAME if role is Role.ACTOR else ""
        copies = copy_bundle(folder, role, name, Path(place) / role)
        return {path.relative_to(Path(place) / role).as_posix(): path.read_bytes() for path in copies}
