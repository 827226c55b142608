"""What is asked of all requests: never, can, or undecided, each for its reason."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from policy_router import Policy, loads
from policy_router.analysis import Answer, Coverage, analyze, compare, prove
from policy_router.analysis.proof.analyzing import AnalysisItem
from policy_router.analysis.proof.comparing import Comparison
from policy_router.analysis.proof.items import Items
from policy_router.analysis.proof.report import of_analysis, of_comparison, of_proofs
from policy_router.analysis.proof.solver import FALSE, TRUE, Formula, OutOfReachError, holds_in
from policy_router.analysis.proof.suggesting import suggest
from policy_router.analysis.proof.terms import Number, Text
from policy_router.analysis.proof.ways import CLASSES
from policy_router.files.loader import schema
from tests.support.rows import each

NOW = "2026-01-31T09:00:00Z"
HEAD = """
version: 1
provider: p
providers: {p: {base_url: "https://p.example"}, q: {base_url: "https://q.example"}}
"""


def policy_of(text: str) -> Policy:
    return loads(HEAD + text)


def answers(text: str) -> dict[str, AnalysisItem]:
    return {it.item.text: it for it in analyze(policy_of(text), now=NOW).items}


def answer(text: str, question: str) -> Answer:
    return answers(text)[question].answered.answer


def asked(text: str, condition: str, word: str = "never") -> Any:
    """Ask one assertion about a policy."""
    assertion = json.dumps([{"id": "it", word: condition}])
    (proof,) = prove(policy_of(f"{text}\nassert: {assertion}"), now=NOW).proofs
    return proof.answered


# The solver and the terms.


def test_a_gate_is_made_once_and_constants_fold() -> None:
    formula = Formula()
    one, two = formula.new(), formula.new()
    assert formula.all(one, two) == formula.all(two, one)
    assert formula.all(one, -one) == FALSE
    assert formula.any(one, TRUE) == TRUE
    assert formula.all() == TRUE
    both = formula.all(one, two)
    assert formula.holds([both]) is True
    assert holds_in(formula.model(), one)
    assert formula.holds([both, -one]) is False
    formula.close()


def test_no_question_is_asked_when_there_is_no_time_left() -> None:
    formula = Formula(seconds=0)
    with pytest.raises(OutOfReachError, match="no time left"):
        formula.holds([formula.new()])


def test_a_formula_that_grows_too_large_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("policy_router.analysis.proof.solver.MOST_CLAUSES", 3)
    formula = Formula()
    with pytest.raises(OutOfReachError, match="too large"):
        formula.all(*[formula.new() for _ in range(9)])


def test_a_text_is_one_word_and_its_questions_are_right_on_words() -> None:
    formula = Formula()
    text, other = Text(formula, "a"), Text(formula, "b")
    begins = text.asks(("startsWith", "co"), lambda it: it.startswith("co"))
    more = text.asks(("startsWith", "cod"), lambda it: it.startswith("cod"))
    apart = text.asks(("startsWith", "x"), lambda it: it.startswith("x"))
    coding, math = text.equals("coding"), text.equals("math")
    assert formula.holds([coding, math]) is False
    assert formula.holds([coding, -begins]) is False
    assert formula.holds([math, begins]) is False
    assert formula.holds([more, -begins]) is False
    assert formula.holds([apart, begins]) is False
    same = text.is_same(other)
    assert formula.holds([same, coding, -other.equals("coding")]) is False
    assert formula.holds([coding, other.equals("coding"), -same]) is False


def test_numbers_are_in_order() -> None:
    formula = Formula()
    one, two = Number(formula, "a", 0, 100), Number(formula, "b", 0, 100)
    assert formula.holds([one.compared("<", 5), one.compared(">", 7)]) is False
    assert formula.holds([one.compared("==", 5), one.compared(">=", 6)]) is False
    assert one.compared("<=", 100) == TRUE
    assert one.compared("<", 0) == FALSE
    assert one.compared("==", float("nan")) == FALSE
    less = one.with_other("<", two)
    assert formula.holds([less, one.compared(">=", 50), two.compared("<=", 10)]) is False
    assert one.with_other("==", one) == TRUE


def test_a_list_has_as_many_elements_as_its_size() -> None:
    formula = Formula()
    items = Items(formula, "a", ["x", "y"], 10)
    both = [items.has("x"), items.has("y")]
    assert formula.holds([*both, items.size.at_most(1)]) is False
    assert formula.holds([items.has("new"), -items.other]) is False
    assert formula.holds([-items.size.at_most(0), *[-it for it in both], -items.other]) is False
    items.restrict()
    assert items.has("never") == FALSE


# Analyze.

TWO = """
model: a
pool:
  - {name: one, model: a, pick: 'task.kind == "coding"', price: {output: 1}}
  - {name: two, model: b, pick: 'task.kind == "coding"', price: {output: 2}}
