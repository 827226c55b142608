"""Whole explanations, as a person reads them: pages about the decisions of the golden records."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from policy_router import Explanation, decide, explain, loads

HERE = Path(__file__).parent
PAGES = HERE / "explanations"
NOW = "2026-11-22T11:33:00Z"


@dataclass(frozen=True)
class Page:
    """A page: which case and request of the golden records it is about, and what is asked."""

    case: str
    request: int
    why_not: str | None = None
    full: bool = False


EXPECTED = {
    "a-wish-outside-the-pool-falls-back": Page("embedded-delegation", 2, "glm-5.1"),
    "a-wish-outside-the-pool-is-refused": Page("native-strict", 2),
    "call-comes-before-task": Page("embedded-delegation", 0, "glm-5.1"),
    "task-comes-before-call": Page("native-task-first", 0, "glm-5"),
    "nothing-was-asked": Page("embedded-delegation", 5),
    "picked-by-the-pool": Page("acme", 1, "deepseek-r1"),
    "nearly-broke": Page("acme", 11, "coder"),
    "not-allowed-with-values": Page("acme", 5, "deepseek-r1"),
    "picked-but-not-allowed": Page("acme", 3, "deepseek-r1"),
    "a-parameter-is-refused": Page("acme", 10, "deepseek-r1"),
    "a-parameter-is-dropped": Page("parameters", 1),
    "forbidden-with-a-message": Page("guards", 4, "banned"),
    "forbidden-without-a-message": Page("guards", 5, "weak"),
    "forbidden-by-an-error": Page("guards", 6, "doubtful"),
    "a-capability-is-lacking": Page("guards", 8, "weak"),
    "a-context-window-is-too-small": Page("guards", 10, "weak"),
    "a-rule-cannot-be-evaluated": Page("errors-of-conditions", 0),
    "a-pick-cannot-be-evaluated": Page("errors-of-conditions", 1, "shaky"),
    "no-rule-selects": Page("nothing-selects", 1, "closed"),
    "incomplete-without-a-pool": Page("no-pool", 3, "gpt-9"),
    "an-empty-pool": Page("empty-pool", 0, "default-model"),
    "with-fallbacks": Page("fallbacks", 0, "second"),
    "the-selected-one": Page("fallbacks", 0, "first"),
    "a-name-that-is-misspelt": Page("acme", 1, "codr"),
    "a-name-of-two-entries": Page("one-model-at-two-providers", 0, "m1"),
    "another-place-in-the-order": Page("order-of-the-pool", 0, "cheap-too"),
    "a-default-outside-the-pool": Page("bounds-of-the-pool", 5, "insider"),
    "with-variables": Page("variables-and-facts", 4, "fast"),
    "with-the-time": Page("time-of-the-decision", 1, "retired"),
    "a-canary": Page("canary", 0, "next"),
    "a-wish-is-passed-over": Page("limits-as-guards", 1, "tight"),
    "a-wish-that-nobody-grants": Page("limits-as-guards", 2, "wide"),
    "a-window-that-holds-the-answer-too": Page("limits-as-guards", 14, "windowed"),
    "asked-for-by-name": Page("limits-as-guards", 17),
    "an-effort-that-is-left-out": Page("inherited-effort", 2),
    "an-effort-beyond-the-limits": Page("inherited-effort", 4),
    "with-a-table": Page("closed-sets-and-tables", 1, "large"),
    "values-that-do-not-count": Page("closed-sets-and-tables", 3),
    "a-rule-that-is-watched": Page("watched-rules", 0, "third"),
    "a-wish-that-no-rule-hears": Page("levels-without-a-rule", 4),
    "in-full": Page("acme", 2, full=True),
    "in-full-and-why-not": Page("guards", 6, "team", full=True),
}


@functools.cache
def explanation_of(page: Page) -> Explanation:
    folder = HERE / "records" / page.case
    policy = loads((folder / "policy.yaml").read_bytes(), name="policy.yaml")
    request = json.loads((folder / "requests.json").read_bytes())[page.request]
    return explain(policy, decide(policy, request, now=NOW), why_not=page.why_not)


@pytest.mark.parametrize("name", EXPECTED)
def test_explanations_read_as_they_did(name: str, *, update_golden: bool) -> None:
    page = EXPECTED[name]
    text = explanation_of(page).to_text(full=page.full) + "\n"
    expected = PAGES / f"{name}.txt"
    if update_golden:
        expected.write_text(text, encoding="utf-8", newline="\n")
    assert text == expected.read_text(encoding="utf-8")


def test_no_page_is_left_over() -> None:
    assert {file.stem for file in PAGES.iterdir()} == set(EXPECTED)


def test_no_line_has_blanks_at_its_end_or_an_empty_label() -> None:
    for name, page in EXPECTED.items():
        lines = explanation_of(page).to_text(full=page.full).splitlines()
        assert [it for it in lines if it != it.rstrip() or ": :" in it] == [], name


def test_str_is_the_plain_short_page() -> None:
    explanation = explanation_of(Page("acme", 1, "deepseek-r1"))
    assert str(explanation) == explanation.to_text()
    assert "\x1b" not in str(explanation)


def test_roles_are_painted_and_nothing_else_changes() -> None:
    explanation = explanation_of(EXPECTED["in-full-and-why-not"])
    painted = explanation.to_text(lambda text, role: f"<{role}>{text}</{role}>", full=True)
    roles = ("good", "error", "warning", "strong", "dim")
    for role in roles:
        painted = painted.replace(f"<{role}>", "").replace(f"</{role}>", "")
    assert painted == explanation.to_text(full=True)


# What the pages have to say, whatever their wording becomes.


def page(case: str, request: int, why_not: str | None = None, *, full: bool = False) -> str:
    return explanation_of(Page(case, request, why_not)).to_text(full=full)


def test_of_two_entries_of_one_name_the_selected_one_is_pointed_at() -> None:
    lines = page("one-model-at-two-providers", 0).splitlines()
    assert "  entry       policy.yaml:6:5" in lines


def test_of_two_entries_of_one_name_the_other_one_is_accounted_for() -> None:
    text = page("one-model-at-two-providers", 0, "m1")
    assert text.count("it is selected") == 1
    assert 'caller.team == "research"   false' in text


def test_of_two_entries_of_one_name_the_steps_tell_which_is_which() -> None:
    (step,) = [n for n in page("one-model-at-two-providers", 0).splitlines() if "asked for" in n]
    assert "near" in step
    assert "far" in step


def test_of_two_rules_of_one_name_the_deciding_one_is_pointed_at() -> None:
    policy = loads(
        "version: 1\nname: x\nprovider: p\npool: [{model: m}, {model: n}]\nprecedence:\n"
        "  - {use: pool, entry: m, when: task.index > 0}\n"
        "  - {use: pool, entry: n}\n",
        name="policy.yaml",
    )
    lines = str(explain(policy, decide(policy, {}, now=NOW))).splitlines()
    assert "policy.yaml:7:5" in next(line for line in lines if line.startswith("  rule "))


def test_a_constant_condition_is_shown_as_it_is_written() -> None:
    lines = page("nothing-selects", 1, "closed").splitlines()
    # A constant has no parts with values of their own.
    assert lines[-1] == "  allow is false   policy.yaml:6:28"


def test_who_asked_for_a_parameter_in_vain_is_not_told_that_it_would_be_admitted() -> None:
    assert "it would be admitted" not in page("acme", 10, "deepseek-r1")


def test_nobody_is_told_to_ask_at_a_level_at_which_nobody_asks() -> None:
    texts = {name: str(explanation_of(page)) for name, page in EXPECTED.items()}
    for level in ("pool", "config", "parent"):
        words = f"asked for at level {level}"
        assert [name for name, text in texts.items() if words in text] == []


def test_a_rule_that_cannot_be_evaluated_is_accounted_for_in_full() -> None:
    assert "100 / task.batch_size > 1" in page("errors-of-conditions", 0, full=True)
