"""What charts are given, against what they should show."""

from __future__ import annotations

from corral.dashboard import charts


def test_every_axis_has_a_name() -> None:
    built = [
        charts.over_time("throughput", "answers/s", {"answers": (charts.BLUE, False)}),
        charts.over_steps("loss", "no unit", "loss", charts.BLUE),
        charts.returns(),
        charts.batch_sizes(),
    ]
    assert all(chart[axis]["name"] for chart in built for axis in ("xAxis", "yAxis"))


def test_the_band_is_what_lies_on_its_lower_edge() -> None:
    now = charts.returns_now([(100, 10.0, 8.0, 12.5), (200, 11.0, None, None)], 475.0)
    assert now["dataset"]["source"] == [[100, 10.0, 8.0, 4.5], [200, 11.0, None, None]]
    assert now["series"][0]["markLine"]["data"][0]["yAxis"] == 475.0
    assert charts.returns_now([], None)["series"][0]["markLine"]["data"] == []


def test_classes_of_batches_are_named_by_what_is_in_them() -> None:
    now = charts.batch_sizes_now([(1, 25.0), (2, 25.0), (4, 50.0)])
    assert now["dataset"]["source"] == [["1", 25.0], ["2", 25.0], ["3–4", 50.0]]
    assert charts.batch_sizes_now([(16, 60.0), (32, 40.0)])["dataset"]["source"] == [
        ["9–16", 60.0],
        ["17–32", 40.0],
    ]
    assert charts.batch_sizes_now([])["graphic"]["invisible"] is False


def test_the_axis_of_time_grows_with_what_there_is() -> None:
    def window(oldest: float) -> float:
        axis = charts.over_time_now([(-oldest, 1.0), (0.0, 1.0)], [(-1.0, "500 µs")])["xAxis"]
        return float(axis["min"])

    assert [window(each) for each in (5, 60, 61, 299)] == [-60, -60, -120, -300]
