"""The charts as ECharts takes them: how each looks, said once, and what is in it, every second anew.

Text and axes are drawn in the page's own colour (`currentColor`), and lines in three colours that people who see
fewer colours tell apart (after Okabe and Ito), each with enough contrast on white and on near-black. What belongs
together has one colour, and the 99th percentile is dashed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from corral.dashboard.history import WINDOW_S, Row

BLUE, ORANGE, GREEN = "#2b83c6", "#d55e00", "#009e73"

_FAINT = {"color": "currentColor", "opacity": 0.18}
_MARK = "#8a8a8a"
_NUMBER = "v => v == null || Number.isNaN(v) ? '–' : Number(Number(v).toPrecision(4)).toLocaleString('en')"
_SHORT = (
    "v => { const a = Math.abs(v); return a >= 1e6 ? v / 1e6 + ' M' : a >= 1e4 ? v / 1e3 + ' k' "
    ": Number(v.toPrecision(4)).toString() }"
)


def over_time(title: str, unit: str, lines: Mapping[str, tuple[str, bool]]) -> dict[str, Any]:
    """A chart of the last minutes.

    Args:
      unit: of the ordinate.
      lines: name -> colour, and whether it is dashed.
    """
    axis = {"min": -WINDOW_S, "max": 0, "interval": 60}
    return _chart(title, "seconds from now", unit, axis, legend=len(lines)) | {
        "legend": _legend(len(lines)),
        "series": [
            _line(name, colour, index + 1, dashed) for index, (name, (colour, dashed)) in enumerate(lines.items())
        ],
    }


def over_time_now(rows: Sequence[Row], marks: Sequence[tuple[float, str]] = ()) -> dict[str, Any]:
    """What is in such a chart: rows, and the moments when settings were changed."""
    drawn = [{"xAxis": at, "label": {"formatter": text}} for at, text in marks]
    oldest = -(rows[0][0] or 0.0) if rows else 0.0
    window = next(each for each in (60.0, 120.0, WINDOW_S) if oldest <= each or each == WINDOW_S)
    return {
        "xAxis": {"min": -window, "interval": window / 5},
        "dataset": {"source": [list(row) for row in rows]},
        "series": [{"markLine": _marks(drawn)}],
    }


def over_steps(title: str, unit: str, name: str, colour: str) -> dict[str, Any]:
    """A chart of one value over the environment steps of the whole run."""
    return _chart(title, "environment steps", unit, {"scale": True}) | {
        "legend": {"show": False},
        "series": [_line(name, colour, 1)],
    }


def over_steps_now(rows: Sequence[Row]) -> dict[str, Any]:
    """What is in such a chart."""
    return {"dataset": {"source": [list(row) for row in rows]}}


def returns() -> dict[str, Any]:
    """The mean return of the latest 100 episodes, and the band that holds it with 95 %."""
    chart = _chart(
        "mean return of the latest 100 episodes", "environment steps", "return", {"scale": True}, legend=2
    )
    bare = {"type": "line", "stack": "band", "stackStrategy": "all", "symbol": "none", "silent": True}
    band = [
        bare
        | {"name": "lower", "encode": {"x": 0, "y": 2}, "lineStyle": {"opacity": 0}, "tooltip": {"show": False}},
        bare
        | {
            "name": "95 % of the mean",
            "encode": {"x": 0, "y": 3},
            "lineStyle": {"opacity": 0},
            "itemStyle": {"color": BLUE, "opacity": 0.25},
            "areaStyle": {"color": BLUE, "opacity": 0.25},
            "tooltip": {"show": False},
        },
    ]
    legend = _legend(2) | {
        "data": ["mean", {"name": "95 % of the mean", "icon": "roundRect", "itemStyle": {"opacity": 0.35}}]
    }
    return chart | {"legend": legend, "series": [_line("mean", BLUE, 1), *band]}


def returns_now(rows: Sequence[Row], target: float | None) -> dict[str, Any]:
    """What is in it: `(environment steps, mean, lower, upper)`, and the target where there is one."""
    source = [[x, mean, low, None if low is None or high is None else high - low] for x, mean, low, high in rows]
    drawn = [] if target is None else [{"yAxis": target, "label": {"formatter": f"target {target:g}"}}]
    return {"dataset": {"source": source}, "series": [{"markLine": _marks(drawn)}]}


def batch_sizes() -> dict[str, Any]:
    """How large the batches of the last ten seconds were."""
    chart = _chart("batch sizes, last 10 s", "rows in a batch", "% of batches", {"type": "category"})
    chart["xAxis"]["axisLabel"].pop(":formatter")  # the classes are named already
    chart["yAxis"] |= {"min": 0, "max": 100, "interval": 25}
    chart["tooltip"] = {**chart["tooltip"], "axisPointer": {"type": "none"}}
    bar = {"type": "bar", "name": "share", "encode": {"x": 0, "y": 1}, "itemStyle": {"color": BLUE}}
    bar |= {"barCategoryGap": "12%", "tooltip": {":valueFormatter": "v => v.toFixed(1) + ' %'"}}
    words = {"text": "no batches", "fill": "currentColor", "opacity": 0.6, "fontSize": 12}
    none = {"id": "none", "type": "text", "left": "center", "top": "middle", "style": words}
    return chart | {"legend": {"show": False}, "series": [bar], "graphic": none}


def batch_sizes_now(shares: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """What is in it: `(upper bound, percent)` of each class."""
    source: list[list[Any]] = []
    for (below, _), (bound, share) in pairwise([(0.0, 0.0), *shares]):
        first = below + 1 if source else bound // 2 + 1  # classes double; of the first, we know no lower neighbour
        source.append([f"{bound:g}" if first >= bound else f"{first:g}–{bound:g}", round(share, 2)])
    return {"dataset": {"source": source}, "graphic": {"id": "none", "invisible": bool(source)}}


def _chart(title: str, across: str, up: str, axis: Mapping[str, Any], *, legend: int = 0) -> dict[str, Any]:
    name = {"color": "currentColor", "fontSize": 11, "opacity": 0.75}
    label = {"color": "currentColor", "fontSize": 11, "opacity": 0.85, "hideOverlap": True, ":formatter": _SHORT}
    top = 48 if legend < 2 else 64
    lines = {"axisLine": {"lineStyle": _FAINT, "onZero": False}, "splitLine": {"lineStyle": _FAINT}}
    return {
        "animation": False,
        "textStyle": {"fontFamily": "inherit", "color": "currentColor"},
        "title": {"text": title, "left": 4, "top": 2, "textStyle": {"color": "currentColor", "fontSize": 13}},
        "grid": {"left": 12, "right": 18, "top": top, "bottom": 26, "containLabel": True},
        "tooltip": {
            "trigger": "axis",
            "confine": True,
            "backgroundColor": "var(--corral-surface)",
            "borderColor": "var(--corral-line)",
            "textStyle": {"color": "inherit", "fontSize": 12},
            "axisPointer": {"type": "line", "lineStyle": {"color": _MARK}},
            ":valueFormatter": _NUMBER,
        },
        "xAxis": {
            "type": "value", "name": across, "nameLocation": "middle", "nameGap": 26, "nameTextStyle": name,
            "axisLabel": dict(label), "axisTick": {"show": False}, **lines, "splitLine": {"show": False}, **axis,
        },
        "yAxis": {
            "type": "value", "name": up, "nameLocation": "end", "nameGap": 8,
            "nameTextStyle": {**name, "align": "left", "padding": [0, 0, 0, -24]}, "axisLabel": label, **lines,
            "splitNumber": 4,
        },
        "dataset": {"source": []},
    }  # fmt: skip


def _legend(lines: int) -> dict[str, Any]:
    size, width = (11, 20) if lines <= 2 else (10, 14)  # four names fit into the narrowest chart
    text = {"color": "currentColor", "fontSize": size}
    return {
        "show": lines > 1, "left": 4, "top": 24, "itemWidth": width, "itemHeight": 8, "itemGap": 6,
        "textStyle": text, "inactiveColor": _MARK, "itemStyle": {"opacity": 0}, "padding": [5, 2],
    }  # fmt: skip


def _line(name: str, colour: str, column: int, dashed: bool = False) -> dict[str, Any]:
    return {
        "type": "line", "name": name, "encode": {"x": 0, "y": column}, "showSymbol": False, "symbol": "none",
        "lineStyle": {"width": 1.75, "color": colour, "type": "dashed" if dashed else "solid"},
        "itemStyle": {"color": colour}, "emphasis": {"disabled": True},
    }  # fmt: skip


def _marks(drawn: list[dict[str, Any]], place: str = "insideEndTop") -> dict[str, Any]:
    label = {"color": "currentColor", "fontSize": 10, "position": place}
    style = {"color": _MARK, "type": "dotted", "width": 1.25}
    return {"silent": True, "symbol": "none", "animation": False, "label": label, "lineStyle": style, "data": drawn}
