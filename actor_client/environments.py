"""Environments as the runner steps them: a group at once, which resets itself and keeps final observations.

A group never shows a reset as a step: the row that follows an end carries both the final observation and the
first one of the next episode (docs/protocol.md, "Steps").
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from typing import Any, Protocol

import numpy as np

from actor_client.actor_session import Rows
from actor_client.settings import EnvironmentSettings
from actor_client.spaces import action_spec, flatten, observation_spec
from corral.protocol import RowFlags, Spec, TensorSpec
from corral.protocol.specs import mismatch
from corral.telemetry.tracer import span

log = logging.getLogger(__name__)

_VECTOR = "_vector"
"""A function of the user's, "make", has its vector form in "make" and this, beside it."""


class BadEnvironmentError(ValueError):
    """The environment cannot be made or used: says which, why, and what to do."""


class EnvironmentGroup(Protocol):
    """`size` environments of one kind."""

    size: int

    @property
    def observation(self) -> Spec:
        """One row of what they give."""
        ...

    action: TensorSpec

    def reset(self, seeds: list[int] | None) -> Rows:
        """Begin an episode everywhere, seeded where `seeds` are given: one row for each environment, FIRST."""
        ...

    def step(self, environment: np.ndarray, action: np.ndarray) -> Rows:
        """Step the environments that `environment` names, `[n]` ascending, with `action`, `[n, ...]`.

        The next rows to act on: at least one; an environment that has none to show now is left out.
        """
        ...

    def close(self) -> None:
        """Let go of the environments."""
        ...


def spaces(settings: EnvironmentSettings) -> tuple[Spec, TensorSpec]:
    """What one environment gives and takes. Raises `BadEnvironmentError`."""
    environment = make_single(settings)
    try:
        return _observation(environment.observation_space), _action(environment.action_space)
    finally:
        environment.close()


def make_group(settings: EnvironmentSettings, size: int) -> EnvironmentGroup:
    """`size` environments as `settings` names them. Raises `BadEnvironmentError`."""
    native = settings.vectorization == "native"
    if native or (settings.vectorization == "auto" and _has_vector(settings)):
        single = spaces(settings)
        try:
            return _native_group(settings, size, *single)
        except BadEnvironmentError as error:
            if native:
                raise
            log.warning("single environments are stepped, one after another: %s", error)
    return SingleGroup([make_single(settings) for _ in range(size)])


def _native_group(
    settings: EnvironmentSettings, size: int, observation: Spec, action: TensorSpec
) -> EnvironmentGroup:
    """The environment's own vector form, if it gives and takes what a single one does.

    The agent is built for that; ale-py's vector of "ALE/Pong-v5", for one, stacks, shrinks and clips.
    """
    vector = _make_vector(settings, size)
    if vector is None:
        raise BadEnvironmentError(f'{settings.id} has no vector form of its own; use vectorization = "auto"')
    try:
        group = VectorGroup(vector)
        wrong = mismatch(group.observation, observation)
        wrong = wrong or mismatch({"action": group.action}, {"action": action}, bounds=True)
        if wrong:
            raise BadEnvironmentError(
                f"the vector form of {settings.id} (here) is another than a single one (there): {wrong}; "
                'use vectorization = "none"'
            )
    except BadEnvironmentError:
        vector.close()
        raise
    return group


