"""Tables in conditions: what is checked when a policy is loaded, and what they come to."""

from __future__ import annotations

import json
from typing import Any

from policy_router import decide, loads
from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Span
from policy_router.files.loader import check_text
from tests.support.rows import each

NOW = "2026-01-31T09:00:00Z"
TABLES = """
provider: p
tables:
  caps: {research: 5.0, ops: 1}
  ranks: {low: 1, high: 2}
  homes: {research: eu, ops: us}
  open: {research: true, ops: false}
  teams_of: {eu: [research, ops], us: []}
  none: {}
"""
OF_A_TABLE = (
    "caller.team in tables.homes && tables.homes[caller.team] in tables.teams_of && "
    "caller.team in tables.teams_of[tables.homes[caller.team]]"
)


def policy_with(when: str) -> str:
    """Return a policy that allows its only model on a condition."""
    return f"{TABLES}pool:\n  - model: m\n    allow: >-\n      {when}\nprecedence: strict\n"


def errors_in(when: str) -> list[tuple[Code, str, str, str | None]]:
    """Return code, underlined text, message and help of each error in a condition."""
    _, found = check_text(policy_with(when))
    errors = [item for item in found if item.severity is Severity.ERROR]
    assert all(item.path == "$.pool[0].allow" for item in errors)
    return [(item.code, _underlined(item.span), item.message, item.help) for item in errors]


def _underlined(span: Span) -> str:
    return span.source.text[span.start : span.end]


def allowed(when: str, **request: Any) -> bool:
    """Tell whether the condition lets the model be used; false where it fails, too."""
    asked = {**request, "task": {"model": "m", **request.get("task", {})}}
    return decide(loads(policy_with(when)), asked, now=NOW).decision.outcome == "selected"


# Guards.


@each(
    "when",
    [
        "caller.team in tables.caps && tables.caps[caller.team] > 1.0",
        "!(caller.team in tables.caps) || tables.caps[caller.team] > 1.0",
        "(caller.team in tables.caps ? tables.caps[caller.team] : 0.0) > 1.0",
        "caller.team in tables.caps && task.index > 0 && tables.caps[caller.team] > 1.0",
        "caller.team in tables.caps && (task.index > 0 || tables.caps[caller.team] > 1.0)",
        # Whatever space there is between its parts, it is the same key.
        "(caller . team) in tables.caps && tables.caps[ caller.team ] > 1.0",
        "(caller.team + 'x') in tables.caps && tables.caps[caller.team + 'x'] > 1.0",
        "task.labels.exists(it, it in tables.ranks && tables.ranks[it] > 1)",
        # A key that is written out needs no guard.
        'tables.caps["research"] > 1.0',
        'tables.homes["ops"] == caller.team',
        # The value of one table may be a key of another.
        OF_A_TABLE,
        "caller.team in tables.none",
    ],
)
def test_a_key_that_is_shown_to_be_there_may_be_used(when: str) -> None:
    assert errors_in(when) == []


@each(
    ("when", "underlined"),
    [
        ("tables.caps[caller.team] > 1.0", "tables.caps[caller.team]"),
        (
            "tables.caps[caller.team] > 1.0 && caller.team in tables.caps",
            "tables.caps[caller.team]",
        ),
        (
            "caller.team in tables.caps || tables.caps[caller.team] > 1.0",
            "tables.caps[caller.team]",
        ),
        ("caller.id in tables.caps && tables.caps[caller.team] > 1.0", "tables.caps[caller.team]"),
        (
            "caller.team in tables.caps && tables.ranks[caller.team] > 1",
            "tables.ranks[caller.team]",
        ),
        (
            "!(caller.team in tables.caps) && tables.caps[caller.team] > 1.0",
            "tables.caps[caller.team]",
        ),
        (
            "task.labels.exists(x, x in tables.ranks) && task.needs.all(x, tables.ranks[x] > 1)",
            "tables.ranks[x]",
        ),
    ],
)
def test_a_key_that_may_be_missing_needs_a_guard(when: str, underlined: str) -> None:
    table = underlined.partition("[")[0]
    message = f"`{table}` may lack the key and is used without a guard"
    help_ = f"write `key in {table} && ...`, or `key in {table} ? ... : ...`"
    assert errors_in(when) == [(Code.UNGUARDED, underlined, message, help_)]


