"""What an author believes in and does not hold is found; what only looks like it is left alone."""

from __future__ import annotations

import pytest

from policy_router.diagnostics.codes import Code
from policy_router.files.loader import check_text
from policy_router.policy import mentions

START = "model: small\nprovider: zai\n"
LOOKED_FOR = {
    *(Code.UNLIKELY_SPELLING, Code.UNLIKELY_LIST, Code.LOOSE_PATTERN, Code.IN_NO_ENTRY),
    *(Code.LETS_THROUGH, Code.ONLY_PICKED, Code.WEAKER_GUARD, Code.UNLIKELY_PRICE),
    Code.NO_EFFECT,
}


def found_in(text: str) -> list[Code]:
    policy, found = check_text(text if text.startswith("delegation:") else START + text)
    assert policy is not None, found.to_text()
    return [item.code for item in found if item.code in LOOKED_FOR]


def allowing(condition: str, more: str = "") -> str:
    return f"pool:\n  - model: small\n  - model: large\n    allow: >-\n      {condition}\n{more}"


def forbidding(condition: str, more: str = "") -> str:
    return f"forbid:\n  - id: x\n    when: >-\n      {condition}\n{more}"


NAMES = "pool: [{name: a, model: m}, {name: b, model: m}, {name: c, model: n}]\n"
REGION = "facts: {region: {type: string}}\n"
DROPPED = "teams: {values: [web, out], unknown: drop}\n"
ROLES_DROPPED = "roles: {values: [lead, out], unknown: drop}\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (allowing("caller.team == 'web' || caller.team == 'ops '"), Code.UNLIKELY_SPELLING),
        (
            allowing("caller.team == 'web'", forbidding("caller.team == 'WEB'")),
            Code.UNLIKELY_SPELLING,
        ),
        (
            allowing("'x' in caller.roles", forbidding("sets.contains(caller.roles, ['X'])")),
            Code.UNLIKELY_SPELLING,
        ),
        (
            REGION
            + allowing("has(facts.region) && facts.region in ['eu-1']")
            + forbidding("!has(facts.region) || facts.region == 'eu_1'"),
            Code.UNLIKELY_SPELLING,
        ),
        (allowing("['lead'] == caller.roles"), Code.UNLIKELY_LIST),
        (allowing("caller.roles.exists(r, 'out' != r)"), Code.UNLIKELY_LIST),
        (allowing(r"caller.team.matches('^a|b|c$')"), Code.LOOSE_PATTERN),
        (forbidding(r"caller.team.matches('\\Aa|b')"), Code.LOOSE_PATTERN),
        (allowing("caller.team.matches('dev')"), Code.LOOSE_PATTERN),
        (allowing("caller.id.matches('^a[.]b.c$')"), Code.LOOSE_PATTERN),
        (NAMES + forbidding("target.model.endsWith('M')"), Code.IN_NO_ENTRY),
        (NAMES + forbidding("target.name == 'a' && caller.team == 'x'"), Code.WEAKER_GUARD),
        (NAMES + forbidding("call.model in ['a'] && caller.team == 'x'"), Code.WEAKER_GUARD),
        (REGION + forbidding("has(facts.region) && facts.region == 'x'"), Code.LETS_THROUGH),
        (DROPPED + allowing("!(caller.team in ['out'])"), Code.LETS_THROUGH),
        (ROLES_DROPPED + allowing("!('out' in caller.roles)"), Code.LETS_THROUGH),
        (
            DROPPED + "variables: {out: 'caller.team == \"out\"'}\n" + allowing("!variables.out"),
            Code.LETS_THROUGH,
        ),
        ("pool: [{model: small}, {model: b, pick: caller.team == 'x'}]", Code.ONLY_PICKED),
        ("pool: [{model: small, price: {output: 0.001}}]", Code.UNLIKELY_PRICE),
        ("variables: {a: 'parent.depth > 1', b: variables.a}", Code.NO_EFFECT),
        ("pool: [{model: small}]\nprecedence: [{use: task}]", Code.NO_EFFECT),
    ],
)
def test_what_does_less_than_it_says_is_found(text: str, code: Code) -> None:
    assert set(found_in(text)) == {code}


