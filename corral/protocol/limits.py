"""Bounds on everything that crosses the wire: nothing a peer sends can take unbounded memory or time."""

from __future__ import annotations

MAX_CONTROL_BYTES = 1 << 20
"""Most bytes of one control frame (header and msgpack body): manifests of large models fit."""

MAX_FRAME_BYTES = 1 << 30
"""Most bytes of any frame; a socket closes the connection of a peer that sends more."""

MAX_PARTS = 16_384
"""Most frames that a learner, or a server from it, reads of one message; and most leaves of a spec."""

MAX_ROWS = 65_535
"""Most rows of one message: the header counts them in 16 bits."""

MAX_COUNT = (1 << 63) - 1
"""Most that an epoch, a version or a parcel's number can be: it has to fit arrays of signed 64 bits."""

MAX_TEXT = 4_096
"""Most characters of one text in a control message."""

MAX_HOST = 64
"""Most characters that are kept of a machine's name."""

MAX_LISTED = 1_000
"""Most actors that a report lists."""

QUEUED_MESSAGES = 4_096
"""Messages that a socket holds for one peer, each way, unless it is said otherwise below."""

QUEUED_REQUESTS = 64
"""Messages of one actor or client that a server holds unread: what it sends beyond waits on its own side."""

QUEUED_ANSWERS = 1_024
"""Answers that a server holds for one actor or client that reads none; more are dropped and counted."""

QUEUED_PARCELS = 64
"""Messages that a server holds for a learner that reads none; what finds no room is sent again later."""

QUEUED_VERSIONS = 4
"""Messages that a learner holds for a server that reads no weights: the newest follow when it does again."""
