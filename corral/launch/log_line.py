"""One event of a log as one line, plain or JSON; and what is read of it again.

Plain, for eyes and grep; a traceback follows in lines that begin with a blank:

    2026-11-24T17:00:00.000Z INFO run=cartpole role=actor actor=3 policy_version=12 logger=actor_client.runner: text

JSON has the same as fields, with `event` for the text and `traceback` for a traceback.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

Format: TypeAlias = Literal["plain", "json"]
Fields: TypeAlias = Mapping[str, Any]

_FIELD = r'\w+=(?:"(?:[^"\\]|\\.)*"|[^\s":=]+)'
_PLAIN = re.compile(rf"\d{{4}}-\d\d-\d\dT[\d:.]+Z ([A-Z]+) {_FIELD}(?: {_FIELD})*: (.*)", re.DOTALL)
_BARE = re.compile(r'[^\s":=]+')


class LineFormatter(logging.Formatter):
    """Writes each record as one line; whatever a text holds, it begins no other.

    Args:
      form: of the lines.
      fields: asked at each record: what is known of the process beside the record itself; None leaves one out.
    """

    def __init__(self, form: Format, fields: Callable[[], Fields] = dict) -> None:
        super().__init__()
        self._form = form
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        try:
            text = record.getMessage()
        except Exception as error:  # a slip in a line of the log must cost no more than that line
            text = f"{record.msg} {record.args!r} ({error})"
        known = {name: value for name, value in self._fields().items() if value is not None}
        known["logger"] = record.name
        trace = self.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        time = time.replace("+00:00", "Z")
        if self._form == "json":
            event: dict[str, Any] = {"time": time, "level": record.levelname, **known, "event": text}
            return json.dumps(event | ({"traceback": trace} if trace else {}), default=str)
        stamp = " ".join(f"{name}={_value(value)}" for name, value in known.items())
        lines = [f"{time} {record.levelname} {stamp}: {printable(text)}"]
        lines += (f"  {printable(line)}" for line in trace.splitlines())
        return "\n".join(lines)


def printable(text: str) -> str:
    """`text` on one line: what is no printable character is written as Python writes it within quotes."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _value(value: object) -> str:
    text = str(value)
    return text if _BARE.fullmatch(text) and text.isprintable() else json.dumps(text)


@dataclass(frozen=True)
class Event:
    """What a line of a log says.

    Attributes:
      level: "ERROR" and so on.
      text: for a person; of several lines where it was logged so.
      traceback: where the line itself holds one.
    """

    level: str
    text: str
    traceback: str = ""


def read_line(line: str) -> Event | None:
    """The event of a line of either form; None where it is something else, such as what an environment prints."""
    if line.startswith("{"):
        try:
            told = json.loads(line)
            return Event(told["level"], told["event"], told.get("traceback", ""))
        except (ValueError, KeyError, TypeError):
            return None
    found = _PLAIN.fullmatch(line)
    return None if found is None else Event(found[1], found[2].replace("\\n", "\n"))
