"""What a policy says of its requests: closed sets, tables, required facts and names."""

from __future__ import annotations

import pytest

from policy_router import loads
from policy_router.cel.ast import BOOL, DOUBLE, INT, STRING, STRINGS, Type
from policy_router.diagnostics.codes import Code, Severity
from policy_router.domain import ClosedSet
from policy_router.files.loader import check_text
from tests.support.rows import each

NAMES = {
    "kinds": "task.kind",
    "teams": "caller.team",
    "roles": "caller.roles",
    "labels": "task.labels",
    "needs": "task.needs",
}


def errors_in(text: str) -> list[tuple[Code, str]]:
    """Return code and path of each error."""
    _, found = check_text(text)
    return [(item.code, item.path) for item in found if item.severity is Severity.ERROR]


def message_of(text: str) -> tuple[str, str | None]:
    """Return message and help of the only finding."""
    _, (item,) = check_text(text)
    return item.message, item.help


# Closed sets.


@each("key", NAMES)
@each("written", ["[b, a]", "{values: [b, a]}", "{values: [b, a], unknown: refuse}", "[b, a, b]"])
def test_a_closed_set_is_a_list_or_says_what_becomes_of_the_rest(key: str, written: str) -> None:
    assert loads(f"{key}: {written}").closed == {NAMES[key]: ClosedSet(("b", "a"))}


@each("key", ["kinds", "teams", "roles"])
def test_what_does_not_restrict_may_be_dropped(key: str) -> None:
    closed = loads(f"{key}: {{values: [a], unknown: drop}}").closed
    assert closed == {NAMES[key]: ClosedSet(("a",), drops=True)}


@pytest.mark.parametrize("key", ["labels", "needs"])
def test_what_restricts_is_never_dropped(key: str) -> None:
    text = f"{key}: {{values: [a], unknown: drop}}"
    assert errors_in(text) == [(Code.NOT_ALLOWED, f"$.{key}.unknown")]
    message = f"an unknown one of `{key}` is always refused, since it may restrict"
    assert message_of(text) == (message, "write `unknown: refuse`")


@each(
    ("text", "code"),
    [
        ("teams: a", Code.WRONG_TYPE),
        ("teams: {unknown: drop}", Code.MISSING_KEY),
        ("teams: {values: a}", Code.WRONG_TYPE),
        ("teams: {values: [a], unknown: maybe}", Code.NOT_ALLOWED),
        ("teams: {values: [a], unkown: drop}", Code.UNKNOWN_KEY),
        ("teams: [1]", Code.WRONG_TYPE),
    ],
)
def test_a_closed_set_has_a_shape(text: str, code: Code) -> None:
    assert code in [found for found, _ in errors_in(text)]


def test_an_empty_set_closes_too() -> None:
    assert loads("labels: []").closed == {"task.labels": ClosedSet(())}
    assert errors_in("""labels: []\nforbid: [{when: '"pii" in task.labels'}]""") == [
        (Code.OUTSIDE_CLOSED_SET, "$.forbid[0].when")
    ]


@each(
    ("key", "condition"),
    [
        ("kinds", 'task.kind == "%s"'),
        ("teams", 'caller.team == "%s"'),
        ("teams", 'caller.team in ["a", "%s"]'),
        ("roles", '"%s" in caller.roles'),
        ("labels", '"%s" in task.labels'),
        ("needs", '"%s" in task.needs'),
    ],
)
@each("unknown", ["refuse", "drop"])
def test_a_literal_outside_a_closed_set_is_an_error(key: str, condition: str, unknown: str) -> None:
    unknown = "refuse" if key in {"labels", "needs"} else unknown
    text = f"{key}: {{values: [a, b], unknown: {unknown}}}\nforbid: [{{when: '{condition}'}}]"
    assert errors_in(text % "b") == []
    assert errors_in(text % "c") == [(Code.OUTSIDE_CLOSED_SET, "$.forbid[0].when")]


# What is required.


def test_what_is_required_is_named_once_in_order() -> None:
    policy = loads(
        "facts: {b: {type: int, required: true}, a: {type: int}}\n"
        "require: [caller.team, budget.spent_usd, caller.team]"
    )
    assert policy.required == ("facts.b", "caller.team", "budget.spent_usd")


