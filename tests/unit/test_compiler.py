"""Documents to a policy: its sections, its canonical form and its revision."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import policy_router
from policy_router import Policy, PolicyError, load, loads
from policy_router.cel.ast import DOUBLE, STRINGS
from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import Diagnostics
from policy_router.domain import FrozenDict, Level, Limit, Note, Price, Provider, frozen
from policy_router.files.loader import check_text, profiles, schema
from policy_router.policy.compiler import Sources, examine
from tests.support.rows import each

NOW = "2026-01-31T09:00:00Z"


def sources(*files: str) -> Sources:
    """Return the sources of a policy in several files."""
    named = [(f"{letter}.yaml", text) for letter, text in zip("abcdef", files, strict=False)]
    return Sources("folder", named, profiles(), schema("policy"))


def merged(*files: str) -> Policy:
    """Compile a policy of several files."""
    policy, found = examine(sources(*files))
    assert policy is not None, found.to_text()
    return policy


def found_in(*files: str) -> list[tuple[Code, str, str, str | None]]:
    """Return code, place, message and help of what is wrong with a policy in several files."""
    policy, found = examine(sources(*files))
    assert policy is None
    return [(item.code, str(item.span), item.message, item.help) for item in found]


def wrong(text: str) -> Diagnostics:
    """Return what is wrong with a policy that cannot be used."""
    policy, found = check_text(text)
    assert policy is None
    assert found.errors
    return found


# Sections.


def test_a_policy_that_says_nothing_but_its_version_has_defaults() -> None:
    policy = loads("version: 1", name="rules.yaml")
    assert (policy.name, policy.model, policy.provider, policy.pool) == ("rules", None, None, None)
    assert (policy.kinds, policy.forbid, policy.variables) == (None, (), ())
    assert [policy.parameters, policy.providers, policy.facts] == [{}, {}, {}]
    assert [rule.use for rule in policy.precedence] == list(Level)
    assert not any(rule.reject for rule in policy.precedence)


def test_the_name_is_the_one_written_else_the_one_given() -> None:
    assert loads("name: acme", name="other.yaml").name == "acme"
    assert loads("model: m", name="other.yaml").name == "other"
    assert loads("model: m").name == "policy"


def test_an_entry_has_what_is_written() -> None:
    policy = loads(
        """
pool:
  - model: m
    name: e
    provider: p
    aliases: [x, y]
    strengths: [math, formal proofs]
    supports: [tools]
    serves: [m-2026-01-31]
    price: {input: 1, output: 2.5, cache_read: 0, cache_write: 3}
    context_window: 100
    parameters: {a: {b: [1]}, max_output_tokens: 5}
    limits:
      {reasoning_effort: [low], max_completion_tokens: {min: 1, max: 10}, seed: {}, x: [1, true]}
    fallback: [n]
    allow: target.name == "e"
    pick: true
  - model: n
"""
    )
    entry, bare = policy.pool or ()
    assert (entry.model, entry.name, entry.provider) == ("m", "e", "p")
    assert (entry.aliases, entry.fallback) == (("x", "y"), ("n",))
    assert entry.serves == ("m-2026-01-31",)
    assert (entry.strengths, entry.supports) == (("math", "formal proofs"), ("tools",))
    assert (entry.price, entry.context_window) == (Price(1.0, 2.5, 0.0, 3.0), 100)
    assert isinstance(entry.price.input, float)
    assert entry.parameters == {"a": {"b": (1,)}, "max_tokens": 5}
    assert entry.limits == {
        "reasoning_effort": Limit(("low",)),
        "max_tokens": Limit(None, 1, 10),
        "seed": Limit(),
        "x": Limit((1, True)),
    }
    assert entry.allow is not None
    assert entry.allow.text == 'target.name == "e"'
    assert entry.pick is not None
    assert entry.pick.text == "true"
    assert (bare.name, bare.provider, bare.supports, bare.price) == ("n", "", None, Price())
    assert (bare.allow, bare.pick, bare.context_window) == (None, None, None)
    assert (bare.serves, bare.limits, bare.note) == ((), {}, Note())


def test_a_forbid_rule_is_enforced_unless_it_says_otherwise() -> None:
    text = "forbid: [{when: true}, {when: true, enforce: true}, {when: true, enforce: false}]"
    assert [rule.enforce for rule in loads(text).forbid] == [True, True, False]


@each(
    ("written", "planned"),
    [
        ("{use: call}", (False, False)),
        ("{use: task, fallback: true}", (True, False)),
        ("{use: task, fallback: candidates}", (True, True)),
        ("{use: pool}", (True, False)),
        ("{use: pool, fallback: false}", (False, False)),
        ("{use: pool, fallback: candidates}", (True, True)),
        ("{use: config}", (True, False)),
    ],
)
def test_a_rule_says_which_fallbacks_it_plans(written: str, planned: tuple[bool, bool]) -> None:
    (rule,) = loads(f"precedence: [{written}]").precedence
    assert (rule.fallback, rule.falls_to_candidates) == planned


@each("use", list(Level))
def test_a_rule_that_proposes_several_may_order_them(use: Level) -> None:
    (rule,) = loads(f"precedence: [{{use: {use}, order_by: size(target.name)}}]").precedence
    assert (rule.order_by is not None) == (use in {Level.CALL, Level.TASK, Level.POOL})


NOTED = """
description: What it is for.
owner: platform
pool: [{model: m, description: Of an entry., owner: a}]
forbid: [{when: false, description: Of a rule., owner: b}]
precedence: [{use: config, description: Of an order., owner: c}]
"""


def test_what_is_said_of_a_part_is_kept_with_it() -> None:
    policy = loads(NOTED)
    assert policy.note == Note("What it is for.", "platform")
    (entry,) = policy.pool or ()
    assert entry.note == Note("Of an entry.", "a")
    assert policy.forbid[0].note == Note("Of a rule.", "b")
    assert policy.precedence[0].note == Note("Of an order.", "c")


def test_assertions_and_assumptions_are_read_with_the_names_that_they_may_use() -> None:
    policy = loads(
        """
