"""Unrolls of length 3, one slot or two, every index written out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from corral.protocol import RowFlags, TensorSpec
from corral.protocol.unrolls import Leaves, unroll_spec
from inference_server.unrolls import Steps, UnrollAssembler

FIRST, TERMINATED, TRUNCATED = RowFlags.FIRST, RowFlags.TERMINATED, RowFlags.TRUNCATED
SPEC = unroll_spec({"observation": TensorSpec((), "float32")}, {"action": TensorSpec((), "int64")}, {})
RECURRENT = unroll_spec(
    {"observation": TensorSpec((), "float32")},
    {"action": TensorSpec((), "int64")},
    {"h": TensorSpec((), "float32")},
)


def steps(
    slots: list[int],
    flags: list[int],
    reward: list[float],
    observation: list[float],
    action: list[int],
    final: dict[int, float] | None = None,
    state: list[float] | None = None,
    final_state: list[float] | None = None,
    version: int = 1,
) -> Steps:
    final = final or {}
    return Steps(
        slots=np.array(slots),
        flags=np.array(flags, np.uint16),
        reward=np.array(reward, np.float32),
        observation={"observation": np.array(observation, np.float32)},
        output={"action": np.array(action)},
        state={} if state is None else {"h": np.array(state, np.float32)},
        ended=np.array(list(final), np.int64),
        final={"observation": np.array(list(final.values()), np.float32)},
        final_state={} if state is None else {"h": np.array(final_state or [], np.float32)},
        version=version,
    )


def column(leaves: Leaves, index: int = 0) -> dict[str, Any]:
    return {name: leaf[..., index].tolist() for name, leaf in leaves.items()}


def test_a_column_leaves_when_it_is_full_and_carries_its_last_index_over() -> None:
    assembler = UnrollAssembler(2, SPEC, length=3)
    assert assembler.append(steps([1], [FIRST], [9], [10], [0], version=1)) == []
    assert assembler.append(steps([1], [0], [0.5], [11], [1], version=1)) == []
    assert assembler.append(steps([1], [0], [0.25], [12], [2], version=2)) == []
    (full,) = assembler.append(steps([1], [0], [0.125], [13], [3], version=2))
    assert column(full) == {
        "observation/observation": [10, 11, 12, 13],
        "output/action": [0, 1, 2, 3],
        "reward": [0, 0.5, 0.25, 0.125],  # nothing was earned before the first observation
        "discount": [1, 1, 1, 1],
        "step_type": [0, 1, 1, 1],
        "version": [1, 1, 2, 2],
    }
    for k in (14, 15):
        assert assembler.append(steps([1], [0], [0], [k], [k])) == []
    (full,) = assembler.append(steps([1], [0], [0], [16], [16]))
    assert column(full)["observation/observation"] == [13, 14, 15, 16]
    assert column(full)["output/action"] == [3, 14, 15, 16]
    assert column(full)["reward"] == [0.125, 0, 0, 0]


def test_an_end_takes_an_index_of_its_own_and_the_reset_the_next() -> None:
    assembler = UnrollAssembler(1, SPEC, length=3)
    assembler.append(steps([0], [FIRST], [0], [10], [5]))
    # One row: the final observation 11 of the first episode, and the first observation 20 of the next.
    assembler.append(steps([0], [FIRST | TERMINATED], [7], [20], [6], final={0: 11}))
    (full,) = assembler.append(steps([0], [0], [2], [21], [4]))
    assert column(full) == {
        "observation/observation": [10, 11, 20, 21],
        "output/action": [5, 0, 6, 4],  # nobody acts on a final observation
        "reward": [0, 7, 0, 2],
        "discount": [1, 0, 1, 1],  # 0 where it terminated
        "step_type": [0, 2, 0, 1],
        "version": [1, 1, 1, 1],
    }


def test_a_truncated_end_keeps_its_discount() -> None:
    assembler = UnrollAssembler(1, SPEC, length=3)
    assembler.append(steps([0], [FIRST], [0], [10], [5]))
    assembler.append(steps([0], [FIRST | TRUNCATED], [7], [20], [6], final={0: 11}))
    (full,) = assembler.append(steps([0], [0], [2], [21], [4]))
    assert column(full)["discount"] == [1, 1, 1, 1]
    assert column(full)["step_type"] == [0, 2, 0, 1]


def test_an_end_that_is_both_terminates() -> None:
    assembler = UnrollAssembler(1, SPEC, length=1)
    assembler.append(steps([0], [FIRST], [0], [10], [5]))
    (full,) = assembler.append(steps([0], [FIRST | TRUNCATED | TERMINATED], [7], [20], [6], final={0: 11}))[:1]
    assert column(full)["discount"] == [1, 0]


def test_a_column_may_fill_up_with_a_final_observation_and_go_on_behind_it() -> None:
    assembler = UnrollAssembler(1, SPEC, length=3)
    for k, flags in enumerate((FIRST, 0, 0)):
        assert assembler.append(steps([0], [flags], [k], [10 + k], [k])) == []
    (full,) = assembler.append(steps([0], [FIRST | TERMINATED], [3], [20], [7], final={0: 13}))
    assert column(full)["observation/observation"] == [10, 11, 12, 13]
    assert column(full)["step_type"] == [0, 1, 1, 2]
    # The next column: the end carried over, the reset that came with it, and two more.
    assert assembler.append(steps([0], [0], [1], [21], [8])) == []
    (full,) = assembler.append(steps([0], [0], [1], [22], [9]))
    assert column(full)["observation/observation"] == [13, 20, 21, 22]
    assert column(full)["step_type"] == [2, 0, 1, 1]
    assert column(full)["output/action"] == [0, 7, 8, 9]
    assert column(full)["discount"] == [0, 1, 1, 1]


def test_one_row_may_fill_two_columns() -> None:
    assembler = UnrollAssembler(1, SPEC, length=1)
    assembler.append(steps([0], [FIRST], [0], [10], [5]))
    full = assembler.append(steps([0], [FIRST | TERMINATED], [7], [20], [6], final={0: 11}))
    assert [column(leaves)["observation/observation"] for leaves in full] == [[10, 11], [11, 20]]
    assert [column(leaves)["step_type"] for leaves in full] == [[0, 2], [2, 0]]


def test_slots_fill_up_independently() -> None:
    assembler = UnrollAssembler(4, SPEC, length=2)
    assembler.append(steps([0, 3], [FIRST, FIRST], [0, 0], [10, 30], [0, 0]))
    assembler.append(steps([3], [0], [1], [31], [1]))
    (full,) = assembler.append(steps([0, 3], [0, 0], [1, 1], [11, 32], [1, 2]))
    assert full["reward"].shape == (3, 1)
    assert column(full)["observation/observation"] == [30, 31, 32]
    (full,) = assembler.append(steps([0, 3], [0, 0], [1, 1], [12, 33], [1, 2]))
    assert column(full)["observation/observation"] == [10, 11, 12]


def test_an_episode_that_begins_without_an_end_drops_what_was_open() -> None:
    assembler = UnrollAssembler(1, SPEC, length=3)
    assembler.append(steps([0], [FIRST], [0], [10], [0]))
    assembler.append(steps([0], [0], [1], [11], [0]))
    assembler.append(steps([0], [0], [1], [12], [0]))
    assert assembler.append(steps([0], [FIRST], [0], [20], [0])) == []
    assert assembler.abandoned_steps == 2
    assert assembler.append(steps([0], [0], [1], [21], [0])) == []
    assert assembler.append(steps([0], [0], [1], [22], [0])) == []
    (full,) = assembler.append(steps([0], [0], [1], [23], [0]))
    assert column(full)["observation/observation"] == [20, 21, 22, 23]


def test_a_forgotten_slot_splices_nothing() -> None:
    assembler = UnrollAssembler(2, SPEC, length=2)
    assembler.append(steps([0, 1], [FIRST, FIRST], [0, 0], [10, 20], [0, 0]))
    assembler.append(steps([0, 1], [0, 0], [1, 1], [11, 21], [0, 0]))
    assembler.forget(np.array([0]))
    assert assembler.abandoned_steps == 1
    (full,) = assembler.append(steps([0, 1], [FIRST, 0], [0, 1], [50, 22], [0, 0]))
    assert full["reward"].shape == (3, 1)
    assert column(full)["observation/observation"] == [20, 21, 22]


def test_the_stored_state_precedes_the_first_index() -> None:
    assembler = UnrollAssembler(1, RECURRENT, length=2)
    assembler.append(steps([0], [FIRST], [0], [10], [0], state=[0.0]))
    assembler.append(steps([0], [0], [1], [11], [0], state=[0.1]))
    (full,) = assembler.append(steps([0], [0], [1], [12], [0], state=[0.2]))
    assert full["state/h"].tolist() == [0.0]
    # Index 0 of the next column is observation 12, which the state 0.2 preceded.
    assembler.append(steps([0], [0], [1], [13], [0], state=[0.3]))
    # It ends: the final observation 14 was preceded by 0.4, the reset one by the initial state.
    full_1, *rest = assembler.append(
        steps([0], [FIRST | TRUNCATED], [1], [20], [0], final={0: 14}, state=[0.0], final_state=[0.4])
    )
    assert rest == []
    np.testing.assert_array_equal(full_1["state/h"], np.array([0.2], np.float32))
    (full_2,) = assembler.append(steps([0], [0], [1], [21], [0], state=[0.6]))
    assert column(full_2)["observation/observation"] == [14, 20, 21]
    np.testing.assert_array_equal(full_2["state/h"], np.array([0.4], np.float32))


def test_columns_are_copies() -> None:
    assembler = UnrollAssembler(1, SPEC, length=1)
    assembler.append(steps([0], [FIRST], [0], [10], [0]))
    (full,) = assembler.append(steps([0], [0], [1], [11], [0]))
    assembler.append(steps([0], [0], [1], [12], [0]))
    assert column(full)["observation/observation"] == [10, 11]
