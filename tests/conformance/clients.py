"""The server's side of a client that says INFER."""

from __future__ import annotations

from tests.conformance.counter import ACTIONS, INFER_ROWS, OBSERVATION, observe
from tests.conformance.greetings import check_client, expect, not_too_soon, welcome
from tests.conformance.stage import Message, Stage
from tests.conformance.wire import OUTPUTS, WELCOME, Header, pack_answer, pack_body, read_rows

SPEC = {name: OBSERVATION[name] for name in ("mark", "count", "echo")}
"""In another order than clients make them: the server's order is what counts."""
OUTPUT = {"value": [[], "float32", None, None], "action": [[], "int64", 0, ACTIONS - 1]}


class Clients:
    """The server's side of one client that says INFER."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._asked = 0
        self._answered = 0
        self._last = [(0.0, 0)] * INFER_ROWS
        self._kept: tuple[Message, bytes] | None = None

    def joined(self) -> None:
        """HELLO of a client, and WELCOME."""
        message = self.stage.receive()
        expect(message.header.name, "HELLO", "what a client says first")
        check_client(message)
        header = Header(WELCOME, 0, 0, 0, message.header.sequence)
        self.stage.send(message, pack_body(header, welcome(SPEC, output=OUTPUT, max_rows=INFER_ROWS)))

    def asked(self, again: Message | None = None) -> Message:
        """The next INFER, checked byte by byte, or one that was sent again."""
        message = self.stage.receive()
        while self._kept is not None and message.frames == self._kept[0].frames:
            not_too_soon(self._kept[0], message)
            self.stage.send(message, self._kept[1])
            message = self.stage.receive()
        header = message.header
        expect((header.name, header.rows, header.ended, header.session), ("INFER", INFER_ROWS, 0, 0), "the header")
        expect(
            (len(message.frames), len(message.frames[0])), (4, 24), "frames, and bytes of the first, of an INFER"
        )
        if again is not None:
            expect(message.frames[1:], again.frames[1:], "what is asked again")
            return message
        self._asked += 1
        wanted = [
            observe(row, row + 1, self._asked, action, value) for row, (value, action) in enumerate(self._last)
        ]
        for row, (found, right) in enumerate(
            zip(read_rows(message.frames[1:], SPEC, INFER_ROWS, "observations"), wanted, strict=True)
        ):
            expect(found, right, f"row {row} of INFER number {self._asked}")
        return message

    def put_out(self, request: Message) -> bytes:
        """Answer an INFER; the frame that did."""
        self._answered += 1
        self._last = [(self._answered + row / 4, (self._answered + row) % ACTIONS) for row in range(INFER_ROWS)]
        values, actions = zip(*self._last, strict=True)
        header = Header(OUTPUTS, INFER_ROWS, 0, 0, request.header.sequence)
        frame = pack_answer(header, 7, [("float32", values), ("int64", actions)])
        self.stage.send(request, frame)
        self._kept = request, frame
        return frame

    def answers(self, count: int) -> None:
        """So many INFERs, each answered at once."""
        for _ in range(count):
            self.put_out(self.asked())

    def farewell(self) -> None:
        """A client that has all its answers ends with 0, and says nothing more."""
        expect(self.stage.exit_code(), 0, "the client's exit code")