forbid:
  - {id: broad, when: '"pii" in task.labels && target.model == "b"'}
  - {id: narrow, when: '"pii" in task.labels && task.kind == "x" && target.model == "b"'}
precedence:
  - {use: task, on_violation: reject}
  - {use: pool, order_by: "has(target.price.output) ? target.price.output : 9.0"}
  - {use: config}
  - {id: late, use: parent}
"""


def test_what_never_matters_is_proved_and_what_can_has_an_example() -> None:
    found = answers(TWO)
    never = {text for text, it in found.items() if it.answered.answer is Answer.NEVER}
    assert never == {
        "`pick` of entry `two` wins",
        "forbid rule `narrow` makes a difference",
        "precedence rule `late` selects a target",
        "no rule selects a target",
        "a model outside the pool runs",
        "precedence rule `task` refuses with evaluation_error",
    } & set(found)
    two = found["entry `two` is selected"]
    assert two.by == ("task",)
    assert two.answered.example is not None
    assert two.answered.example.request == {"task": {"model": "two"}}
    assert found["forbid rule `broad` makes a difference"].answered.answer is Answer.CAN


def test_a_rule_of_a_shipped_profile_is_not_blamed() -> None:
    found = answers("model: a\npool: [{model: a}]\nprecedence: strict")
    late = found["precedence rule `parent` selects a target"]
    assert (late.answered.answer, late.is_finding) == (Answer.NEVER, False)


def test_parts_that_say_the_same_are_named() -> None:
    text = """
pool:
  - {name: one, model: a}
  - {name: two, model: a}
forbid: [{when: 'task.kind == "x"'}, {when: 'task.kind == "x"'}]
precedence:
  - {use: task}
  - {id: again, use: task}
  - {id: planned, use: task, fallback: candidates}
  - {id: ordered, use: task, order_by: '1.0'}
