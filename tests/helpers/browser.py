"""A headless Chromium without network, which records what a page requests and reports."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

REQUIRED = os.environ.get("UNICLIP_BROWSER") == "required"
"""Whether tests fail without a browser; else they are skipped."""
WAIT_SECONDS = 60.0
"""Time for a page to change; a busy machine needs some seconds."""


def find_obstacle() -> str:
    """Return why there is no browser, or ""."""
    if importlib.util.find_spec("selenium") is None:
        return "the package selenium is not installed"
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


def require_browser() -> None:
    """Skip the test if there is no browser, unless it is required."""
    if (obstacle := find_obstacle()) and not REQUIRED:
        pytest.skip(f"{obstacle} (apt-get install chromium chromium-driver)")
    assert not find_obstacle()


class Browser:
    """A window of Chromium."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        """Load a page, and wait until its code has drawn it."""
        self.driver.get(url)
        self.wait(lambda: self.run("return document.body.dataset.ready === 'true'"))

    def run(self, code: str, *arguments: object) -> Any:
        """Return what JavaScript code returns in the page."""
        return self.driver.execute_script(code, *arguments)

    def find(self, selector: str) -> Any:
        """Return the first element of a CSS selector."""
        return self.driver.find_element("css selector", selector)

    def find_all(self, selector: str) -> list[Any]:
        """Return all elements of a CSS selector."""
        return list(self.driver.find_elements("css selector", selector))

    def show(self, element: Any) -> Any:
        """Scroll to an element, and return it."""
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        return element

    def click(self, selector: str) -> None:
        """Click on the first element of a CSS selector."""
        self.show(self.find(selector)).click()

    def list_texts(self, selector: str) -> list[str]:
        """Return the texts of all elements of a CSS selector."""
        code = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)"
        return list(self.run(code, selector))

    def wait(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + WAIT_SECONDS
        while not condition():
            assert time.monotonic() < end, "the page has not changed"
            time.sleep(0.05)

    def list_requests(self) -> list[str]:
        """Return the addresses that pages requested since the last call, but for embedded data."""
        messages = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        urls = [
            m["params"]["request"]["url"]
            for m in messages
            if m["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith(("data:", "blob:"))]

    def list_errors(self) -> list[str]:
        """Return the errors of pages since the last call, refused code among them."""
        return [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]

    def set_width(self, width: int, height: int = 900) -> None:
        """Set the size of the page, also below the least size of a window."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start a browser that can reach 127.0.0.1 only."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--window-size=1280,900",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    driver.set_page_load_timeout(WAIT_SECONDS)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
