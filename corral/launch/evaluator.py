"""The evaluator: plays greedy episodes beside training, each evaluation by one policy version from start to end."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from actor_client.environments import players
from corral.agents import Agent, load_backend
from corral.agents.weights import named_variables, published_nets
from corral.launch.errors import UserError
from corral.launch.evaluation import play_episodes, shares_of
from corral.launch.evaluations import Evaluations, best_evaluation
from corral.launch.experiment import Experiment
from corral.launch.folder import BEST_POLICY
from corral.launch.policy import Act
from corral.launch.roles import agent_of
from corral.launch.scheduling import wake_without_preempting
from corral.launch.stopping import AskedToStopError, StopRequest
from corral.protocol import Spec
from corral.protocol.keys import Role, caller
from inference_server.learner_link import LearnerLink
from inference_server.outbox import Outbox
from learner.policy_file import save_policy

log = logging.getLogger(__name__)

_PATIENCE_S = 0.2


class NewestWeights:
    """The latest weights that the learner has pushed, kept until they are asked for."""

    def __init__(self, weight_spec: Spec) -> None:
        self._spec = weight_spec
        self._lock = threading.Lock()
        self._weights: Mapping[str, np.ndarray] | None = None
        self.epoch = 0
        self.version = 0

    @property
    def weight_spec(self) -> Spec:
        """The tensors of a policy version, by name."""
        return self._spec

    def offer(
        self,
        epoch: int,
        version: int,
        weights: Mapping[str, np.ndarray],
        wake: Callable[[], None],
        timeout_s: float,
    ) -> bool:
        """Keep them, in place of any before. Always True."""
        with self._lock:
            # Copies: they may be views of a message.
            self._weights = {name: np.array(leaf) for name, leaf in weights.items()}
            self.epoch, self.version = epoch, version
        return True

    def take(self) -> tuple[int, Mapping[str, np.ndarray]] | None:
        """The latest version and its weights, once; None where there is nothing newer than what was taken."""
        with self._lock:
            weights, self._weights = self._weights, None
            return None if weights is None else (self.version, weights)


class GreedyAgent:
    """An agent that is asked for its greedy actions, and whose recurrent state is kept.

    Args:
      agent: whose `act` is compiled.
      rows: environments that it acts for.
    """

    def __init__(self, agent: Agent, rows: int) -> None:
        self._rows = rows
        self._initial = {name: np.asarray(leaf) for name, leaf in agent.initial_state(rows).items()}
        self._noise = np.full((rows, agent.spec.noise), 0.5, np.float32)
        self._explore = np.zeros((rows, agent.spec.explore), np.float32)
        self._act = load_backend().CompiledAct(agent, [rows], clone=True)
        self._act.warm()

    @property
    def weight_spec(self) -> Spec:
        """The tensors of a policy version, by name."""
        spec: Spec = self._act.weight_spec
        return spec

    def load(self, weights: Mapping[str, np.ndarray]) -> None:
        """Act with these from now on."""
        self._act.load(weights)

    def player(self, rows: int) -> Act:
        """What chooses the actions of `rows` environments, the number that it was made for."""
        state = {name: leaf.copy() for name, leaf in self._initial.items()}

        def act(observation: Mapping[str, np.ndarray], first: np.ndarray, shown: np.ndarray) -> np.ndarray:
            first = first & shown
            for name, leaf in state.items():
                leaf[first] = self._initial[name][first]
            outputs, following = self._act(self._rows, observation, state, first, self._noise, self._explore)
            for name, leaf in state.items():
                leaf[shown] = np.asarray(following[name])[shown]
            action: np.ndarray = outputs["action"]
            return action

        return act


class BestPolicy:
    """Keeps the policy that plays best in a run's folder, also over its resumptions.

    Args:
      agent: whose nets take the weights before they are written; nobody else may need them.
      folder: the run's.
    """

    def __init__(self, agent: Agent, folder: Path) -> None:
        self._agent = agent
        self._path = folder / BEST_POLICY
        self._mean_return = float(best_evaluation(folder).get("mean_return", -math.inf))

    def offer(self, mean_return: float, weights: Mapping[str, np.ndarray]) -> bool:
        """Keep these if none so far earned as much; whether that was so."""
        if not mean_return > self._mean_return:
            return False
        nets = published_nets(self._agent)
        for name, variable in named_variables(nets).items():
            variable.assign(weights[name])
        try:
            save_policy(self._agent, self._path)
        except OSError as error:
            log.error("the best policy could not be written to %s: %s", self._path, error)
            return False
        self._mean_return = mean_return
        return True


def run_evaluator(experiment: Experiment, folder: Path, stop: StopRequest) -> int:
    """Evaluate the newest policy again and again, until asked to stop; the exit code."""
    wake_without_preempting()
    settings = experiment.evaluation
    if players(experiment.environment):
        raise UserError(
            "evaluation.episodes plays environments with one player; this one has several: corral evaluate plays it"
        )
    agent = agent_of(experiment)
    greedy = GreedyAgent(agent, len(shares_of(settings.episodes)))
    newest, evaluations = NewestWeights(greedy.weight_spec), Evaluations(folder)
    best = BestPolicy(agent, folder)
    link = LearnerLink(
        None,
        experiment.learner.weights_address,
        {},
        agent.spec.unroll_length,
        newest,
        Outbox("shed"),
        lambda: None,
        caller(experiment.security.keys, Role.SERVER, towards=Role.LEARNER),
    )
    stop.call(lambda: None)  # what goes on is left where it stands, and the link is closed
    link.start()
    try:
        while not stop.asked:
            taken = newest.take()
            if taken is None:
                stop.wait(_PATIENCE_S)
                continue
            version, weights = taken
            greedy.load(weights)
            begun = time.monotonic()
            played = play_episodes(
                experiment.environment,
                greedy.player,
                settings.episodes,
                seed=experiment.run.seed,
                on_step=lambda episodes, steps: stop.check(),
            )
            figures = {"policy_version": version, **played.figures(), "seconds": time.monotonic() - begun}
            now, kept = time.time(), best.offer(figures["mean_return"], weights)
            evaluations.add({"time": round(now, 3), **figures, "kept": kept})
            stop.wait(settings.every_s)
    except AskedToStopError:
        pass
    finally:
        link.stop()
        link.join(5)
    return stop.exit_code
