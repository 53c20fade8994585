"""Atari games as published results play them, one frame a step: `environment.id = "actor_client.atari:make"`.

The preprocessing is that of Mnih et al. 2015 (DQN) as Machado et al. 2018 settle it: up to 30 no-ops at the start,
every action for 4 frames, the last two of them pixel by pixel at their brightest, in gray, 84 x 84. Frames are not
stacked here: `agent.frame_stack` does that behind the wire, which then carries each frame once.

Needs `corral[atari]`.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector.utils import batch_space

from actor_client.groups import BadEnvironmentError
from actor_client.registry import registered, require


def make(
    id: str,
    *,
    noop_max: int = 30,
    frame_skip: int = 4,
    screen_size: int = 84,
    life_loss: bool = False,
    repeat_action_probability: float = 0.0,
    full_action_space: bool = False,
    max_frames: int = 108_000,
    render_mode: str | None = None,
) -> gymnasium.Env[np.ndarray, int]:
    """One game. It gives uint8 `[screen_size, screen_size]`, and rewards as the game counts them.

    Args:
      id: of the game, such as "ALE/Pong-v5". What it says of frame skip and sticky actions does not count.
      noop_max: an episode begins after this many frames without action at the most, drawn by its seed; 0 for none.
      frame_skip: frames for which an action is held.
      screen_size: height and width of what is given.
      life_loss: end the episode where a life is lost. The game goes on in the next one, from that very frame.
      repeat_action_probability: of each frame to hold the last action instead ("sticky actions"): 0.25 is what
        Machado et al. recommend; DQN had none.
      full_action_space: all 18 actions, also those that do nothing in this game.
      max_frames: an episode is truncated after this many frames: half an hour of play.
      render_mode: gymnasium's.

    Raises:
      BadEnvironmentError: no game has this id, or `corral[atari]` is not installed.
    """
    require("cv2", "atari", "the standard preprocessing shrinks frames")
    _game(id)
    environment: gymnasium.Env[np.ndarray, int] = gymnasium.make(
        registered(id),
        obs_type="grayscale",  # read by nobody: the wrapper fetches its own; the cheapest that has a frame's shape
        frameskip=1,
        repeat_action_probability=repeat_action_probability,
        full_action_space=full_action_space,
        max_num_frames_per_episode=max_frames,
        render_mode=render_mode,
        disable_env_checker=True,
    )
    environment = gymnasium.wrappers.AtariPreprocessing(
        environment, noop_max=noop_max, frame_skip=frame_skip, screen_size=screen_size
    )
    return _Lives(environment) if life_loss else environment


def make_vector(
    num_envs: int,
    id: str,
    *,
    noop_max: int = 30,
    frame_skip: int = 4,
    screen_size: int = 84,
    life_loss: bool = False,
    repeat_action_probability: float = 0.0,
    full_action_space: bool = False,
    max_frames: int = 108_000,
    render_mode: str | None = None,
) -> gymnasium.vector.VectorEnv:
    """`num_envs` games in ale-py's own vector form, which does the same preprocessing outside of Python.

    Given the same no-ops its frames are those of `make`; which no-ops a seed draws is its own affair.

    Args: as `make` has them. `render_mode` is there to be the same, and ignored: nobody can watch.

    Raises:
      BadEnvironmentError: as `make`.
    """
    game = _game(id)
    vector = require("ale_py.vector_env", "atari", f"{id} is an Atari game").AtariVectorEnv(
        game,
        num_envs,
        num_threads=1,  # an actor is one process among as many as there are processors
        autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP,
        stack_num=1,
        frameskip=frame_skip,
        img_height=screen_size,
        img_width=screen_size,
        noop_max=noop_max + 1 if noop_max else 0,  # it draws from 0 to one less
        repeat_action_probability=repeat_action_probability,
        full_action_space=full_action_space,
        max_num_frames_per_episode=max_frames,
        reward_clipping=False,  # agent.reward_clip does, and the run's returns stay those of the game
        use_fire_reset=False,
    )
    return _OneFrame(vector, life_loss)


def _game(id: str) -> str:
    """ale-py's name of the game with this id ("pong"). Raises `BadEnvironmentError`."""
    try:
        spec = gymnasium.spec(registered(id))
    except (gymnasium.error.Error, ImportError) as error:
        raise BadEnvironmentError(f'{error} An id is such as "ALE/Pong-v5"') from error
    if not str(spec.entry_point).startswith("ale_py"):
        raise BadEnvironmentError(f'{id} is no Atari game; an id is such as "ALE/Pong-v5"')
    return str(spec.kwargs["game"])


class _Lives(gymnasium.Wrapper[np.ndarray, int, np.ndarray, int]):
    """Ends the episode where a life is lost. The next one begins with the same frame, and the game goes on."""

    def __init__(self, environment: gymnasium.Env[np.ndarray, int]) -> None:
        super().__init__(environment)
        self._lives = 0
        self._lost_at: np.ndarray | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        frame, self._lost_at = self._lost_at, None
        if frame is not None and seed is None:
            return frame, {"lives": self._lives}
        frame, info = self.env.reset(seed=seed, options=options)
        self._lives = info["lives"]
        return frame, info

    def step(self, action: int) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        frame, reward, terminated, truncated, info = self.env.step(action)
        lost = info["lives"] < self._lives
        self._lives = info["lives"]
        self._lost_at = frame if lost and not (terminated or truncated) else None
        return frame, reward, terminated or lost, truncated, info


class _OneFrame(gymnasium.vector.VectorWrapper):
    """ale-py's vector without the axis of its stack, and with episodes that end at lost lives if asked."""

    def __init__(self, vector: gymnasium.vector.VectorEnv, life_loss: bool) -> None:
        super().__init__(vector)
        stacked = vector.single_observation_space
        self.single_observation_space = Box(0, 255, stacked.shape[1:], np.uint8)  # type: ignore[index]
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        # ale-py writes its mode into a dictionary that all vector environments share.
        self.metadata = dict(vector.metadata)
        self._life_loss = life_loss
        self._lives = np.zeros(self.num_envs, np.int32)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        stack, info = self.env.reset(seed=seed, options=options)
        self._lives = info["lives"]
        return stack[:, 0], info

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        stack, reward, terminated, truncated, info = self.env.step(actions)
        frames = stack[:, 0]
        last = info["final_obs"][:, 0] if "final_obs" in info else frames
        if self._life_loss:
            # Where the game is over, the lives are those of the next one.
            lost = (info["lives"] < self._lives) & ~(terminated | truncated)
            last = np.where(lost[:, None, None], frames, last)
            terminated = terminated | lost
        self._lives = info["lives"]
        return frames, reward, terminated, truncated, {**info, "final_obs": last}
