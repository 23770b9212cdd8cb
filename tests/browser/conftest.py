"""One Chromium for the session, and pages that note what went wrong in them."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import ConsoleMessage, Page, Request, expect, sync_playwright

expect.set_options(timeout=60_000)

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run")
NO_CHROMIUM = (
    "there is no Chromium: `apt-get install chromium` or `playwright install chromium`; "
    "to leave these tests out: pytest -m 'not browser'"
)


@dataclass
class Noted:
    """A page and what it complained of and asked for."""

    page: Page
    errors: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    def console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} {message.location}")

    def request(self, request: Request) -> None:
        if not request.url.startswith(("data:", "blob:")):
            self.addresses.append(request.url)


def find_chromium(own: str) -> str:
    """Path of Chromium: the machine's, or playwright's own."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if not found and not Path(own).is_file():
        pytest.fail(NO_CHROMIUM, pytrace=False)
    return found or own


@pytest.fixture(scope="session")
def chromium():
    with sync_playwright() as playwright:
        path = find_chromium(playwright.chromium.executable_path)
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_page(chromium):
    """Open pages, each in a context of its own; all are closed at the end of the module."""
    contexts = []

    def open_(address: str, **options) -> Noted:
        contexts.append(
            chromium.new_context(**{"viewport": {"width": 1400, "height": 900}} | options)
        )
        noted = Noted(contexts[-1].new_page())
        noted.page.set_default_timeout(60_000)
        noted.page.on("console", noted.console)
        noted.page.on("pageerror", lambda error: noted.errors.append(str(error)))
        noted.page.on("request", noted.request)
        noted.page.goto(address)
        return noted

    yield open_
    for context in contexts:
        context.close()
