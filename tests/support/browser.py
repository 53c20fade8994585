"""A headless Chromium that a test looks at pages with."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import ElementClickInterceptedException, StaleElementReferenceException
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.support.processes import until
from tests.support.programs import program

_OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


def chromium(name: str) -> str:
    """The path of Chromium or its driver."""
    return program(name, "Debian's chromium and chromium-driver", "REQUIRE_CHROMIUM")


class Page:
    """What a browser shows."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, address: str, *, width: int = 1440, height: int = 900, dark: bool = False) -> None:
        """Go there, in a window of this size."""
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(address)

    def resize(self, width: int, height: int) -> None:
        """The window's size, in pixels of the page."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def all(self, selector: str) -> list[Any]:
        """The elements that a CSS selector finds."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """Their words. Elements may be replaced while we look."""
        words: list[str] = self.driver.execute_script(
            "return [...document.querySelectorAll(arguments[0])].map(each => each.innerText.trim())", selector
        )
        return words

    def run(self, script: str, *arguments: Any) -> Any:
        """What JavaScript returns."""
        return self.driver.execute_script(script, *arguments)

    def click(self, words: str, within: str = "main") -> None:
        """Press the button that says `words`, as soon as it can be pressed."""

        def press() -> bool:
            for button in self.all(f"{within} button"):
                # A dialogue may be moving still, and the page may be building itself.
                with contextlib.suppress(ElementClickInterceptedException, StaleElementReferenceException):
                    if words in button.text and button.is_enabled():
                        self.run("arguments[0].scrollIntoView({block: 'center'})", button)
                        button.click()
                        return True
            return False

        until(press, 20, f"a button {words!r}")

    def drag(self, selector: str, pixels: int) -> None:
        """Take hold of an element, and move it to the right, in steps as a hand does."""
        (element,) = self.all(selector)
        chain = ActionChains(self.driver, duration=50).click_and_hold(element)
        for _ in range(10):
            chain = chain.move_by_offset(pixels // 10, 0)
        chain.release().perform()

    def errors(self) -> list[str]:
        """What the console holds since it was last asked, but for what informs only."""
        return [
            entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")
        ]

    def save(self, file: Path) -> None:
        """A picture of the window."""
        assert self.driver.save_screenshot(str(file))

    def until_words(self, words: str, selector: str = "body", timeout_s: float = 30) -> None:
        """Wait until an element says `words`."""
        until(lambda: any(words in text for text in self.texts(selector)), timeout_s, f"{words!r} on the page")


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A fresh Chromium with its profile in `folder`."""
    options = webdriver.ChromeOptions()
    options.binary_location = chromium("chromium")
    for option in (*_OPTIONS, f"--user-data-dir={folder / str(time.monotonic_ns())}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(chromium("chromedriver")))
    try:
        yield Page(driver)
    finally:
        driver.quit()
