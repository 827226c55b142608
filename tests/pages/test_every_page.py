"""What every page keeps to: readable by all, in light and dark, by keyboard, with hostile names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from tests.pages.conftest import until_indexed
from tests.support.service import SECONDS, Service
from tests.support.year import write_year

pytestmark = [pytest.mark.slow, pytest.mark.stress]

NAVIGATED = (*("decisions", "what-if", "policies", "playground", "spend", "compliance", "log"),)
_LONGEST_BYTES = 150_000


def settled(page: Page) -> None:
    """Wait until a page has all that it is made of."""
    page.wait_for_load_state("networkidle")
    expect(page.locator("progress")).to_have_count(0, timeout=SECONDS * 1000)


def all_pages(page: Page, ids: list[str]) -> list[str]:
    """Return the paths of every kind of page: those navigated to, and those that they lead to."""
    page.goto("/pages/policies")
    policy = str(page.locator("table a").first.get_attribute("href"))
    page.goto("/pages/what-if")
    page.get_by_role("button", name="Decide them again").click()
    settled(page)
    report = page.url.removeprefix(page.url.partition("/pages")[0])
    paths = [f"/pages/{name}" for name in NAVIGATED]
    one = f"/pages/decisions/{ids[-1]}?why_not=trial&again=now"
    return [*paths, one, policy, report, "/pages/sign-in", "/pages/decisions?caller=nobody"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_hard_to_reach(
    service: Service, open_page: Callable[..., BrowserContext], ids: list[str], scheme: str
) -> None:
    page, axe = open_page(service, color_scheme=scheme).new_page(), Axe()
    found = {}
    for path in all_pages(page, ids):
        page.goto(path)
        settled(page)
        for summary in page.locator("main summary").all()[:6]:
            if summary.is_visible():
                summary.click()
        results = axe.run(page)
        if results.violations_count:
            found[path] = results.generate_report()
    assert found == {}


@pytest.mark.timeout(300)
def test_every_page_fits_a_phone(
    service: Service, open_page: Callable[..., BrowserContext], ids: list[str]
) -> None:
    window = open_page(service, viewport={"width": 360, "height": 740})
    page = window.new_page()
    wide = {}
    for path in all_pages(page, ids):
        page.goto(path)
        settled(page)
        width = page.evaluate("document.documentElement.scrollWidth")
        if width > 360:
            wide[path] = width
    assert wide == {}


def test_every_page_is_small_enough_but_the_editors(service: Service, ids: list[str]) -> None:
    client = service.client()
    static = sum(
        client.get(f"/pages/static/{name}").num_bytes_downloaded
        for name in ("htmx.min.js", "pages.js", "pages.css", "mark.svg")
    )
    for name in (*NAVIGATED, f"decisions/{ids[-1]}"):
        size = static + client.get(f"/pages/{name}").num_bytes_downloaded
        assert size < _LONGEST_BYTES, name
    assert client.get("/pages/static/editor.js").num_bytes_downloaded < _LONGEST_BYTES


def test_pages_are_used_by_keyboard_alone(page: Page, ids: list[str]) -> None:
    page.goto("/pages/decisions")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    first = page.locator(f'a[href="/pages/decisions/{ids[-1]}"]')
    for _ in range(120):
        page.keyboard.press("Tab")
        if first.evaluate("it => it === document.activeElement"):
            break
    expect(first).to_be_focused()
    outline = first.evaluate("it => getComputedStyle(it).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    expect(page.locator(".ladder > li")).to_have_count(5)
    summary = page.locator("summary").first
    summary.focus()
    page.keyboard.press("Enter")
    expect(page.locator("details").first).to_have_attribute("open", "")


def test_the_editor_lets_the_keyboard_go_on(page: Page) -> None:
    page.goto("/pages/playground")
    page.get_by_role("textbox", name="Rules", exact=True).click()
    page.keyboard.press("Tab")
    expect(page.get_by_role("textbox", name="Rules", exact=True)).not_to_be_focused()


def test_a_decision_prints_without_buttons_and_with_all_values(page: Page, ids: list[str]) -> None:
    page.goto(f"/pages/decisions/{ids[-1]}")
    expect(page.locator(".condition").first).not_to_be_visible()
    page.emulate_media(media="print")
    expect(page.locator(".actions")).not_to_be_visible()
    expect(page.locator(".top nav")).not_to_be_visible()
    expect(page.locator(".condition").first).to_be_visible()


_HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "\u202egnp.live\u2066",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "x" * 10_000,
    "שלום עולם",
    "=HYPERLINK(1)",
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("hostile")
    *names, last = _HOSTILE
    request: dict[str, Any] = {
        "task": {"kind": "coding", "model": names[0], "labels": ["pii"]},
        "caller": {"id": names[1], "team": names[2], "roles": [names[5], names[3], names[4]]},
        "parent": {"model": names[6], "provider": last},
    }
    return folder, write_year(folder, 12, **request)[-1]


def test_names_of_others_are_text_and_nothing_else(
    hostile: tuple[Path, str], open_page: Callable[..., BrowserContext]
) -> None:
    folder, decision_id = hostile
    with Service(folder, "--log", "log") as service:
        until_indexed(service.client(), 12)
        window = open_page(service)
        page = window.new_page()
        alerts: list[str] = []
        page.on("dialog", lambda it: alerts.append(it.message))
        for path in (f"decisions/{decision_id}", "decisions", "spend", "compliance"):
            page.goto(f"/pages/{path}")
            settled(page)
            assert page.locator("main script, main img:not([alt])").count() == 0
            assert "\u202e" not in page.content()
        assert alerts == []
        page.goto(f"/pages/decisions/{decision_id}")
        caller = page.locator("dl.facts bdi").filter(has_text="onerror")
        expect(caller).to_have_text(_HOSTILE[1])
        expect(page.locator(".given bdi").filter(has_text="x" * 100)).to_have_count(1)
        assert page.evaluate("document.documentElement.scrollWidth") <= 1280
        text = service.client().get("/pages/decisions.csv").text
        assert "<script>" not in text or ",=HYPERLINK" not in text


def test_live_decisions_appear_by_themselves(
    tmp_path: Path, open_page: Callable[..., BrowserContext]
) -> None:
    write_year(tmp_path, 3)
    with Service(tmp_path, "--log", "log") as service:
        until_indexed(service.client(), 3)
        page = open_page(service).new_page()
        page.goto("/pages/decisions")
        page.get_by_role("link", name="Live", exact=True).click()
        expect(page.locator("table.list tbody tr")).to_have_count(3)
        answer = service.client().post("/v1/decide", json={"task": {"kind": "coding"}})
        decision_id = answer.json()["decision_id"]
        expect(page.locator("table.list tbody tr")).to_have_count(4, timeout=SECONDS * 1000)
        new = page.locator("table.list tbody tr a").first
        expect(new).to_have_attribute("href", f"/pages/decisions/{decision_id}")
