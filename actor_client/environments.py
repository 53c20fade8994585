"""Making the environments that settings name, and groups of them."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from typing import Any

from actor_client.envpool_vector import envpool_group, envpool_spaces, is_envpool
from actor_client.groups import BadEnvironmentError, EnvironmentGroup, row_spec, taken_spec
from actor_client.gymnasium_single import SingleGroup
from actor_client.gymnasium_vector import VectorGroup
from actor_client.pettingzoo_parallel import PlayersGroup
from actor_client.pettingzoo_turns import TurnsGroup, takes_turns
from actor_client.players import has_players, players_of
from actor_client.registry import registered
from actor_client.settings import EnvironmentSettings
from corral.protocol import Spec, TensorSpec
from corral.protocol.specs import mismatch

log = logging.getLogger(__name__)

_VECTOR = "_vector"
"""A function of the user's, "make", has its vector form in "make" and this, beside it."""

_PARTS = ("observation_space", "action_space", "reset", "step", "close")
"""What of a gymnasium environment is used."""


def spaces(settings: EnvironmentSettings) -> tuple[Spec, TensorSpec]:
    """What one environment gives and takes. Raises `BadEnvironmentError`."""
    if is_envpool(settings.id):
        return envpool_spaces(settings.id, settings.kwargs)
    environment = make_single(settings)
    try:
        if has_players(environment):
            group = _players_group([environment], settings)
            return group.observation, group.action
        return row_spec(environment.observation_space), taken_spec(environment.action_space)
    finally:
        environment.close()


def players(settings: EnvironmentSettings) -> tuple[str, ...]:
    """The players of one environment; none where it has not several. Raises `BadEnvironmentError`."""
    if is_envpool(settings.id):
        return ()
    environment = make_single(settings)
    try:
        return players_of(environment)
    finally:
        environment.close()


def make_group(settings: EnvironmentSettings, size: int) -> EnvironmentGroup:
    """`size` environments as `settings` names them. Raises `BadEnvironmentError`."""
    if is_envpool(settings.id):
        return _pool(settings, size)
    native = settings.vectorization == "native"
    if native and settings.action_mask:
        raise BadEnvironmentError(
            'environment.action_mask is read from single environments: use vectorization = "auto"'
        )
    if native or (settings.vectorization == "auto" and not settings.action_mask and _has_vector(settings)):
        single = spaces(settings)
        try:
            return _native_group(settings, size, *single)
        except BadEnvironmentError as error:
            if native:
                raise
            log.warning("single environments are stepped, one after another: %s", error)
    singles = [make_single(settings) for _ in range(size)]
    return _players_group(singles, settings) if has_players(singles[0]) else SingleGroup(singles)


def _players_group(environments: list[Any], settings: EnvironmentSettings) -> EnvironmentGroup:
    """Environments of several players, by whichever of PettingZoo's APIs they have."""
    kind = TurnsGroup if takes_turns(environments[0]) else PlayersGroup
    return kind(environments, settings.action_mask)


def _pool(settings: EnvironmentSettings, size: int) -> EnvironmentGroup:
    """EnvPool's environments, which know no other way than together."""
    if settings.action_mask:
        raise BadEnvironmentError("environment.action_mask: EnvPool's environments have no masks")
    return envpool_group(settings.id, settings.kwargs, size)


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
    """One environment by gymnasium's API or, with several players, PettingZoo's. Raises `BadEnvironmentError`."""
    if is_envpool(settings.id):
        raise BadEnvironmentError(f"environment.id = {settings.id!r}: EnvPool has no single environments")
    function = _function(settings)
    if function is not None:
        environment = _called(settings, function)
    else:
        import gymnasium

        try:
            environment = gymnasium.make(registered(settings.id), **settings.kwargs)
        except (gymnasium.error.Error, ImportError, TypeError) as error:
            raise _cannot(settings, error) from error
    if settings.action_mask and not has_players(environment):
        from actor_client.action_mask import MaskedEnvironment

        return MaskedEnvironment(environment)
    return environment


def _called(settings: EnvironmentSettings, function: Any) -> Any:
    """What the user's function makes or, where it yields, plays."""
    from actor_client.dm_env_single import DmEnvironment, is_dm_env
    from actor_client.plain_function import FunctionEnvironment, is_episode

    if is_episode(function):
        return _call(settings, lambda **kwargs: FunctionEnvironment(function, kwargs))
    environment = _call(settings, function)
    if is_dm_env(environment):
        return DmEnvironment(environment)
    missing = [] if has_players(environment) else [name for name in _PARTS if not hasattr(environment, name)]
    if missing:
        raise BadEnvironmentError(
            f"environment.id = {settings.id!r}: the function returns {environment!r:.100}, which has no "
            f"{' and no '.join(missing)}: have it return an environment of gymnasium's, PettingZoo's or dm_env's"
        )
    return environment


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