@pytest.mark.parametrize(
    "text",
    [
        allowing("caller.team in ['web', 'Web'] || caller.team.lowerAscii() == 'ops'"),
        allowing("caller.team == 'web'", forbidding("caller.id == 'WEB'")),
        "teams: [web, ops]\n" + allowing("caller.team == 'web'", forbidding("task.kind == 'Web'")),
        allowing("caller.roles == [] || caller.roles != []"),
        allowing("caller.roles.exists(r, r == 'lead')"),
        allowing("caller.team.matches('^(a|b)$') || caller.team.matches('^a$|^b$')"),
        allowing(r"caller.team.matches('^[a|b]c$') || caller.team.matches('^a[.]b\\.c$')"),
        allowing("caller.team.matches('^dev')"),
        forbidding("caller.team.matches('dev') && task.kind.matches('code')"),
        NAMES + forbidding("target.model.startsWith('m') && caller.team == 'x'"),
        NAMES + forbidding("target.name in ['a', 'b'] && caller.team == 'x'"),
        NAMES + forbidding("target.name != 'a' && caller.team == 'x'"),
        NAMES + forbidding("target.name == 'c' && caller.team == 'x'"),
        NAMES + forbidding("call.model == 'a' && target.level == 'call'"),
        REGION + forbidding("!has(facts.region) || facts.region == 'x'"),
        forbidding("has(budget.remaining_usd) && budget.remaining_usd <= 0.0"),
        DROPPED + allowing("caller.team == 'web'"),
        DROPPED + allowing("caller.team != 'out' && caller.team != ''"),
        DROPPED + "require: [caller.team]\n" + allowing("parent.depth > 1"),
        allowing("caller.roles.all(r, r == 'lead') && 'lead' in caller.roles"),
        "pool: [{model: small, pick: caller.team == 'x'}]",
        "pool: [{model: b, allow: caller.team == 'x', pick: caller.team == 'x'}]",
        "pool: [{model: small}, {model: b, pick: 'bucket(\"s\", caller.id) < 10'}]",
        "pool: [{model: small}, {model: b, pick: caller.team == 'x'}]\n"
        + forbidding("target.name == 'b' && caller.team != 'x'"),
        "pool: [{model: small, price: {input: 0, output: 0.01, cache_read: 0.0001}}]",
        "variables: {a: 'parent.depth > 1', b: variables.a}\n" + forbidding("variables.b"),
        "tables: {t: {a: 1}}\nvariables: {a: caller.team in tables.t}\n"
        + forbidding("variables.a"),
        "variables: {a: 'parent.depth > 1'}\nassume: ['!variables.a']",
        "pool: [{model: small, fallback: [b]}, {model: b}]",
        (
            "pool: [{model: small}, {model: b, fallback: [small]}]\n"
            "precedence: [{use: task, fallback: true}, {use: config}]"
        ),
        (
            "pool: [{model: small}, {model: b, fallback: [small]}]\n"
            "precedence: [{use: pool, entry: b, when: parent.depth > 1}, {use: config}]"
        ),
        "delegation: {model: small, pool: [{model: a, provider: zai}], precedence: [{use: task}]}",
    ],
)
def test_what_is_meant_is_left_alone(text: str) -> None:
    assert found_in(text) == []


def test_only_so_many_names_are_tried_in_the_tests_of_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mentions, "_MOST_TESTS", 100)
    names = ", ".join(f"{{model: m{number}}}" for number in range(40))
    rules = "".join(
        f"  - {{id: f{number}, when: 'target.model.matches(\"x{number}\")'}}\n"
        for number in range(10)
    )
    assert found_in(f"pool: [{names}]\nforbid:\n{rules}") == [Code.IN_NO_ENTRY] * 3


def test_with_very_many_pairs_of_rules_and_entries_a_pick_is_left_alone() -> None:
    entries = ", ".join(f"{{model: m{n}, pick: caller.team == 't'}}" for n in range(200))
    rules = "".join(f"  - {{id: f{n}, when: target.name == 'm{n}'}}\n" for n in range(30))
    assert Code.ONLY_PICKED not in found_in(f"pool: [{entries}]\nforbid:\n{rules}")
