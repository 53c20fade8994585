import keras
import numpy as np
import pytest
from keras import ops

from corral.agents import build_agent
from corral.agents.agent import AgentBase, AgentSpec, Batch, Losses
from corral.agents.frames import FrameStack, stacked_spec
from corral.agents.settings import AgentSettings, DQNSettings, NetworkSettings
from corral.protocol.specs import TensorSpec
from corral.protocol.unrolls import StepType, Unroll

FIRST, MID, LAST = StepType.FIRST, StepType.MID, StepType.LAST
FRAME = {"observation": TensorSpec((2, 2), "uint8", 0, 255), "speed": TensorSpec((1,), "float32")}
ACTION = TensorSpec((), "int64", 0, 1)


class Watcher(AgentBase):
    """Remembers what it was shown."""

    def __init__(self, length, **spec):
        self.spec = AgentSpec(stacked_spec(FRAME, 3), ACTION, {"action": ACTION}, unroll_length=length, **spec)
        self.nets, self.published, self.groups = {}, (), {}
        self.seen = None

    def act(self, call, observation, state, first, noise, explore):
        self.seen = np.asarray(observation["observation"])
        return {"action": ops.zeros(len(self.seen), "int64")}, state

    def losses(self, call, target, batch):
        self.seen = batch
        return Losses({}, {})


def frame(number):
    return np.full((2, 2), number, "u1")


def stack(*numbers):
    return np.stack([frame(number) for number in numbers], axis=-1)


def test_the_network_is_made_for_stacks():
    spec = stacked_spec(FRAME, 4)
    assert spec["observation"].shape == (2, 2, 4)
    assert spec["speed"] == FRAME["speed"]
    assert stacked_spec({"x": TensorSpec((2, 2, 3), "uint8")}, 4)["x"].shape == (2, 2, 12)


def test_without_images_it_is_refused():
    with pytest.raises(ValueError, match="frame_stack = 4 stacks images"):
        stacked_spec({"speed": FRAME["speed"]}, 4)


def test_acting_shows_the_newest_frames_and_begins_empty():
    inner = Watcher(5)
    agent = FrameStack(inner, FRAME, 3)
    state = {name: ops.convert_to_tensor(leaf) for name, leaf in agent.initial_state(1).items()}
    assert {name: leaf.shape for name, leaf in state.items()} == {"frames/observation": (1, 2, 2, 2)}
    shown = []
    for number in (1, 2, 3, 4):
        observation = {"observation": ops.convert_to_tensor(frame(number)[None]), "speed": ops.ones((1, 1))}
        _, state = agent.act(None, observation, state, None, None, None)
        shown.append(inner.seen[0])
    wanted = [stack(0, 0, 1), stack(0, 1, 2), stack(1, 2, 3), stack(2, 3, 4)]
    np.testing.assert_array_equal(shown, wanted)


def batch_of(agent, types, numbers, before):
    length = len(types) - 1
    columns = len(types[0])
    observation = {
        "observation": np.array([[frame(n) for n in row] for row in numbers]),
        "speed": np.zeros((length + 1, columns, 1), "f4"),
    }
    zeros = np.zeros((length + 1, columns), "f4")
    state = {"frames/observation": np.array([stack(*pair) for pair in before])}
    unroll = Unroll(observation, {"action": zeros}, zeros, zeros, np.array(types, "u1"), zeros, state)
    noise = np.zeros((length + 1, columns, 0), "f4")
    return keras.tree.map_structure(ops.convert_to_tensor, Batch(unroll, {}, zeros[0], noise, np.array(0)))


def test_learning_stacks_again_within_episodes():
    inner = Watcher(4)
    agent = FrameStack(inner, FRAME, 3)
    # Two columns: one goes on from frames 8 and 9, the other begins anew at index 2.
    types = [[MID, MID], [MID, LAST], [MID, FIRST], [MID, MID], [MID, MID]]
    numbers = [[10, 20], [11, 21], [12, 30], [13, 31], [14, 32]]
    agent.losses(None, None, batch_of(agent, types, numbers, [(8, 9), (18, 19)]))
    seen = np.asarray(inner.seen.unroll.observation["observation"])
    one = [stack(8, 9, 10), stack(9, 10, 11), stack(10, 11, 12), stack(11, 12, 13), stack(12, 13, 14)]
    other = [stack(18, 19, 20), stack(19, 20, 21), stack(0, 0, 30), stack(0, 30, 31), stack(30, 31, 32)]
    np.testing.assert_array_equal(seen[:, 0], one)
    np.testing.assert_array_equal(seen[:, 1], other)
    assert inner.seen.unroll.state == {}


