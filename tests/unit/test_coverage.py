"""Coverage: which outcomes there are, and which came about."""

from __future__ import annotations

from typing import Any

import pytest

from policy_router import Request, decide, loads
from policy_router.analysis import Coverage, CoverageReport, Coverages
from policy_router.cel.condition import Condition

NOW = "2026-01-31T09:00:00Z"
HEAD = """\
version: 1
model: small
provider: p
providers: {p: {base_url: "https://p.example.com"}, q: {base_url: "https://q.example.com"}}
"""


def covered(policy: str, *requests: dict[str, Any]) -> CoverageReport:
    loaded = loads(HEAD + policy, name="acme.yaml")
    coverage = Coverage(loaded)
    for request in requests:
        coverage.note(Request.from_mapping(request), decide(loaded, request, now=NOW))
    return coverage.report()


def counts(report: CoverageReport, kind: str, name: str, text: str = "") -> dict[str, int]:
    found = [
        item.counts
        for item in report.items
        if (item.kind, item.name, item.text) == (kind, name, text)
    ]
    assert len(found) == 1, [(item.kind, item.name, item.text) for item in report.items]
    return found[0]


POOL = """\
pool:
  - {model: small, fallback: [large, other]}
  - {model: large, pick: task.kind == "coding", allow: parent.depth < 2, fallback: [small]}
  - {model: other, provider: q, pick: task.kind == "coding" && "x" in task.labels}
forbid:
  - {id: never-at-q, when: '"pii" in task.labels && target.provider == "q"'}
  - {id: only-watched, when: parent.depth == 1, enforce: false}
precedence:
  - {id: asked, use: task, on_violation: reject, order_by: "1.0"}
  - id: saved
    use: pool
    entry: small
    when: has(budget.remaining_usd) && budget.remaining_usd < 1.0
  - {id: picked, use: pool, order_by: parent.depth, fallback: candidates}
  - {use: config}
"""


def test_rules_are_reached_and_select() -> None:
    report = covered(POOL, {}, {"task": {"model": "large"}}, {"task": {"model": "none"}})
    assert counts(report, "rule", "asked") == {"reached": 3, "selected": 1}
    assert counts(report, "on_violation", "asked") == {"violated": 1}
    assert counts(report, "rule", "saved") == {"reached": 1, "selected": 0}
    assert counts(report, "when", "saved") == {"true": 0, "false": 1}
    assert counts(report, "rule", "picked") == {"reached": 1, "selected": 0}
    assert counts(report, "rule", "config") == {"reached": 1, "selected": 1}
    assert counts(report, "entry", "small") == {"selected": 1}
    assert counts(report, "entry", "large") == {"selected": 1}


def test_an_order_needs_two_to_compare() -> None:
    alone = covered(POOL, {"task": {"kind": "coding"}})
    assert counts(alone, "order_by", "picked") == {"compared": 0}
    two = covered(POOL, {"task": {"kind": "coding", "labels": ["x"]}})
    assert counts(two, "order_by", "picked") == {"compared": 1}
    asked = covered(POOL, {"task": {"provider": "p"}})
    assert counts(asked, "order_by", "asked") == {"compared": 1}


def test_a_part_that_is_not_evaluated_has_no_value() -> None:
    report = covered(POOL, {})
    written = "saved: when", "has(budget.remaining_usd)"
    assert counts(report, "leaf", *written) == {"true": 0, "false": 1}
    written = "saved: when", "budget.remaining_usd < 1.0"
    assert counts(report, "leaf", *written) == {"true": 0, "false": 0}


def test_fallbacks_are_planned_or_not() -> None:
    report = covered(POOL, {"budget": {"remaining_usd": 0.5}, "task": {"labels": ["pii"]}})
    assert counts(report, "fallback", "small", "large") == {"planned": 1}
    assert counts(report, "fallback", "small", "other") == {"planned": 0}
    assert counts(report, "forbid", "never-at-q") == {"true": 1, "false": 2}


def test_the_other_candidates_of_a_rule_are_looked_at_too() -> None:
    report = covered(POOL, {"task": {"kind": "coding", "labels": ["x", "pii"]}})
    assert counts(report, "forbid", "never-at-q") == {"true": 1, "false": 2}


def test_what_is_only_watched_is_about_what_may_run() -> None:
    report = covered(POOL, {"parent": {"depth": 1}, "task": {"kind": "coding"}})
    assert counts(report, "forbid", "only-watched") == {"true": 2, "false": 0}


def test_guards_after_the_one_that_rejects_are_not_come_to() -> None:
    report = covered(POOL, {"parent": {"depth": 2}, "task": {"model": "large"}})
    assert counts(report, "allow", "large") == {"true": 0, "false": 1}
    assert counts(report, "forbid", "never-at-q") == {"true": 0, "false": 0}
    report = covered(
        "precedence: [{use: parent}]\nforbid: [{id: f, when: 'true'}]",
        {"parent": {"model": "x", "provider": "p"}},
    )
    assert counts(report, "forbid", "f") == {"true": 1, "false": 0}
    rules = "forbid: [{id: f, when: parent.depth > 1}]\nprecedence: [{use: config}]\n"
    coverage = Coverage(loads(f"version: 1\nmodel: m\n{rules}", name="x.yaml"))
    coverage.note(Request(), decide(coverage.policy, {}, now=NOW))
    assert counts(coverage.report(), "forbid", "f") == {"true": 0, "false": 0}


