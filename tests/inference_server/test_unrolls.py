"""Unrolls of length 3, one slot or two, every index written out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.protocol import RowFlags, TensorSpec
from corral.protocol.unrolls import Columns, Leaves, unroll_spec
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


# Overlapping by more than an index.


def test_a_column_carries_its_last_indices_over() -> None:
    assembler = UnrollAssembler(1, SPEC, length=3, overlap=2)
    assert assembler.append(steps([0], [FIRST], [0], [10], [0])) == []
    full = [leaves for k in range(11, 18) for leaves in assembler.append(steps([0], [0], [k], [k], [k]))]
    assert [column(leaves)["observation/observation"] for leaves in full] == [
        [10, 11, 12, 13],
        [12, 13, 14, 15],
        [14, 15, 16, 17],
    ]
    assert [column(leaves)["reward"][0] for leaves in full] == [0, 12, 14]


def test_what_an_unroll_has_held_already_is_not_lost_with_the_rest() -> None:
    assembler = UnrollAssembler(1, SPEC, length=3, overlap=3)
    for k in range(4):
        assembler.append(steps([0], [FIRST if k == 0 else 0], [0], [k], [0]))
    assembler.forget(np.array([0]))  # all three transitions have left
    assert assembler.abandoned_steps == 0
    for k in range(3):
        assembler.append(steps([0], [FIRST if k == 0 else 0], [0], [k], [0]))
    assembler.forget(np.array([0]))
    assert assembler.abandoned_steps == 2


@pytest.mark.parametrize("overlap", [0, 4])
def test_an_overlap_that_cannot_be_is_refused(overlap: int) -> None:
    with pytest.raises(ValueError, match=f"unrolls of 3 transitions overlap by 1 to 3 indices, not {overlap}"):
        UnrollAssembler(1, SPEC, length=3, overlap=overlap)


class Plain:
    """What the assembler should make of a slot's rows: every index in one list, and windows cut out of it."""

    def __init__(self, length: int, overlap: int) -> None:
        self._length, self._stride = length, length + 1 - overlap
        self._indices: list[dict[str, float]] = []
        self.columns: list[list[dict[str, float]]] = []
        self.begun: list[float] = []  # the observations with which a transition begins that a sequence should
        self.abandoned = 0
        self.held = 0

    @property
    def starts(self) -> range:
        """Where columns begin that are whole."""
        return range(0, len(self._indices) - self._length, self._stride)

    def forget(self) -> None:
        self.columns += [self._indices[start : start + self._length + 1] for start in self.starts]
        self.begun += [index["observation"] for index in self._indices[: len(self.starts) * self._stride]]
        # Every index that a step led to, behind the last one that a column has held.
        held = self.starts[-1] + self._length if self.starts else 0
        self.held += sum(index["step_type"] != 0 for index in self._indices[: held + 1])
        self.abandoned += sum(index["step_type"] != 0 for index in self._indices[held + 1 :])
        self._indices = []

    def append(self, **index: float) -> None:
        self._indices.append(index)


KINDS = {"-": 0, "t": FIRST | TERMINATED, "u": FIRST | TRUNCATED, "b": FIRST | TERMINATED | TRUNCATED, "r": FIRST}
"""What may happen in a slot: a step, an end of three kinds, a new episode without an end; "." is nothing, "f" a
session that ends and another that begins."""


def play(length: int, overlap: int, rows: list[str]) -> tuple[list[list[dict[str, float]]], list[Plain], int, int]:
    """Rows of as many slots as they are long, in an assembler and beside it. All columns, the plain ones of each
    slot, and how many steps the columns hold and the assembler lost."""
    slots = len(rows[0])
    assembler = UnrollAssembler(slots, RECURRENT, length, overlap)
    plain, begun = [Plain(length, overlap) for _ in range(slots)], [False] * slots
    left: list[Columns] = []
    number = 0
    for version, kinds in enumerate(rows):
        slot, flags, observation, final = [], [], [], {}
        for index, kind in reversed(list(enumerate(kinds))):  # slots come in any order
            if kind == "f":
                assembler.forget(np.array([index]))
                plain[index].forget()
                begun[index] = False
            if kind == ".":
                continue
            flag = KINDS[kind] if begun[index] and kind != "f" else FIRST
            number += 2
            observed = 1_000 * index + number
            if flag & (TERMINATED | TRUNCATED):
                final[len(slot)] = observed - 1
                plain[index].append(
                    observation=observed - 1, action=0, reward=number, discount=float(not flag & TERMINATED),
                    step_type=2, version=version, state=-(observed - 1),
                )  # fmt: skip
            elif flag & FIRST:
                plain[index].forget()
            plain[index].append(
                observation=observed, action=observed, reward=0 if flag & FIRST else number, discount=1,
                step_type=0 if flag & FIRST else 1, version=version, state=-observed,
            )  # fmt: skip
            begun[index] = True
            slot.append(index)
            flags.append(int(flag))
            observation.append(observed)
        if slot:
            reward = [float(value % 1_000) for value in observation]
            state, ends = [-float(value) for value in observation], [-float(value) for value in final.values()]
            left += assembler.append(
                steps(slot, flags, reward, observation, observation, final, state, ends, version)
            )
    assembler.forget(np.arange(slots))
    for each in plain:
        each.forget()
    columns = []
    for leaves in left:
        for index in range(leaves["reward"].shape[1]):
            values = {name.rpartition("/")[2]: leaf[..., index].tolist() for name, leaf in leaves.items()}
            state = values.pop("h")
            indices = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
            columns.append([{**indices[0], "state": state}, *indices[1:]])
    return columns, plain, sum(each.steps for each in left), assembler.abandoned_steps


shapes = st.integers(1, 6).flatmap(lambda length: st.tuples(st.just(length), st.integers(1, length)))
happenings = st.lists(
    st.lists(st.sampled_from("-----ttubr.f"), min_size=2, max_size=2).map("".join), min_size=1, max_size=60
)


@given(shapes, happenings)
@settings(deadline=None)
def test_it_does_what_a_list_and_a_window_do(shape: tuple[int, int], rows: list[str]) -> None:
    columns, plain, held, abandoned = play(*shape, rows)
    for slot, expected in enumerate(plain):
        mine = [column for column in columns if column[0]["observation"] // 1_000 == slot]
        assert len(mine) == len(expected.columns)
        for column, wanted in zip(mine, expected.columns, strict=True):
            without = [{name: value for name, value in index.items() if name != "state"} for index in wanted[1:]]
            assert column == [wanted[0], *without]
    assert abandoned == sum(each.abandoned for each in plain)
    assert held == sum(each.held for each in plain)


@given(shapes, happenings)
@settings(deadline=None)
def test_every_transition_begins_one_sequence_that_is_as_long_as_the_overlap(
    shape: tuple[int, int], rows: list[str]
) -> None:
    length, sequence = shape
    columns, plain, _, _ = play(length, sequence, rows)
    starts = range(length - sequence + 1)
    begins = [column[start]["observation"] for column in columns for start in starts]
    assert sorted(begins) == sorted(observation for each in plain for observation in each.begun)


def test_every_transition_of_one_life_begins_one_sequence() -> None:
    for length in range(1, 7):
        for sequence in range(1, length + 1):
            columns, _, _, _ = play(length, sequence, ["-"] * 40)
            starts = range(length - sequence + 1)
            begins = [column[start]["observation"] for column in columns for start in starts]
            assert begins == list(range(2, 2 + 2 * len(begins), 2))
            assert len(begins) >= 40 - length
