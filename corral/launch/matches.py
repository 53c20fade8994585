"""Who plays whom where one policy of several is evaluated: greedily, all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from actor_client.environments import players, spaces
from actor_client.settings import EnvironmentSettings
from corral.launch.errors import UserError
from corral.launch.experiment import Experiment
from corral.launch.folder import experiment_file
from corral.launch.policies import member, policy_folder
from corral.launch.policy import Act, GreedyPolicy, load_policy, policy_file
from corral.launch.policy_settings import PolicySettings, plays

if TYPE_CHECKING:
    from corral.protocol.specs import Spec, TensorSpec


def opponents(
    policies: Mapping[str, PolicySettings], name: str, players: Sequence[str], against: str | None = None
) -> list[str]:
    """The policy of each player where `name` is evaluated: of one that several can play, it, unless `against` can.

    Args:
      against: whom to play against; None takes for every player that `name` cannot be the first policy that can.

    Raises:
      UserError: there is no such policy, nobody can be one of the players, or `name` is left without one.
    """
    if against is not None and against not in policies:
        raise UserError(f"--against {against}: the run's policies are {', '.join(policies)}")
    order = [each for each in (against, name, *policies) if each is not None]
    # Who names a player wants it more than who takes all.
    order.sort(key=lambda each: not policies[each].players)
    seats = []
    for player in players:
        able = [each for each in order if plays(policies[each], player)]
        if not able:
            raise UserError(f"nobody plays {player}: name it in the players of one of the policies")
        seats.append(able[0])
    if name not in seats:
        raise UserError(f"--policy {name} plays none of {', '.join(players)} against {against or seats[0]}")
    return seats


def load_greedy(run: Path, name: str, observation: Spec, action: TensorSpec) -> GreedyPolicy:
    """A policy of the run in `run`, acting greedily; a past one as what it is a past one of. Raises `UserError`."""
    settings = member(Experiment.read(experiment_file(run)), name).settings
    where = Path(settings.frozen) if settings.frozen else run
    folder = where if where.is_file() else policy_folder(where, None if settings.frozen else settings.past or name)
    file = folder if folder.is_file() else policy_file(folder)
    trained = Experiment.read(experiment_file(run if folder.is_file() else folder))
    model = load_policy(file, trained.agent.network.build)
    return GreedyPolicy(model, observation, action, trained.agent.frame_stack)


def find_match(run: Path, name: str, against: str | None, environment: EnvironmentSettings) -> Match | None:
    """The match in which a policy is evaluated; None where it acts alone.

    Args:
      run: the run's folder.
      name: the policy's; empty where the run has not several.
      against: as for `opponents`.

    Raises:
      UserError: as `opponents` does; or there is nobody to play against.
    """
    known = players(environment)
    if not known or not name:
        if against:
            raise UserError(f"--against {against}: the run has not several policies and players")
        return None
    seats = opponents(Experiment.read(experiment_file(run)).policies, name, known, against)
    observation, action = spaces(environment)
    return Match({each: load_greedy(run, each, observation, action) for each in dict.fromkeys(seats)}, seats, name)


class Match:
    """Policies that act for the players of the same environments.

    Args:
      policies: by name.
      seats: the policy of each player.
      name: the one that is evaluated.

    Attributes:
      counted: for each player whether its returns count, as `play_episodes` takes it.
    """

    def __init__(self, policies: Mapping[str, GreedyPolicy], seats: Sequence[str], name: str) -> None:
        self._policies = policies
        self._seats = np.array(seats)
        self.counted = tuple(seat == name for seat in seats)

    def player(self, rows: int) -> Act:
        """What chooses the actions of `rows` rows: those of each environment's players, one after the other."""
        owners = np.tile(self._seats, rows // len(self._seats))
        own = {name: np.flatnonzero(owners == name) for name in self._policies}
        acts = {name: policy.player(len(own[name])) for name, policy in self._policies.items()}

        def act(observation: Mapping[str, np.ndarray], first: np.ndarray, shown: np.ndarray) -> np.ndarray:
            parts = {
                name: each(
                    {leaf: values[own[name]] for leaf, values in observation.items()},
                    first[own[name]],
                    shown[own[name]],
                )
                for name, each in acts.items()
            }
            sample = next(iter(parts.values()))
            action = np.empty((rows, *sample.shape[1:]), sample.dtype)
            for name, values in parts.items():
                action[own[name]] = values
            return action

        return act
