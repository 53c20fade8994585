"""A first experiment for an environment: what `corral init` writes."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from actor_client.settings import EnvironmentSettings
from corral.launch.document import absent, comment, entry, heading
from corral.launch.errors import UserError
from corral.launch.sources import Key
from corral.protocol.specs import Spec, TensorSpec

_DISCOUNT = 0.99
_PROCESSES, _ENVIRONMENTS = 4, 12
_SMALLEST_IMAGE = 36  # as in corral.agents.torsos, which needs Keras
_OWN_NETWORK = '"my_networks:build"'


class Episodes(NamedTuple):
    """What gymnasium's registry knows of an environment's episodes; None where it does not.

    Attributes:
      threshold: the return at which it counts as solved.
      max_steps: the steps after which an episode is truncated.
    """

    threshold: float | None = None
    max_steps: int | None = None


def file_name(environment: str) -> str:
    """The experiment file for an environment: "cartpole.toml" for CartPole-v1, "make.toml" for my_package:make."""
    name = re.sub(r"-v\d+$", "", re.split(r"[:/]", environment)[-1])
    return re.sub(r"[^\w.-]", "_", name).lower() + ".toml"


def write_draft(environment: EnvironmentSettings, path: Path, *, force: bool = False) -> None:
    """Make the environment once, and write an experiment that trains on it to `path`.

    Raises:
      UserError: the environment cannot be made or acted on, or `path` exists and `force` is not given.
    """
    if path.suffix != ".toml":
        raise UserError(f"{path}: an experiment file's name ends in .toml")
    text = draft(environment, path)
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f"{path} exists: --force overwrites it, --output FILE writes another") from None


def draft(environment: EnvironmentSettings, path: Path) -> str:
    """The experiment, as the text of a TOML file that will lie at `path`. Raises `UserError`, see `write_draft`."""
    from actor_client.environments import spaces

    try:
        observation, action = spaces(environment)
    except ValueError as error:
        raise UserError(str(error)) from error
    kind = _agent_for(action)
    if kind is None:
        raise UserError(
            f"{environment.id} takes actions {_described(action)}, which no agent can give: they give discrete "
            "ones, one or several, and vectors of numbers; wrap the environment"
        )
    lines = [
        *_title(environment.id, path, observation, action),
        *_tables(environment, observation, _episodes(environment.id), kind),
    ]
    return "\n".join(lines) + "\n"


def reward_scale(episodes: Episodes, discount: float = _DISCOUNT) -> tuple[float, str]:
    """What to multiply rewards by so that discounted sums come to 1 to 10, to one digit; and why.

    A positive threshold is taken to be earned evenly over the longest episode. A negative one is the price of
    each step until an episode ends, so the sum comes near the threshold itself, however long the episode.
    """
    threshold, steps = episodes
    if not threshold or (threshold > 0 and not steps):
        return 1.0, "a guess: nothing is known of the returns"
    total = abs(threshold)
    if threshold > 0:
        assert steps is not None
        weights = steps if discount == 1 else (1 - discount**steps) / (1 - discount)
        total = threshold / steps * weights
    nearest = min(max(total, 1.0), 10.0)
    scale = float(f"{nearest / total:.0e}")
    total = math.copysign(total, threshold)
    return scale, f"discounted sums of about {total:.2g} become {total * scale:.2g}"


def _episodes(environment: str) -> Episodes:
    import gymnasium

    try:
        spec = gymnasium.spec(environment.rpartition(":")[2])
    except gymnasium.error.Error:
        return Episodes()  # made by a function of the user's
    return Episodes(spec.reward_threshold, spec.max_episode_steps)


def _title(name: str, path: Path, observation: Spec, action: TensorSpec) -> Iterator[str]:
    yield comment(f"{name}, learned by a server, a learner and {_PROCESSES} actor processes on this machine:")
    yield "#"
    yield comment(f"    corral run {shlex.quote(str(path))}")
    yield "#"
    yield comment("What is left out has a default; corral config lists every key. An observation is")
    yield "#"
    for leaf, spec in observation.items():
        yield comment(f"    {leaf}: {_described(spec)}")
    yield "#"
    yield comment(f"and an action {_described(action)}.")


def _agent_for(action: TensorSpec) -> str | None:
    """The algorithm that learns such actions best without being tuned; None where there is none."""
    if action.num_values is not None:
        return "vtrace"
    if not action.dtype.startswith("float") or len(action.shape) != 1:
        return None
    return "vtrace" if action.minimum is None or action.maximum is None else "sac"


def _tables(environment: EnvironmentSettings, observation: Spec, episodes: Episodes, kind: str) -> Iterator[str]:
    processes, environments = (_PROCESSES, _ENVIRONMENTS) if kind == "vtrace" else (2, 4)
    yield from heading(("run",))
    yield from entry(("run", "seed"), 0)
    yield from _target(episodes)
    yield from entry(("run", "max_env_steps"), 1_000_000)
    yield from heading(("environment",))
    yield from entry(("environment", "id"), environment.id)
    if environment.kwargs:
        yield from entry(("environment", "kwargs"), environment.kwargs)
    yield from _table(("actor",), processes=processes, environments=environments)
    yield from heading(("server", "batching"))
    yield from entry(("server", "batching", "timeout_us"), 1000 if kind == "vtrace" else 0)
    yield from entry(("server", "batching", "max_size"), processes * environments, "every environment at once")
    yield from _vtrace(observation, episodes) if kind == "vtrace" else _sac(observation, episodes)
    yield from _images(observation)
    yield from absent(("agent", "network", "build"), _OWN_NETWORK)
    if kind == "vtrace":
        yield from _table(("agent", "optimizer"), name="adam", learning_rate=3e-3, epsilon=1e-3, clip_norm=0.5)
    else:
        yield from _table(("agent", "optimizer"), name="adam", learning_rate=1e-3, clip_norm=10.0)


def _vtrace(observation: Spec, episodes: Episodes) -> Iterator[str]:
    yield from _table(("learner",), batch_unrolls=16)
    yield from _table(("agent",), name="vtrace", unroll_length=16, discount=_DISCOUNT)
    yield from _frames(observation)
    yield from entry(("agent", "reward_scale"), *reward_scale(episodes))
    yield from _table(("agent", "actor_critic"), lambda_=0.95, entropy_cost=0.01)
    yield from _table(("agent", "network"), hidden=[64, 64], activation="tanh", shared=True)


def _sac(observation: Spec, episodes: Episodes) -> Iterator[str]:
    yield from _table(("learner",), batch_unrolls=256, queue_batches=4, publish_every=5)
    yield from _table(("learner", "replay"), capacity=1_000_000, min_size=5_000)
    yield from entry(("learner", "replay", "samples_per_insert"), 256.0, "a batch for every environment step")
    yield from _table(("agent",), name="sac", unroll_length=16, discount=_DISCOUNT)
    yield from _frames(observation)
    yield from entry(("agent", "reward_scale"), *reward_scale(episodes))
    yield from _table(("agent", "network"), hidden=[256, 256], activation="relu")


def _table(table: Key, **values: Any) -> Iterator[str]:
    yield from heading(table)
    for name, value in values.items():
        yield from entry((*table, name), value)


def _target(episodes: Episodes) -> Iterator[str]:
    key = ("run", "target_return")
    if episodes.threshold is None:
        yield from absent(key, "100.0", "set it to end the run as soon as it is good enough")
    else:
        yield from entry(key, float(episodes.threshold), "where gymnasium counts it as solved")


def _is_image(leaf: TensorSpec) -> bool:
    return len(leaf.shape) in (2, 3) and leaf.dtype == "uint8" and min(leaf.shape[:2]) >= _SMALLEST_IMAGE


def _frames(observation: Spec) -> Iterator[str]:
    for name, leaf in observation.items():
        if _is_image(leaf) and len(leaf.shape) == 2:
            yield from entry(("agent", "frame_stack"), 4, f"one {name} shows no motion; each is sent and kept once")
            return


def _images(observation: Spec) -> Iterator[str]:
    for name, leaf in observation.items():
        if _is_image(leaf):
            yield from entry(("agent", "network", "torso"), "nature_cnn", f"for {name}; impala costs more")
            return
        if len(leaf.shape) == 3 or (len(leaf.shape) == 2 and leaf.dtype == "uint8"):
            yield comment(f"{name} looks like an image: the built-in network is a perceptron, which flattens it.")
            yield comment("A convolutional network of your own learns far more from it: name it in `build`.")
            return


def _described(spec: TensorSpec) -> str:
    """ "int64[] of 2 values, from 0 to 1"."""
    low, high = spec.minimum, spec.maximum
    if isinstance(low, tuple) or isinstance(high, tuple) or low is None or high is None:
        return str(spec)
    return f"{spec}, from {low:g} to {high:g}"