assert:
  - {id: cheap, never: 'outcome == "selected" && target.name == "m"', description: Why.}
  - {always: level != "parent"}
  - {unchanged: other.yaml, owner: me}
assume: [parent.depth < 3, "true"]
"""
    )
    found = [(it.id, it.word, it.unchanged) for it in policy.assertions]
    assert found == [
        ("cheap", "never", None),
        ("assert-2", "always", None),
        ("assert-3", "unchanged", "other.yaml"),
    ]
    assert [it.condition is None for it in policy.assertions] == [False, False, True]
    assert policy.assertions[0].note == Note("Why.")
    assert policy.assertions[2].note == Note(owner="me")
    assert [it.text for it in policy.assumptions] == ["parent.depth < 3", "true"]


@each(
    ("text", "code", "path"),
    [
        ("assert: [{id: x}]", Code.BAD_VALUE, "$.assert[0]"),
        ("assert: [{never: 'true', always: 'true'}]", Code.BAD_VALUE, "$.assert[0]"),
        ("assert: [{never: wrong}]", Code.UNKNOWN_NAME, "$.assert[0].never"),
        ("assert: [{never: task.kind}]", Code.NOT_A_CONDITION, "$.assert[0].never"),
        # What the host guarantees of a request is about the request alone.
        ("assume: ['target.name == \"m\"']", Code.UNKNOWN_NAME, "$.assume[0]"),
        ("assume: ['outcome == \"selected\"']", Code.UNKNOWN_NAME, "$.assume[0]"),
        ("forbid: [{when: 'outcome == \"selected\"'}]", Code.UNKNOWN_NAME, "$.forbid[0].when"),
    ],
)
def test_an_assertion_that_is_wrong_is_an_error(text: str, code: Code, path: str) -> None:
    assert (code, path) in [(item.code, item.path) for item in wrong(text)]


def test_nothing_supported_is_not_the_same_as_nothing_declared() -> None:
    (entry,) = loads("pool: [{model: m, supports: []}]").pool or ()
    assert entry.supports == ()


def test_an_entry_is_at_the_policys_provider_where_it_names_none() -> None:
    own, other = loads("provider: p\npool: [{model: a}, {model: b, provider: q}]").pool or ()
    assert (own.provider, other.provider) == ("p", "q")


@each(
    ("written", "strengths"),
    [
        ("coding, debugging,  quick tasks ", ("coding", "debugging", "quick tasks")),
        ("coding", ("coding",)),
        ('", ,a,"', ("a",)),
        ('""', ()),
        ("[]", ()),
        ('[" a ", "b, c"]', ("a", "b, c")),
    ],
)
def test_strengths_are_a_list_or_one_string_with_commas(
    written: str, strengths: tuple[str, ...]
) -> None:
    (entry,) = loads(f"pool:\n  - model: m\n    strengths: {written}").pool or ()
    assert entry.strengths == strengths


def test_a_shared_name_is_marked_on_each_entry_that_has_it() -> None:
    text = "pool: [{model: a, provider: p}, {model: a, provider: q}, {model: b, provider: p}]"
    assert [entry.shares_name for entry in loads(text).pool or ()] == [True, True, False]


def test_entries_are_numbered_whatever_pool_they_come_from() -> None:
    open_, closed = (loads(f"pool: [{{model: {name}}}]") for name in ("open", "closed"))
    both = dataclasses.replace(open_, pool=(*(open_.pool or ()), *(closed.pool or ())))
    assert [entry.position for entry in both.pool or ()] == [0, 1]
    assert (closed.pool or ())[0] == (both.pool or ())[1]


def test_facts_have_a_type_and_perhaps_a_default() -> None:
    facts = loads(
        "facts: {a: {type: double, default: 1}, b: {type: list, default: [x]}, c: {type: int}}"
    ).facts
    assert (facts["a"].type, facts["a"].default) == (DOUBLE, 1.0)
    assert isinstance(facts["a"].default, float)
    assert (facts["b"].type, facts["b"].default) == (STRINGS, ("x",))
    assert facts["c"].default is None


@each(
    ("type_", "default"),
    [("string", '""'), ("int", "0"), ("double", "0.0"), ("bool", "false"), ("list", "[]")],
)
def test_an_empty_default_is_a_default(type_: str, default: str) -> None:
    policy = loads(f"facts: {{a: {{type: {type_}, default: {default}}}}}")
    assert policy.facts["a"].default is not None


@each(
    ("type_", "default"),
    [
        ("string", "1"),
        ("int", "1.5"),
        ("int", "true"),
        ("int", "x"),
        ("double", "x"),
        ("double", "true"),
        ("bool", "1"),
        ("bool", "x"),
        ("list", "x"),
        ("string", "[x]"),
    ],
)
def test_a_default_of_another_type_is_an_error_at_the_default(type_: str, default: str) -> None:
    (item,) = wrong(f"facts: {{a: {{type: {type_}, default: {default}}}}}")
    assert (item.code, item.path) == (Code.WRONG_TYPE, "$.facts.a.default")
    assert type_ in item.message


def test_endpoints_keep_their_address_and_the_reference_to_their_key() -> None:
    policy = loads("providers: {p: {base_url: 'https://p/v1', api_key: env:P_KEY}, q: {}}")
    assert policy.providers == {"p": Provider("https://p/v1", "env:P_KEY"), "q": Provider()}


def test_the_short_form_of_the_reasoning_effort_is_a_parameter() -> None:
    short = loads("reasoning_effort: low\nparameters: {a: 1}", name="x")
    long = loads("parameters: {reasoning_effort: low, a: 1}", name="x")
    assert short.parameters == long.parameters == {"a": 1, "reasoning_effort": "low"}
    assert short.revision == long.revision


def test_both_forms_of_the_reasoning_effort_are_one_too_many() -> None:
    (item,) = wrong("reasoning_effort: low\nparameters: {reasoning_effort: low}")
    assert (item.code, item.path) == (Code.GIVEN_TWICE, "$.reasoning_effort")
    assert item.help == "leave one of them out"


def test_rules_have_the_defaults_of_their_level() -> None:
    rules = loads(
        "precedence: [{use: call}, {use: task}, {use: pool}, {use: config}, {use: parent}]"
    )
    assert [(rule.id, rule.in_pool, rule.fallback) for rule in rules.precedence] == [
        ("call", True, False),
        ("task", True, False),
        ("pool", False, True),
        ("config", False, True),
        ("parent", False, True),
    ]


def test_a_rule_has_what_is_written() -> None:
    policy = loads(
        "pool: [{model: m}]\n"
        "precedence:\n"
        "  - {id: a, use: pool, entry: m, when: task.index > 0, order_by: 1,"
        " on_violation: reject}\n"
        "  - {use: config, in_pool: true, fallback: false}\n"
    )
    first, second = policy.precedence
    assert (first.id, first.use, first.entry, first.reject) == ("a", Level.POOL, "m", True)
    assert first.when is not None
    assert first.order_by is not None
    assert (first.when.text, first.order_by.text) == ("task.index > 0", "1")
    assert (second.in_pool, second.fallback) == (True, False)


def test_a_forbid_rule_is_called_by_its_id_else_by_its_number() -> None:
    rules = loads("forbid: [{when: true}, {id: x, when: false, message: No.}, {when: true}]").forbid
    assert [(rule.id, rule.message) for rule in rules] == [
        ("forbid-1", None),
        ("x", "No."),
        ("forbid-3", None),
    ]


@each(
    ("name", "uses", "rejects"),
    [
        ("delegation", ["call", "task", "pool", "config", "parent"], []),
        ("strict", ["call", "task", "pool", "config", "parent"], ["call", "task"]),
        ("task-first", ["task", "call", "pool", "config", "parent"], ["task", "call"]),
    ],
)
def test_a_profile_is_a_rule_file_that_ships(
    name: str, uses: list[str], rejects: list[str]
) -> None:
    rules = loads(f"precedence: {name}").precedence
    assert [rule.use for rule in rules] == uses
    assert [rule.use for rule in rules if rule.reject] == rejects


def test_an_unknown_profile_is_an_error_with_a_suggestion() -> None:
    (item,) = wrong("precedence: strickt")
    assert (item.code, item.help) == (Code.UNKNOWN_PROFILE, "did you mean `strict`?")
    (item,) = wrong("precedence: zzz")
    assert item.help == "shipped: delegation, strict, task-first"


def test_without_shipped_profiles_a_policy_has_no_rules() -> None:
    bare = Sources("x", [("a.yaml", "model: m")], {}, schema("policy"))
    policy, _ = examine(bare)
    assert policy is not None
    assert policy.precedence == ()


# Conditions in their place.


@each(
    ("text", "path", "message"),
    [
        ("forbid: [{when: size(task.kind)}]", "$.forbid[0].when", "int"),
        ("pool: [{model: m, allow: task.kind}]", "$.pool[0].allow", "string"),
        ("pool: [{model: m, pick: task.labels}]", "$.pool[0].pick", "list of string"),
        ("precedence: [{use: config, when: now}]", "$.precedence[0].when", "timestamp"),
    ],
)
def test_a_condition_must_be_boolean(text: str, path: str, message: str) -> None:
    (item,) = wrong(text)
    assert (item.code, item.path) == (Code.NOT_A_CONDITION, path)
    assert item.message == f"a condition is true or false, not {message}"


def test_an_order_must_be_a_number() -> None:
    (item,) = wrong("precedence: [{use: pool, order_by: target.name}]")
    assert (item.code, item.path) == (Code.NOT_A_CONDITION, "$.precedence[0].order_by")
    assert item.message == "`order_by` is a number, not string"


@each("order_by", ["1", "1.5", "'1'", "size(target.name)", "-1"])
def test_an_order_may_be_written_as_a_number(order_by: str) -> None:
    loads(f"precedence: [{{use: pool, order_by: {order_by}}}]")


def test_a_target_is_known_where_there_is_a_candidate_alone() -> None:
    for text in (
        "precedence: [{use: config, when: target.name == 'x'}]",
        "variables: {x: target.name == 'x'}",
    ):
        (item,) = wrong(text)
        assert item.code is Code.UNKNOWN_NAME
        assert item.message == "`target` is not known here"
        assert item.help == "`target` is known in `allow`, `pick`, `forbid` and `order_by` alone"


def test_a_variable_may_use_the_ones_above_it_alone() -> None:
    policy = loads(
        "variables: {a: task.index > 0, b: variables.a, c: '!variables.b && variables.a'}"
    )
    assert [item.condition.variables for item in policy.variables] == [(), ("a",), ("a", "b")]
    (item,) = wrong("variables: {b: variables.aaa, aaa: 'true'}")
    assert item.code is Code.UNKNOWN_NAME


def test_a_condition_knows_all_that_it_reads() -> None:
    policy = loads(
        "variables: {a: has(budget.spent_usd), b: variables.a || task.kind == ''}\n"
        "forbid: [{when: variables.b && task.index == 0}]"
    )
    assert policy.forbid[0].when.reads == {
        "variables.a",
        "variables.b",
        "budget.spent_usd",
        "task.kind",
        "task.index",
    }


def test_a_variable_that_holds_a_guard_is_one() -> None:
    loads(
        "variables: {known: has(budget.remaining_usd), unknown: '!variables.known'}\n"
        "forbid: [{when: variables.known && budget.remaining_usd < 1.0},"
        " {when: variables.unknown || budget.remaining_usd < 1.0}]"
    )
    (item,) = wrong(
        "variables: {known: has(budget.remaining_usd) || true}\n"
        "forbid: [{when: variables.known && budget.remaining_usd < 1.0}]"
    )
    assert item.code is Code.UNGUARDED


def test_a_variable_with_a_problem_is_reported_once() -> None:
    (item,) = wrong("variables: {a: tsk.kind == ''}\nforbid: [{when: variables.a}]")
    assert item.path == "$.variables.a"


def test_a_variable_may_be_of_any_type() -> None:
    loads("variables: {limit: 3, word: '\"x\"'}\nforbid: [{when: task.index > variables.limit}]")


def test_closed_sets_hold_for_kinds_and_levels() -> None:
    (item,) = wrong("kinds: [coding]\nforbid: [{when: task.kind == 'codng'}]")
    assert (item.code, item.help) == (Code.OUTSIDE_CLOSED_SET, "did you mean `coding`?")
    (item,) = wrong("forbid: [{when: target.level == 'polo'}]")
    assert (item.code, item.help) == (Code.OUTSIDE_CLOSED_SET, "did you mean `pool`?")
    (item,) = wrong("kinds: []\nforbid: [{when: task.kind == 'x'}]")
    assert item.help == "the set is empty"
    loads("forbid: [{when: task.kind == 'anything'}]")


def test_the_caret_is_under_the_word_in_its_file() -> None:
    text = "pool:\n  - model: m\n    pick: 'true && tsk.kind == \"x\"'\n"
    (item,) = wrong(text)
    assert text[item.span.start : item.span.end] == "tsk"
    assert item.span.position == (3, 20)


@pytest.mark.parametrize("depth", [33, 200])
def test_an_expression_that_is_too_deep_is_a_diagnostic_like_another(depth: int) -> None:
    (item,) = wrong(f"forbid: [{{when: {'(' * depth}true{')' * depth}}}]")
    assert (item.code, item.path) == (Code.LIMIT_EXCEEDED, "$.forbid[0].when")


def test_a_problem_beside_a_bool_is_a_diagnostic_like_another() -> None:
    text = "forbid: [{when: task.index == true}]"
    (item,) = wrong(text)
    assert item.code is Code.TYPE_MISMATCH
    assert text[item.span.start : item.span.end] == "task.index == true"


def test_everything_wrong_is_found_in_one_run() -> None:
    found = wrong(
        "modle: m\n"
        "facts: {a: {type: int, default: x}}\n"
        "pool: [{model: m, pick: tsk == 1}, {name: x}]\n"
        "precedence: [{use: pol}, {use: config, when: 1}]\n"
    )
    assert [item.code for item in found] == [
        Code.UNKNOWN_KEY,
        Code.WRONG_TYPE,
        Code.UNKNOWN_NAME,
        Code.MISSING_KEY,
        Code.NOT_ALLOWED,
        Code.WRONG_TYPE,
    ]


def test_a_policy_with_errors_carries_them() -> None:
    with pytest.raises(PolicyError) as caught:
        loads("modle: m")
    assert caught.value.diagnostics.errors == 1
    assert str(caught.value) == caught.value.diagnostics.to_text()


def test_a_policy_keeps_its_warnings() -> None:
    policy = loads("pool: []")
    assert [item.code for item in policy.warnings] == [Code.EMPTY_POOL]


def test_an_unknown_key_is_a_warning_where_the_host_may_own_it() -> None:
    policy = loads("other: 1\ndelegation:\n  model: m\n  extra: 1\n")
    (item,) = [it for it in policy.warnings if it.code == Code.UNKNOWN_KEY]
    assert (item.path, policy.model) == ("$.delegation.extra", "m")


# Several files.


def test_lists_are_joined_and_mappings_united_in_the_order_of_the_files() -> None:
    policy = merged(
        "model: m\nfacts: {a: {type: int}}\npool: [{model: x}]\nkinds: [k]\nforbid: [{when: true}]",
        "provider: p\nfacts: {b: {type: int}}\npool: [{model: y}]\nkinds: [l]\n"
        "forbid: [{when: has(facts.a) && has(facts.b)}]\nvariables: {v: 'true'}\n"
        "tables: {t: {a: 1}}\nrequire: [caller.team]\nlabels: [x]",
        "parameters: {t: 1}\nproviders: {p: {}}\nvariables: {w: variables.v}\nprecedence: strict\n"
        "tables: {u: {b: 2}}\nrequire: [caller.id]\nlabels: {values: [y]}\npool: [{model: m}]\n"
        "assume: ['true']\nassert: [{always: 'true'}]",
    )
    assert (policy.name, policy.model, policy.provider) == ("folder", "m", "p")
    assert [entry.name for entry in policy.pool or ()] == ["x", "y", "m"]
    assert [entry.provider for entry in policy.pool or ()] == ["p", "p", "p"]
    assert (list(policy.tables), policy.required) == (["t", "u"], ("caller.team", "caller.id"))
    assert policy.closed["task.labels"].values == ("x", "y")
    assert (len(policy.assumptions), len(policy.assertions)) == (1, 1)
    assert [rule.id for rule in policy.forbid] == ["forbid-1", "forbid-2"]
    assert (policy.kinds, list(policy.facts)) == (("k", "l"), ["a", "b"])
    assert [item.name for item in policy.variables] == ["v", "w"]
    assert policy.precedence[0].reject


@each(
    "key",
    ["name", "model", "provider", "precedence", "reasoning_effort", "description", "owner"],
)
def test_what_may_stand_once_is_an_error_the_second_time_that_shows_both_places(key: str) -> None:
    value = "strict" if key == "precedence" else "x"
    assert found_in(f"{key}: {value}", "version: 1", f"\n{key}: {value}") == [
        (
            Code.GIVEN_TWICE,
            f"c.yaml:2:{len(key) + 3}",
            f"`{key}` is given twice, and a folder is one policy",
            f"first given at a.yaml:1:{len(key) + 3}",
        )
    ]


@each(
    ("key", "value"),
    [
        ("providers", "{}"),
        ("facts", "{type: int}"),
        ("variables", "'true'"),
        ("parameters", "1"),
        ("tables", "{a: 1}"),
    ],
)
def test_a_name_in_two_files_is_an_error_that_shows_both_places(key: str, value: str) -> None:
    text = f"{key}: {{x: {value}}}"
    column = len(key) + 4
    message = f"`x` is given twice under `{key}`"
    help_ = f"first given at a.yaml:1:{column}"
    assert found_in(text, text) == [(Code.DUPLICATE_NAME, f"b.yaml:1:{column}", message, help_)]


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("pool: [{name: e, model: m%s}]", "two entries have the name `e`", 15),
        ("forbid: [{id: x, when: true}]", "two forbid rules have the id `x`", 15),
    ],
)
def test_a_name_or_id_in_two_files_is_an_error_that_shows_both_places(
    text: str, message: str, column: int
) -> None:
    first, second = (text % "", text % ", provider: p") if "%s" in text else (text, text)
    help_ = f"first given at a.yaml:1:{column}"
    expected = (Code.DUPLICATE_NAME, f"b.yaml:1:{column}", message, help_)
    assert found_in(first, second) == [expected]


def test_a_policy_is_unusable_where_one_of_its_files_cannot_be_read() -> None:
    policy, found = examine(sources("model: m", "a: ["))
    assert policy is None
    assert [item.span.source.name for item in found] == ["b.yaml"]
    assert examine(sources()) == (None, Diagnostics())


def test_problems_of_all_files_are_found_in_one_run() -> None:
    places = [row[1].split(":")[0] for row in found_in("modle: 1", "b: [", "c: 1")]
    assert places == ["a.yaml", "b.yaml", "c.yaml"]


# The canonical form and the revision.

FULL = """
version: 1
name: acme
model: m
provider: p
parameters: {b: 1, a: {d: 1, c: 2}}
providers: {p: {base_url: "https://p", api_key: env:P}, q: {}}
facts: {z: {type: list, default: [x]}, y: {type: double, default: 1}}
kinds: [l, k]
variables: {b: 'true', a: variables.b}
pool:
  - {model: m, name: e, provider: q, strengths: "x, y", price: {output: 1}, supports: []}
  - {model: m, limits: {t: {max: 1}, reasoning_effort: [low]}, fallback: [e], pick: true}
