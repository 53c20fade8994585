"""Making the environments that settings name, and groups of them."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from typing import Any

from actor_client.groups import (
    BadEnvironmentError,
    EnvironmentGroup,
    SingleGroup,
    VectorGroup,
    row_spec,
    taken_spec,
)
from actor_client.players import PlayersGroup, has_players, players_of
from actor_client.settings import EnvironmentSettings
from corral.protocol import Spec, TensorSpec
from corral.protocol.specs import mismatch

log = logging.getLogger(__name__)

_VECTOR = "_vector"
"""A function of the user's, "make", has its vector form in "make" and this, beside it."""


def spaces(settings: EnvironmentSettings) -> tuple[Spec, TensorSpec]:
    """What one environment gives and takes. Raises `BadEnvironmentError`."""
    environment = make_single(settings)
    try:
        if has_players(environment):
            group = PlayersGroup([environment])
            return group.observation, group.action
        return row_spec(environment.observation_space), taken_spec(environment.action_space)
    finally:
        environment.close()


def players(settings: EnvironmentSettings) -> tuple[str, ...]:
    """The players of one environment; none where it has not several. Raises `BadEnvironmentError`."""
    environment = make_single(settings)
    try:
        return players_of(environment)
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
    singles = [make_single(settings) for _ in range(size)]
    return PlayersGroup(singles) if has_players(singles[0]) else SingleGroup(singles)


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