"""
    texts = [text for text, _ in analyze(policy_of(text), now=NOW).alike]
    assert texts == [
        "entry `two` is the same as entry `one`",
        "forbid rule `forbid-2` is the same as forbid rule `forbid-1`",
        "precedence rule `again` is the same as precedence rule `task`",
    ]


@pytest.mark.parametrize(
    ("condition", "wanted"),
    [
        ('task.kind == "x" && task.kind == "y"', Answer.NEVER),
        ("parent.depth > 3 && parent.depth < 5", Answer.CAN),
        ("parent.depth > 3 && parent.depth < 4", Answer.NEVER),
        ('task.kind.startsWith("co") && task.kind.endsWith("ng")', Answer.CAN),
        ('task.kind.startsWith("a") && task.kind.startsWith("b")', Answer.NEVER),
        ('task.kind.matches("^w[0-9]$") && task.kind != "w0"', Answer.CAN),
        ('bucket("salt", caller.id) < 5 && caller.id != ""', Answer.CAN),
        ('bucket("salt", caller.id) > 99', Answer.NEVER),
        ('task.labels.all(x, x == "a") && size(task.labels) > 0', Answer.CAN),
        ('task.labels.all(x, x == "a") && "b" in task.labels', Answer.NEVER),
        ('task.labels.exists(x, x.startsWith("z"))', Answer.CAN),
        ('task.labels.filter(x, x != "a").exists(x, x == "a")', Answer.NEVER),
        ('task.labels.map(x, x == "a" ? "b" : "c").exists(x, x == "b")', Answer.CAN),
        ('task.labels.exists_one(x, x == "a") && !("a" in task.labels)', Answer.NEVER),
        ('sets.contains(task.labels, ["a", "b"]) && !("a" in task.labels)', Answer.NEVER),
        ('sets.intersects(task.labels, ["a"]) && !("a" in task.labels)', Answer.NEVER),
        ('task.labels == [] && "a" in task.labels', Answer.NEVER),
        ('size(task.labels) > 2 && task.labels[0] == "q"', Answer.CAN),
        ("task.index + 1 == 3 && task.index != 2", Answer.NEVER),
        ("-task.index == 3 && task.index > 0", Answer.NEVER),
        ("task.index * 2 == 6 && task.index != 3", Answer.NEVER),
        ("task.index / 2 == 3 && task.index > 7", Answer.NEVER),
        ("double(task.index) > 2.5 && task.index < 3", Answer.NEVER),
        ('int(task.kind) == 7 && task.kind == "7"', Answer.CAN),
        ('task.kind.lowerAscii() == "ab" && task.kind == "AB"', Answer.CAN),
        ("task.kind < caller.team && task.kind == caller.team", Answer.NEVER),
        ('task.kind == caller.team && task.kind == "x" && caller.team == "y"', Answer.NEVER),
        ("now.getHours() == 25", Answer.NEVER),
        ("now.getDayOfWeek() == 0 && now.getHours() == 3", Answer.CAN),
        ('now < timestamp("2020-01-01T00:00:00Z")', Answer.CAN),
        ("task.index < task.batch_size && task.batch_size < task.index", Answer.NEVER),
        ("(task.index > 3 ? 1 : 2) == 1 && task.index < 2", Answer.NEVER),
        ('cel.bind(k, task.kind, k == "x" && k == "y")', Answer.NEVER),
        ('["a", "b"][task.index] == "b" && task.index != 1', Answer.NEVER),
        ('(task.labels + caller.roles).exists(x, x == "a") && !("a" in task.labels)', Answer.CAN),
        ('task.kind in ["a", "b"] && task.kind >= "c"', Answer.NEVER),
        ("budget.remaining_usd < 1.0", Answer.CAN),
        ("parent.depth % 3 == 5", Answer.NEVER),
        ("parent.depth % -3 == -2", Answer.CAN),
    ],
)  # fmt: skip
def test_a_condition_is_understood(condition: str, wanted: Answer) -> None:
    guarded = f"has(budget.remaining_usd) && {condition}" if "budget" in condition else condition
    rule = json.dumps([{"use": "config", "when": guarded}])
    text = f"model: a\npool: [{{model: a}}]\nprecedence: {rule}"
    assert answer(text, "precedence rule `config` selects a target") is wanted


def test_a_condition_that_can_fail_says_so() -> None:
    text = "model: a\nprecedence: [{use: config, when: '1 / parent.depth == 1'}]"
    found = answers(text)["`when` of rule `config` cannot be evaluated"]
    assert found.answered.answer is Answer.CAN
    assert found.is_finding
    assert found.answered.example is not None
    assert found.answered.example.request == {}


@each(
    "condition",
    [
        "parent.depth + 1 > parent.depth",
        "parent.depth - 1 > parent.depth",
        "task.index > parent.depth && parent.depth > task.index + 1",
    ],
)
def test_a_number_may_be_compared_with_what_follows_from_it(condition: str) -> None:
    rule = json.dumps([{"use": "config", "when": condition}])
    found = answers(f"model: a\npool: [{{model: a}}]\nprecedence: {rule}")
    selects = found["precedence rule `config` selects a target"].answered
    if condition.startswith("parent.depth + 1"):
        assert selects.answer is Answer.CAN
    else:
        assert selects.answer is not Answer.CAN


@each(
    ("division", "wanted"),
    [("% 2", None), ("% -2", None), ("/ 3", None), ("% 0", Answer.CAN), ("/ -1", Answer.CAN)],
)
def test_a_division_by_a_good_constant_cannot_fail(division: str, wanted: Answer | None) -> None:
    rule = json.dumps([{"id": "odd", "use": "config", "when": f"parent.depth {division} == 1"}])
    found = answers(f"model: a\nprecedence: {rule}").get("`when` of rule `odd` cannot be evaluated")
    assert (found and found.answered.answer) is wanted


def test_what_is_not_understood_is_undecided_and_names_the_expression() -> None:
    condition = "has(budget.spent_usd) && budget.spent_usd * budget.spent_usd == 2.0"
    rule = f"{{id: odd, use: config, when: '{condition}'}}"
    text = f"model: a\npool: [{{model: a}}]\nprecedence: [{rule}]"
    found = answers(text)["precedence rule `odd` selects a target"].answered
    assert found.answer is Answer.UNDECIDED
    assert found.cause is not None
    assert found.cause.text == "budget.spent_usd * budget.spent_usd == 2.0"
    assert found.cause.span is not None


# Prove.

HOME = """
model: a
pool:
  - {name: far, model: a, pick: 'task.kind == "coding"', fallback: [near]}
  - {name: near, model: a, provider: q}