@each(
    ("name", "help_"),
    [
        ("caller.tem", "did you mean `caller.team`?"),
        ("zzz", None),
        ("caller", None),
        ("now", None),
        ("target.name", None),
        ("facts.risk", "write `required: true` where the fact is declared"),
    ],
)
def test_only_a_name_of_a_request_can_be_required(name: str, help_: str | None) -> None:
    text = f"facts: {{risk: {{type: int}}}}\nrequire: [caller.id, {name}]"
    assert errors_in(text) == [(Code.UNKNOWN_NAME, "$.require[1]")]
    message, found = message_of(text)
    assert message == f"`{name}` is not a name of a request"
    assert help_ is None or found == help_


def test_a_fact_that_is_required_has_no_default() -> None:
    text = "facts: {risk: {type: int, required: true, default: 1}}"
    assert errors_in(text) == [(Code.NO_EFFECT, "$.facts.risk.required")]
    assert errors_in(text.replace("true", "false")) == []


@each(
    ("declared", "condition"),
    [
        ("facts: {risk: {type: int, required: true}}", "facts.risk > 1"),
        ("require: [budget.remaining_usd]", "budget.remaining_usd < 1.0"),
        ("require: [task.input_tokens]", "task.input_tokens > 5"),
    ],
)
def test_what_is_required_needs_no_guard(declared: str, condition: str) -> None:
    rule = f"forbid: [{{when: {condition}}}]"
    assert errors_in(f"{declared}\n{rule}") == []
    bare = declared.replace(", required: true", "").replace("require: ", "# ")
    assert errors_in(f"{bare}\n{rule}") == [(Code.UNGUARDED, "$.forbid[0].when")]


# Tables.


@each(
    ("written", "type_", "values"),
    [
        ("{a: x, b: ''}", STRING, {"a": "x", "b": ""}),
        ("{a: 1, b: -2}", INT, {"a": 1, "b": -2}),
        ("{a: 1.5, b: 2.5}", DOUBLE, {"a": 1.5, "b": 2.5}),
        ("{a: 1, b: 2.5}", DOUBLE, {"a": 1.0, "b": 2.5}),
        ("{a: true, b: false}", BOOL, {"a": True, "b": False}),
        ("{a: [x, y], b: []}", STRINGS, {"a": ("x", "y"), "b": ()}),
        ("{}", STRING, {}),
        ("{a b: 1, '': 2, é: 3}", INT, {"a b": 1, "": 2, "é": 3}),
    ],
)
def test_a_table_has_values_of_one_type(
    written: str, type_: Type, values: dict[str, object]
) -> None:
    table = loads(f"tables: {{t: {written}}}").tables["t"]
    assert (table.type, table.values) == (type_, values)
    assert [type(it) for it in table.values.values()] == [type(it) for it in values.values()]


@each(
    ("written", "path"),
    [
        ("{a: 1, b: x}", "$.tables.t.b"),
        ("{a: x, b: 1}", "$.tables.t.b"),
        ("{a: 1, b: true}", "$.tables.t.b"),
        ("{a: 1.5, b: true}", "$.tables.t.b"),
        ("{a: [x], b: x}", "$.tables.t.b"),
        ("{a: [1]}", "$.tables.t.a[0]"),
        ("{a: {b: 1}}", "$.tables.t.a"),
        ("{a: null}", "$.tables.t.a"),
        ("x", "$.tables.t"),
        ("[x]", "$.tables.t"),
    ],
)
def test_a_table_of_other_values_is_an_error(written: str, path: str) -> None:
    assert path in [found for _, found in errors_in(f"tables: {{t: {written}}}")]


def test_a_table_that_mixes_types_says_which() -> None:
    assert message_of("tables: {t: {a: 1, b: x}}")[0] == "a table of int cannot hold string"


@each("name", ["a b", "1", "in", ""])
def test_the_name_of_a_table_can_be_written_in_a_condition(name: str) -> None:
    assert errors_in(f"tables: {{'{name}': {{a: 1}}}}") != []


def test_the_values_of_a_table_cannot_be_changed() -> None:
    table = loads("tables: {t: {a: 1}}").tables["t"]
    with pytest.raises(TypeError, match="cannot be changed"):
        table.values["a"] = 2  # type: ignore[index]
