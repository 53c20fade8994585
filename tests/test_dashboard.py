"""The live page, in a real Chromium, of a real run."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from corral.launch.folder import learner_address, server_addresses
from corral.protocol import fetch_status
from tests.support.browser import Page, browser
from tests.support.command import Workplace, workplace
from tests.support.processes import until

# A run, a page and a browser: half a minute until the first look, and more than two cores' worth of work.
pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]

EXPERIMENT = """
# This comment stays.
[environment]
id = "CartPole-v1"
[run]
name = "shown"
max_env_steps = 1_000_000_000
[actor]
processes = 2
environments = 4
[server.batching]
timeout_us = 0  # and this one
max_size = 16
"""


class Run:
    """`corral run --dashboard`, and the page that it named.

    Attributes:
      address: of the page, with its token.
    """

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self.file = place.folder / "shown.toml"
        self.file.write_text(EXPERIMENT)
        place.environment.pop("CORRAL_RUN__TARGET_RETURN")
        self.log = (place.folder / "said").open("w+")
        self.process = subprocess.Popen(
            ["corral", "run", str(self.file), "--dashboard", "--plain"],
            cwd=place.folder, env=place.environment, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )  # fmt: skip
        self.address = until(self._named, 60, "the page's address")
        until(lambda: self.server.get("ready"), 60, "a server that is ready")

    @property
    def said(self) -> str:
        """Everything that the command has said."""
        return (self.place.folder / "said").read_text()

    @property
    def server(self) -> dict[str, Any]:
        """The server's own figures, asked without the page."""
        return fetch_status(server_addresses(self.place.run_folder)[0], 1.0) or {}

    @property
    def learner(self) -> dict[str, Any]:
        """The learner's."""
        return fetch_status(learner_address(self.place.run_folder), 1.0) or {}

    def end(self) -> None:
        """Ask it to stop, and wait."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self.process.wait(60)
        self.log.close()

    def _named(self) -> str | None:
        assert self.process.poll() is None, self.said
        found = re.search(r"^dashboard: (http://127\.0\.0\.1:\d+/\?token=\S+)$", self.said, re.MULTILINE)
        return found[1] if found else None


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    with workplace() as place:
        run = Run(place)
        try:
            yield run
        finally:
            run.end()
            print(run.said[-3000:])


@pytest.fixture(scope="module")
def page(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("chromium")) as page:
        yield page


@pytest.fixture
def steering(run: Run, page: Page) -> Page:
    """The page, opened by the address with the token."""
    page.open(run.address)
    page.until_words("training", ".corral-standing")
    until(lambda: drawn(page, "throughput"), 20, "charts")
    page.errors()
    return page


def value(page: Page, name: str) -> str:
    """What a figure's tile says."""
    tiles = page.texts(".corral-tile")
    return next((text.split("\n")[1] for text in tiles if text.split("\n")[0] == name), "")


def drawn(page: Page, title: str) -> str:
    """How a chart is drawn just now."""
    script = """return [...document.querySelectorAll('.corral-chart')]
        .filter(each => each.textContent.includes(arguments[0]))
        .map(each => [...each.querySelectorAll('path')].map(path => path.getAttribute('d')).join(';')).join('')"""
    return str(page.run(script, title))


def test_the_page_loads_and_moves(steering: Page) -> None:
    until(lambda: value(steering, "answers") not in ("", "–", "0/s"), 20, "a throughput")
    for title in ("throughput", "latency of a request", "mean return"):
        before = until(lambda title=title: drawn(steering, title), 20, f"a {title}")
        until(lambda title=title, before=before: drawn(steering, title) != before, 20, f"a {title} that moves")
    steps = value(steering, "steps")
    until(lambda: value(steering, "steps") != steps, 20, "steps that grow")
    until(lambda: len(steering.texts(".corral-actors tbody tr")) == 2, 20, "both actors in the table")
    until(lambda: "worth changing" in steering.texts(".corral-verdict")[0], 30, "a verdict")
    assert "token" not in steering.driver.current_url
    assert steering.errors() == []


def test_nothing_comes_from_elsewhere(run: Run, steering: Page) -> None:
    """The page works without a network."""
    here = run.address.partition("/?")[0]
    asked = steering.run("return performance.getEntriesByType('resource').map(each => each.name)")
    assert len(asked) > 5
    assert [address for address in asked if not address.startswith((here, "data:"))] == []


def test_sliders_set_the_live_server(run: Run, steering: Page) -> None:
    until(lambda: run.server["timeout_us"] == 0, 5, "the setting of the file")
    steering.drag('[aria-label="batch timeout"] .q-slider__thumb', 200)
    timeout = until(lambda: run.server["timeout_us"], 5, "another timeout")
    assert 50 <= timeout <= 50_000
    shown = f"{timeout} µs" if timeout < 1_000 else f"{timeout / 1e3:g} ms"
    until(lambda: shown in steering.texts(".corral-knob .value"), 5, f"{shown} on the page")
    steering.drag('[aria-label="largest batch"] .q-slider__thumb', -150)
    until(lambda: run.server["max_size"] < 16, 5, "smaller batches")
    size = run.server["max_size"]
    until(lambda: f"{size} rows" in steering.texts(".corral-knob .value"), 5, "their size on the page")

    steering.click("write to shown.toml")
    until(lambda: f"max_size = {size}" in run.file.read_text(), 10, "the setting in the file")
    written = run.file.read_text()
    assert tomllib.loads(written)["server"]["batching"] == {"timeout_us": timeout, "max_size": size}
    assert "# This comment stays." in written
    assert "# and this one" in written
    assert steering.errors() == []


