"""The experiment: everything that one run is, as plain frozen values.

Reading one back is free of pydantic, because every process of a run does it at its start.
"""

from __future__ import annotations

import json
import os
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from actor_client.settings import ActorSettings, EnvironmentSettings
from corral.agents.settings import AgentSettings
from corral.launch.determinism import check_determinism
from corral.launch.errors import UserError
from corral.launch.policy_settings import PolicySettings, check_policies, inherit, leave_out
from corral.launch.settings import EvaluationSettings, MetricsSettings, RaySettings, RunSettings, SecuritySettings
from inference_server.settings import ServerSettings
from learner.settings import LearnerSettings

MOST_SERVERS = 256
"""Most servers that one run shares its actors among."""


class ExperimentError(UserError):
    """An experiment that cannot be run.

    Attributes:
      problems: one line for each thing that is wrong: the key, the value, where it came from, what was
        expected.
    """

    def __init__(self, path: str | os.PathLike[str], problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        if len(problems) == 1:
            text = problems[0]
        else:
            text = "\n  ".join([f"{len(problems)} problems with {os.fspath(path)}:", *problems])
        super().__init__(text)


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The tables of an experiment file, checked and complete."""

    servers: int | tuple[str, ...] = 1
    """How many inference servers share the actors, or the address of each: server.address is the first one's, and
    of a number the others have ports that are 10, 20, ... higher."""
    run: RunSettings = field(default_factory=RunSettings)
    environment: EnvironmentSettings
    actor: ActorSettings = field(default_factory=ActorSettings)
    server: ServerSettings = field(default_factory=ServerSettings)
    learner: LearnerSettings = field(default_factory=LearnerSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    security: SecuritySettings = field(default_factory=SecuritySettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    ray: RaySettings = field(default_factory=RaySettings)
    agent: AgentSettings = field(default_factory=AgentSettings)
    policies: Mapping[str, PolicySettings] = field(default_factory=dict)
    """Several policies in one run, by name (docs/policies.md)."""

    def __post_init__(self) -> None:
        check_policies(self.policies, self.run.target_policy)
        if isinstance(self.servers, int):
            if not 1 <= self.servers <= MOST_SERVERS:
                raise ValueError(f"servers must be 1 to {MOST_SERVERS}, or a list of addresses, not {self.servers}")
        elif not 1 <= len(set(self.servers)) == len(self.servers) <= MOST_SERVERS:
            raise ValueError(f"servers must be 1 to {MOST_SERVERS} different addresses, not {list(self.servers)}")
        elif self.policies:
            raise ValueError(
                "servers must be a number where there are [policies]: each policy has so many of its own"
            )
        check_determinism(self)

    def effective(self) -> dict[str, Any]:
        """Everything, defaults and overrides included, as JSON takes it: `read` gives an equal one."""
        tables: dict[str, Any] = json.loads(json.dumps(asdict(self), default=str))
        return leave_out(tables)

    @classmethod
    def read(cls, path: Path) -> Experiment:
        """The experiment whose `effective` tables the JSON file at `path` holds."""
        tables = json.loads(path.read_text())
        past = {name: table.get("past", "") for name, table in tables.get("policies", {}).items()}
        built = _build(cls, inherit(tables, past))
        assert isinstance(built, cls)
        return built


def load_experiment(
    path: str | os.PathLike[str], overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Experiment:
    """The experiment in the file at `path` (TOML, or the JSON of an earlier run).

    Args:
      overrides: "key=value" texts, such as "server.batching.timeout_us=500"; they win over everything.
      environ: the environment, whose CORRAL_SERVER__BATCHING__TIMEOUT_US wins over the file; None takes the
        process's own.

    Raises:
      ExperimentError: the file cannot be read, or holds or is overridden by what cannot be; lists it all.
    """
    from corral.launch.loading import load  # pydantic: not for the processes that only read

    return load(Path(path), overrides, os.environ if environ is None else environ)


@cache
def hints(kind: Any) -> dict[str, Any]:
    """Field name -> type of a dataclass."""
    return typing.get_type_hints(kind)


def inside(kind: Any, name: str) -> Any:
    """The type of what stands at `name` in a dataclass, or in a map of them; KeyError where nothing does."""
    return hints(kind)[name] if isinstance(kind, type) and is_dataclass(kind) else tables_of(kind)


def tables_of(kind: Any) -> Any:
    """The dataclass that every entry of a map is; None for maps of other things, and for what is no map."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    is_map = isinstance(origin, type) and issubclass(origin, Mapping)
    return arguments[1] if is_map and is_dataclass(arguments[1]) else None


def _build(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and is_dataclass(kind):
        fields = hints(kind)
        return kind(**{name: _build(fields[name], item) for name, item in value.items()})
    if (table := tables_of(kind)) is not None:
        return {name: _build(table, item) for name, item in value.items()}
    if typing.get_origin(kind) is tuple:
        return tuple(_build(typing.get_args(kind)[0], item) for item in value)
    return tuple(value) if isinstance(value, list) else value  # of a tuple or something else
