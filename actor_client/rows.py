"""What an actor sends in one STEP: the rows of its environments, and their frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from corral.protocol import ENDED, ROW, MessageType, Spec, pack_header
from corral.protocol.tensors import check_rows, to_frame


@dataclass(frozen=True)
class Rows:
    """What an actor sends in one STEP.

    Attributes:
      environment: uint16 `[n]`, ascending: which environments the rows are of.
      reward: float32 `[n]`: of the step that led to the row; 0 where there was none.
      flags: uint16 `[n]`: `RowFlags`.
      observation: leaf -> `[n, ...]`: what to act on.
      final: leaf -> `[m, ...]`: the final observations of the `m` rows whose flags say that an episode ended,
        in their order.
    """

    environment: np.ndarray
    reward: np.ndarray
    flags: np.ndarray
    observation: Mapping[str, np.ndarray]
    final: Mapping[str, np.ndarray]


def step_frames(rows: Rows, observation: Spec, session: int, sequence: int) -> list[bytes | memoryview]:
    """The frames of a STEP: header and table, the leaves, and the final ones where an episode ended.

    Args:
      observation: what rows must be.

    Raises:
      ProtocolError: SPEC: they are something else.
    """
    count = check_rows(rows.observation, observation)
    table = np.empty(count, ROW)
    table["reward"], table["environment"], table["flags"] = rows.reward, rows.environment, rows.flags
    ended = int(np.count_nonzero(rows.flags & ENDED))
    head = pack_header(MessageType.STEP, session, sequence, count, ended)
    frames = [head + table.tobytes(), *(to_frame(leaf) for leaf in rows.observation.values())]
    if ended:
        check_rows(rows.final, observation)
        frames += [to_frame(leaf) for leaf in rows.final.values()]
    return frames
