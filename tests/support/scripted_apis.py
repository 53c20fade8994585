"""The scripted environment by every other interface that actors take."""

from __future__ import annotations

from typing import Any, ClassVar

import dm_env
import gymnasium
import numpy as np
from dm_env import specs
from pettingzoo.utils.conversions import parallel_to_aec

from tests.support.scripted_environment import ACTIONS, ScriptedEnvironment


class DyingMatch:
    """Three scripted environments by PettingZoo's parallel API, whose episodes end at different times.

    A player that dies is gone until all have.
    """

    metadata: ClassVar[dict[str, Any]] = {}
    render_mode = None

    def __init__(self) -> None:
        self.possible_agents = ["low", "middle", "high"]
        self.agents: list[str] = []
        self._sides = {agent: ScriptedEnvironment() for agent in self.possible_agents}

    def observation_space(self, agent: str) -> gymnasium.Space:
        return self._sides[agent].observation_space

    def action_space(self, agent: str) -> gymnasium.Space:
        return self._sides[agent].action_space

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.agents = list(self.possible_agents)
        return {agent: side.reset()[0] for agent, side in self._sides.items()}, {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> Any:
        assert set(actions) == set(self.agents), "the dead act"
        told = {agent: self._sides[agent].step(act) for agent, act in actions.items()}
        self.agents = [agent for agent in self.agents if not (told[agent][2] or told[agent][3])]
        return tuple({agent: each[part] for agent, each in told.items()} for part in range(5))

    def close(self) -> None:
        pass


def turns() -> Any:
    """The same with players who take turns."""
    return parallel_to_aec(DyingMatch())


class DmScript(dm_env.Environment):
    """The scripted environment by dm_env's API."""

    def __init__(self) -> None:
        self._script = ScriptedEnvironment()

    def reset(self) -> dm_env.TimeStep:
        return dm_env.restart(self._script.reset()[0])

    def step(self, action: Any) -> dm_env.TimeStep:
        observation, reward, terminated, truncated, _ = self._script.step(action)
        if terminated:
            return dm_env.termination(reward, observation)
        return dm_env.truncation(reward, observation) if truncated else dm_env.transition(reward, observation)

    def observation_spec(self) -> specs.BoundedArray:
        return specs.BoundedArray((4,), np.int64, -1, 2**62)

    def action_spec(self) -> specs.DiscreteArray:
        return specs.DiscreteArray(ACTIONS, np.int64)


_SCRIPTS: dict[int, tuple[np.random.Generator, ScriptedEnvironment]] = {}


def play(rng: np.random.Generator) -> Any:
    """An episode of the scripted environment as a plain function; each generator plays a script of its own."""
    _, script = _SCRIPTS.setdefault(id(rng), (rng, ScriptedEnvironment()))
    observation, reward, terminated, truncated = script.reset()[0], 0.0, False, False
    while not (terminated or truncated):
        action = yield observation, reward
        observation, reward, terminated, truncated, _ = script.step(action)
    return observation, reward, truncated


_SPACES = ScriptedEnvironment()
play.observation_space = _SPACES.observation_space  # type: ignore[attr-defined]
play.action_space = _SPACES.action_space  # type: ignore[attr-defined]
