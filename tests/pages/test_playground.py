"""The playground in a browser: what rules come to as one types."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from policy_router.analysis import read_suite, run_suite
from tests.support.service import Service
from tests.support.year import POLICY

pytestmark = pytest.mark.slow


@pytest.fixture
def play(page: Page) -> Page:
    page.goto("/pages/playground")
    expect(page.locator("#playground")).to_have_attribute("data-ready", "true")
    expect(page.locator("#took")).to_contain_text("ms")
    return page


_PASTE: Final = """(box, text) => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text/plain", text);
  box.dispatchEvent(new ClipboardEvent("paste", {clipboardData, bubbles: true, cancelable: true}));
}"""
"""As a person pastes: several lines at once that are typed make the browser write styles."""


def typed(page: Page, name: str, text: str) -> None:
    box = page.get_by_role("textbox", name=name, exact=True)
    box.click()
    page.keyboard.press("ControlOrMeta+a")
    box.evaluate(_PASTE, text)


def test_it_begins_with_the_rules_of_the_service(play: Page) -> None:
    expect(play.locator("#result .verdict")).to_contain_text("coder")
    assert play.locator("#policy").input_value() == POLICY.replace("{strict}", "strict")


def test_another_request_is_decided_as_it_is_typed(play: Page) -> None:
    typed(play, "Request", '{"task": {"kind": "coding", "labels": ["pii"]}}')
    expect(play.locator("#result .verdict")).to_contain_text("local")
    typed(play, "Request", '{"task": {"model": "gpt-9"}}')
    expect(play.locator("#result .verdict")).to_contain_text("outside_pool")
    typed(play, "Request", '{"task": {"knd": "coding"}}')
    expect(play.locator("#result .problem")).to_contain_text("unknown key")


def test_a_fault_in_the_rules_is_shown_at_its_line(play: Page) -> None:
    typed(play, "Rules", "version: 1\npool:\n  - model: a\n    pick: task.knd == 1\n")
    finding = play.locator(".findings .error").first
    expect(finding).to_contain_text("PR301")
    expect(play.locator("#result .empty")).to_contain_text("The rules have errors")
    expect(play.locator(".cm-lintRange-error").first).to_have_text(re.compile("knd"))
    finding.get_by_role("link", name="line 4").click()
    expect(play.get_by_role("textbox", name="Rules", exact=True)).to_be_focused()


def test_names_are_completed_and_told(play: Page) -> None:
    typed(play, "Rules", "version: 1\npool:\n  - model: a\n    pick: ")
    play.keyboard.type("task.k")
    items = play.locator(".cm-tooltip-autocomplete li")
    expect(items.filter(has_text="task.kind")).to_have_count(1)
    play.keyboard.press("Escape")
    typed(play, "Rules", 'version: 1\npool:\n  - model: a\n    pick: task.kind == "x"\n')
    play.locator(".cm-line", has_text="task.kind").hover(position={"x": 120, "y": 8})
    expect(play.locator(".cm-tooltip-hover")).to_contain_text("task.kind")


def test_a_link_holds_the_whole_case_and_tells_the_service_nothing(
    play: Page, service: Service, open_page: Callable[..., BrowserContext]
) -> None:
    typed(play, "Request", '{"task": {"kind": "research"}, "budget": {"remaining_usd": 7.0}}')
    expect(play.locator("#result .verdict")).to_contain_text("deep")
    play.get_by_role("button", name="Copy a link to this case").click()
    expect(play).to_have_url(re.compile("#case="))
    other = open_page(service).new_page()
    asked: list[str] = []
    other.on("request", lambda it: asked.append(it.url))
    other.goto(play.url)
    expect(other.locator("#result .verdict")).to_contain_text("deep")
    assert other.locator("#request").input_value().startswith('{"task": {"kind": "research"}')
    assert not any("case=" in url.partition("#")[0] for url in asked)


def test_a_case_becomes_a_test_that_passes(play: Page, tmp_path: Path) -> None:
    play.locator("summary", has_text="Make a test of it").click()
    text = play.locator("#test").inner_text()
    (tmp_path / "policy.yaml").write_text(play.locator("#policy").input_value())
    (tmp_path / "policy_test.yaml").write_text(text)
    assert run_suite(read_suite(tmp_path / "policy_test.yaml")).passed


def test_it_works_without_scripts_and_without_rules(
    service: Service, open_page: Callable[..., BrowserContext]
) -> None:
    page = open_page(service, java_script_enabled=False).new_page()
    page.goto("/pages/playground?example=data-residency")
    page.get_by_label("Rules").fill("")
    page.get_by_label("Request").fill('{"task": {"kind": "triage"}}')
    page.get_by_role("button", name="Decide").click()
    expect(page.locator("#result .verdict")).to_contain_text("quick")


@pytest.mark.stress
def test_every_example_decides(page: Page) -> None:
    page.goto("/pages/playground")
    for name in page.locator(".actions a[href*=example]").all_inner_texts():
        page.goto(f"/pages/playground?example={name}")
        expect(page.locator("#result .verdict")).to_have_count(1)


def test_what_is_typed_runs_nowhere_but_here(play: Page) -> None:
    hostile = json.dumps(
        {"task": {"kind": "<img src=x onerror=alert(1)>", "model": "\u202e<script>"}}
    )
    typed(play, "Request", hostile)
    expect(play.locator("#result .problem").first).to_be_visible()
    assert play.locator("#result img, #result script").count() == 0
