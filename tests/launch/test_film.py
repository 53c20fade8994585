"""An episode as a GIF."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from actor_client.settings import EnvironmentSettings
from corral.launch import film
from corral.launch.errors import UserError
from corral.launch.film import film_episode
from tests.support.painted_environment import HEIGHT, LONG, SHORT, WIDTH
from tests.support.run_folder import PAINTED


def second_door(observation: Mapping[str, np.ndarray], first: np.ndarray, shown: np.ndarray) -> np.ndarray:
    assert observation["where/x"].shape == (1, 1)
    assert observation["door"].shape == (1,)
    assert first.tolist() == [observation["where/x"][0, 0] == 0]
    return np.array([1])


def settings(environment: str = PAINTED, **kwargs: Any) -> EnvironmentSettings:
    return EnvironmentSettings(environment, kwargs=kwargs)


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_every_state_has_a_frame(seed: int, tmp_path: Path) -> None:
    made = film_episode(settings(), second_door, tmp_path / "x.gif", seed=seed)
    assert made.file == tmp_path / "x.gif"
    assert made.whole
    assert made.steps in (SHORT, LONG)
    assert 0 <= made.earned <= made.steps
    with Image.open(made.file) as picture:
        assert (picture.n_frames, picture.size) == (made.steps + 1, (WIDTH, HEIGHT))
        for step in range(picture.n_frames):
            picture.seek(step)
            assert picture.info["duration"] == 40
            assert np.flatnonzero(np.asarray(picture.convert("L"))[0] > 128).tolist() == [step]


def test_a_long_episode_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(film, "LONGEST", 1)
    made = film_episode(settings(), second_door, tmp_path / "x.gif", seed=0)
    assert (made.steps, made.whole) == (1, False)
    with Image.open(made.file) as picture:
        assert picture.n_frames == 2


def test_no_pictures_no_film(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        film_episode(settings(paints=False), second_door, tmp_path / "x.gif", seed=0)
    told = str(refused.value)
    assert told.startswith(
        f'--video: {PAINTED} {{"paints": false}} cannot be filmed: with render_mode="rgb_array" its '
    )
    assert told.endswith("render() must return an array [height, width, 3]; it returned NoneType")
    with pytest.raises(
        UserError, match=r'needs an environment that takes render_mode="rgb_array".*unexpected keyword'
    ):
        film_episode(settings("tests.support.painted_environment:blind"), second_door, tmp_path / "x.gif", seed=0)
    assert list(tmp_path.iterdir()) == []


def test_a_film_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        film_episode(settings(), second_door, tmp_path / "no" / "x.gif", seed=0)
