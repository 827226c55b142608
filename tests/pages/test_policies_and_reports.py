"""Policies, what if, spend, compliance and the log in a browser."""

from __future__ import annotations

import csv
import datetime
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from policy_router import DecisionLog, decide, load
from policy_router.log import Execution, LogReader, check_log, make_checkpoint, new_signer, verify
from policy_router.log.entry import Kind, LogEntry
from policy_router.log.report.log_report import log_report
from tests.pages.conftest import COUNT, until_indexed
from tests.support.service import SECONDS, Service, until
from tests.support.year import END, write_year

pytestmark = [pytest.mark.slow, pytest.mark.stress]
_LONG = SECONDS * 1000


def waited(page: Page) -> None:
    expect(page.locator("progress")).to_have_count(0, timeout=_LONG)


def test_the_policies_that_decided_are_listed_and_compared(page: Page) -> None:
    page.goto("/pages/policies")
    rows = page.locator("table.list tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("live, loaded")
    expect(rows.nth(1).locator(".number").first).to_have_text(str(COUNT // 2))
    page.get_by_role("link", name="with the one before").click()
    changes = page.locator(".changes li")
    expect(changes.first).to_contain_text("precedence rule call")
    expect(changes.first.locator("del")).to_contain_text("next")
    expect(changes.first.locator("ins")).to_contain_text("reject")


def test_a_policy_is_shown_with_who_may_use_what(page: Page) -> None:
    page.goto("/pages/policies")
    page.locator("table.list a").first.click()
    expect(page.locator("#entries + .wide tbody tr")).to_have_count(5)
    pii = page.locator("#who + table tr").filter(has_text="label pii")
    expect(pii.locator("td")).to_have_text("local")
    expect(page.locator(".source .line").nth(9)).to_contain_text("pool:")
    expect(page.locator(".source .k").first).to_have_text("version")


def test_an_older_policy_is_shown_from_beside_the_log(page: Page) -> None:
    page.goto("/pages/policies")
    page.locator("table.list tr").nth(2).locator("a").first.click()
    expect(page.locator(".badge", has_text="live")).to_have_count(0)
    expect(page.locator(".source").first).to_contain_text("precedence: delegation")


def test_the_tests_of_the_live_policy_are_run(page: Page, folder: Path) -> None:
    (folder / "policy_test.yaml").write_text(
        "tests:\n  - name: code\n    request: {task: {kind: coding}}\n    expect: {entry: coder}\n"
        "  - name: wrong\n    request: {task: {kind: triage}}\n    expect: {entry: deep}\n"
    )
    page.goto("/pages/policies")
    page.locator("table.list a").first.click()
    page.get_by_role("button", name="Run its tests, and analyze it").click()
    waited(page)
    row = page.locator("section[aria-labelledby=tests] tr").nth(1)
    expect(row).to_contain_text("policy_test.yaml")
    expect(row.locator("td").first).to_have_text("1")
    expect(row).to_contain_text("wrong")
    answers = page.get_by_role("group", name="Analysis").locator("tbody tr")
    parent = answers.filter(has_text="rule `parent` selects a target")
    expect(parent.locator("td").first).to_have_text("never")
    trial = answers.filter(has_text="entry `trial` is selected")
    expect(trial.locator("td").nth(1)).to_contain_text('"team": "research"')


def test_what_if_says_what_would_be_another(page: Page) -> None:
    page.goto("/pages/what-if")
    page.get_by_role("textbox", name="Decisions from").fill("")
    page.get_by_label("Rules (YAML)").fill(
        page.get_by_label("Rules (YAML)").input_value().replace("strict", "delegation")
    )
    page.get_by_role("button", name="Decide them again").click()
    waited(page)
    figures = page.locator(".figures dd")
    expect(figures.first).to_have_text(str(COUNT))
    lost = int(figures.nth(3).inner_text())
    assert lost > 0
    moved = page.locator(".matrix tr").filter(has_text="(refused)").locator(".moved")
    assert sum(int(it) for it in moved.all_inner_texts()) == lost
    with page.expect_download() as download:
        page.get_by_role("link", name="Report").click()
    report = json.loads(Path(download.value.path()).read_text())
    assert report["refusals"]["lost"] == lost
    page.get_by_role("link", name="Change it and ask again").click()
    text = page.get_by_label("Rules (YAML)").input_value()
    assert "precedence: delegation" in text


def test_what_if_keeps_the_rules_where_the_time_is_none(page: Page) -> None:
    page.goto("/pages/what-if")
    fields: dict[str, str | float | bool] = {
        "form_value": page.locator("input[name=form_value]").first.input_value(),
        "policy": "version: 1\n# mine",
        "since": "yesterday",
    }
    answer = page.request.post("/pages/what-if", form=fields)
    assert answer.status == 400
    text = answer.text()
    assert "# mine</textarea>" in text
    assert 'value="yesterday"' in text
    assert "or an age (90d)" in text


def test_what_if_takes_another_revision_and_a_file(page: Page, tmp_path: Path) -> None:
    page.goto("/pages/what-if")
    (tmp_path / "other.yaml").write_text("version: 1\npool: [{mdel: a}]\n")
    page.locator("input[type=file]").set_input_files(tmp_path / "other.yaml")
    expect(page.get_by_label("Rules (YAML)")).to_have_value("version: 1\npool: [{mdel: a}]\n")
    page.get_by_role("textbox", name="Decisions from").fill("2025-12-01")
    page.get_by_role("button", name="Decide them again").click()
    expect(page.locator(".findings li")).to_contain_text("line 2")
    expect(page.get_by_label("Rules (YAML)")).to_have_value("version: 1\npool: [{mdel: a}]\n")
    expect(page.get_by_role("textbox", name="Decisions from")).to_have_value("2025-12-01")
    page.locator("select[name=revision]").select_option(index=2)
    page.get_by_role("button", name="Decide them again").click()
    waited(page)
    expect(page.locator(".figures dd").first).to_have_text(str(COUNT))


def test_spend_shows_the_total_of_the_report_and_what_is_unknown(page: Page, folder: Path) -> None:
    report = log_report(folder / "log", "spend", by=["team"], workers=1)
    page.goto("/pages/spend")
    waited(page)
    dollars = report.total["measured_nano_usd"] / 1e9
    expect(page.locator(".big").first).to_have_text(f"${dollars:,.2f}")
    unknown = sum(report.total[name] for name in ("no_price", "no_usage", "failed", "mismatch"))
    unknown += report.total["never_ended"]
    expect(page.locator(".big").nth(1)).to_have_text(f"{unknown} decisions")
    first = page.get_by_role("group", name="US dollars").locator("tbody tr").first
    expect(first.locator("th")).to_have_text(report.rows[0].key[0])
    page.get_by_role("group", name="Columns").get_by_role("link", name="model").click()
    waited(page)
    expect(page.get_by_role("group", name="US dollars").locator("thead")).to_contain_text("opus-6")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert sum(float(row["total_usd"]) for row in rows) == pytest.approx(dollars, abs=1e-4)


def test_the_dearest_decisions_and_trees_are_named(page: Page, folder: Path) -> None:
    lines = [line.entry for line in LogReader(folder / "log").lines()]
    costs: dict[str, float] = {}
    for it in lines:
        if it.kind is Kind.EXECUTION and it.execution and it.execution.cost_usd is not None:
            costs[str(it.id)] = it.execution.cost_usd
    dearest = max(costs, key=lambda it: costs[it])
    trees = tree_costs(lines, costs)
    page.goto("/pages/spend")
    waited(page)
    tables = page.get_by_role("group", name="Dearest decisions").locator("tbody a")
    expect(tables.first).to_have_attribute("href", f"/pages/decisions/{dearest}")
    first = page.get_by_role("group", name="Dearest trees").locator("tbody a").first
    best = max(trees, key=lambda it: trees[it])
    expect(first).to_have_attribute("href", f"/pages/decisions/{best}")


def tree_costs(lines: list[LogEntry], costs: dict[str, float]) -> dict[str, float]:
    """Return what each tree of several decisions cost, by its first decision."""
    above = {str(it.id): str(it.parent) for it in lines if it.kind is Kind.DECISION and it.parent}
    found: dict[str, float] = {}
    for child in above:
        root = child
        while root in above:
            root = above[root]
        found.setdefault(root, costs.get(root, 0.0))
        found[root] += costs.get(child, 0.0)
    return found


def test_compliance_says_what_the_check_finds(page: Page, folder: Path) -> None:
    report = check_log(folder / "log", workers=1)
    assert report.findings
    page.goto("/pages/compliance")
    waited(page)
    rows = page.get_by_role("group", name="Findings").locator("tbody tr")
    expect(rows).to_have_count(len(report.findings))
    for place, finding in enumerate(report.findings):
        expect(rows.nth(place).locator("td.number")).to_have_text(f"{finding.count:,}")
    pii = page.get_by_role("group", name="Labels by provider").locator("tr").filter(has_text="pii")
    expect(pii.locator("td:not(:empty)")).to_have_count(1)
    by = ("label", "provider", "plan")
    keys = [row.key for row in log_report(folder / "log", "spend", by=by).rows]
    outside = {
        (label, provider)
        for labels, provider, plan in keys
        if plan == "outside"
        for label in labels.split(", ")
    }
    expect(page.locator("td.outside")).to_have_count(len(outside))
    for link in page.get_by_role("group", name="Findings").get_by_role("link").all():
        href = link.get_attribute("href")
        assert page.request.get(str(href)).status == 200
    expect(page.locator("#rules ~ .wide")).to_contain_text("never")
    expect(page.locator(".timeline li")).to_have_count(2)
    expect(page.locator(".timeline li").first).to_contain_text("of the first day")


def test_a_breach_of_a_rule_that_forbids_is_red(tmp_path: Path) -> None:
    write_year(tmp_path, 12)
    policy, now = load(tmp_path / "policy.yaml"), END - datetime.timedelta(hours=2)
    record = decide(policy, {"task": {"labels": ["pii"]}}, now=now)
    with DecisionLog(tmp_path / "log", writer="odd", clock=lambda: now) as log:
        decision_id = log.decision(policy, record)
        place: dict[str, Any] = {"model": "haiku-5", "provider": "west", "entry": "quick"}
        log.execution(decision_id, Execution("finished", status="completed", **place))
    with Service(tmp_path, "--log", "log") as service:
        client = service.client()
        until_indexed(client, 13)
        until(lambda: "Labels by provider" in client.get("/pages/compliance").text)
        text = client.get("/pages/compliance").text
        cells = re.findall(r'<td class="number outside">(.*?)</td>', text)
        assert [("1 outside the plan" in it, "1 forbidden" in it) for it in cells] == [(True, True)]
        text = client.get(f"/pages/decisions/{decision_id}").text
        assert re.findall(r'<p class="problem">([a-z ]+): <bdi[^>]*>([^<]*)', text) == [
            ("a forbid rule is against what ran", policy.forbid[0].id),
            ("ran outside the plan", "quick (haiku-5 at west)"),
        ]


def test_the_log_is_verified_on_demand(page: Page, folder: Path) -> None:
    report = verify(folder / "log")
    page.goto("/pages/log")
    page.get_by_role("button", name="Verify now").click()
    waited(page)
    expect(page.locator("#work .badge")).to_have_text("whole")
    expect(page.locator("#work")).to_contain_text(f"{report.lines:,} lines")


def test_a_signed_log_proves_a_decision(folder: Path, ids: list[str], tmp_path: Path) -> None:
    shutil.copytree(folder / "log", tmp_path / "log")
    shutil.copy(folder / "policy.yaml", tmp_path)
    with Service(tmp_path, "--log", "log") as service:
        client = service.client()
        answer = client.get(f"/pages/decisions/{ids[0]}/proof.txt")
        while answer.status_code in {404, 503}:
            answer = client.get(f"/pages/decisions/{ids[0]}/proof.txt")
        assert answer.status_code == 409
        signer = new_signer("auditor")
        make_checkpoint(tmp_path / "log", signer, memory=tmp_path / "memory", first=True)
        proof = client.get(f"/pages/decisions/{ids[0]}/proof.txt").text
        assert proof.startswith("c2sp.org/tlog-proof@v1\n")
        record = client.get(f"/pages/decisions/{ids[0]}/record.json")
        assert json.loads(record.content)["schema"] == "policy-router/record/v1"