class SingleGroup:
    """Gymnasium environments stepped one after the other."""

    def __init__(self, environments: list[Any]) -> None:
        self._environments = environments
        self._space = environments[0].observation_space
        self.size = len(environments)
        self.observation = _observation(self._space)
        self.action = _action(environments[0].action_space)

    @span("environment reset")
    def reset(self, seeds: list[int] | None) -> Rows:
        observation = self._empty(self.size)
        for index, environment in enumerate(self._environments):
            value, _ = environment.reset(seed=seeds[index] if seeds else None)
            self._put(observation, index, value)
        return _first_rows(observation, self.size)

    @span("environment step", lambda rows, *_: {"rows": len(rows.environment)}, work=True)
    def step(self, environment: np.ndarray, action: np.ndarray) -> Rows:
        count = len(environment)
        observation = self._empty(count)
        final = self._empty(count)
        reward, flags = np.zeros(count, np.float32), np.zeros(count, np.uint16)
        ended = 0
        for row, (index, act) in enumerate(zip(environment.tolist(), action, strict=True)):
            stepped = self._environments[index]
            value, reward[row], terminated, truncated, _ = stepped.step(act.item() if act.ndim == 0 else act)
            if terminated or truncated:
                self._put(final, ended, value)
                ended += 1
                flags[row] = _ending(terminated, truncated)
                value, _ = stepped.reset()
            self._put(observation, row, value)
        final = {name: leaf[:ended] for name, leaf in final.items()}
        return Rows(environment, reward, flags, observation, final)

    def close(self) -> None:
        for environment in self._environments:
            environment.close()

    def _empty(self, rows: int) -> dict[str, np.ndarray]:
        return {name: leaf.zeros(rows) for name, leaf in self.observation.items()}

    def _put(self, leaves: dict[str, np.ndarray], row: int, value: Any) -> None:
        for name, leaf in flatten(self._space, value).items():
            leaves[name][row] = leaf


class VectorGroup:
    """A gymnasium vector environment, in whichever way it resets itself.

    NEXT_STEP: the step after an end resets, ignores its action and earns nothing. The environment is left out of
    the rows for that one step, so that nobody acts on a final observation.
    SAME_STEP: the step that ends also resets; the final observation lies in `info`.
    DISABLED: we reset what ended, by mask.
    """

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._space = environment.single_observation_space
        mode = environment.metadata.get("autoreset_mode")
        name = getattr(mode, "name", str(mode))
        ways = {"NEXT_STEP": self._next_step, "SAME_STEP": self._same_step, "DISABLED": self._disabled}
        if name not in ways:
            raise BadEnvironmentError(
                f"the vector environment's autoreset_mode is {mode!r}; Corral knows {', '.join(ways)}. Set it in "
                'the environment\'s metadata, or use vectorization = "none"'
            )
        self._way = ways[name]
        self.size = environment.num_envs
        self.observation = _observation(self._space)
        self.action = _action(environment.single_action_space)
        self._actions = np.zeros((self.size, *self.action.shape), self.action.dtype)
        self._all = np.arange(self.size, dtype=np.uint16)
        self._forget()

    @span("environment reset")
    def reset(self, seeds: list[int] | None) -> Rows:
        self._forget()
        # A native vector environment takes one seed for all; gymnasium's own count up from it.
        value, _ = self._environment.reset(seed=seeds[0] if seeds else None)
        return _first_rows(flatten(self._space, value), self.size)

    @span("environment step", lambda rows, *_: {"rows": len(rows.environment)}, work=True)
    def step(self, environment: np.ndarray, action: np.ndarray) -> Rows:
        self._actions[environment] = action
        rows = self._way(*self._step())
        while len(rows.environment) == 0:  # every environment is resetting
            rows = self._way(*self._step())
        return rows

    def close(self) -> None:
        self._environment.close()

    def _forget(self) -> None:
        """No episode has ended yet."""
        self._resetting = np.zeros(self.size, bool)
        self._flags = np.zeros(self.size, np.uint16)
        self._reward = np.zeros(self.size, np.float32)
        self._final = {name: leaf.zeros(self.size) for name, leaf in self.observation.items()}

    def _step(self) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray, dict[str, Any]]:
        value, reward, terminated, truncated, info = self._environment.step(self._actions)
        # The environment may write its next observations into the same arrays.
        observation = {name: leaf.copy() for name, leaf in flatten(self._space, value).items()}
        flags = np.where(terminated | truncated, RowFlags.FIRST, 0).astype(np.uint16)
        flags |= np.where(terminated, RowFlags.TERMINATED, 0).astype(np.uint16)
        flags |= np.where(truncated, RowFlags.TRUNCATED, 0).astype(np.uint16)
        return observation, np.asarray(reward, np.float32), flags, info

    def _next_step(
        self, observation: dict[str, np.ndarray], reward: np.ndarray, flags: np.ndarray, info: dict[str, Any]
    ) -> Rows:
        was_resetting = self._resetting
        ends = (flags != 0) & ~was_resetting
        # What has just been reset shows the end that was kept back.
        reward = np.where(was_resetting, self._reward, reward)
        shown_flags = np.where(was_resetting, self._flags, flags)
        rows = np.flatnonzero(~ends)
        final = {name: leaf[was_resetting] for name, leaf in self._final.items()}
        for name, leaf in self._final.items():
            leaf[ends] = observation[name][ends]
        self._flags[ends], self._reward[ends] = flags[ends], reward[ends]
        self._resetting = ends
        shown = {name: leaf[rows] for name, leaf in observation.items()}
        return Rows(self._all[rows], reward[rows], shown_flags[rows], shown, final)

    def _same_step(
        self, observation: dict[str, np.ndarray], reward: np.ndarray, flags: np.ndarray, info: dict[str, Any]
    ) -> Rows:
        ended = np.flatnonzero(flags)
        final = {name: leaf.zeros(len(ended)) for name, leaf in self.observation.items()}
        if len(ended):
            if "final_obs" not in info:
                raise BadEnvironmentError(
                    'the vector environment resets in the same step, without info["final_obs"]'
                )
            for row, index in enumerate(ended):
                last = flatten(self._space, _pick(info["final_obs"], index))
                for name, leaf in last.items():
                    final[name][row] = leaf
        return Rows(self._all, reward, flags, observation, final)

    def _disabled(
        self, observation: dict[str, np.ndarray], reward: np.ndarray, flags: np.ndarray, info: dict[str, Any]
    ) -> Rows:
        ended = flags != 0
        final = {name: leaf[ended] for name, leaf in observation.items()}
        if ended.any():
            value, _ = self._environment.reset(options={"reset_mask": ended})
            for name, leaf in flatten(self._space, value).items():
                observation[name][ended] = leaf[ended]
        return Rows(self._all, reward, flags, observation, final)


