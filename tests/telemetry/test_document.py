from __future__ import annotations

from pathlib import Path

from corral.telemetry.__main__ import page


def test_the_page_is_what_the_catalogue_says() -> None:
    document = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert document.read_text() == page(), "python -m corral.telemetry > docs/metrics.md"