precedence: strict
"""


def test_an_assertion_holds_for_planned_fallbacks_too() -> None:
    answered = asked(HOME, 'task.kind == "coding" && target.provider == "q" && level == "pool"')
    assert answered.answer is Answer.CAN
    (record,) = answered.example.records
    assert record.decision.target.provider == "p"
    assert [it.provider for it in record.decision.fallbacks] == ["q"]


@each(
    ("word", "condition", "wanted"),
    [
        ("always", 'outcome == "refused" || in_pool', Answer.NEVER),
        ("always", "in_pool", Answer.CAN),
        ("never", 'code == "outside_pool"', Answer.CAN),
        ("never", 'code == "forbidden"', Answer.NEVER),
        ("never", 'rule == "parent"', Answer.NEVER),
        ("never", 'level == "pool" && task.kind != "coding"', Answer.NEVER),
        ("never", "1 / parent.depth == 7", Answer.CAN),
        ("always", 'target.name in ["far", "near"] || outcome == "refused"', Answer.NEVER),
    ],
)
def test_assertions_see_the_outcome(word: str, condition: str, wanted: Answer) -> None:
    assert asked(HOME, condition, word).answer is wanted


def test_an_assumption_restricts_requests() -> None:
    text = f"{HOME}\nassume: ['task.kind != \"coding\"']"
    assert asked(text, 'level == "pool"').answer is Answer.NEVER
    assert asked(HOME, 'level == "pool"').answer is Answer.CAN


def test_a_closed_set_restricts_requests() -> None:
    condition = 'task.kind != "coding" && task.kind != "" && outcome == "selected"'
    assert asked(f"kinds: [coding]\n{HOME}", condition).answer is Answer.NEVER
    dropping = "kinds: {values: [coding], unknown: drop}"
    assert asked(f"{dropping}\n{HOME}", condition).answer is Answer.NEVER


def test_a_required_name_is_always_given() -> None:
    condition = 'caller.team == ""'
    assert asked(f"require: [caller.team]\n{HOME}", condition).answer is Answer.NEVER
    assert asked(HOME, condition).answer is Answer.CAN


def test_a_wish_for_a_parameter_decides_who_is_selected() -> None:
    text = """