def test_auto_is_switched_on_and_off(run: Run, steering: Page) -> None:
    for wanted in (True, False):
        (switch,) = steering.all(".corral-knob .q-toggle")
        switch.click()
        until(lambda wanted=wanted: run.server["timeout_auto"] is wanted, 10, f"auto = {wanted}")
        until(lambda wanted=wanted: says_auto(steering) is wanted, 10, "the same on the page")
    assert steering.errors() == []


def says_auto(page: Page) -> bool:
    return any("auto, now" in text for text in page.texts(".corral-knob .value"))


def test_learning_is_paused_saved_and_resumed(run: Run, steering: Page) -> None:
    steering.click("pause learning")
    steering.until_words("paused", ".corral-standing")
    assert run.learner["paused"]
    checkpoints = run.place.run_folder / "checkpoints"
    before = {path.name for path in checkpoints.glob("checkpoint-*")}
    steering.click("save a checkpoint")
    until(lambda: {path.name for path in checkpoints.glob("checkpoint-*")} - before, 20, "a checkpoint")
    steering.click("resume learning")
    steering.until_words("training", ".corral-standing")
    assert not run.learner["paused"]
    assert steering.errors() == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1440, 420])
def test_light_and_dark_wide_and_narrow(run: Run, page: Page, width: int, dark: bool, tmp_path: Path) -> None:
    page.open(run.address, width=width, dark=dark)
    page.until_words("training", ".corral-standing")
    until(lambda: drawn(page, "throughput"), 20, "a chart")
    assert page.run("return document.documentElement.scrollWidth") <= width
    colour, ground = style(page, ".corral-card", "color"), style(page, ".corral-card", "backgroundColor")
    fill = style(page, ".corral-chart text", "fill")
    assert (brightness(ground) < 100) is dark
    assert abs(brightness(colour) - brightness(ground)) > 150
    assert abs(brightness(fill) - brightness(ground)) > 150  # of the charts' words too
    (button,) = page.all('[aria-label="light or dark"]')
    button.click()
    until(
        lambda: (brightness(style(page, ".corral-card", "backgroundColor")) < 100) is not dark, 5, "the other mode"
    )
    page.save(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000
    assert page.errors() == []


def style(page: Page, selector: str, name: str) -> str:
    """How the first such element looks. Charts are drawn anew while we look, so in one go."""
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    return str(page.run(script, selector, name))


def brightness(colour: str) -> float:
    """0 to 255 of `rgb(r, g, b)`."""
    red, green, blue = map(float, re.findall(r"[\d.]+", colour)[:3])
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_without_the_token_it_shows_only(run: Run, tmp_path: Path) -> None:
    timeout = run.server["timeout_us"]
    with browser(tmp_path) as stranger:
        stranger.open(run.address.partition("?")[0])
        stranger.until_words("training", ".corral-standing")
        stranger.until_words("read only")
        assert len(stranger.all("button[disabled]")) >= 4
        for slider in stranger.all(".corral-knob .q-slider"):
            assert slider.get_attribute("aria-disabled") == "true"
        stranger.drag('[aria-label="batch timeout"] .q-slider__thumb', 100)
        # And what is not offered is not listened to either.
        stranger.run("""for (const slider of document.querySelectorAll('.corral-knob .q-slider'))
            for (const id of [slider.id.slice(1)]) getElement(Number(id))?.$emit('update:model-value', 3)""")
        stranger.until_words("training", ".corral-standing")
        assert stranger.errors() == []
    assert run.server["timeout_us"] == timeout


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 101),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
    ],
)
def test_websockets_of_other_pages_are_turned_away(run: Run, headers: dict[str, str], status: int) -> None:
    host, _, port = run.address.removeprefix("http://").partition("/")[0].partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    upgrade["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    connection.request("GET", "/_nicegui_ws/socket.io/?EIO=4&transport=websocket", headers=upgrade | headers)
    try:
        assert connection.getresponse().status == status
    finally:
        connection.close()


def test_the_token_is_in_no_log(run: Run) -> None:
    token = run.address.partition("=")[2]
    assert len(token) >= 40
    for log in (run.place.run_folder / "logs").iterdir():
        assert token not in log.read_text()
    assert token not in json.dumps([process.cmdline() for process in run.place.processes()])


def test_a_server_that_dies_is_told_and_so_is_its_return(run: Run, steering: Page) -> None:
    server = run.place.child("server")
    assert server is not None
    server.send_signal(signal.SIGSTOP)
    try:
        steering.until_words("silent", ".corral-standing")
        assert any("has not answered for" in text for text in steering.texts(".corral-head"))
    finally:
        server.send_signal(signal.SIGCONT)
    steering.until_words("training", ".corral-standing")
    os.kill(server.pid, signal.SIGKILL)
    until(lambda: run.server.get("ready"), 60, "its successor")
    steering.until_words("training", ".corral-standing", 60)
    before = drawn(steering, "throughput")
    until(lambda: drawn(steering, "throughput") != before, 20, "a throughput that moves again")
    assert steering.errors() == []


def test_a_run_drains_and_the_page_says_that_it_has_ended(run: Run, steering: Page) -> None:
    """The last: it ends the run."""
    steering.click("drain")
    steering.click("drain", within=".q-dialog")
    assert run.process.wait(60) == 0, run.said
    steering.until_words("the dashboard has ended", ".corral-over-note", 10)
    assert steering.errors() == []
    until(lambda: not run.place.leftovers(), 10, "nothing left behind")