forbid: [{when: task.index > 0, message: No.}]
precedence: [{use: pool, order_by: 1, when: true}, {use: config}]
"""


def revision(text: str, name: str = "acme") -> str:
    """Return the revision of a policy."""
    return loads(text, name=name).revision


def test_the_revision_is_the_digest_of_the_canonical_form() -> None:
    policy = loads(FULL)
    assert policy.revision == f"sha256:{hashlib.sha256(policy.canonical).hexdigest()}"


def test_the_canonical_form_says_everything_and_leaves_defaults_out() -> None:
    assert json.loads(loads(FULL).canonical) == {
        "version": 1,
        "name": "acme",
        "model": "m",
        "provider": "p",
        "parameters": {"a": {"c": 2, "d": 1}, "b": 1},
        "providers": {"p": {"base_url": "https://p", "api_key": "env:P"}, "q": {}},
        "facts": {
            "y": {"type": "double", "default": 1.0},
            "z": {"type": "list", "default": ["x"]},
        },
        "kinds": ["l", "k"],
        "variables": {"b": "true", "a": "variables.b"},
        "pool": [
            {
                "model": "m",
                "name": "e",
                "provider": "q",
                "strengths": ["x", "y"],
                "price": {"output": 1.0},
                "supports": [],
            },
            {
                "model": "m",
                "limits": {"t": {"max": 1}, "reasoning_effort": ["low"]},
                "fallback": ["e"],
                "pick": "true",
            },
        ],
        "forbid": [{"when": "task.index > 0", "message": "No."}],
        "precedence": [
            {
                "use": "pool",
                "when": "true",
                "order_by": "1",
                "on_violation": "next",
                "fallback": True,
            },
            {
                "use": "config",
                "on_violation": "next",
                "in_pool": False,
                "fallback": True,
            },
        ],
    }


SECOND = """
version: 1
name: acme
model: m
provider: p
parameters: {max_output_tokens: 9}
kinds: {values: [k], unknown: drop}
teams: {values: [b, a]}
roles: [r]
labels: {values: [l], unknown: refuse}
needs: [n]
facts: {f: {type: int, required: true}, g: {type: int, required: false}}
require: [caller.team, budget.spent_usd]
unknown_cost_usd: 1
tables: {z: {b: 1, a: 2.5}, y: {c: [x]}}
pool:
  - model: m
    serves: [m-1]
    price: {cache_read: 1, cache_write: 2}
    limits: {max_completion_tokens: {max: 10}}