model: a
pool:
  - {name: low, model: a, limits: {temperature: {max: 0.5}}}
  - {name: high, model: b}
precedence:
  - {use: task, on_violation: reject}
  - {use: config}
"""
    answered = asked(text, 'code == "parameter_not_allowed"')
    assert answered.answer is Answer.CAN
    wished = answered.example.request["task"]["parameters"]["temperature"]
    assert wished > 0.5


# Compare.


def compared(old: str, new: str, *, strict: bool = False) -> Comparison:
    return compare(policy_of(old), policy_of(new), now=NOW, strict=strict)


def ways(comparison: Comparison) -> set[str]:
    return {it.name for it in comparison.differences if it.answered.answer is Answer.CAN}


def test_equal_policies_are_equivalent() -> None:
    assert compared(TWO, TWO).equivalent
    assert compared(TWO, TWO, strict=True).equivalent


def test_a_policy_that_was_changed_in_memory_is_compared_for_what_it_says() -> None:
    policy = policy_of(TWO)
    changed = replace(policy, forbid=policy.forbid[1:])
    assert changed.revision == policy.revision
    assert ways(compare(policy, changed, now=NOW)) >= {"newly-allowed"}


def test_another_way_to_write_the_same_is_equivalent() -> None:
    other = TWO.replace("'task.kind == \"coding\"'", "'\"coding\" == task.kind'")
    assert compared(TWO, other).equivalent
    assert compared(TWO, TWO.replace("id: narrow", "id: slim")).equivalent


@each(
    ("old", "new", "wanted"),
    [
        ("output: 1}", "output: 5}", {"moved", "dearer"}),
        ('task.labels && target.model == "b"', "task.labels", {"newly-refused"}),
        ("on_violation: reject", "on_violation: next", {"newly-allowed"}),
        ("{use: task, on_violation: reject}", "{use: task, fallback: true}", {"newly-allowed"}),
        ("model: b,", "model: c,", {"moved"}),
    ],
)
def test_a_difference_is_found_in_its_ways(old: str, new: str, wanted: set[str]) -> None:
    found = compared(TWO, TWO.replace(old, new))
    assert wanted <= ways(found)
    assert not found.equivalent
    assert all(it.due_to for it in found.differences if it.answered.answer is Answer.CAN)


def test_other_fallbacks_are_a_difference_of_their_own() -> None:
    planned = HOME.replace("fallback: [near]", "fallback: []")
    assert ways(compared(HOME, planned)) == {"fallbacks"}


@each(
    ("old", "new", "way", "wanted"),
    [
        ("fallback: [near]", "fallback: []", "fallbacks", "`fallback` of `far`"),
        (
            "precedence: strict",
            "forbid: [{id: home, when: 'target.provider == \"q\"'}]\nprecedence: strict",
            "fallbacks",
            "forbid rule `home`",
        ),
        ("provider: q", "provider: q, allow: 'false'", "fallbacks", "`allow` of `near`"),
        ("price: {output: 1.0}", "price: {output: 2.0}", "dearer", "the price of `far`"),
    ],
)
def test_a_difference_of_one_target_is_due_to_its_plan_or_its_price(
    old: str, new: str, way: str, wanted: str
) -> None:
    before = HOME.replace("name: far,", "name: far, price: {output: 1.0},")
    after = before.replace(old, new)
    assert compared(before, after).found(way).due_to == wanted
    if way == "fallbacks" and wanted != "`fallback` of `far`":
        assert compared(after, before).found(way).due_to == f"no longer {wanted}"


def test_another_order_of_fallbacks_is_found() -> None:
    three = """
model: a
pool:
  - {name: one, model: a, pick: 'true', fallback: [two, three]}
  - {name: two, model: b}
  - {name: three, model: c}
