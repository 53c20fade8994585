"""Made-up requests, read as a server reads them."""

from __future__ import annotations

import numpy as np

from corral.bench.load import EPISODE_STEPS
from corral.bench.requests import Requests, made_up, sequence_of
from corral.protocol import HEADER_BYTES, ROW, MessageType, RowFlags, TensorSpec, unpack_header

SPEC = {"position": TensorSpec((2,), "float32"), "kind": TensorSpec((), "int64", 3, 5)}


def test_infer_has_a_header_and_the_leaves() -> None:
    observation = made_up(SPEC, rows=3, seed=0)
    requests = Requests(0, observation)
    head, *leaves = requests.next()
    header = unpack_header(head)
    assert (header.type, header.rows, header.session, header.sequence) == (MessageType.INFER, 3, 0, 1)
    assert len(head) == HEADER_BYTES
    assert leaves == [leaf.tobytes() for leaf in observation.values()]
    assert sequence_of(requests.next()[0]) == requests.sequence == 2


def test_steps_begin_go_on_and_end_in_episodes() -> None:
    requests = Requests(77, made_up(SPEC, rows=2, seed=0))
    for number in range(1, 2 * EPISODE_STEPS + 2):
        head, *leaves = requests.next()
        header = unpack_header(head)
        assert (header.type, header.session, header.sequence) == (MessageType.STEP, 77, number)
        table = np.frombuffer(head, ROW, 2, HEADER_BYTES)
        assert table["environment"].tolist() == [0, 1]
        ends = number > 1 and number % EPISODE_STEPS == 1
        begins = number == 1
        expected = RowFlags.FIRST | RowFlags.TERMINATED if ends else RowFlags.FIRST if begins else RowFlags(0)
        assert table["flags"].tolist() == [expected] * 2
        assert header.ended == (2 if ends else 0)
        assert len(leaves) == (4 if ends else 2)


def test_observations_lie_within_their_bounds_and_come_again_with_their_seed() -> None:
    rows = made_up(SPEC, rows=500, seed=1)
    assert rows["position"].dtype == np.float32
    assert set(rows["kind"].tolist()) == {3, 4, 5}
    assert np.array_equal(rows["kind"], made_up(SPEC, 500, seed=1)["kind"])
    assert not np.array_equal(rows["position"], made_up(SPEC, 500, seed=2)["position"])
