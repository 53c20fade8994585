"""Slow copies and optimizer groups, all by hand, on the backend of the process."""

import keras
import numpy as np
import pytest

from corral.agents.agent import Group, Target
from corral.agents.backend import load_backend
from corral.agents.settings import OptimizerSettings
from tests.agents.backend.contract import DESCENT, Pull, pulls, same, steps_of, weight

Trainer = load_backend().Trainer
ONE = {"one": Group(("one",))}


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        # The net goes from 1 to 0, -1, -2, -3.
        (Target(0.25), (0.75, 0.3125, -0.265625, -0.94921875)),  # s + (w - s) / 4
        (Target(0.5, every=2), (1, 0, 0, -1.5)),  # after steps 2 and 4: half way from 1 to -1, from 0 to -3
        (Target(1.0), (0, -1, -2, -3)),
        (Target(1.0, every=3), (1, 1, -2, -2)),
        (Target(), (0.995, 0.985025, 0.970099875, 0.950249375625)),
    ],
)
def test_a_slow_copy_follows_its_net(target, expected):
    fast, slow = steps_of(Pull(ONE, {"one": target}), count=4, names=("nets/one", "targets/one"))
    assert fast == (0, -1, -2, -3)
    assert slow == pytest.approx(expected, rel=1e-6)


def test_losses_see_the_slow_copy_as_it_was_before_the_step():
    trainer = Trainer(Pull(ONE, {"one": Target(0.25)}), DESCENT)
    seen = [trainer.step(pulls(1.0)).metrics for _ in range(3)]
    assert [each["fast/one"] for each in seen] == [1, 0, -1]
    assert [each["slow/one"] for each in seen] == [1, 0.75, 0.3125]


def test_no_gradient_and_no_publication_reaches_a_slow_copy():
    trainer = Trainer(Pull(ONE, {"one": Target(0.25)}), DESCENT)
    assert list(trainer.weights()) == ["one/w/kernel"]
    assert [name for name in trainer.state() if name.endswith("kernel")] == [
        "nets/one/w/kernel",
        "targets/one/w/kernel",
    ]


def test_a_slow_copy_begins_as_its_net_is():
    agent = Pull(ONE, {"one": Target()})
    agent.nets["one"].set_weights([np.full((1, 1), 5.0)])
    assert weight(Trainer(agent, DESCENT), "targets/one") == 5


def test_a_group_may_wait_for_its_turn():
    agent = Pull({"critic": Group(("critic",)), "actor": Group(("actor",), every=3)})
    critic, actor = steps_of(agent, count=5, names=("nets/critic", "nets/actor"))
    assert critic == (0, -1, -2, -3, -4)
    assert actor == (0, 0, 0, -1, -1)  # it takes part in the first step and in the fourth


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_the_optimizer_of_a_group_that_waits_stands_still(name):
    settings = OptimizerSettings(name=name, learning_rate=0.5)
    agent = Pull({"critic": Group(("critic",)), "actor": Group(("actor",), every=2)})
    trainer = Trainer(agent, settings)

    def of(group):
        return {key: value.tolist() for key, value in trainer.state().items() if f"optimizers/{group}/" in key}

    trainer.step(pulls(1.0))
    before = of("actor")
    trainer.step(pulls(1.0))
    assert of("actor") == before
    assert of("critic") != before
    trainer.step(pulls(1.0))
    assert of("actor") != before
    # Two steps of its own are what a group that never waits has done after two.
    (plain,) = steps_of(Pull(ONE), settings, count=2, names=("nets/one",))
    assert weight(trainer, "nets/actor") == pytest.approx(plain[-1])


def test_groups_have_learning_rates_of_their_own():
    agent = Pull({"slow": Group(("slow",), rate=0.25), "fast": Group(("fast",), rate=2.0)})
    slow, fast = steps_of(agent, count=2, names=("nets/slow", "nets/fast"))
    assert slow == (0.75, 0.5)
    assert fast == (-1, -3)


def test_a_group_decays_its_own_rate():
    settings = OptimizerSettings(
        name="sgd", learning_rate=1.0, final_learning_rate=0.5, decay_steps=2, clip_norm=0.0
    )
    (found,) = steps_of(Pull({"one": Group(("one",), rate=2.0)}), settings, count=4, names=("nets/one",))
    # Rates 2, 1.5, 1, 1.
    assert found == pytest.approx((-1, -2.5, -3.5, -4.5))


def test_a_group_of_two_nets_trains_both():
    one, two = steps_of(Pull({"both": Group(("one", "two"))}), count=2, names=("nets/one", "nets/two"))
    assert one == two == (0, -1)


def test_weights_reach_the_loss():
    trainer = Trainer(Pull(ONE), DESCENT)
    trainer.step(pulls(1.0, 2.0), np.array([3.0, 0.5], np.float32))
    assert weight(trainer, "nets/one") == 1 - (3.0 + 1.0) / 2
    trainer.step(pulls(1.0, 2.0))
    assert weight(trainer, "nets/one") == -1 - 1.5


def test_sequences_may_be_shorter_than_unrolls():
    trainer = Trainer(Pull(ONE, unroll_length=8, sample_length=2), DESCENT)
    trainer.warm(1)
    trainer.step(pulls(1.0, indices=3))
    assert weight(trainer, "nets/one") == 0
    with pytest.raises(ValueError, match=r"3 indices.*not 9"):
        trainer.step(pulls(1.0, indices=9))


def test_slow_copies_and_turns_go_on_from_a_state():
    def trainer():
        groups = {"one": Group(("one",), every=2), "two": Group(("two",), rate=0.5)}
        agent = Pull(groups, {"one": Target(0.25), "two": Target(1.0, every=3)}, epochs=2, minibatches=2)
        return Trainer(agent, OptimizerSettings(learning_rate=0.1, decay_steps=10))

    first, second = trainer(), trainer()
    keras.utils.set_random_seed(3)
    first.step(pulls(1.0, 2.0, 3.0, 4.0))
    state = first.state()
    second.restore(state)
    assert same(second.state(), state)
    assert weight(second, "targets/one") not in (1.0, weight(second, "nets/one"))
    ends = []
    for each in (first, second):
        keras.utils.set_random_seed(4)
        ends.append([each.step(pulls(*range(5 * k, 5 * k + 4))) for k in range(3)])
    assert ends[0] == ends[1]
    assert same(first.state(), second.state())


def test_a_state_without_the_slow_copies_is_refused():
    trainer = Trainer(Pull(ONE, {"one": Target()}), DESCENT)
    with pytest.raises(ValueError, match="targets/one/w/kernel"):
        trainer.restore(Trainer(Pull(ONE), DESCENT).state())
