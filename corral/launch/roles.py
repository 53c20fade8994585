"""What each process of a run does: a server, a learner, an actor. Each imports only its own room."""

from __future__ import annotations

import faulthandler
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corral.launch.determinism import check_one_player, chunk_of, in_lockstep, lockstep_of
from corral.launch.errors import UserError
from corral.launch.experiment import Experiment
from corral.launch.folder import RESULT, experiment_file, write_json
from corral.launch.logs import know_version
from corral.launch.scheduling import wake_without_preempting
from corral.launch.settings import MetricsSettings
from corral.launch.stopping import AskedToStopError, StopRequest
from corral.telemetry import Board

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from corral.agents import Agent
    from corral.launch.policies import Member
    from learner import Learner
    from learner.settings import LearnerSettings


def run_server(
    member: Member,
    stop: StopRequest,
    on_ready: Callable[[], None] = lambda: None,
    ledgers: Path | None = None,
    on_warm: Callable[[int, int], object] = lambda done, total: None,
    number: int = 0,
) -> int:
    """Serve a policy's agent at `server.address` until asked to stop; its weights come from the learner, where it
    is not frozen. `ledgers` is where it keeps counts that outlive it, `number` which of the policy's servers it is;
    the rest as for `serve`."""
    wake_without_preempting()
    from corral.launch.seeds import seed_of_policy
    from inference_server.server import InferenceServer

    experiment, settings = in_lockstep(member.experiment), member.settings
    repeats = experiment.run.determinism
    check_one_player(experiment)
    _repeat_bits(experiment)
    board = Board()
    with precision_refused("server.precision"):
        server = InferenceServer(
            experiment.server,
            lambda: frozen_agent(Path(settings.frozen), experiment) if settings.frozen else agent_of(experiment),
            seed=seed_of_policy(experiment.run.seed, member.index),
            environment=experiment.environment.label,
            number=number,
            learner=member.learner,
            steps=True,
            pace=settings.pace,
            lockstep=(lambda spec: lockstep_of(experiment, spec)) if repeats else None,
            keys=experiment.security.keys,
            ledgers=ledgers,
            board=board,
        )
        know_version(lambda: server.policy_version)
        with exported(experiment.metrics, board, "server"):
            return serve(server, stop, on_ready, on_warm)


@contextmanager
def precision_refused(setting: str) -> Iterator[None]:
    """Has a policy that cannot act in the precision of a server be told to the user. Raises `UserError`."""
    from corral.agents.backend.precision import PrecisionError

    try:
        yield
    except PrecisionError as error:
        raise UserError(f"{setting}: {error}") from error


def serve(
    server: Any,
    stop: StopRequest,
    on_ready: Callable[[], None] = lambda: None,
    on_warm: Callable[[int, int], object] = lambda done, total: None,
) -> int:
    """Warm and run an `InferenceServer` until asked to stop; `on_ready` is called between the two, `on_warm` with
    the compilations that are done and those that there are."""

    def warmed(done: int, total: int) -> None:
        stop.check()
        on_warm(done, total)

    stop.call(server.stop)
    with suppress(AskedToStopError):
        server.warm(warmed)
        on_ready()
    server.run()  # closes what is open, even where it was asked to stop before
    return stop.exit_code


def run_learner(
    experiment: Experiment,
    folder: Path,
    stop: StopRequest,
    on_start: Callable[[Learner], None] = lambda learner: None,
) -> int:
    """Train until the target or the step limit is reached, or until asked to stop; leaves `RESULT`.

    Returns 0 where the target was reached, there was none, or the learner was told to end; else 1.
    """
    import keras

    from learner.learner import Learner

    experiment = in_lockstep(experiment)
    _repeat_bits(experiment)
    keras.utils.set_random_seed(experiment.run.seed)  # the first weights are drawn here, and nowhere else
    agent = agent_of(experiment)
    if experiment.learner.batch_unrolls % agent.spec.minibatches:
        raise UserError(
            f"learner.batch_unrolls = {experiment.learner.batch_unrolls} cannot be cut into "
            f"{agent.spec.minibatches} minibatches of one size: change it, or agent.ppo.minibatches"
        )
    _check_shares(experiment.learner, agent.spec.minibatches)
    board = Board()
    learner = Learner(
        experiment.learner,
        agent,
        experiment.agent.optimizer,
        target_return=experiment.run.target_return,
        max_env_steps=experiment.run.max_env_steps,
        folder=folder,
        keys=experiment.security.keys,
        board=board,
        chunk=chunk_of(experiment, agent.spec),
    )
    know_version(lambda: learner.progress.policy_version or None)
    stop.call(learner.stop)
    on_start(learner)
    with exported(experiment.metrics, board, "learner"):
        result = learner.run()
    try:
        write_json(folder / RESULT, asdict(result))
    except OSError as error:
        log.error("the result could not be written: %s", error)
    if stop.asked:
        return stop.exit_code
    return 0 if result.solved or result.stopped or experiment.run.target_return is None else 1


