"""`corral evaluate`: a saved policy plays the run's environment."""

from __future__ import annotations

import json
import re
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from PIL import Image

from corral.launch.evaluation import shares_of, start_seeds
from tests.cli.test_command_line import corral_command, error
from tests.support.models import save_two_headed_model
from tests.support.painted_environment import LONG, SHORT
from tests.support.run_folder import cartpole_run, painted_run, run_folder, untrained_run

pytestmark = pytest.mark.long


def returns_one_by_one(policy: Path, episodes: int, seed: int) -> list[float]:
    """What the same episodes of CartPole earn, a row at a time."""
    import keras

    model = keras.models.load_model(policy)
    shares, returns = shares_of(episodes), []
    for share, start in zip(shares, start_seeds(seed, len(shares)), strict=True):
        environment = gymnasium.make("CartPole-v1")
        for episode in range(share):
            observation, _ = environment.reset(seed=None if episode else start)
            earned, over = 0.0, False
            while not over:
                action = int(np.asarray(model({"observation": observation[None]})["action"])[0])
                observation, reward, terminated, truncated, _ = environment.step(action)
                earned += float(reward)
                over = terminated or truncated
            returns.append(earned)
    return returns


def test_the_figures_are_those_of_the_episodes(tmp_path: Path) -> None:
    run = cartpole_run(tmp_path / "run")
    done = corral_command("evaluate", run, "--episodes", "5", "--seed", "3", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    returns = np.array(returns_one_by_one(run / "policy.keras", 5, 3))
    error_of_mean = returns.std(ddof=1) / np.sqrt(5)
    assert told == {
        "run": str(run),
        "policy": str(run / "policy.keras"),
        "environment": "CartPole-v1",
        "seed": 3,
        "episodes": 5,
        "mean_return": pytest.approx(returns.mean()),
        "std_return": pytest.approx(returns.std(ddof=1)),
        "standard_error": pytest.approx(error_of_mean),
        "confidence_interval_95": pytest.approx(
            [returns.mean() - 2.776445 * error_of_mean, returns.mean() + 2.776445 * error_of_mean], rel=1e-6
        ),
        "min_return": returns.min(),
        "max_return": returns.max(),
        "mean_length": pytest.approx(returns.mean()),
        "video": None,
    }
    assert returns.mean() > 30  # the policy was asked: chance reaches about 22


def test_the_figures_for_a_person(tmp_path: Path) -> None:
    run = painted_run(tmp_path / "run")
    done = corral_command("evaluate", run)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith(f": 100 episodes of {run / 'policy.keras'}, greedy, seed 0")
    figure = r"\d+\.\d\d"
    for line, pattern in zip(
        lines[1:],
        [
            f"mean return         {figure}",
            f"95 % interval       {figure} to {figure}",
            f"standard error      {figure}",
            f"standard deviation  {figure}",
            f"lowest, highest     {SHORT}.00, {LONG}.00",
            f"mean length         {figure} steps",
        ],
        strict=True,
    ):
        assert re.fullmatch(pattern, line), line


def test_a_film(tmp_path: Path) -> None:
    run, film = painted_run(tmp_path / "run"), tmp_path / "episode.gif"
    done = corral_command("evaluate", run, "--episodes", "1", "--video", film, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    steps = told["video"]["steps"]
    assert told["video"] == {"file": str(film), "return": steps, "steps": steps, "whole": True}
    assert steps == told["mean_length"]  # it shows the first episode of those that are counted
    with Image.open(film) as picture:
        assert picture.n_frames == steps + 1
        assert picture.info["duration"] == 40  # 25 frames a second
        for step in range(steps + 1):
            picture.seek(step)
            lit = np.flatnonzero(np.asarray(picture.convert("L"))[0] > 128)
            assert lit.tolist() == [step]


def test_what_cannot_be_filmed_is_told_at_once(tmp_path: Path) -> None:
    run, film = cartpole_run(tmp_path / "run"), tmp_path / "episode.gif"
    text = error(corral_command("evaluate", run, "--episodes", "1000000", "--video", film, without=("pygame",)))
    assert text.startswith("--video: CartPole-v1 cannot be filmed: pygame is not installed")
    assert not film.exists()


def test_other_films_are_refused(tmp_path: Path) -> None:
    run = cartpole_run(tmp_path / "run")
    text = error(corral_command("evaluate", run, "--video", tmp_path / "episode.mp4"))
    assert text.startswith(f"--video {tmp_path / 'episode.mp4'}: a film's name ends in .gif")
    assert text.endswith("ffmpeg -i episode.gif episode.mp4")
    lost = tmp_path / "no" / "x.gif"
    assert (
        error(corral_command("evaluate", run, "--video", lost))
        == f"--video {lost}: there is no folder {lost.parent}"
    )


def test_folders_without_a_policy(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    text = error(corral_command("evaluate", missing))
    assert text == f"{missing}: no such folder; name a run's, such as one of those in runs/"
    assert (
        error(corral_command("evaluate", tmp_path)) == f"{tmp_path} is no run's folder: it has no experiment.json"
    )
    run = run_folder(tmp_path / "run")
    text = error(corral_command("evaluate", run))
    assert text.startswith(f"{run} has no policy.keras yet: a run writes it when it ends. ")
    assert text.endswith(f"corral run --resume {run}")
    file = run / "experiment.json"
    assert (
        error(corral_command("evaluate", file)) == f"{file} is no folder: name the run's, which holds policy.keras"
    )


def test_the_best_policy(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run")
    text = error(corral_command("evaluate", run, "--best"))
    assert text.startswith(f"{run} has no best_policy.keras: ")
    assert text.endswith("--set evaluation.episodes=10 tells it to")
    balancing = cartpole_run(tmp_path / "balancing")
    (balancing / "policy.keras").rename(run / "best_policy.keras")
    done = corral_command("evaluate", run, "--best", "--episodes", "3", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["policy"] == str(run / "best_policy.keras")
    assert told["mean_return"] == pytest.approx(np.mean(returns_one_by_one(run / "best_policy.keras", 3, 0)))


def test_a_policy_that_does_not_fit(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    (run / "policy.keras").write_text("junk")
    assert error(corral_command("evaluate", run)).startswith(
        f"{run / 'policy.keras'} is no Keras file: it is damaged"
    )
    save_two_headed_model(run / "policy.keras")
    assert error(corral_command("evaluate", run)).startswith(
        'the policy gives no "action", the environment takes int64'
    )


def test_a_recurrent_policy_of_normalised_observations(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run", core="lstm", core_units=8, normalize=True)
    done = corral_command("evaluate", run, "--episodes", "3", "--json")
    assert done.returncode == 0, done.stderr
    assert 8 <= json.loads(done.stdout)["min_return"] <= 500


def test_the_environment_is_the_runs_own(tmp_path: Path) -> None:
    run = painted_run(tmp_path / "run")
    done = corral_command("evaluate", run, "--episodes", "1", "--json", CORRAL_ENVIRONMENT__ID="CartPole-v1")
    assert json.loads(done.stdout)["environment"].endswith(":PaintedEnvironment"), done.stderr


def test_without_keras_it_says_what_to_install(tmp_path: Path) -> None:
    run = cartpole_run(tmp_path / "run")
    text = error(corral_command("evaluate", run, without=("keras",)))
    assert text == 'this needs keras, which is not installed: pip install "corral[server]"'


def test_help() -> None:
    done = corral_command("evaluate", "--help")
    assert all(word in done.stdout for word in ("--episodes", "--seed", "--video", ".gif", "--json"))