# Keys and types.


@each(
    ("when", "code", "underlined", "message", "help_"),
    [
        (
            'tables.caps["reserch"] > 1.0',
            Code.UNKNOWN_NAME,
            '"reserch"',
            "`tables.caps` has no key `reserch`",
            "did you mean `research`?",
        ),
        (
            'tables.none["x"] == "x"',
            Code.UNKNOWN_NAME,
            '"x"',
            "`tables.none` has no key `x`",
            None,
        ),
        (
            "tables.caps[task.index] > 1.0",
            Code.TYPE_MISMATCH,
            "task.index",
            "the key of a table is a string, not int",
            None,
        ),
        (
            "task.index in tables.caps",
            Code.TYPE_MISMATCH,
            "task.index",
            "the key of a table is a string, not int",
            None,
        ),
        (
            "tables.caps == tables.caps",
            Code.OUTSIDE_PROFILE,
            "tables.caps",
            "`tables.caps` is a table",
            "read it as `tables.caps[key]`, guarded by `key in tables.caps`",
        ),
        (
            "size(tables.caps) > 1",
            Code.OUTSIDE_PROFILE,
            "tables.caps",
            "`tables.caps` is a table",
            "read it as `tables.caps[key]`, guarded by `key in tables.caps`",
        ),
    ],
)
def test_a_use_that_is_none_is_an_error_where_it_stands(
    when: str, code: Code, underlined: str, message: str, help_: str | None
) -> None:
    assert errors_in(when)[0] == (code, underlined, message, help_)


@each(
    ("when", "codes"),
    [
        ('tables.caps["ops"] > 1', [Code.INT_WITH_DOUBLE]),
        ('tables.ranks["low"] > 1.0', [Code.INT_WITH_DOUBLE]),
        ('tables.homes["ops"] == 1', [Code.TYPE_MISMATCH]),
        ('tables.teams_of["eu"] == "research"', [Code.TYPE_MISMATCH]),
        ('tables.caps["ops"]', [Code.NOT_A_CONDITION]),
        # These have the types that they are used with.
        ('tables.caps["ops"] > 0.5', []),
        ('tables.ranks["low"] + 1 == 2', []),
        ('tables.open["research"]', []),
        ('"ops" in tables.teams_of["eu"]', []),
        ('tables.homes["ops"].startsWith("u")', []),
        ('size(tables.teams_of["us"]) == 0', []),
    ],
)
def test_the_value_of_a_table_has_the_type_of_the_table(when: str, codes: list[Code]) -> None:
    assert [row[0] for row in errors_in(when)] == codes


def test_an_unknown_table_says_where_tables_are_declared() -> None:
    (row,) = errors_in("caller.team in tables.zzz")
    assert (row[0], row[3]) == (Code.UNKNOWN_NAME, "declare it under `tables`")


# What they come to.


