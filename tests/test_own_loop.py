"""The DDPG with a training loop of its own, and the page that walks to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import indent

import numpy as np
import pytest

from tests.support.command import ROOT, Workplace, workplace
from tests.test_examples import line_of, started

CODE = (ROOT / "examples" / "ddpg_own_loop.py").read_text()
PAGE = (ROOT / "docs" / "own_loop.md").read_text()


@pytest.fixture
def place() -> Iterator[Workplace]:
    with workplace() as place:
        yield place


@pytest.mark.long
def test_it_trains_beside_a_server_and_an_actor(place: Workplace) -> None:
    serve, act, learn = re.findall(r"^(?:corral (?:server|actor)|python) .*", PAGE, re.MULTILINE)
    with ExitStack() as stack:
        stack.enter_context(started(place, *serve.split()))
        stack.enter_context(started(place, *act.split()))
        loop = stack.enter_context(started(place, *learn.split(), "--steps", "2000"))
        assert re.match(r"\d+ steps, mean return -\d", line_of(loop, "mean return"))
        assert loop.wait(60) == 0
        version = re.search(r"^policy_version +(\d+)$", place.corral("status", "127.0.0.1").stdout, re.MULTILINE)
        assert version is not None
        assert int(version[1]) > 5  # it acts with what the loop has learned, not with the first weights


def test_unrolls_become_transitions() -> None:
    from corral.protocol import Unroll
    from examples.ddpg_own_loop import transitions

    # One column whose states are 0 to 6; the first episode terminates, the second is truncated.
    step_type = np.array([[0], [1], [2], [0], [2], [0], [1]], np.uint8)
    reward = np.array([[0], [10], [20], [0], [30], [0], [40]], np.float32)
    discount = np.array([[1], [1], [0], [1], [1], [1], [1]], np.float32)
    state = np.arange(7, dtype=np.float32).reshape(7, 1, 1)
    unroll = Unroll({"observation": state}, {"action": -state}, reward, discount, step_type, None, {})
    found = [tuple(np.hstack(transition)) for transition in transitions(unroll, 2)]
    # Rewards count a tenth; a step later all is worth 0.98.
    assert found == [
        pytest.approx((0, 0, 1 + 0.98 * 2, 0, 2)),  # two steps, then it terminated: no value follows
        pytest.approx((1, -1, 2, 0, 2)),  # one step was left
        pytest.approx((3, -3, 3, 0.98, 4)),  # it was truncated: the value of its own final state follows
    ]  # none leaves the final states 2 and 4, and none begins where two steps do not fit any more


def test_what_the_page_shows_is_its_code(tmp_path: Path) -> None:
    from corral.launch import load_experiment

    before, *shown = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert "predict" in before
    assert shown
    for block in shown:
        assert any(indent(block, " " * depth) in CODE for depth in (0, 8)), block
    (table,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "mine.toml").write_text(table)
    assert load_experiment(tmp_path / "mine.toml", environ={}).agent.network.build == "my_module:networks"
