"""The page: every source side by side, painted anew each second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nicegui import Client, ui

from corral.dashboard.gate import STEERS
from corral.dashboard.panel import Panel, paint
from corral.dashboard.steering import Line
from corral.dashboard.watch import PERIOD_S, Watch

STYLE = Path(__file__).with_name("style.css")
_FAREWELL = """
document.body.classList.add("corral-over");
window.socket?.disconnect();
"""


def lay_out(watched: Sequence[tuple[Watch, Line]]) -> None:
    """Make the page known to NiceGUI."""
    ui.add_css(STYLE, shared=True)

    @ui.page("/", title="Corral", dark=None)
    def page() -> None:
        steers = bool(ui.context.client.request.scope.get(STEERS))
        ui.colors(primary="#2b78b8", positive="#12805c", warning="#b25e00", negative="#b3261e")
        with ui.element("header").classes("corral-head"):
            ui.html("<h1>Corral</h1>", sanitize=False)
            if not steers:
                ui.label("read only").classes("corral-faint")
            ui.element("div").classes("corral-gap")
            ui.label("the dashboard has ended: this is how things stood then").classes("corral-over-note")
            # In the browser, which alone knows what the system's own choice is.
            button = ui.button(icon="contrast").on("click", js_handler="() => setDark(!Quasar.Dark.isActive)")
            button.props('flat dense round aria-label="light or dark"')
        with ui.element("main").classes("corral-sources"):
            panels = [Panel(watch, line if steers else None) for watch, line in watched]

        def refresh() -> None:
            ui.run_javascript(paint([each for panel in panels for each in panel.refresh()]))

        ui.timer(PERIOD_S, refresh)


def say_farewell() -> None:
    """Tell every browser that the page will be nobody's soon: no reconnecting, and it keeps what it shows."""
    for client in list(Client.instances.values()):
        if client.has_socket_connection:
            client.run_javascript(_FAREWELL)
