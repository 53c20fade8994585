"""What steers one source: two sliders that take effect at once, and the buttons."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from nicegui import ui
from nicegui.events import GenericEventArguments

from corral.dashboard.curves import timeout_text
from corral.dashboard.steering import Line
from corral.dashboard.watch import Watch
from corral.launch.errors import explain
from corral.launch.progress import number

TIMEOUTS_US = (
    0, 50, 100, 200, 300, 500, 750, 1_000, 1_500, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 20_000, 30_000,
    50_000,
)  # fmt: skip
"""Where the slider of the timeout stops. A server can have others, which are shown at the nearest of these."""
HELD_S = 1.5
"""Seconds after a person's last touch for which a slider does not follow the server."""

_READ_ONLY = "to steer, open the address with the token that corral dashboard printed"


class Controls:
    """Builds itself where it is made.

    Args:
      line: to steer by; None shows the settings only.
    """

    def __init__(self, watch: Watch, line: Line | None) -> None:
        self._watch = watch
        self._line = line
        self._touched = 0.0
        self._wanted: dict[str, Any] = {}
        self._sending = False
        with ui.element("div").classes("corral-card"):
            with ui.element("div").classes("corral-steering"):
                self._build_timeout()
                self._build_size()
            with ui.element("div").classes("corral-buttons"):
                self._build_buttons()
        self.refresh()

    def refresh(self) -> None:
        """Show what the server is set to now, unless a person is about to set it."""
        server, learner = self._watch.server, self._watch.learner
        if time.monotonic() - self._touched > HELD_S and not self._sending:
            self._show(number(server, "timeout_us"), bool(server.get("timeout_auto")), number(server, "max_size"))
        if self._line is not None:
            there = self._watch.silent_s("server") < HELD_S * 2 and bool(server)
            self._timeout.set_enabled(there and not self._auto.value)
            for control in (self._auto, self._size, self._write, self._drain):
                control.set_enabled(there)
        if self._learns:
            paused = bool(learner.get("paused"))
            self._pause.text = "resume learning" if paused else "pause learning"
            self._pause.props(f"icon={'play_arrow' if paused else 'pause'}")
            for button in (self._pause, self._save):
                button.set_enabled(self._line is not None and bool(learner) and self._watch.silent_s("learner") < 3)

    @property
    def _learns(self) -> bool:
        return "learner" in self._watch.source.addresses

    def _build_timeout(self) -> None:
        with ui.element("div").classes("corral-knob"):
            with ui.element("div").classes("line"):
                ui.label("batch timeout")
                self._timeout_text = ui.label("–").classes("value")
                ui.element("div").classes("corral-gap")
                self._auto = ui.switch("auto").props("dense")
            self._timeout = ui.slider(min=0, max=len(TIMEOUTS_US) - 1, step=1, value=0).props(
                'aria-label="batch timeout"'
            )
        self._timeout.mark("timeout")
        self._timeout.on("update:model-value", self._on_timeout, throttle=0.1)
        self._auto.on("update:model-value", self._on_auto)
        if self._line is None:
            self._timeout.disable()
            self._auto.disable()

    def _build_size(self) -> None:
        with ui.element("div").classes("corral-knob"):
            with ui.element("div").classes("line"):
                ui.label("largest batch")
                self._size_text = ui.label("–").classes("value")
            self._size = ui.slider(min=0, max=1, step=1, value=0).props('aria-label="largest batch"')
        self._size.on("update:model-value", self._on_size, throttle=0.1)
        if self._line is None:
            self._size.disable()

    def _build_buttons(self) -> None:
        file = self._watch.source.file
        self._write = self._button(f"write to {file.name}" if file else "write to file", "save_as", self._on_write)
        self._write.tooltip(str(file) if file else "no experiment file is known here: name it with --file")
        if self._learns:
            self._pause = self._button("pause learning", "pause", self._on_pause)
            self._save = self._button("save a checkpoint", "save", lambda: self._command("learner", "checkpoint"))
        self._drain = self._button("drain", "logout", self._on_drain)
        if self._line is None:
            ui.label(_READ_ONLY).classes("corral-faint")

    def _button(self, text: str, icon: str, action: Callable[[], Any]) -> ui.button:
        button = ui.button(text, icon=icon).props("outline dense no-caps size=13px padding='3px 10px'")
        if self._line is None:
            button.disable()
        else:
            button.on_click(action)
        return button

    async def _on_timeout(self, event: GenericEventArguments) -> None:
        await self._want("timeout_us", TIMEOUTS_US[min(max(int(event.args), 0), len(TIMEOUTS_US) - 1)])

    async def _on_auto(self) -> None:
        server = self._watch.server
        await self._want("timeout_us", "auto" if self._auto.value else int(server.get("timeout_us") or 0))

    async def _on_size(self, event: GenericEventArguments) -> None:
        sizes = self._watch.sizes
        if sizes:
            await self._want("max_size", sizes[min(max(int(event.args), 0), len(sizes) - 1)])

    async def _want(self, key: str, value: Any) -> None:
        """Set it, or, where a setting is under way, set the newest value as soon as that one is through."""
        if self._line is None:
            return
        self._touched = time.monotonic()
        self._wanted[key] = value
        self._show_wanted(key, value)
        if self._sending:
            return
        self._sending = True
        try:
            while self._wanted:
                settings = {f"server.batching.{key}": value for key, value in self._wanted.items()}
                self._wanted.clear()
                await self._do(partial(Line.set, settings=settings), "server")
        finally:
            self._sending = False

    def _show_wanted(self, key: str, value: Any) -> None:
        if key == "max_size":
            self._size_text.text = f"{value:,} rows"
        else:
            auto = value == "auto"
            self._timeout_text.text = "auto" if auto else timeout_text(value)
            self._auto.value = auto

    def _show(self, timeout_us: float | None, auto: bool, size: float | None) -> None:
        self._timeout_text.text = timeout_text(timeout_us, auto=auto)
        self._auto.value = auto
        if timeout_us is not None:
            self._timeout.value = _nearest(TIMEOUTS_US, timeout_us)
        sizes = self._watch.sizes
        if sizes and size is not None:
            self._size.props(f"max={max(len(sizes) - 1, 1)}")
            self._size.value = _nearest(sizes, size)
        self._size_text.text = "–" if size is None else f"{size:,.0f} rows"

    async def _on_write(self) -> None:
        server = self._watch.server
        timeout = "auto" if server.get("timeout_auto") else server.get("timeout_us")
        batching = {"timeout_us": timeout, "max_size": server.get("max_size")}
        if None not in batching.values():
            await self._do(lambda line: line.write(batching))

    async def _on_pause(self) -> None:
        await self._command("learner", "resume" if self._watch.learner.get("paused") else "pause")

    async def _on_drain(self) -> None:
        learns = "The learner then saves, and the run ends." if self._watch.trains else ""
        with ui.dialog() as dialog, ui.card():
            ui.label(f"The server takes nothing new in, answers what has come, and ends. {learns}")
            with ui.row():
                ui.button("drain", on_click=lambda: dialog.submit(True)).props("no-caps color=negative")
                ui.button("keep it", on_click=lambda: dialog.submit(False)).props("no-caps flat")
        if await dialog:
            await self._command("server", "drain")
        dialog.delete()

    async def _command(self, role: str, name: str) -> None:
        await self._do(lambda line: line.command(role, name), role, f"{name}: the {role} has heard")

    async def _do(self, act: Callable[[Line], Any], role: str = "", done: str = "") -> None:
        """Act on a thread of its own, since answers take their time, and tell what came of it."""
        if self._line is None:
            return
        try:
            result = await asyncio.to_thread(act, self._line)
        except Exception as error:
            text = explain(error)
            if text is None:
                raise
            ui.notify(text, type="negative", timeout=10_000, close_button="close", multi_line=True)
            return
        if isinstance(result, Mapping) and role:
            self._watch.hear(role, result)
        if text := result if isinstance(result, str) else done:
            ui.notify(text, type="positive")


def _nearest(stops: Any, value: float) -> int:
    return min(range(len(stops)), key=lambda index: abs(stops[index] - value))