def test_a_window_begins_behind_the_frames_before_it():
    inner = Watcher(8, sample_length=1, overlap=1, replay=True)
    agent = FrameStack(inner, FRAME, 3)
    assert (agent.spec.sample_length, agent.spec.overlap, agent.spec.context) == (3, 3, 2)
    types = [[MID, LAST], [MID, FIRST], [MID, MID], [MID, MID]]
    numbers = [[1, 5], [2, 6], [3, 7], [4, 8]]
    agent.losses(None, None, batch_of(agent, types, numbers, [(88, 99), (88, 99)]))
    unroll = inner.seen.unroll
    seen = np.asarray(unroll.observation["observation"])
    np.testing.assert_array_equal(seen[:, 0], [stack(1, 2, 3), stack(2, 3, 4)])
    np.testing.assert_array_equal(seen[:, 1], [stack(0, 6, 7), stack(6, 7, 8)])
    assert unroll.reward.shape == (2, 2)


def test_an_unroll_is_acted_and_learned_alike():
    """Whatever begins and ends: what the network sees in an unroll is what it saw when it acted."""
    rng = np.random.default_rng(0)
    inner = Watcher(9)
    agent = FrameStack(inner, FRAME, 3)
    types = rng.choice([FIRST, MID, MID], (10, 6)).astype("u1")
    frames = rng.integers(1, 255, (10, 6, 2, 2)).astype("u1")
    state = {"frames/observation": rng.integers(1, 255, (6, 2, 2, 2)).astype("u1")}
    state["frames/observation"][types[0] == FIRST] = 0
    zeros = np.zeros((10, 6), "f4")
    observation = {"observation": frames, "speed": np.zeros((10, 6, 1), "f4")}
    unroll = Unroll(observation, {"action": zeros}, zeros, zeros, types, zeros, state)
    batch = Batch(unroll, {}, zeros[0], np.zeros((10, 6, 0), "f4"), np.array(0))
    agent.losses(None, None, keras.tree.map_structure(ops.convert_to_tensor, batch))
    learned = np.asarray(inner.seen.unroll.observation["observation"])
    for index in range(10):
        state["frames/observation"] = np.where(
            (types[index] == FIRST)[:, None, None, None], 0, state["frames/observation"]
        )
        now = {"observation": ops.convert_to_tensor(frames[index]), "speed": ops.ones((6, 1))}
        before = {name: ops.convert_to_tensor(leaf) for name, leaf in state.items()}
        _, state = agent.act(None, now, before, None, None, None)
        state = {name: np.array(leaf) for name, leaf in state.items()}
        np.testing.assert_array_equal(inner.seen, learned[index])


def test_it_is_built_by_its_setting():
    observation = {"observation": TensorSpec((84, 84), "uint8", 0, 255)}
    settings = AgentSettings(name="dqn", frame_stack=4, unroll_length=8, dqn=DQNSettings(n_step=2))
    agent = build_agent(settings, observation, ACTION)
    assert agent.nets["policy"].inputs[0].shape == (None, 84, 84, 4)
    assert agent.spec.observation == observation
    assert agent.spec.state["frames/observation"].shape == (84, 84, 3)
    assert (agent.spec.sample_length, agent.spec.overlap) == (5, 5)


def test_unrolls_too_short_for_stacks_are_refused():
    settings = AgentSettings(name="dqn", frame_stack=8, unroll_length=8, network=NetworkSettings())
    with pytest.raises(ValueError, match="need an unroll_length of 10 or more, not 8"):
        build_agent(settings, {"observation": TensorSpec((84, 84), "uint8")}, ACTION)