def test_a_condition_that_fails_is_neither_true_nor_false() -> None:
    rule = "precedence: [{use: config, when: '1 / parent.depth > 0 ? true : parent.depth == 7'}]"
    report = covered(rule, {}, {"parent": {"depth": 1}}, {"parent": {"depth": -3}})
    assert counts(report, "when", "config") == {"true": 1, "false": 1}
    assert counts(report, "leaf", "config: when", "1 / parent.depth > 0") == {"true": 1, "false": 1}
    assert counts(report, "leaf", "config: when", "parent.depth == 7") == {"true": 0, "false": 1}
    failing = "precedence: [{use: config, when: '!(1 / parent.depth > 0) && parent.depth == 0'}]"
    report = covered(failing, {})
    assert counts(report, "when", "config") == {"true": 0, "false": 0}
    assert counts(report, "leaf", "config: when", "parent.depth == 0") == {"true": 1, "false": 0}


VARIABLES = """\
variables:
  deep: parent.depth > 2
  unused: parent.depth > 3
  words: 'variables.deep ? "a" : "b"'
  all_short: task.labels.all(x, x.size() < 3 || variables.deep)
"""


def test_variables_are_looked_at_where_they_are_read() -> None:
    rule = "precedence: [{use: config, when: 'variables.words == \"a\" || variables.all_short'}]"
    report = covered(VARIABLES + rule, {"parent": {"depth": 3}}, {})
    assert counts(report, "variable", "deep") == {"true": 1, "false": 1}
    assert counts(report, "variable", "unused") == {"true": 0, "false": 0}
    assert counts(report, "variable", "words") == {}
    assert counts(report, "variable", "all_short") == {"true": 1, "false": 0}
    assert [it.name for it in report.items if it.kind == "leaf"].count("all_short") == 0


def test_logic_inside_a_comparison_and_bound_names() -> None:
    when = 'cel.bind(k, variables.words, (parent.depth > 5 ? k : task.kind) == "b" && k != "")'
    rule = f"precedence:\n  - use: config\n    when: >-\n      {when}\n  - {{use: parent}}\n"
    report = covered(VARIABLES + rule, {"task": {"kind": "b"}})
    leaves = {item.text: item.counts for item in report.items if item.name == "config: when"}
    assert leaves == {
        "parent.depth > 5": {"true": 0, "false": 1},
        '(parent.depth > 5 ? k : task.kind) == "b"': {"true": 1, "false": 0},
        'k != ""': {"true": 1, "false": 0},
    }
    (place,) = [it.span for it in report.items if it.text == 'k != ""']
    assert place is not None
    assert place.source.text[place.start : place.end] == 'k != ""'
    assert counts(report, "variable", "deep") == {"true": 0, "false": 1}


def test_a_part_about_the_target_alone_counts_with_the_values_of_the_entries() -> None:
    pool = """\
pool:
  - {model: small, price: {output: 1.0}, pick: has(target.price.output) && parent.depth == 0}
  - {model: large}
forbid: [{id: dear, when: '!has(target.price.output) || target.price.output > 5.0'}]
"""
    config = (
        "precedence: [{use: pool, order_by: 'has(target.price.output) ? 1 : 2'}, {use: config}]"
    )
    report = covered(pool + config)
    assert counts(report, "leaf", "small: pick", "has(target.price.output)") == {"true": 0}
    leaf = "has(target.price.output)"
    assert counts(report, "leaf", "dear", leaf) == {"true": 0, "false": 0}
    assert counts(report, "leaf", "dear", "target.price.output > 5.0") == {"false": 0}
    outside = covered(pool + "precedence: [{use: parent}]")
    assert counts(outside, "leaf", "dear", "target.price.output > 5.0") == {"true": 0, "false": 0}


def test_a_profile_is_not_counted() -> None:
    report = covered("precedence: delegation", {})
    assert report.items == ()
    assert (report.total, report.covered, report.percent) == (0, 0, 100.0)


def test_the_parts_are_counted() -> None:
    report = covered(POOL, {})
    assert report.covered == sum(
        count > 0 for item in report.items for count in item.counts.values()
    )
    assert report.percent == pytest.approx(100 * report.covered / report.total)


def test_suites_of_one_policy_share_its_coverage() -> None:
    first, again = (loads(HEAD, name="acme.yaml") for _ in range(2))
    other = loads(HEAD, name="other.yaml")
    coverages = Coverages()
    assert coverages.of(first) is coverages.of(again)
    assert coverages.of(other) is not coverages.of(first)
    assert [each.policy for each in coverages.all()] == [first, other]


def test_all_conditions_of_a_policy_are_watched() -> None:
    coverage = Coverage(loads(HEAD + VARIABLES + POOL, name="acme.yaml"))
    watched = [it.observer.condition for it in coverage.conditions()]
    assert len(watched) == 4 + 3 + 2 + 3
    assert all(isinstance(it, Condition) for it in watched)
