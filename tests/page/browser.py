"""A real Chromium for the tests of the page, in a thread of its own, for its library brings an event loop."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

T = TypeVar("T")
Check = Callable[[Page], T]

REMEDY = (
    "The tests of the page need Chromium. Either install it (on Debian, as root: apt-get install chromium), "
    "or name one (export RPCB_TEST_CHROMIUM=/path/to/chromium)."
)

FLAGS = [
    "--use-fake-device-for-media-stream",  # a microphone that beeps
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--mute-audio",
]

PATIENCE = 20_000
"""Milliseconds after which what a test waits for has not come."""

expect.set_options(timeout=PATIENCE)

SCREENSHOTS = Path(__file__).parents[2] / "test-output" / "screenshots"

WIDE = (1280, 900)
PHONE = (360, 740)


class Chromium:
    """Runs what a test does with a page, in the browser's thread."""

    def __init__(self, thread: ThreadPoolExecutor, browser: Browser) -> None:
        self._thread = thread
        self._browser = browser

    def show(
        self,
        url: str,
        check: Check[T],
        *,
        size: tuple[int, int] = WIDE,
        refusals: tuple[str, ...] = (),
    ) -> T:
        """Open the page and check it; it must not complain, nor ask another origin for anything.

        Args:
            url: of the page.
            check: what to do with it.
            size: of the window, in pixels.
            refusals: that the test is about: parts of what the console says of them.
        """
        window = {
            "viewport": {"width": size[0], "height": size[1]},
            "permissions": ["microphone"],
        }
        return self._thread.submit(self._show, url, check, window, Manners(url, refusals)).result()

    def _show(self, url: str, check: Check[T], window: dict[str, Any], manners: Manners) -> T:
        context = self._browser.new_context(**window)
        try:
            context.set_default_timeout(PATIENCE)
            page = context.new_page()
            page.on("console", manners.hear)
            page.on("pageerror", lambda error: manners.complaints.append(str(error)))
            page.on("request", manners.see)
            page.goto(url)
            page.locator(".service").first.wait_for()
            found = check(page)
        finally:
            context.close()
        assert manners.complaints == []
        assert manners.strangers == []
        return found


class Manners:
    """What the page complained of, and whom it asked."""

    def __init__(self, url: str, refusals: tuple[str, ...]) -> None:
        self._origin = urlsplit(url).netloc
        self._refusals = refusals
        self.complaints: list[str] = []
        self.strangers: list[str] = []

    def hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(each in message.text for each in self._refusals):
            self.complaints.append(message.text)

    def see(self, request: Request) -> None:
        split = urlsplit(request.url)
        if split.scheme != "blob" and split.netloc != self._origin:
            self.strangers.append(request.url)


@contextmanager
def chromium() -> Iterator[Chromium]:
    """Start the browser, and end it."""
    path = os.environ.get("RPCB_TEST_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.fail(REMEDY)
    sandbox = [] if os.geteuid() else ["--no-sandbox"]  # root has none
    with ThreadPoolExecutor(1, "chromium") as thread:
        playwright = thread.submit(lambda: sync_playwright().start()).result()
        try:
            launch = partial(playwright.chromium.launch, executable_path=path, args=[*FLAGS, *sandbox])
            browser = thread.submit(launch).result()
            yield Chromium(thread, browser)
            thread.submit(browser.close).result()
        finally:
            thread.submit(playwright.stop).result()


def keep(page: Page, name: str, *, whole: bool = True) -> None:
    """Keep a picture of the page, for people."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    place = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=place, full_page=whole)
    print(f"kept {place}")  # noqa: T201 - pytest -rP shows it