forbid: [{when: true, enforce: false}, {when: false, enforce: true}]
precedence:
  - {use: task, order_by: 1, fallback: candidates}
  - {use: config, in_pool: true}
"""
NEW = {
    "parameters": {"max_tokens": 9},
    "kinds": {"values": ["k"], "unknown": "drop"},
    "teams": ["b", "a"],
    "roles": ["r"],
    "labels": ["l"],
    "needs": ["n"],
    "facts": {"f": {"type": "int", "required": True}, "g": {"type": "int"}},
    "require": ["caller.team", "budget.spent_usd"],
    "unknown_cost_usd": 1.0,
    "tables": {"z": {"b": 1.0, "a": 2.5}, "y": {"c": ["x"]}},
    "pool": [
        {
            "model": "m",
            "serves": ["m-1"],
            "price": {"cache_read": 1.0, "cache_write": 2.0},
            "limits": {"max_tokens": {"max": 10}},
        }
    ],
    "forbid": [{"when": "true", "enforce": False}, {"when": "false"}],
    "precedence": [
        {
            "use": "task",
            "order_by": "1",
            "on_violation": "next",
            "in_pool": True,
            "fallback": "candidates",
        },
        {"use": "config", "on_violation": "next", "in_pool": True, "fallback": True},
    ],
}


def test_the_canonical_form_says_what_the_second_edition_added() -> None:
    form = json.loads(loads(SECOND).canonical)
    assert form == {"version": 1, "name": "acme", "model": "m", "provider": "p", **NEW}


def test_newer_keys_are_left_out_of_the_canonical_form_at_their_default() -> None:
    text = """
