"""One episode as a moving picture: a GIF, which needs nothing but Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from actor_client.environments import make_single
from actor_client.groups import BadEnvironmentError
from actor_client.settings import EnvironmentSettings
from actor_client.spaces import flatten, observation_spec
from corral.launch.errors import UserError
from corral.launch.folder import write_whole
from corral.launch.policy import Act

ENDING = ".gif"
LONGEST = 2_000
"""Frames of a film: a longer episode is cut there, since every frame is held until the last is there."""
_MODE = "rgb_array"
_FRAMES_PER_S = 30.0
_SHORTEST_MS = 20
"""Less is played as 100 ms by most programs."""


@dataclass(frozen=True)
class Film:
    """What a film shows.

    Attributes:
      file: where it is.
      earned: the episode's return, as far as it was filmed.
      steps: steps filmed.
      whole: whether it shows the episode to its end.
    """

    file: Path
    earned: float
    steps: int
    whole: bool

    def figures(self) -> dict[str, Any]:
        """The same, as JSON takes it."""
        return {"file": str(self.file), "return": self.earned, "steps": self.steps, "whole": self.whole}


def check_film(path: Path) -> None:
    """Raises `UserError` where no film can be written to `path`: said before anything is played."""
    if path.suffix.lower() != ENDING:
        raise UserError(
            f"--video {path}: a film's name ends in {ENDING}; other programs make other kinds of it: ffmpeg -i "
            f"{path.with_suffix(ENDING).name} {path.with_suffix('.mp4').name}"
        )
    if not path.absolute().parent.is_dir():
        raise UserError(f"--video {path}: there is no folder {path.parent}")


def film_episode(settings: EnvironmentSettings, act: Act, path: Path, *, seed: int) -> Film:
    """Play one episode and write its pictures to `path`.

    Args:
      settings: the environment, which is made with `render_mode = "rgb_array"`.
      act: chooses the actions of one row.
      seed: of the environment.

    Raises:
      UserError: the environment gives no pictures.
      OSError: the file cannot be written.
    """
    environment = _made(settings)
    try:
        return _film(environment, _Story(settings.label, act), path, seed)
    finally:
        environment.close()


def _film(environment: Any, story: _Story, path: Path, seed: int) -> Film:
    from PIL import Image

    metadata = getattr(environment, "metadata", None) or {}
    frames_per_s = float(metadata.get("render_fps") or _FRAMES_PER_S)
    frames = map(Image.fromarray, story.frames(environment, seed))
    picture = io.BytesIO()
    next(frames).save(
        picture,
        format="GIF",
        save_all=True,
        append_images=frames,
        duration=max(round(1000 / frames_per_s), _SHORTEST_MS),
        loop=0,
    )
    write_whole(path, picture.getvalue())
    return Film(path, story.earned, story.steps, story.whole)


class _Story:
    """One episode as it is told frame by frame."""

    def __init__(self, label: str, act: Act) -> None:
        self._label = label
        self._act = act
        self.earned = 0.0
        self.steps = 0
        self.whole = False

    def frames(self, environment: Any, seed: int) -> Iterator[np.ndarray]:
        """A picture of each state, the last one included."""
        space = environment.observation_space
        leaves = observation_spec(space)
        value, _ = environment.reset(seed=seed)
        yield self._picture(environment)
        while not self.whole and self.steps < LONGEST:
            row = {name: leaf.reshape(1, *leaves[name].shape) for name, leaf in flatten(space, value).items()}
            action = self._act(row, np.array([self.steps == 0]), np.ones(1, bool))[0]
            value, reward, terminated, truncated, _ = environment.step(
                action.item() if action.ndim == 0 else action
            )
            self.earned += float(reward)
            self.steps += 1
            self.whole = bool(terminated or truncated)
            yield self._picture(environment)

    def _picture(self, environment: Any) -> np.ndarray:
        import gymnasium

        try:
            picture = environment.render()
        except (gymnasium.error.Error, ImportError, NotImplementedError) as error:
            raise UserError(f"--video: {self._label} cannot be filmed: {error}") from error
        if not (isinstance(picture, np.ndarray) and picture.ndim == 3 and picture.shape[2] == 3):
            shown = f"an array {list(picture.shape)}" if isinstance(picture, np.ndarray) else type(picture).__name__
            raise UserError(
                f'--video: {self._label} cannot be filmed: with render_mode="{_MODE}" its render() must return an '
                f"array [height, width, 3]; it returned {shown}"
            )
        return picture.astype(np.uint8, copy=False)


def _made(settings: EnvironmentSettings) -> Any:
    try:
        return make_single(replace(settings, kwargs={**settings.kwargs, "render_mode": _MODE}))
    except BadEnvironmentError as error:
        raise UserError(f'--video needs an environment that takes render_mode="{_MODE}": {error}') from error