def _first_rows(observation: dict[str, np.ndarray], size: int) -> Rows:
    flags = np.full(size, RowFlags.FIRST, np.uint16)
    final = {name: leaf[:0] for name, leaf in observation.items()}
    return Rows(np.arange(size, dtype=np.uint16), np.zeros(size, np.float32), flags, observation, final)


def _ending(terminated: bool, truncated: bool) -> int:
    flags = RowFlags.FIRST
    if terminated:
        flags |= RowFlags.TERMINATED
    if truncated:
        flags |= RowFlags.TRUNCATED
    return int(flags)


def _pick(batched: Any, index: Any) -> Any:
    """One environment's observation out of a batched structure."""
    if isinstance(batched, dict):
        return {key: _pick(value, index) for key, value in batched.items()}
    if isinstance(batched, tuple):
        return tuple(_pick(value, index) for value in batched)
    return batched[index]


def _observation(space: Any) -> Spec:
    try:
        return observation_spec(space)
    except ValueError as error:
        raise BadEnvironmentError(str(error)) from error


def _action(space: Any) -> TensorSpec:
    try:
        return action_spec(space)
    except ValueError as error:
        raise BadEnvironmentError(str(error)) from error


def registered(name: str) -> str:
    """The gymnasium id that `name` is, once gymnasium knows it.

    A module named before it ("module:Id-v0") is imported, and registers it. So is ale_py, which no id of its own
    names, for Atari games: "ALE/Pong-v5", and "Pong-v4" where nobody else has registered that.

    Raises:
      BadEnvironmentError: ale_py is needed, and not installed.
      ImportError: the named module cannot be imported.
    """
    import gymnasium

    module, _, identifier = name.rpartition(":")
    if module and module != "ale_py":
        importlib.import_module(module)
        return identifier
    if module or identifier.startswith("ALE/"):
        require("ale_py", "atari", f"{name} is an Atari game")
    else:
        try:
            gymnasium.spec(identifier)
        except gymnasium.error.Error:
            if importlib.util.find_spec("ale_py") is not None:
                importlib.import_module("ale_py")
    return identifier