"""
    assert ways(compared(three, three.replace("[two, three]", "[three, two]"))) == {"fallbacks"}


def test_other_rules_and_parameters_differ_only_where_it_is_strict() -> None:
    other = HOME.replace("precedence: strict", "precedence: strict\nparameters: {temperature: 0.1}")
    assert compared(HOME, other).equivalent
    found = compared(HOME, other, strict=True)
    assert ways(found) == {"details"}


def test_defaults_and_sets_that_differ_are_told_apart() -> None:
    old = """
facts: {region: {type: string, default: eu}}
teams: {values: [x, y], unknown: drop}
model: a
pool: [{model: a, allow: 'facts.region == "eu" && caller.team != "x"'}]
precedence: [{use: config}]
"""
    assert ways(compared(old, old.replace("default: eu", "default: us"))) == {"newly-refused"}
    assert ways(compared(old.replace("[x, y]", "[x]"), old)) == set()


@each(
    ("name", "allow", "wanted"),
    [
        ("team", 'caller.team == ""', {"newly-refused"}),
        ("team", 'caller.team != "x"', set()),
        ("role", "size(caller.roles) == 0", {"newly-refused"}),
        ("role", 'caller.roles.all(it, it == "x")', {"newly-refused"}),
        ("role", '"x" in caller.roles', set()),
    ],
)
def test_a_value_that_one_of_two_policies_drops_is_seen_by_the_other(
    name: str, allow: str, wanted: set[str]
) -> None:
    old = f"""
{name}s: {{values: [x], unknown: drop}}
model: a
pool: [{{model: a, allow: '{allow}'}}]
precedence: [{{use: config}}]
"""
    found = compared(old, old.replace("[x]", "[x, y]"))
    assert ways(found) == wanted
    assert found.equivalent is (not wanted)


def test_a_list_that_is_required_has_an_element() -> None:
    text = "model: a\nprecedence: [{use: config}]\n"
    assert asked(text, "size(caller.roles) == 0").answer is Answer.CAN
    required = f"require: [caller.roles]\n{text}"
    assert asked(required, "size(caller.roles) == 0").answer is Answer.NEVER


def test_where_nothing_else_differs_it_is_not_known_whether_details_do() -> None:
    found = compared(HOME, f"variables: {{unused: '1'}}{HOME}", strict=True)
    assert {it.name for it in found.differences if it.answered.answer is Answer.NEVER} == {*CLASSES}
    cause = found.found("details").answered.cause
    assert cause is not None
    assert cause.text == "rules, parameters and warnings are compared request by request"


def test_a_formula_that_is_too_large_leaves_all_suggestions_undecided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy = policy_of(TWO)
    monkeypatch.setattr("policy_router.analysis.proof.solver.MOST_CLAUSES", 9)
    found = suggest(policy, Coverage(policy).report(), now=NOW)
    assert (found.tests, found.never) == ((), ())
    assert {str(cause and cause.text) for _, cause in found.undecided} == {
        "the formula grows too large"
    }


# Reports.


def test_reports_fit_their_schema() -> None:
    validator = jsonschema.Draft7Validator(dict(schema("analysis")))
    bad = policy_of(f"{HOME}\nassume: ['parent.depth >= 0']\nassert: [{{id: x, never: in_pool}}]")
    for report in (
        of_analysis(analyze(policy_of(TWO), now=NOW)),
        of_proofs(prove(bad, now=NOW)),
        of_comparison(compared(HOME, TWO, strict=True)),
    ):
        validator.validate(json.loads(report.to_json()))
        assert report.count(Answer.CAN) > 0


def test_what_takes_too_long_is_undecided() -> None:
    policy = policy_of(TWO.replace("late", "slow"))
    found = analyze(policy, now=NOW, seconds=1e-9)
    slow = next(it for it in found.items if it.item.text == "`pick` of entry `two` wins")
    assert slow.answered.answer is Answer.UNDECIDED
    assert slow.answered.cause is not None
    assert slow.answered.cause.text == "there is no time left"
