"""The settings of a policy among several: plain values. The experiment file's `[policies.NAME]` tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from corral.agents.settings import AgentSettings
from inference_server.settings import Pace, ServerSettings
from learner.settings import LearnerSettings

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,23}")
TABLES = ("agent", "server", "learner")
"""Tables that a policy has of its own: what it leaves out is as in the experiment's own."""
LONGEST_NAME = 24
"""Characters of a policy's name: sockets are called after it."""
ANYONE = ""
"""Stands for the player of a policy that names none."""


@dataclass(frozen=True)
class PolicySettings:
    """One of several policies in a run, with a server of its own: trained, unless it is frozen or a past one."""

    frozen: str = ""
    """A policy that is acted with greedily and not trained: a run's folder, or a file that Keras saved."""
    past: str = ""
    """The trained policy whose earlier versions this one acts with; it is not trained."""
    every: int = 100
    """Of a past policy: versions of the trained one from one that is held to the next."""
    every_s: float = 0.0
    """Of a past policy: seconds from one held version to the next, in place of `every`; 0 counts versions."""
    pool: int = 1
    """Of a past policy: how many held versions are kept; one of them is drawn by chance when one is added."""
    share: float | None = None
    """The part of every actor's environments that use this policy; None shares what others leave."""
    players: tuple[str, ...] = ()
    """Players of an environment with several that use this policy; empty takes all."""
    agent: AgentSettings = field(default_factory=AgentSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    learner: LearnerSettings = field(default_factory=LearnerSettings)

    def __post_init__(self) -> None:
        if self.frozen and self.past:
            raise ValueError(f"frozen goes without past ({self.past!r}): a policy is the one or the other")
        if not 1 <= self.every <= 10**9:
            raise ValueError(f"every must be 1 to 1000000000 versions, not {self.every}")
        if not 0 <= self.every_s <= 1e6:
            raise ValueError(f"every_s must be 0 to 1000000 seconds, not {self.every_s}")
        if not 1 <= self.pool <= 1000:
            raise ValueError(f"pool must be 1 to 1000 versions, not {self.pool}")
        if not self.past and (self.every, self.every_s, self.pool) != (100, 0.0, 1):
            raise ValueError("past must name a trained policy where every, every_s or pool is set")
        if self.share is not None and not 0 < self.share <= 1:
            raise ValueError(f"share must be more than 0 to 1, not {self.share}")
        if len(set(self.players)) < len(self.players) or not all(self.players):
            raise ValueError(f"players must be different names, not {list(self.players)}")

    @property
    def trained(self) -> bool:
        """Whether it has a learner."""
        return not self.frozen and not self.past

    @property
    def pace(self) -> Pace | None:
        """How it follows the policy that it is a past one of."""
        if not self.past:
            return None
        return Pace(0 if self.every_s else self.every, self.every_s, self.pool)


def check_policies(policies: Mapping[str, PolicySettings], target: str) -> None:
    """Raises `ValueError` where policies do not go together; `target` is `run.target_policy`."""
    for problem in _problems(policies, target):
        raise ValueError(problem)


def _problems(policies: Mapping[str, PolicySettings], target: str) -> Iterator[str]:
    trained = [name for name, policy in policies.items() if policy.trained]
    for name in policies:
        if not _NAME.fullmatch(name):
            yield (
                f"policies.{name!r}: a policy's name has 1 to {LONGEST_NAME} letters, digits, - and _, and begins "
                "with a letter: files are called after it"
            )
    if policies and not trained:
        yield "policies must have one that is trained: each of these is frozen or a past one"
    for name, policy in policies.items():
        if policy.past and policy.past not in trained:
            yield f"policies.{name}.past = {policy.past!r}: must be a trained policy: {', '.join(trained)}"
    if target and target not in trained:
        known = (
            f"one of the trained policies: {', '.join(trained)}" if policies else "empty: there are no [policies]"
        )
        yield f"run.target_policy = {target!r}: must be {known}"
    for player in sorted({player for policy in policies.values() for player in policy.players or (ANYONE,)}):
        yield from _share_problems({name: p for name, p in policies.items() if plays(p, player)}, player)


def _share_problems(candidates: Mapping[str, PolicySettings], player: str) -> Iterator[str]:
    shares = [policy.share for policy in candidates.values()]
    given = sum(share for share in shares if share is not None)
    whose = f"policies.{{{', '.join(candidates)}}}.share" + (f" of {player!r}" if player != ANYONE else "")
    if given > 1 + 1e-9:
        yield f"{whose} must be 1 together at most, not {given:g}"
    elif None not in shares and given < 1 - 1e-9:
        yield f"{whose} must be 1 together, not {given:g}: or let one policy leave its share out, and take the rest"
    elif None in shares and given > 1 - 1e-9:
        rest = ", ".join(name for name, policy in candidates.items() if policy.share is None)
        yield f"{whose} must leave something to {rest}: others have all of the environments"


def plays(policy: PolicySettings, player: str) -> bool:
    """Whether a policy can act for a player."""
    return not policy.players or player in policy.players


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables with others laid over them."""
    merged = dict(below)
    for name, value in above.items():
        under = merged.get(name)
        merged[name] = overlay(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def differing(above: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    """What `overlay` has to lay over `below` to get `above`, where both have the same keys."""
    found = {}
    for name, value in above.items():
        under = below[name]
        if isinstance(value, dict) and isinstance(under, dict):
            if inner := differing(value, under):
                found[name] = inner
        elif value != under:
            found[name] = value
    return found


def inherit(tables: Mapping[str, Any], past_of: Mapping[str, str]) -> dict[str, Any]:
    """An experiment's nested tables, with those of every policy complete.

    Args:
      past_of: policy -> the trained one that it is a past one of: it acts as that one does.
    """
    policies = tables.get("policies")
    if not isinstance(policies, dict):
        return dict(tables)
    whole = {
        name: {**table, **{each: overlay(tables.get(each, {}), table.get(each, {})) for each in TABLES}}
        for name, table in policies.items()
    }
    for name, trained in past_of.items():
        if name in whole and trained in whole:
            whole[name] |= {each: whole[trained][each] for each in ("agent", "learner")}
    return {**tables, "policies": whole}


def leave_out(tables: Mapping[str, Any]) -> dict[str, Any]:
    """The opposite of `inherit`: policies keep what they have of their own."""
    policies = {
        name: {
            key: value if key not in TABLES else differing(value, tables[key])
            for key, value in table.items()
            if not (table["past"] and key in ("agent", "learner"))
        }
        for name, table in tables["policies"].items()
    }
    return {**tables, "policies": policies}
