"""`corral evaluate`: how well the policy of a run plays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from corral.cli import completion
from corral.cli.options import Best, Policy, RunFolder
from corral.cli.progress import PATIENCE_S, progress

if TYPE_CHECKING:
    from actor_client.settings import EnvironmentSettings
    from corral.launch.matches import Match
    from corral.launch.policy import GreedyPolicy


def evaluate(
    run: RunFolder,
    policy: Policy = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="In environments with several players, whom to play against, if not the first policy that can.",
            autocompletion=completion.policies,
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to play.")] = 100,
    best: Best = False,
    seed: Annotated[int, typer.Option(min=0, help="Seeds the environments, apart from those of any training.")] = 0,
    video: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.gif", help="Film the first episode, up to 2,000 steps of it, as an animated GIF (.gif)."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Play a run's environment with its trained policy, and say how well that goes.

    The policy takes the action that it holds for the best: nothing is explored. A return is the sum of the
    environment's own rewards. The interval holds the policy's mean return with 95 % confidence (Student's t). The
    same seed and number of episodes meet the same starts, so that policies can be compared.
    """
    import json

    from actor_client.environments import spaces
    from corral.launch.errors import UserError
    from corral.launch.experiment import load_experiment
    from corral.launch.film import check_film
    from corral.launch.folder import experiment_file
    from corral.launch.matches import find_match
    from corral.launch.policies import policy_folder
    from corral.launch.policy import GreedyPolicy, load_policy, policy_file
    from corral.launch.quiet import import_keras
    from corral.launch.threads import choose_threads_for_file
    from corral.launch.view import say

    whole, run = run, policy_folder(run, policy)
    file = policy_file(run, best)
    if video is not None:
        check_film(video)
    experiment = load_experiment(experiment_file(run), (), {})  # as it was trained, whatever the shell says
    choose_threads_for_file(file)
    import_keras()
    model = load_policy(file, experiment.agent.network.build)
    told = {"run": str(run), "policy": str(file), "environment": experiment.environment.label, "seed": seed}
    match = find_match(whole, run.name if run != whole else "", against, experiment.environment)
    if video is not None and match is not None:
        raise UserError("--video: environments with several players cannot be filmed")
    greedy = GreedyPolicy(model, *spaces(experiment.environment), experiment.agent.frame_stack)
    told |= _played(match or greedy, experiment.environment, episodes, seed, video)
    say(json.dumps(told, indent=2) if as_json else as_table(told))


def as_table(told: dict[str, Any]) -> str:
    """The figures for a person, a line each."""
    interval, film = told["confidence_interval_95"], told["video"]
    lines = {
        "mean return": _number(told["mean_return"]),
        "95 % interval": "-" if interval is None else " to ".join(map(_number, interval)),
        "standard error": _number(told["standard_error"]),
        "standard deviation": _number(told["std_return"]),
        "lowest, highest": f"{_number(told['min_return'])}, {_number(told['max_return'])}",
        "mean length": f"{_number(told['mean_length'])} steps",
    }
    if film is not None:
        cut = "" if film["whole"] else "the first "
        lines["film"] = f"{film['file']}: {cut}{film['steps']:,} steps, return {_number(film['return'])}"
    width = max(map(len, lines))
    head = f"{told['environment']}: {told['episodes']:,} episodes of {told['policy']}, greedy, seed {told['seed']}"
    return "\n".join([head, *(f"{name:{width}}  {value}" for name, value in lines.items())])


def _played(
    policy: GreedyPolicy | Match,
    environment: EnvironmentSettings,
    episodes: int,
    seed: int,
    video: Path | None,
) -> dict[str, Any]:
    """The figures of the episodes, and of the film where there is one."""
    from rich.console import Console

    from corral.launch.evaluation import play_episodes, start_seeds
    from corral.launch.film import film_episode

    film = None
    if video is not None:  # first: what cannot be filmed is said at once
        film = film_episode(environment, policy.player(1), video, seed=start_seeds(seed, 1)[0])
    with progress(Console(stderr=True), every_s=PATIENCE_S) as say:

        def on_step(ended: int, steps: int) -> None:
            say(f"playing episodes, {steps:,} steps", ended, episodes)

        played = play_episodes(
            environment, policy.player, episodes, seed=seed, on_step=on_step, counted=policy.counted
        )
    return {**played.figures(), "video": None if film is None else film.figures()}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}"
