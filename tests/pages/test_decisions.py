"""The decisions of a log, and one of them, in a browser."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from policy_router.log import LogReader
from policy_router.log.entry import Kind, LogEntry
from tests.pages.conftest import COUNT
from tests.support.service import Service

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def entries(folder: Path, ids: list[str]) -> list[LogEntry]:
    assert ids
    lines = [line.entry for line in LogReader(folder / "log").lines()]
    return sorted((it for it in lines if it.kind is Kind.DECISION), key=lambda it: it.time)


def test_the_newest_decisions_are_shown_and_lead_to_older_ones(page: Page, ids: list[str]) -> None:
    page.goto("/pages/decisions")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Decisions {COUNT}")
    rows = page.locator("table.list tbody tr")
    expect(rows).to_have_count(50)
    expect(rows.first.get_by_role("link")).to_have_attribute("href", f"/pages/decisions/{ids[-1]}")
    page.get_by_role("link", name="Older").click()
    first = f"/pages/decisions/{ids[-51]}"
    expect(rows.first.get_by_role("link")).to_have_attribute("href", first)


@pytest.mark.stress
@pytest.mark.timeout(180)
def test_every_filter_finds_what_its_count_says(page: Page, entries: list[LogEntry]) -> None:
    page.goto("/pages/decisions")
    links = page.locator(".facets li:has(a)")
    found = [
        (
            str(links.nth(place).locator("a").get_attribute("href")),
            links.nth(place).locator(".count").inner_text(),
        )
        for place in range(links.count())
    ]
    names = {href.partition("?")[2].partition("=")[0] for href, _ in found}
    assert names == {
        *("outcome", "entry", "rule", "level", "model", "provider", "caller", "code", "policy")
    }
    refused = [it for it in entries if it.decision_record.decision.outcome == "refused"]
    counts = dict(found)
    assert counts["/pages/decisions?outcome=refused"] == str(len(refused))
    for href, count in found:
        page.goto(href)
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Decisions {count}")
        expect(page.locator("table.list tbody tr")).to_have_count(min(50, int(count)))


def test_filters_stand_in_the_address_and_join(page: Page) -> None:
    page.goto("/pages/decisions")
    page.locator(".facets").get_by_role("link", name="refused").click()
    page.locator(".facets").get_by_role("link", name="task", exact=True).first.click()
    assert page.url.endswith("/pages/decisions?outcome=refused&rule=task")
    expect(page.locator("table.list tbody tr").first).to_contain_text("refused")
    page.get_by_role("link", name="Remove the filter outcome").click()
    assert page.url.endswith("/pages/decisions?rule=task")


def test_a_filter_and_a_time_can_be_typed(page: Page, entries: list[LogEntry]) -> None:
    page.goto("/pages/decisions")
    page.get_by_role("textbox", name="from").fill("2026-06-01")
    page.get_by_role("textbox", name="until").fill("2026-07-01T12:00:00Z")
    page.get_by_role("textbox", name="value").fill("ada")
    page.get_by_role("button", name="Show").click()
    wanted = [
        it
        for it in entries
        if "2026-06-01" <= it.decision_record.now < "2026-07-01T12:00:00"
        and it.decision_record.request["caller"]["id"] == "ada"
    ]
    assert wanted
    assert "caller=ada" in page.url
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Decisions {len(wanted)}")


def test_a_typed_filter_needs_no_script_and_leaves_a_plain_address(service: Service) -> None:
    client = service.client()
    typed = "/pages/decisions?since=&until=&caller=bo&outcome=refused&filter=caller&value=ada+"
    answer = client.get(typed)
    assert answer.status_code == 303
    assert answer.headers["location"] == "/pages/decisions?caller=ada&outcome=refused"
    kept = client.get("/pages/decisions?since=90d&filter=rule&value=")
    assert kept.headers["location"] == "/pages/decisions?since=90d"
    assert client.get("/pages/decisions?filter=nothing&value=x").status_code == 400


def test_the_cost_of_each_decision_is_seen_on_a_small_screen(page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto("/pages/decisions?caller=ada")
    table = page.locator(".side-main .wide")
    assert table.evaluate("it => it.scrollWidth <= it.clientWidth")


def test_what_narrows_the_list_down_is_folded_up_above_it_on_a_phone(
    service: Service, open_page: Callable[..., BrowserContext]
) -> None:
    page = open_page(service, viewport={"width": 390, "height": 720}).new_page()
    page.goto("/pages/decisions")
    expect(page.locator(".facets a").first).not_to_be_visible()
    expect(page.locator("table.list tbody tr").first).to_be_in_viewport()
    page.get_by_text("Narrow down").click()
    page.locator(".facets").get_by_role("link", name="refused").click()
    assert page.url.endswith("?outcome=refused")


def test_what_is_shown_can_be_taken_along(service: Service, entries: list[LogEntry]) -> None:
    client = service.client()
    text = client.get("/pages/decisions.csv?outcome=refused").text
    rows = list(csv.DictReader(io.StringIO(text)))
    wanted = [it.id for it in entries if it.decision_record.decision.outcome == "refused"]
    assert [row["id"] for row in rows] == wanted[::-1]
    assert {row["outcome"] for row in rows} == {"refused"}
    lines = client.get("/pages/decisions.jsonl").content.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [it.id for it in entries][::-1]


def test_a_decision_says_what_each_level_proposed_and_what_stood_in_the_way(
    page: Page, entries: list[LogEntry]
) -> None:
    wanted = next(
        it
        for it in entries[::-1]
        if any(step.code == "forbidden" for step in it.decision_record.steps)
    )
    page.goto(f"/pages/decisions/{wanted.id}")
    rungs = page.locator(".ladder > li")
    expect(rungs).to_have_count(5)
    expect(rungs.locator(".level")).to_have_text(["call", "task", "pool", "config", "parent"])
    expect(page.locator(".rung.violated")).to_contain_text("personal-data-stays-home")
    page.locator(".rung.violated summary", has_text="Values").first.click()
    expect(page.locator(".rung.violated .condition").first).to_contain_text('task.labels = ["pii"]')
    expect(page.locator("#winner")).to_have_text("The rule that refused")
    expect(page.locator(".excerpt").first).to_contain_text("personal-data-stays-home")


def test_a_decision_of_the_live_policy_shows_the_line_of_its_rule(
    page: Page, entries: list[LogEntry]
) -> None:
    page.goto(f"/pages/decisions/{entries[-1].id}")
    expect(page.locator("#winner + .excerpt")).to_contain_text("strict.yaml")
    expect(page.locator(".badge", has_text="live")).to_have_count(1)
    page.get_by_label("Entry").select_option("trial")
    page.get_by_role("button", name="Explain").click()
    expect(page.locator(".answer")).to_contain_text("Why not trial?")


def test_a_decision_of_an_older_policy_shows_its_own_rules(
    page: Page, entries: list[LogEntry]
) -> None:
    page.goto(f"/pages/decisions/{entries[0].id}?again=then")
    expect(page.locator("#winner + .excerpt")).to_contain_text("delegation.yaml")
    expect(page.locator(".badge", has_text="not live now")).to_have_count(1)
    expect(page.locator("#again ~ .pairs")).to_contain_text("Then")


def test_parents_and_children_are_a_tree(page: Page, entries: list[LogEntry]) -> None:
    child = next(it for it in entries if it.parent)
    page.goto(f"/pages/decisions/{child.id}")
    expect(page.locator(".tree li").nth(1)).to_contain_text("this one")
    page.locator(".tree a").first.click()
    assert page.url.endswith(f"/pages/decisions/{child.parent}")
    expect(page.locator(".tree li").first).to_contain_text("this one")


def test_an_address_that_is_no_page_is_said_to_be_none(service: Service) -> None:
    for path in ("/pages/nothing", "/pages/spend/x", "/pages/"):
        answer = service.client().get(path)
        assert answer.status_code == 404
        assert "there is no page at this address" in answer.text
        assert 'href="/pages/decisions"' in answer.text


def test_a_decision_that_is_not_there_is_said_to_be_missing(service: Service) -> None:
    answer = service.client().get("/pages/decisions/nothing")
    assert answer.status_code == 404
    assert "there is no decision with this id in the log" in answer.text


def test_a_filter_that_nothing_fits_says_so(page: Page) -> None:
    page.goto(f"/pages/decisions?caller={quote('nobody here')}")
    expect(page.locator(".empty")).to_contain_text("No decision fits")


def test_pages_can_be_read_without_scripts(
    service: Service, open_page: Callable[..., BrowserContext], entries: list[LogEntry]
) -> None:
    page = open_page(service, java_script_enabled=False).new_page()
    page.goto("/pages/decisions")
    page.get_by_role("link", name="2026-11-30 09:00:00").click()
    assert page.url.endswith(f"/pages/decisions/{entries[-1].id}")
    expect(page.locator(".ladder > li")).to_have_count(5)
