"""A sweep: every combination of the values that were given, measured one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import product
from typing import Any

from corral.bench.load import Load
from corral.bench.model import check_model
from corral.bench.result import Result, median
from corral.bench.stage import Stage
from corral.launch.errors import UserError
from corral.launch.estimate import Say, say_nothing

_NUMBERS = {"rate": float, "think_us": float, "push_every_s": float}
_TEXTS = ("request", "transport")
BATCHING = ("timeout_us", "max_size")
"""Options that are the server's, not the load's."""


@dataclass(frozen=True)
class Plan:
    """One row to measure: a load, and the server's batching."""

    load: Load
    batching: Mapping[str, Any]


@dataclass(frozen=True)
class Conditions:
    """What all rows share.

    Attributes:
      serving: settings of a server that is started, beside its batching: "replicas", "precision".
    """

    model: str = "mlp"
    server: str | None = None
    keys: str = ""
    seconds: float = 5.0
    repeats: int = 1
    floors: bool = True
    pin: bool = False
    serving: Mapping[str, Any] = field(default_factory=dict)


def plans(options: Mapping[str, str]) -> list[Plan]:
    """Every combination of comma-separated values: option name -> "64" or "1,16,64".

    Raises:
      UserError: a value is none; the text names the option.
    """
    each = [[(name, _value(name, text.strip())) for text in texts.split(",")] for name, texts in options.items()]
    return [_plan(dict(combination)) for combination in product(*each)]


def measure(
    rows: Sequence[Plan],
    conditions: Conditions,
    *,
    say: Say = say_nothing,
) -> Iterator[Result]:
    """The median of each row, as soon as it is there. Raises `UserError`."""
    tally = _Tally(say, len(rows) * conditions.repeats)
    for number, plan in enumerate(rows, 1):
        tally.lead = f"row {number}: " if len(rows) > 1 else ""
        if conditions.server is None:
            check_model(conditions.model, plan.load.request)
        elif plan.load.request == "step" or plan.load.push_every_s:
            raise UserError(
                "a running server is asked with --request infer only: made-up steps would be trained on"
            )
        with Stage(
            conditions.model,
            plan.load,
            dict(plan.batching),
            server=conditions.server,
            keys=conditions.keys,
            floors=conditions.floors,
            pin=conditions.pin,
            serving=conditions.serving,
            say=tally.say,
        ) as stage:
            measured = []
            for _ in range(conditions.repeats):
                measured.append(stage.measure(conditions.seconds))
                tally.done += 1
            yield median(measured)


class _Tally:
    """Puts what a stage says beside how many measurements are done."""

    def __init__(self, say: Say, total: int) -> None:
        self._say = say
        self._total = total
        self.lead = ""
        self.done = 0

    def say(self, text: str) -> None:
        self._say(self.lead + text, self.done, self._total)


def _plan(values: dict[str, Any]) -> Plan:
    values.setdefault("processes", min(2, values["clients"]))
    batching = {name: values[name] for name in BATCHING if name in values}
    names = {item.name for item in fields(Load)}
    try:
        return Plan(Load(**{name: value for name, value in values.items() if name in names}), batching)
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        raise UserError(f"--{name.replace('_', '-')} {rest}") from error


def _value(name: str, text: str) -> Any:
    if name in _TEXTS or (name == "timeout_us" and text == "auto"):
        return text
    try:
        return _NUMBERS.get(name, int)(text)
    except ValueError:
        raise UserError(f"--{name.replace('_', '-')}: {text!r} is no number") from None
