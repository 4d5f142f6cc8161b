"""A real headless Chromium for the pages of the examples: the system's own, driven by playwright.

What always holds: a page that logs an error or raises one fails its test; without a Chromium the test is skipped and says so.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WAIT_MS = 10_000
WIDTHS = {"phone": 390, "desk": 1280}


def chromium_path() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextlib.contextmanager
def browsing() -> Iterator[Browser]:
    """A browser; one process for as many pages as its user opens."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        # No sandbox: containers and root have none. It only ever opens the program under test.
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def page_of(
    browser: Browser, url: str, *, width: int = 1280, scheme: Literal["light", "dark"] = "light"
) -> Iterator[Page]:
    """The page at `url` of a visitor of its own (cookies, window). Fails when its script fails."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    try:
        page.goto(url)
        yield page
        assert not failures, failures
    finally:
        context.close()


def overflows(page: Page) -> bool:
    """Whether the page is wider than its window."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


def unlabelled(page: Page) -> list[str]:
    """Controls that a screen reader could not name."""
    return page.evaluate(
        """[...document.querySelectorAll('input, textarea, select, button')].filter((control) => control.checkVisibility())
        .filter((control) => !(control.labels?.length || control.ariaLabel || control.textContent.trim()))
        .map((control) => control.outerHTML)"""
    )


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const linear = (part) => part <= 10 ? part / 255 / 12.92 : ((part / 255 + .055) / 1.055) ** 2.4;
  const light = ([red, green, blue]) => .2126 * linear(red) + .7152 * linear(green) + .0722 * linear(blue);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const color = rgba(getComputedStyle(element).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    if (!element.checkVisibility() || element.disabled) continue;
    if (![...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim())) continue;
    const lights = [light(rgba(getComputedStyle(element).color)), light(behind(element))].sort((one, two) => two - one);
    const ratio = (lights[0] + .05) / (lights[1] + .05);
    if (ratio < 4.5) found.push(`${ratio.toFixed(1)}: ${element.textContent.trim().slice(0, 40)}`);
  }
  return found;
}"""


def faint(page: Page) -> list[str]:
    """Texts whose contrast with what is behind them is below 4.5 : 1 (WCAG AA)."""
    return page.evaluate(CONTRAST)
