"""`[policies.NAME]`: what each has of its own, what it has of the experiment's, and what does not go together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from corral.launch.cast import cast, entrants
from corral.launch.errors import UserError
from corral.launch.experiment import Experiment, ExperimentError, load_experiment
from corral.launch.listing import list_configuration
from corral.launch.policies import at_servers, member, members, policy_folder, trained_member
from corral.launch.sockets import local_addresses
from inference_server.settings import Pace

FILE = """
[run]
target_return = 10
metrics = {}
[environment]
id = "CartPole-v1"
[agent]
name = "ppo"
[agent.optimizer]
learning_rate = 1e-3
[policies.old]
past = "main"
every_s = 5
share = 0.25
[policies.main]
share = 0.5
[policies.main.agent.optimizer]
learning_rate = 2e-3
[policies.main.server]
lease_s = 3
[policies.other]
""".replace("metrics = {}\n", "")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "several.toml"
    path.write_text(FILE)
    return path


def problem(path: Path, *overrides: str) -> str:
    with pytest.raises(ExperimentError) as caught:
        load_experiment(path, overrides, {})
    (told,) = caught.value.problems
    return told


def test_a_policy_has_what_it_says_and_the_rest_of_the_experiment(path: Path) -> None:
    experiment = load_experiment(path, ["agent.discount=0.9"], {})
    main, other, old = (member(experiment, name).experiment for name in ("main", "other", "old"))
    assert [each.agent.name for each in (main, other, old)] == ["ppo"] * 3
    assert [each.agent.discount for each in (main, other, old)] == [0.9] * 3
    assert [each.agent.optimizer.learning_rate for each in (main, other, old)] == [2e-3, 1e-3, 2e-3]
    assert [each.server.lease_s for each in (main, other, old)] == [3.0, 10.0, 10.0]
    assert not main.policies


def test_the_first_trained_policy_ends_the_run_unless_another_is_named(path: Path) -> None:
    experiment = load_experiment(path, (), {})
    assert [each.name for each in members(experiment)] == ["main", "old", "other"]
    assert [each.experiment.run.target_return for each in members(experiment)] == [10.0, None, None]
    experiment = load_experiment(path, ["run.target_policy=other"], {})
    first = members(experiment)[0]
    assert (first.name, first.experiment.run.target_return) == ("other", 10.0)
    assert first.folder(Path("run")) == Path("run/policies/other")


def test_an_experiment_without_policies_is_its_only_member(tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    path.write_text('[environment]\nid = "CartPole-v1"\n')
    experiment = load_experiment(path, (), {})
    (only,) = members(experiment)
    assert only.experiment is experiment
    assert (only.folder(Path("run")), only.called("server"), only.settings.pace) == (Path("run"), "server", None)
    assert [part.name for part in cast(experiment)] == ["server", "learner", *(f"actor-{n}" for n in range(4))]


def test_every_policy_has_addresses_of_its_own(path: Path) -> None:
    experiment = load_experiment(path, ["policies.other.server.address=tcp://there:9"], {})
    assert [(each.name, each.addresses, each.share) for each in entrants(experiment)] == [
        ("old", ("tcp://127.0.0.1:5555",), 0.25),
        ("main", ("tcp://127.0.0.1:6555",), 0.5),
        ("other", ("tcp://there:9",), None),
    ]
    assert member(experiment, "main").learner == ("tcp://127.0.0.1:6556", "tcp://127.0.0.1:6557")
    # A past one takes the weights of the trained one, and brings it nothing.
    assert member(experiment, "old").learner == (None, "tcp://127.0.0.1:6557")
    assert member(experiment, "old").settings.pace == Pace(0, 5.0, 1)
    frozen = load_experiment(path, ["policies.other.frozen=x.keras"], {})
    assert member(frozen, "other").learner is None


def test_the_processes_of_a_run_are_called_after_their_policies(path: Path) -> None:
    experiment = load_experiment(path, ["servers=2", "actor.processes=1", "evaluation.episodes=3"], {})
    parts = cast(local_addresses(experiment, Path("/s")))
    assert [(part.name, part.policy, part.number) for part in parts] == [
        ("server-main-0", "main", 0),
        ("server-main-1", "main", 1),
        ("learner-main", "main", 0),
        ("server-old-0", "old", 0),
        ("server-old-1", "old", 1),
        ("server-other-0", "other", 0),
        ("server-other-1", "other", 1),
        ("learner-other", "other", 0),
        ("actor-0", "", 0),
        ("evaluator-main", "main", 0),
        ("evaluator-other", "other", 0),
    ]
    assert len({part.address for part in parts if part.address}) == 8
    old = member(local_addresses(experiment, Path("/s")), "old")
    assert old.learner == (None, "ipc:///s/weights-main")


def test_what_is_written_down_can_be_read_and_changed_for_all(path: Path, tmp_path: Path) -> None:
    experiment = load_experiment(path, (), {})
    written = tmp_path / "experiment.json"
    written.write_text(json.dumps(experiment.effective()))
    assert Experiment.read(written) == experiment
    assert load_experiment(written, (), {}) == experiment
    changed = load_experiment(written, ["agent.optimizer.learning_rate=5e-4"], {})
    rates = {each.name: each.experiment.agent.optimizer.learning_rate for each in members(changed)}
    assert rates == {"main": 2e-3, "old": 2e-3, "other": 5e-4}


def test_the_listing_loads_as_an_equal_one(path: Path, tmp_path: Path) -> None:
    text = list_configuration(path, (), {})
    assert "[policies.main.agent.optimizer]" in text
    assert "[policies.other.agent" not in text
    listed = tmp_path / "listed.toml"
    listed.write_text(text)
    assert load_experiment(listed, (), {}) == load_experiment(path, (), {})


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("policies.main.share=2", "must be more than 0 to 1, not 2.0"),
        ("policies.main.share=0.8", "policies.{old, main, other}.share must be 1 together at most, not 1.05"),
        ("policies.main.share=0.75", "must leave something to other: others have all of the environments"),
        ("policies.other.share=0.1", "must be 1 together, not 0.85: or let one policy leave its share out"),
        ("policies.old.past=mian", "policies.old.past = 'mian': must be a trained policy: main, other"),
        ("policies.other.past=old", "policies.other.past = 'old': must be a trained policy: main"),
        ("policies.old.agent.name=dqn", "a past policy has none; it acts as the one that it is a past one of"),
        ("policies.old.learner.batch_unrolls=2", "a past policy has none"),
        ("policies.old.frozen=x", "goes without past ('main'): a policy is the one or the other"),
        (
            "policies.main.every=3",
            "policies.main.past: must name a trained policy where every, every_s or pool is set",
        ),
        ("policies.main.players=['a', 'a']", "must be different names, not ['a', 'a']"),
        ("policies.other.shar=1", "no such key; did you mean policies.other.share?"),
        ("policies=3", "must be tables, such as [policies.main]"),
        ("policies.'a b'.share=0.1", "a policy's name has 1 to 24 letters, digits, - and _"),
        ("run.target_policy=old", "run.target_policy = 'old': must be one of the trained policies: main, other"),
        ("agent.optimizer.learning_rate=-1", "agent.optimizer.learning_rate = -1"),
        ("policies.main.agent.optimizer.learning_rate=-1", "policies.main.agent.optimizer.learning_rate = -1"),
        ("servers=['tcp://a:1', 'tcp://b:1']", "must be a number where there are [policies]"),
    ],
)
def test_what_does_not_go_together_is_said_once(path: Path, override: str, expected: str) -> None:
    assert expected in problem(path, override)


def test_one_must_be_trained(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    path.write_text('[environment]\nid = "CartPole-v1"\n[policies.a]\nfrozen = "x.keras"\n')
    assert problem(path) == "policies: must have one that is trained: each of these is frozen or a past one"


def test_actors_find_the_servers_of_every_policy(path: Path) -> None:
    experiment = load_experiment(path, (), {})
    found = entrants(at_servers(experiment, ["far", "other=near:7"]))
    assert [each.addresses for each in found] == [("tcp://far:5555",), ("tcp://far:6555",), ("tcp://near:7",)]
    with pytest.raises(UserError, match="--server x=far: the experiment's policies are old, main, other"):
        at_servers(experiment, ["x=far"])


def test_policies_that_are_not_there(path: Path, tmp_path: Path) -> None:
    experiment = load_experiment(path, (), {})
    with pytest.raises(UserError, match="name one with --policy: old, main, other"):
        member(experiment, None)
    with pytest.raises(UserError, match="--policy new: the experiment's policies are old, main, other"):
        member(experiment, "new")
    with pytest.raises(UserError, match="--policy old: a policy that is frozen, or a past one, has no learner"):
        trained_member(experiment, "old")
    with pytest.raises(UserError, match=r"--policy main: .* has not several policies"):
        policy_folder(tmp_path, "main")
    (tmp_path / "policies").mkdir()
    (tmp_path / "experiment.json").write_text(json.dumps(experiment.effective()))
    assert policy_folder(tmp_path) == tmp_path / "policies" / "main"
    assert policy_folder(tmp_path, "other") == tmp_path / "policies" / "other"