def _repeat_bits(experiment: Experiment) -> None:
    """Has the backend give the same results each time, where the run shall be deterministic."""
    if experiment.run.determinism:
        from corral.agents import load_backend

        load_backend().repeat_bits()


def _check_shares(settings: LearnerSettings, minibatches: int) -> None:
    """Raises `UserError` where there are no devices to train on as wanted, or they cannot share a batch evenly."""
    from corral.agents import load_backend
    from corral.agents.backend.devices import share_of

    try:
        share_of(settings.batch_unrolls // minibatches, len(load_backend().training_devices(settings.devices)))
    except ValueError as error:
        each = f" in each of {minibatches} minibatches (agent.ppo.minibatches)" if minibatches > 1 else ""
        raise UserError(
            f"learner.devices = {settings.devices} and learner.batch_unrolls = {settings.batch_unrolls}{each}: "
            f"{error}. Change one of these"
        ) from error


def run_actor(
    experiment: Experiment,
    stop: StopRequest,
    *,
    first_environment: int | None,
    on_session: Callable[[bool], None] = lambda has_one: None,
) -> int:
    """Step environments with the server's policy until asked to stop."""
    wake_without_preempting()
    from actor_client.runner import run_actor as run
    from corral.launch.cast import entrants

    experiment = in_lockstep(experiment)
    stop.call(lambda: None)  # it looks after every step, and while it waits

    def end_hung(seconds: float) -> None:
        # A thread cannot end a call, only its process; whoever started that starts it again, environments and all.
        faulthandler.dump_traceback()
        log.error("this actor hangs in its environments, where the trace above says: it ends")
        stop.end_now(stop.exit_code if stop.asked else 1)

    board = Board(stuck_after_s=math.inf)  # an environment may take its time
    know_version(lambda: board.policy_version)
    with exported(experiment.metrics, board, "actor"):
        run(
            experiment.environment,
            experiment.actor,
            entrants(experiment),
            first_environment=first_environment,
            seed=experiment.run.seed,
            keys=experiment.security.keys,
            board=board,
            stopping=lambda: stop.asked,
            on_session=on_session,
            on_hang=end_hung,
            lockstep=experiment.run.determinism,
        )
    return stop.exit_code


def exported(settings: MetricsSettings, board: Board, role: str) -> AbstractContextManager[object]:
    """The board shown over HTTP for as long as the block lasts, where the settings say so.

    Raises:
      UserError: the address cannot be listened on.
    """
    if not settings.port:
        return nullcontext()
    from corral.telemetry.exporter import Exporter

    try:
        return Exporter(board, role, settings.host, settings.port)
    except OSError as error:
        raise UserError(
            f"metrics cannot be shown at {settings.host}:{settings.port} ({error.strerror}): choose another "
            "metrics.port, or 0 for none"
        ) from error


def agent_of(experiment: Experiment) -> Agent:
    """The agent of an experiment, for its environment's spaces. Raises `UserError`."""
    from actor_client.environments import spaces
    from corral.agents import build_agent

    observation, action = spaces(experiment.environment)
    try:
        return build_agent(experiment.agent, observation, action)
    except ValueError as error:
        raise UserError(str(error)) from error


def frozen_agent(policy: Path, experiment: Experiment) -> Agent:
    """The agent around a policy that a run has left: its folder, or the file. Raises `UserError`."""
    from actor_client.environments import spaces
    from corral.agents.frozen import frozen_agent as around
    from corral.launch.policies import policy_folder
    from corral.launch.policy import load_policy, policy_file

    trained = experiment
    if policy.is_dir():
        folder = policy_folder(policy)
        trained, policy = Experiment.read(experiment_file(folder)), policy_file(folder)
    elif not policy.exists():
        raise UserError(f"frozen = {str(policy)!r}: no such file or folder; name a run's folder, or a policy.keras")
    model = load_policy(policy, trained.agent.network.build)
    try:
        return around(model, *spaces(experiment.environment), trained.agent.frame_stack)
    except ValueError as error:
        raise UserError(f"{policy}: {error}") from error


def saved_agent(policy: Path, module: str = "", length: int = 0) -> Agent:
    """An agent around a model that Keras saved. Raises `UserError` for what is none.

    Args:
      module: imported first; layer classes of the user's own register themselves there.
      length: of whatever the model leaves open behind the batch; 0 refuses a model that leaves anything open.
    """
    import importlib

    from corral.agents import ModelAgent
    from corral.agents.model import OpenSizeError
    from corral.launch.policy import load_model

    if module:
        try:
            importlib.import_module(module)
        except Exception as error:  # importing runs the user's code
            raise UserError(f"--import {module}: cannot be imported: {type(error).__name__}: {error}") from error
    model = load_model(policy, "name that by --import MODULE")
    try:
        return ModelAgent(model, length)
    except ValueError as error:
        hint = ". Say by --length N how long" if isinstance(error, OpenSizeError) and not length else ""
        raise UserError(f"{policy} cannot be served: {error}{hint}") from error
