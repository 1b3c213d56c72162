"""A page in a real browser, for the tests of the live page and of the report."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    # A browser that looks for its maker's hosts fails slowly on a machine without them.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
LAPTOP, PHONE = (1366, 768), (390, 844)

# How much of a chart is painted: the share of its pixels that are not empty. Read from a copy, for a canvas
# that is read back makes the browser warn of it.
PAINTED = """
return [...document.querySelectorAll(arguments[0] + " canvas")].map((canvas) => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
  let painted = 0;
  for (let i = 3; i < data.length; i += 4) painted += data[i] > 0;
  return painted / (data.length / 4);
});
"""
FINGERPRINT = "return document.querySelector(arguments[0] + ' canvas').toDataURL()"


class Page:
    """The page in a browser."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)

    def show(self, size: tuple[int, int], *, dark: bool) -> None:
        scheme = "dark" if dark else "light"
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False},
        )
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )

    def text(self, selector: str) -> str:
        return str(self.driver.find_element(By.CSS_SELECTOR, selector).text)

    def number(self, selector: str) -> int:
        digits = "".join(character for character in self.text(selector) if character.isdigit())
        return int(digits) if digits else -1

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: Callable[[], object], what: str, seconds: float = 15) -> None:
        WebDriverWait(self.driver, seconds, 0.1).until(lambda _: condition(), what)

    def console(self) -> list[dict[str, Any]]:
        """What the console has said since it was last asked."""
        return list(self.driver.get_log("browser"))  # type: ignore[no-untyped-call]

    def save(self, path: Path) -> None:
        height = self.run("return document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": self.run("return innerWidth"), "height": height, "scale": 1}
        picture = self.driver.execute_cdp_cmd(
            "Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip}
        )
        path.write_bytes(base64.b64decode(picture["data"]))