@each(
    ("when", "team", "expected"),
    [
        ("caller.team in tables.caps", "ops", True),
        ("caller.team in tables.caps", "sales", False),
        ("caller.team in tables.caps", "", False),
        ("caller.team in tables.none", "ops", False),
        ("caller.team in tables.caps && tables.caps[caller.team] > 1.0", "research", True),
        ("caller.team in tables.caps && tables.caps[caller.team] > 1.0", "ops", False),
        ("caller.team in tables.caps && tables.caps[caller.team] > 1.0", "sales", False),
        ("!(caller.team in tables.caps) || tables.caps[caller.team] > 1.0", "sales", True),
        ("(caller.team in tables.caps ? tables.caps[caller.team] : 9.0) > 5.0", "sales", True),
        ("caller.team in tables.open && tables.open[caller.team]", "research", True),
        ("caller.team in tables.open && tables.open[caller.team]", "ops", False),
        (
            OF_A_TABLE,
            "research",
            True,
        ),
        (
            OF_A_TABLE,
            "ops",
            False,
        ),
        ('tables.caps["research"] == 5.0', "", True),
    ],
)
def test_a_table_is_read_by_key(when: str, team: str, expected: bool) -> None:  # noqa: FBT001
    assert allowed(when, caller={"team": team}) is expected


def test_a_whole_number_in_a_table_of_doubles_is_a_double() -> None:
    assert allowed('tables.caps["ops"] == 1.0')
    assert allowed('tables.caps["ops"] / 2.0 == 0.5')


def test_a_table_may_be_read_for_each_item_of_a_list() -> None:
    when = "task.labels.all(it, it in tables.ranks && tables.ranks[it] > 1)"
    assert allowed(when, task={"labels": ["high"]})
    assert not allowed(when, task={"labels": ["high", "low"]})
    assert not allowed(when, task={"labels": ["high", "zzz"]})


@each("place", ["allow", "pick", "forbid", "when", "order_by", "variable"])
def test_a_table_may_be_read_wherever_there_is_a_condition(place: str) -> None:
    test = "caller.team in tables.open && tables.open[caller.team]"
    number = "caller.team in tables.ranks ? tables.ranks[caller.team] : 0"
    entry: dict[str, Any] = {"model": "m", "pick": "true"}
    rule: dict[str, Any] = {"use": "pool"}
    policy: dict[str, Any] = {"pool": [entry], "precedence": [rule]}
    match place:
        case "allow" | "pick":
            entry[place] = test
        case "forbid":
            policy["forbid"] = [{"when": f"!({test})"}]
        case "when":
            rule["when"] = test
        case "order_by":
            rule["order_by"] = number
        case "variable":
            policy["variables"], entry["pick"] = {"v": test}, "variables.v"
    sections = (f"{key}: {json.dumps(value)}\n" for key, value in policy.items())
    compiled = loads(f"{TABLES}{''.join(sections)}")
    outcomes = [
        decide(compiled, {"caller": {"team": team}}, now=NOW).decision.outcome
        for team in ("research", "ops", "sales")
    ]
    assert outcomes[0] == "selected"
    assert (set(outcomes) == {"selected"}) is (place == "order_by")


def test_a_table_is_looked_up_by_what_is_known_of_an_entry() -> None:
    # An entry's own attributes are written into its conditions: here the key is a constant.
    text = """
tables: {regions: {p: eu, q: us}}
facts: {region: {type: string, default: eu}}
pool: [{model: a, provider: p}, {model: b, provider: q}, {model: c, provider: r}]
forbid:
  - when: >-
      !(target.provider in tables.regions) || tables.regions[target.provider] != facts.region
precedence: strict
"""
    policy = loads(text)

    def selected(model: str, region: str) -> bool:
        request = {"task": {"model": model}, "facts": {"region": region}}
        return decide(policy, request, now=NOW).decision.outcome == "selected"

    assert [selected(model, "eu") for model in "abc"] == [True, False, False]
    assert [selected(model, "us") for model in "abc"] == [False, True, False]


def test_an_order_may_be_read_from_a_table() -> None:
    text = """
provider: p
tables: {rank: {b: 1, a: 2}}
pool: [{model: a, pick: 'true'}, {model: b, pick: 'true'}, {model: c, pick: 'true'}]
precedence: [{use: pool, order_by: "target.name in tables.rank ? tables.rank[target.name] : 9"}]
"""
    policy = loads(text)
    target = decide(policy, {}, now=NOW).decision.target
    assert target
    assert target.model == "b"
