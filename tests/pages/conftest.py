"""A real browser on the real service with the log of a year."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.service import Service, until
from tests.support.year import write_year

CHROMIUM: Final = shutil.which("chromium")
FLAGS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
MILLISECONDS: Final = 20_000
"""How long a page may take on a busy machine."""
COUNT: Final = 400
"""How many decisions the log of the year has."""

expect.set_options(timeout=MILLISECONDS)


@pytest.fixture(scope="module")  # Playwright's loop runs as long, and others want to run theirs
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        yield made
        made.close()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("year")


@pytest.fixture(scope="session")
def ids(folder: Path) -> list[str]:
    return write_year(folder, COUNT)


@pytest.fixture(scope="session")
def service(folder: Path, ids: list[str]) -> Iterator[Service]:
    assert ids
    with Service(folder, "--log", "log") as made:
        until_indexed(made.client(), COUNT)
        yield made


def until_indexed(client: httpx.Client, count: int) -> None:
    """Wait until the index of a log has all of its decisions."""

    def is_there() -> bool:
        answer = client.get("/v1/decisions", params={"limit": 1000})
        return answer.status_code == 200 and len(answer.json()["decisions"]) == count

    until(is_there)


Open = Callable[..., Page]
"""Opens a page by its path, with options of the browser."""


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Return what makes a window; whatever a page complains about fails the test."""
    complaints: list[str] = []
    contexts: list[BrowserContext] = []

    def window(service: Service, **options: object) -> BrowserContext:
        made = browser.new_context(base_url=service.url, **options)  # type: ignore[arg-type]
        made.set_default_timeout(MILLISECONDS)
        made.on("console", lambda it: complaints.append(it.text) if it.type == "error" else None)
        made.on("weberror", lambda it: complaints.append(str(it.error)))
        contexts.append(made)
        return made

    yield window
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(service: Service, open_page: Callable[..., BrowserContext]) -> Page:
    return open_page(service).new_page()
