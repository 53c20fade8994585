"""One source on the page: how it stands, its figures, its charts, its actors."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from nicegui import ui

from corral.dashboard import charts
from corral.dashboard.charts import BLUE, GREEN, ORANGE
from corral.dashboard.controls import Controls
from corral.dashboard.curves import Drawn
from corral.dashboard.steering import Line
from corral.dashboard.watch import Watch
from corral.dashboard.words import complaint, standing, tiles

Paint = tuple[int, dict[str, Any]]
"""The id of a chart's element, and what is new in it."""

_SHARE = "v => v == null ? '–' : (100 * v).toFixed(0) + ' %'"
_NUMBER = "v => v == null ? '–' : Math.round(v).toLocaleString('en')"
_COLUMNS = [
    {"name": "host", "label": "host", "field": "host", "align": "left", ":format": "v => v || '–'"},
    {"name": "first", "label": "first environment", "field": "first_environment", ":format": _NUMBER},
    {"name": "environments", "label": "environments", "field": "environments", ":format": _NUMBER},
    {"name": "speed", "label": "steps/s", "field": "steps_per_s", ":format": _NUMBER},
    {"name": "wait", "label": "waits", "field": "wait_share", ":format": _SHARE},
    {"name": "steps", "label": "in environments", "field": "environment_share", ":format": _SHARE},
    {
        "name": "seen",
        "label": "last seen",
        "field": "seen_s",
        ":format": "v => v == null ? '–' : v.toFixed(1) + ' s ago'",
    },
]


class Panel:
    """Builds itself where it is made, on one client's page.

    Args:
      line: to steer by; None shows only.
    """

    def __init__(self, watch: Watch, line: Line | None) -> None:
        self._watch = watch
        self._charts: list[tuple[ui.echart, Callable[[Drawn], dict[str, Any]]]] = []
        self._losses: dict[str, ui.echart] = {}
        self._tiles: dict[str, ui.label] = {}
        self._trains = watch.trains
        self._line = line
        with ui.element("section").classes("corral-source") as self._place:
            self._build()

    def refresh(self) -> list[Paint]:
        """Show what is known now; what is new in the charts is for the caller to paint."""
        watch = self._watch
        if watch.trains != self._trains:
            self._trains = watch.trains
            self._rebuild()
        self._show_standing()
        for name, value in tiles(watch).items():
            if name in self._tiles:
                self._tiles[name].text = value
        self._controls.refresh()
        drawn = watch.drawn()
        self._show_losses(drawn)
        rows = watch.server.get("actor_table") or []
        if self._trains and rows != self._actors.rows:
            self._actors.rows = rows
        return [(chart.id, now(drawn)) for chart, now in self._charts]

    def _rebuild(self) -> None:
        self._place.clear()
        self._charts.clear()
        self._losses.clear()
        with self._place:
            self._build()

    def _build(self) -> None:
        with ui.element("div").classes("corral-card"):
            with ui.element("div").classes("corral-head"):
                ui.label(self._watch.source.name).classes("corral-title")
                with ui.element("div").classes("corral-standing").props('role="status"'):
                    self._icon = ui.icon("hourglass_empty", size="18px")
                    self._word = ui.label()
                self._text = ui.label().classes("corral-faint")
            self._verdict = ui.label().classes("corral-verdict")
            self._complaint = ui.label().classes("corral-complaint")
        with ui.element("div").classes("corral-card corral-tiles"):
            for name in tiles(self._watch):
                with ui.element("div").classes("corral-tile"):
                    ui.label(name).classes("name")
                    self._tiles[name] = ui.label("–").classes("value")
        self._controls = Controls(self._watch, self._line)
        with ui.element("div").classes("corral-charts"):
            self._build_charts()
        if self._trains:
            with ui.element("div").classes("corral-card corral-actors"):
                ui.label("actors").classes("corral-title")
                self._actors = ui.table(columns=_COLUMNS, rows=[], row_key="first_environment", pagination=0)
                self._actors.props("dense flat hide-pagination").add_slot("no-data", "no actor is connected")
            self._losses_place = ui.element("div").classes("corral-losses")
        self._show_standing()

    def _build_charts(self) -> None:
        target = self._watch.target
        if self._trains:
            self._chart(charts.returns(), lambda drawn: charts.returns_now(drawn.returns, target))
        self._chart(charts.over_time("throughput", "answers/s", {"answers": (BLUE, False)}), _marked("throughput"))
        latency = {"p50": (BLUE, False), "p99": (ORANGE, True)}
        self._chart(charts.over_time("latency of a request", "ms", latency), _marked("latency"))
        times = {"queue p50": (BLUE, False), "queue p99": (BLUE, True)}
        times |= {"compute p50": (GREEN, False), "compute p99": (GREEN, True)}
        self._chart(charts.over_time("in the queue, and computing", "ms", times), _marked("times"))
        self._chart(charts.batch_sizes(), lambda drawn: charts.batch_sizes_now(drawn.batch_sizes))
        if self._trains:
            lag = charts.over_time("policy lag", "versions", {"lag": (BLUE, False)})
            self._chart(lag, lambda drawn: charts.over_time_now(drawn.over_time["lag"]))

    def _chart(self, options: dict[str, Any], now: Callable[[Drawn], dict[str, Any]]) -> ui.echart:
        with ui.element("div").classes("corral-card"):
            # SVG, so that text and axes can have the page's colour, light or dark.
            chart = ui.echart(options, renderer="svg").classes("corral-chart")
        self._charts.append((chart, now))
        return chart

    def _show_losses(self, drawn: Drawn) -> None:
        if not self._trains:
            return
        for name in drawn.losses:
            if name not in self._losses:
                with self._losses_place:
                    self._losses[name] = self._chart(
                        charts.over_steps(name.replace("_", " "), "no unit", name, BLUE), _loss(name)
                    )

    def _show_standing(self) -> None:
        word, text, colour, icon = standing(self._watch)
        self._icon.name = icon
        self._icon.props(f"color={colour}")
        self._word.text, self._text.text = word, text
        verdict = self._watch.verdict
        self._verdict.text = verdict.sentence if verdict else "no verdict: no actor has told yet of its time"
        self._verdict.set_visibility(self._trains)
        self._complaint.text = complaint(self._watch)


def _marked(name: str) -> Callable[[Drawn], dict[str, Any]]:
    return lambda drawn: charts.over_time_now(drawn.over_time[name], drawn.marks)


def _loss(name: str) -> Callable[[Drawn], dict[str, Any]]:
    return lambda drawn: charts.over_steps_now(drawn.losses.get(name, ()))


def paint(paints: Sequence[Paint]) -> str:
    """JavaScript that shows what is new in charts; one that is not there any more is passed over."""
    new = json.dumps([[id_, option] for id_, option in paints], separators=(",", ":"))
    return f"for (const [id, option] of {new}) getElement(id)?.chart?.setOption(option);"