def require(module: str, extra: str, why: str) -> Any:
    """Import a module that an extra of Corral's brings. Raises `BadEnvironmentError`, which names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        advice = f'pip install "corral[{extra}]"'
        raise BadEnvironmentError(f"{why}, which needs {module}: {advice} ({error})") from error


def _cannot(settings: EnvironmentSettings, error: Exception) -> BadEnvironmentError:
    """Why gymnasium did not make the environment, and what to install where that is all."""
    import gymnasium

    named = f"environment.id = {settings.id!r}"
    try:
        entry_point = gymnasium.spec(settings.id.rpartition(":")[2]).entry_point
    except gymnasium.error.Error:
        entry_point = None
    if str(entry_point).startswith("gymnasium.envs.mujoco") and importlib.util.find_spec("mujoco") is None:
        return BadEnvironmentError(f'{named} needs mujoco: pip install "corral[mujoco]" ({error})')
    hint = ""
    if isinstance(error, gymnasium.error.UnregisteredEnv) and importlib.util.find_spec("ale_py") is None:
        hint = ' If it is an Atari game: pip install "corral[atari]"'
    return BadEnvironmentError(f"{named} cannot be made: {error}{hint}")


def _function(settings: EnvironmentSettings, suffix: str = "") -> Any | None:
    """The user's function that `id` names as "module:function", or None where it is a gymnasium id.

    With a suffix: what the module has under the function's name and that suffix, or None.
    """
    module, colon, name = settings.id.partition(":")
    if not colon or not name.isidentifier():
        return None
    try:
        functions = importlib.import_module(module)
        return getattr(functions, name + suffix, None) if suffix else getattr(functions, name)
    except (ImportError, AttributeError) as error:
        raise BadEnvironmentError(
            f"environment.id = {settings.id!r}: {error}. The working directory and installed packages are searched"
        ) from error


def _call(settings: EnvironmentSettings, function: Any, *arguments: Any) -> Any:
    """What a function of the user's makes with `kwargs`. Raises `BadEnvironmentError`."""
    try:
        return function(*arguments, **settings.kwargs)
    except BadEnvironmentError as error:
        raise BadEnvironmentError(f"environment.id = {settings.id!r}: {error}") from error
    except Exception as error:  # a user's function may fail in any way
        raise BadEnvironmentError(
            f"environment.id = {settings.id!r}: the function raised {type(error).__name__}: {error} "
            "(CORRAL_TRACEBACK=1 shows where)"
        ) from error


def make_single(settings: EnvironmentSettings) -> Any:
    """One environment, as gymnasium or the user's function makes it. Raises `BadEnvironmentError`."""
    function = _function(settings)
    if function is not None:
        return _call(settings, function)
    import gymnasium

    try:
        return gymnasium.make(registered(settings.id), **settings.kwargs)
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise _cannot(settings, error) from error


def _has_vector(settings: EnvironmentSettings) -> bool:
    """Whether there is a vector form to try."""
    if _function(settings) is not None:
        return _function(settings, _VECTOR) is not None
    import gymnasium

    try:
        return gymnasium.spec(registered(settings.id)).vector_entry_point is not None
    except (gymnasium.error.Error, ImportError) as error:
        raise _cannot(settings, error) from error


def _make_vector(settings: EnvironmentSettings, size: int) -> Any | None:
    """The environment's own vector form, or None where it has none."""
    if not _has_vector(settings):
        return None
    function = _function(settings, _VECTOR)
    if function is not None:
        return _call(settings, function, size)
    import gymnasium

    try:
        name = registered(settings.id)
        return gymnasium.make_vec(name, num_envs=size, vectorization_mode="vector_entry_point", **settings.kwargs)
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise _cannot(settings, error) from error