provider: p
facts: {f: {type: int, required: false}}
require: []
tables: {}
pool: [{model: m, serves: []}]
forbid: [{when: false, enforce: true}]
assert: []
assume: []
"""
    old = "provider: p\nfacts: {f: {type: int}}\npool: [{model: m}]\nforbid: [{when: false}]"
    assert loads(text, name="acme").canonical == loads(old, name="acme").canonical


def test_the_canonical_form_of_a_policy_of_the_first_edition_is_what_it_was() -> None:
    # Worked out once, by the first edition.
    digest = "eb7bedb353e7024ae510a56815836dfe43576c80e9b31a63825986f90aaf00ce"
    assert loads(FULL).revision == f"sha256:{digest}"


def test_variables_keep_their_order_in_the_canonical_form_and_other_keys_are_sorted() -> None:
    form = json.loads(loads(FULL).canonical, object_pairs_hook=list)
    keys = [key for key, _ in form]
    assert keys == sorted(keys)
    assert [key for key, _ in dict(form)["variables"]] == ["b", "a"]
    assert [key for key, _ in dict(form)["facts"]] == ["y", "z"]


@each(
    "text",
    [
        FULL,
        SECOND,
        "version: 1",
        "pool: []",
        "delegation: {model: m, pool: [{model: n, strengths: 'a, b'}]}",
        "provider: p\npool: [{model: m, provider: p}]",
        'model: "a\\u2028\\u0085\\ufeffb"',
        "forbid: [{when: \"task.kind == '\u2028\U0001f600'\"}]",
    ],
)
def test_the_canonical_form_is_the_same_policy(text: str) -> None:
    policy = loads(text, name="acme")
    again = loads(policy.canonical, name="other.json")
    assert again.canonical == policy.canonical
    assert again.revision == policy.revision
    assert again.pool == policy.pool
    request: dict[str, Any] = {"task": {"model": "m", "index": 1}}
    if policy.required:
        request |= {"caller": {"team": "a"}, "budget": {"spent_usd": 1}, "facts": {"f": 1}}
    first = policy_router.decide(policy, request, now=NOW).to_json()
    assert policy_router.decide(again, request, now=NOW).to_json() == first


BASE = "model: m\npool: [{model: m, provider: p, strengths: 'a, b'}, {model: n, provider: p}]\n"


@each(
    "text",
    [
        f"# a comment\n{BASE}",
        f"version: 1\n{BASE}",
        f"{BASE}precedence: delegation",
        "pool: [{strengths: [a, b], provider: p, model: m}, {provider: p, model: n}]\nmodel: m",
        (
            '{"model": "m", "pool": [{"model": "m", "provider": "p", "strengths": "a,b",'
            ' "name": "m"}, {"model": "n", "provider": "p"}]}'
        ),
        (
            "delegation:\n  model: m\n  pool: [{model: m, provider: p, strengths: 'a, b'}, "
            "{model: n, provider: p}]"
        ),
        f"{BASE}forbid: []",
        f"{BASE}parameters: {{}}",
        f"{BASE}description: What it is for.\nowner: me",
        f"{BASE}assert: [{{always: 'true'}}]\nassume: ['true']",
        (
            "model: m\npool: [{model: m, provider: p, strengths: 'a, b', description: d, owner: o},"
            " {model: n, provider: p}]\n"
        ),
        (
            f"{BASE}precedence: [{{use: call, description: d}}, {{use: task, owner: o}}, "
            "{use: pool}, {use: config}, {use: parent}]"
        ),
        f"name: acme\n{BASE}",
        (
            f"{BASE}precedence: [{{use: call, on_violation: next}}, {{use: task, in_pool: true}}, "
            "{use: pool, id: pool}, {use: config, fallback: true}, {use: parent}]"
        ),
    ],
)
def test_ways_of_writing_do_not_change_the_revision(text: str) -> None:
    assert revision(text) == revision(BASE)


@each(
    "text",
    [
        BASE.replace("model: m\n", "model: x\n"),
        BASE.replace("'a, b'", "'b, a'"),
        BASE.replace("{model: n,", "{model: n, name: o,"),
        "model: m\npool: [{model: n, provider: p}, {model: m, provider: p, strengths: 'a, b'}]",
        f"{BASE}precedence: strict",
        f"{BASE}forbid: [{{when: false}}]",
        f"{BASE}provider: p",
        f"{BASE}kinds: []",
        f"{BASE}teams: [a]",
        f"{BASE}labels: []",
        f"{BASE}require: [caller.team]",
        f"{BASE}tables: {{a: {{}}}}",
        f"{BASE}facts: {{a: {{type: int, required: true}}}}",
        BASE.replace("{model: n,", "{model: n, serves: [o],"),
        BASE.replace("{model: n,", "{model: n, price: {cache_read: 1},"),
        f"{BASE}forbid: [{{when: false, enforce: false}}]",
        (
            f"{BASE}precedence: [{{use: call, order_by: 1}}, {{use: task}}, "
            "{use: pool}, {use: config}, {use: parent}]"
        ),
        (
            f"{BASE}precedence: [{{use: call}}, {{use: task}}, "
            "{use: pool, fallback: candidates}, {use: config}, {use: parent}]"
        ),
        f"{BASE}parameters: {{a: 1}}",
        f"{BASE}providers: {{p: {{}}}}",
        f"{BASE}facts: {{a: {{type: int}}}}",
        f"{BASE}variables: {{a: 'true'}}",
        "name: other\n" + BASE,
        "model: m\n",
    ],
)
def test_what_a_policy_says_changes_the_revision(text: str) -> None:
    assert revision(text) != revision(BASE)


def test_each_new_part_makes_a_revision_of_its_own() -> None:
    variants = [
        f"{BASE}kinds: [a]",
        f"{BASE}kinds: {{values: [a], unknown: drop}}",
        f"{BASE}teams: [a]",
        f"{BASE}facts: {{a: {{type: int}}}}",
        f"{BASE}facts: {{a: {{type: int, required: true}}}}",
        f"{BASE}tables: {{a: {{b: 1}}}}",
        f"{BASE}tables: {{a: {{b: 1.0}}}}",
        f"{BASE}forbid: [{{when: false}}]",
        f"{BASE}forbid: [{{when: false, enforce: false}}]",
    ]
    assert len({revision(text) for text in variants}) == len(variants)


def test_the_order_of_variables_is_no_way_of_writing() -> None:
    assert revision("variables: {a: 'true', b: 'true'}") != revision(
        "variables: {b: 'true', a: 'true'}"
    )


def test_no_pool_and_an_empty_one_are_two_policies() -> None:
    assert revision("model: m") != revision("model: m\npool: []")


def test_the_name_of_the_file_is_part_of_the_revision_where_no_name_is_written() -> None:
    assert revision("model: m", "a") != revision("model: m", "b")
    assert revision("name: x\nmodel: m", "a") == revision("name: x\nmodel: m", "b")


# Frozen.


def change(policy: Policy, path: str) -> Any:
    """Return a mapping inside a policy."""
    return getattr(policy, path)


@each("path", ["parameters", "providers", "facts"])
def test_a_policy_cannot_be_changed(path: str) -> None:
    policy = loads(FULL)
    with pytest.raises(TypeError, match="cannot be changed"):
        change(policy, path)["x"] = 1
    with pytest.raises(AttributeError):
        policy.model = "x"  # type: ignore[misc]


def test_a_frozen_mapping_refuses_every_way_to_change_it() -> None:
    mapping: dict[str, Any] = FrozenDict(a=1)
    attempts: list[Callable[[], Any]] = [
        mapping.clear,
        mapping.popitem,
        lambda: mapping.pop("a"),
        lambda: mapping.setdefault("b", 1),
        lambda: mapping.update(b=1),
        lambda: operator.delitem(mapping, "a"),
        lambda: operator.ior(mapping, {"b": 1}),  # type: ignore[no-untyped-call]
    ]
    for attempt in attempts:
        with pytest.raises(TypeError):
            attempt()
    assert mapping == {"a": 1}
    assert hash(FrozenDict(a=1, b=2)) == hash(FrozenDict(b=2, a=1))


def test_plain_data_is_frozen_all_the_way_down() -> None:
    assert frozen({"a": [{"b": 1}]}) == FrozenDict(a=(FrozenDict(b=1),))
    assert isinstance(frozen({"a": {}})["a"], FrozenDict)
    assert hash(frozen({"a": [{"b": [1]}]}))


@each(
    ("text", "code", "path"),
    [
        ("unknown_cost_usd: -1", "PR205", "$.unknown_cost_usd"),
        ("unknown_cost_usd: much", "PR202", "$.unknown_cost_usd"),
        ("unknown_cost_usd: true", "PR202", "$.unknown_cost_usd"),
    ],
)
def test_what_an_unknown_cost_counts_as_is_a_number_of_dollars(
    text: str, code: str, path: str
) -> None:
    with pytest.raises(PolicyError) as caught:
        loads(f"{BASE}{text}")
    (found,) = [it for it in caught.value.diagnostics if it.severity == "error"]
    assert (found.code, found.path) == (code, path)


def test_what_an_unknown_cost_counts_as_stands_in_one_file_only(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"{number}.yaml").write_text(f"unknown_cost_usd: {number}\n", encoding="utf-8")
    with pytest.raises(PolicyError, match="`unknown_cost_usd` is given twice"):
        load(tmp_path)
    (tmp_path / "2.yaml").write_text("model: m\nprovider: p\n", encoding="utf-8")
    assert load(tmp_path).unknown_cost_usd == 1.0
