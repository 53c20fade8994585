"""What can go wrong between peers, by name (docs/protocol.md, "Errors")."""

from __future__ import annotations

from enum import StrEnum

from corral.protocol.limits import MAX_TEXT


class ErrorCode(StrEnum):
    """The `code` of an ERROR reply."""

    VERSION = "VERSION"  # the two sides speak no common protocol version
    MALFORMED = "MALFORMED"  # bytes, counts or fields that are no message of ours
    UNKNOWN_TYPE = "UNKNOWN_TYPE"  # a message type that this socket does not serve
    SPEC = "SPEC"  # names, shapes, dtypes or bounds differ from what the other side holds
    LIMIT = "LIMIT"  # more rows, environments or bytes than were granted
    SEQUENCE = "SEQUENCE"  # a step out of order, or an episode that does not begin with FIRST
    NOT_READY = "NOT_READY"  # no weights yet: try again soon
    BUSY = "BUSY"  # no slots left: try again later
    DRAINING = "DRAINING"  # the server is about to leave: rejoin
    EXPIRED = "EXPIRED"  # no such session (its lease ended, or the server is new): rejoin and reset
    SETTING = "SETTING"  # a setting that does not exist, does not fit, or cannot change while running
    COMMAND = "COMMAND"  # a command that this side does not know
    WEIGHTS = "WEIGHTS"  # pushed weights were refused; the last good version keeps serving
    FORBIDDEN = "FORBIDDEN"  # the caller's key may not do so
    INTERNAL = "INTERNAL"  # a defect on the other side; its log has the trace


class ProtocolError(Exception):
    """A message that cannot be honoured: becomes an ERROR reply to the one who sent it.

    Attributes:
      code: which promise was broken.
      text: a sentence for a person: what was wrong, and what to do; one printable line, cut where it is longer
        than MAX_TEXT.
    """

    def __init__(self, code: ErrorCode, text: str) -> None:
        # Texts quote what a peer sent. Longer ones could not be sent back, and would be kept for nothing.
        text = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."
        if not text.isprintable():  # or it could write lines of its own into a log, and colours into a terminal
            text = "".join(letter if letter.isprintable() else " " for letter in text)
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
