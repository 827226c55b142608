"""What is probably not meant: every kind is found, and what only looks alike is left alone."""

from __future__ import annotations

import datetime

from policy_router.diagnostics.codes import Code
from policy_router.files.loader import check_text
from tests.support.rows import each

NOW = datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC)
PLACE = "$.pool[1].pick"
VARIABLES = "night: now.getHours() < 6"


def found_in(text: str) -> list[tuple[Code, str]]:
    policy, found = check_text(text, now=NOW)
    assert policy is not None, found.to_text()
    return [(item.code, item.path) for item in found]


def picking(condition: str, key: str = "pick") -> str:
    allow = "    allow: has(budget.spent_usd)\n" if key == "pick" else ""
    return (
        "assert: [{never: variables.night && caller.team in tables.cap}]\n"
        f"provider: zai\nvariables:\n  {VARIABLES}\ntables: {{cap: {{core: 5.0, apps: 2.0}}}}\n"
        f"pool:\n  - {{model: small, supports: [tools]}}\n  - model: large\n"
        f"    strengths: coding\n{allow}    {key}: >-\n      {condition}\n"
    )


@each(
    "condition",
    [
        "now.getHours() >= 24",
        "now.getDate() < 1",
        "now.getMinutes() > 59",
        "110 > bucket('salt', caller.id)",
        "bucket('salt', caller.id) in [100, 101]",
        "bucket('salt', caller.id) < 10 && bucket('salt', caller.id) >= 20",
        "parent.depth == 0 && parent.depth == 1",
        "task.batch_size < 1",
        "size(task.labels) >= 0",
        "task.kind in ['a', 'b'] && task.kind == 'c'",
        "!(caller.team == 'a') && caller.team == 'a'",
        "caller.team == 'a' && !(caller.team in ['a', 'b'])",
        "has(task.input_tokens) ? task.input_tokens < 0 : parent.depth > 3",
        "!(now.getHours() < 24)",
        "now.getHours() % 2 == 2",
        "1 - now.getHours() > 1",
        "variables.night && now.getHours() > 12",
        "caller.team in tables.cap && tables.cap[caller.team] > 10.0",
        "task.kind.startsWith('a') && task.kind == 'b'",
        "size('abc') == 3",
    ],
)
def test_a_part_that_never_changes_is_found(condition: str) -> None:
    assert found_in(picking(condition)) == [(Code.CONSTANT_PART, PLACE)]


@each(
    "condition",
    [
        "now.getHours() >= 22 || now.getHours() < 6",
        "now.getDayOfWeek() in [0, 6] && now.getHours() == 0",
        "bucket('salt', caller.id) < 10 || bucket('other', caller.id) < 10",
        "parent.depth > 0 && parent.depth < 2",
        "parent.depth < 2 && parent.depth < 3",
        "task.kind == 'a' || task.kind == 'b' || task.kind == 'a'",
        "task.kind != 'a' && task.kind != 'b'",
        "caller.roles.exists(r, r == 'a') && caller.roles.exists(r, r == 'b')",
        "'a' in task.labels && 'b' in task.labels",
        "(caller.team == 'a' && parent.depth == 0) || (caller.team == 'b' && parent.depth == 1)",
        "!variables.night && now.getHours() > 12",
        "caller.team in tables.cap && tables.cap[caller.team] > 3.0",
        "caller.roles.size() > 1 && caller.roles[1] == 'a'",
        "'a' in caller.roles && caller.roles[0] == 'a'",
        "task.labels != [] && task.labels[0] == 'a'",
        "parent.depth > 0 && 10 / parent.depth > 2",
        "now - timestamp('2026-01-31T09:00:00Z') > duration('1h')",
        "(now - timestamp('2026-01-31T09:00:00Z')).getHours() > 48",
        "'tools' in target.supports || parent.depth > 1",
    ],
)
def test_what_may_be_true_or_false_is_left_alone(condition: str) -> None:
    assert found_in(picking(condition)) == []


@each(
    ("condition", "is_asserted"),
    [
        ("'ok' in task.labels", True),
        ("task.kind == 'a' || call.model == 'large'", True),
        ("has(task.input_tokens) && task.input_tokens > 9", True),
        ("!('pii' in task.labels)", False),
        ("!has(task.input_tokens) || task.input_tokens < 9", False),
        ("'ok' in task.labels && caller.team == 'core'", False),
        ("task.kind == 'a' && parent.depth == 0", False),
    ],
)
def test_a_permission_that_rests_on_the_agent_alone_is_found(
    condition: str, *, is_asserted: bool
) -> None:
    codes = [code for code, _ in found_in(picking(condition, "allow"))]
    assert (Code.ONLY_ASSERTED in codes) == is_asserted


def test_variables_that_double_are_not_followed_for_ever() -> None:
    doubled = "".join(
        f"  v{n}: (variables.v{n - 1} && parent.depth < {n}) || (variables.v{n - 1} && now < now)\n"
        for n in range(1, 25)
    )
    text = f"provider: zai\nvariables:\n  v0: task.kind == 'a'\n{doubled}"
    _, found = check_text(f"{text}pool:\n  - {{model: m, allow: variables.v24}}\n", now=NOW)
    assert found.errors == 0


@each(
    "when",
    [
        'caller.team == "web" && parent.depth < 0',
        '"pii" in task.labels || (caller.team == "web" && parent.depth < 0)',
        "caller.team in tables.caps && tables.caps[caller.team] > 9.0",
    ],
)
def test_the_default_stands_where_a_rule_is_never_true_or_not_always(when: str) -> None:
    policy, found = check_text(
        f"""
        provider: zai
        model: glm-5
        tables: {{caps: {{web: 5.0, data: 1.0}}}}
        pool: [{{model: glm-5}}]
        forbid: [{{id: f, when: '{when}'}}]
        """
    )
    assert policy is not None
    assert Code.NEVER_ADMITTED not in {item.code for item in found}
