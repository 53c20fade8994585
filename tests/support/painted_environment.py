"""An environment that paints itself: episodes of very different lengths, and a reward for naming the door."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

WIDTH, HEIGHT = 64, 8
SHORT, LONG = 2, 40


class PaintedEnvironment(gymnasium.Env):
    """Every other episode or so is long. Each step earns 1 where the action is the door of the observation.

    Args:
      render_mode: "rgb_array" gives a picture whose column of the current step is lit.
      paints: whether there are pictures at all.
    """

    def __init__(self, render_mode: str | None = None, paints: bool = True) -> None:
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": 25}
        self.render_mode = render_mode
        self._paints = paints
        where = gymnasium.spaces.Dict({"x": gymnasium.spaces.Box(0, LONG, (1,), np.float32)})
        self.observation_space = gymnasium.spaces.Dict({"where": where, "door": gymnasium.spaces.Discrete(3)})
        self.action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self._step, self._length = 0, int(self.np_random.choice([SHORT, LONG]))
        return self._observe(), {}

    def step(self, action: int) -> Any:
        reward = float(action == self._door)
        self._step += 1
        return self._observe(), reward, self._step == self._length, False, {}

    def render(self) -> Any:
        if not self._paints or self.render_mode != "rgb_array":
            return None
        picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        picture[:, self._step] = 255
        return picture

    def _observe(self) -> dict[str, Any]:
        self._door = int(self.np_random.integers(3))
        return {"where": {"x": np.array([self._step], np.float32)}, "door": self._door}


def blind() -> PaintedEnvironment:
    """One that nobody can ask for pictures."""
    return PaintedEnvironment()
