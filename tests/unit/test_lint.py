"""What is wrong with a policy as a whole: names that lead nowhere, rules that never decide."""

from __future__ import annotations

import pytest

from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic
from policy_router.files.loader import check_text
from tests.support.rows import each

KEY = "sk-abcdefghijklmnop"
ERROR, WARNING = Severity.ERROR, Severity.WARNING
PLAN = "$.pool[0].fallback_on"


ELSEWHERE = {Code.PARENTS_PROVIDER, Code.NO_ADDRESS, Code.WEAKER_GUARD, Code.NAME_OF_A_MODEL}
"""What the review of a policy finds in these tiny ones, besides; see `test_review.py`."""


def findings(text: str) -> list[Diagnostic]:
    """Return what is found in a policy, but for what is tried elsewhere."""
    _, found = check_text(text)
    return [item for item in found if item.code not in ELSEWHERE]


def found_in(text: str) -> list[tuple[Code, Severity, str]]:
    """Return code, severity and path of all that is found in a policy."""
    return [(item.code, item.severity, item.path) for item in findings(text)]


@each(
    ("text", "code", "severity", "path"),
    [
        # Names.
        (
            "pool: [{model: a, name: x}, {model: b, name: x}]",
            Code.DUPLICATE_NAME,
            ERROR,
            "$.pool[1].name",
        ),
        (
            "pool: [{model: a, name: b}, {model: b}]",
            Code.DUPLICATE_NAME,
            ERROR,
            "$.pool[1]",
        ),
        (
            "pool: [{model: b}, {model: a, name: b}]",
            Code.DUPLICATE_NAME,
            ERROR,
            "$.pool[1]",
        ),
        (
            "forbid: [{id: x, when: true}, {id: x, when: false}]",
            Code.DUPLICATE_NAME,
            ERROR,
            "$.forbid[1].id",
        ),
        (
            "precedence: [{id: x, use: call}, {id: x, use: task}]",
            Code.DUPLICATE_NAME,
            ERROR,
            "$.precedence[1].id",
        ),
        (
            "precedence: [{use: pool, when: task.index > 0}, {use: pool}]",
            Code.DUPLICATE_NAME,
            WARNING,
            "$.precedence[1]",
        ),
        (
            "precedence: [{use: call, id: pool}, {use: pool}]",
            Code.DUPLICATE_NAME,
            WARNING,
            "$.precedence[1]",
        ),
        (
            "providers: {p: {headers: {X-Title: a, x-title: b}}}",
            Code.DUPLICATE_NAME,
            ERROR,
            '$.providers.p.headers["x-title"]',
        ),
        # Entries that are alike.
        ("pool: [{model: a}, {model: a}]", Code.SAME_TARGET, ERROR, "$.pool[1]"),
        (
            "provider: p\npool: [{model: a, provider: p}, {model: a}]",
            Code.SAME_TARGET,
            ERROR,
            "$.pool[1]",
        ),
        (
            "pool: [{model: a, name: x}, {model: a, name: y}]",
            Code.ALIKE_BUT_FOR_NAME,
            WARNING,
            "$.pool[1]",
        ),
        # References.
        (
            "pool: [{model: a, fallback: [b]}]",
            Code.UNKNOWN_FALLBACK,
            ERROR,
            "$.pool[0].fallback[0]",
        ),
        (
            "pool: [{model: a, pick: task.index > 1, fallback: [a]}]",
            Code.NO_EFFECT,
            WARNING,
            "$.pool[0].fallback[0]",
        ),
        (
            "pool: [{model: a}]\nprecedence: [{use: pool, entry: b}]",
            Code.UNKNOWN_ENTRY,
            ERROR,
            "$.precedence[0].entry",
        ),
        ("precedence: [{use: pool, entry: b}]", Code.UNKNOWN_ENTRY, ERROR, "$.precedence[0].entry"),
        (
            (
                "pool: [{model: a, provider: p}, {model: a, provider: q}]\n"
                "precedence: [{use: pool, entry: a}]"
            ),
            Code.AMBIGUOUS_ENTRY,
            ERROR,
            "$.precedence[0].entry",
        ),
        ("provider: q\nproviders: {p: {}}", Code.UNKNOWN_PROVIDER, ERROR, "$.provider"),
        (
            "providers: {p: {}}\npool: [{model: a, provider: q}]",
            Code.UNKNOWN_PROVIDER,
            ERROR,
            "$.pool[0].provider",
        ),
        (
            "pool: [{model: a, aliases: [x, b]}, {model: b}]",
            Code.SHADOWED_ALIAS,
            WARNING,
            "$.pool[0].aliases[1]",
        ),
        # The pool and the default.
        ("pool: []", Code.EMPTY_POOL, WARNING, "$.pool"),
        ("model: x\npool: [{model: a}]", Code.DEFAULT_OUTSIDE_POOL, WARNING, "$.model"),
        (
            "model: a\nprovider: p\npool: [{model: a, provider: q}]",
            Code.DEFAULT_OUTSIDE_POOL,
            WARNING,
            "$.model",
        ),
        # An error where nothing outside the pool may run.
        *(
            (
                f"model: x\npool: [{{model: a}}]\nprecedence: {precedence}",
                Code.DEFAULT_OUTSIDE_POOL,
                ERROR,
                "$.model",
            )
            for precedence in ("strict", "task-first", "[{use: config, in_pool: true}]")
        ),
        # Secrets.
        (
            "providers: {p: {api_key: hunter2}}",
            Code.INLINE_SECRET,
            ERROR,
            "$.providers.p.api_key",
        ),
        (
            f"providers: {{p: {{api_key: {KEY}}}}}",
            Code.INLINE_SECRET,
            ERROR,
            "$.providers.p.api_key",
        ),
        (
            "providers: {p: {headers: {Authorization: Bearer hunter2}}}",
            Code.INLINE_SECRET,
            ERROR,
            "$.providers.p.headers.Authorization",
        ),
        (
            "providers: {p: {headers: {X-Goog-Api-Key: hunter2}}}",
            Code.INLINE_SECRET,
            ERROR,
            '$.providers.p.headers["X-Goog-Api-Key"]',
        ),
        (
            "providers: {p: {headers: {cookie: 'a env:COOKIE'}}}",
            Code.INLINE_SECRET,
            ERROR,
            "$.providers.p.headers.cookie",
        ),
        (
            f"providers: {{p: {{headers: {{X-Title: {KEY}}}}}}}",
            Code.INLINE_SECRET,
            ERROR,
            '$.providers.p.headers["X-Title"]',
        ),
        (f"parameters: {{a: [{{b: {KEY}}}]}}", Code.INLINE_SECRET, ERROR, "$.parameters.a[0].b"),
        (
            "providers: {p: {base_url: 'https://me:hunter2@host/v1'}}",
            Code.INLINE_SECRET,
            ERROR,
            "$.providers.p.base_url",
        ),
        # What does nothing.
        ("pool: [{model: a, fallback_on: [401]}]", Code.NO_EFFECT, WARNING, PLAN),
        ("pool: [{model: a, fallback: [], fallback_on: []}]", Code.NO_EFFECT, WARNING, PLAN),
        (
            "pool: [{model: a}]\nprecedence: [{use: config, entry: a}]",
            Code.NO_EFFECT,
            WARNING,
            "$.precedence[0].entry",
        ),
        (
            "precedence: [{use: parent, order_by: 1}]",
            Code.NO_EFFECT,
            WARNING,
            "$.precedence[0].order_by",
        ),
        (
            "precedence: [{use: pool, in_pool: true}]",
            Code.NO_EFFECT,
            WARNING,
            "$.precedence[0].in_pool",
        ),
        (
            "model: a\nprovider: p\nprecedence: [{use: config}, {use: parent}]",
            Code.UNREACHABLE_RULE,
            WARNING,
            "$.precedence[1]",
        ),
    ],
)
def test_what_is_wrong_is_found_where_it_is(
    text: str, code: Code, severity: Severity, path: str
) -> None:
    assert (code, severity, path) in found_in(text)
    assert len(found_in(text)) == 1


@pytest.mark.parametrize("precedence", ["strict", "task-first"])
def test_a_default_is_outside_a_pool_of_nothing(precedence: str) -> None:
    policy, found = check_text(f"model: x\npool: []\nprecedence: {precedence}")
    assert policy is None
    assert [item.code for item in found if item.severity is ERROR] == [Code.DEFAULT_OUTSIDE_POOL]
    assert check_text("model: x\npool: []")[0] is not None


@each(
    "text",
    [
        "model: m",
        "pool: [{model: a, provider: p}, {model: a, provider: q}]",
        "pool: [{model: a, name: x}, {model: a, name: y, price: {input: 1}}]",
        "pool: [{model: a, name: x}, {model: a, name: y, dialect: {api: responses}}]",
        (
            "pool: [{model: a, fallback: [b]}, {model: b, fallback: [a]}]\nmodel: a\n"
            "precedence: [{use: task, fallback: true}, {use: config}]"
        ),
        "pool: [{model: a, aliases: [x, a]}]",
        "pool: [{model: a}]\nprecedence: [{use: pool, entry: a}]",
        "provider: p\nproviders: {p: {api_key: env:KEY}}",
        "provider: p\npool: [{model: a, provider: q}]",
        "providers: {p: {api_key: file:/run/key}}",
        "providers: {p: {headers: {Authorization: env:KEY, api-key: file:/run/key, X-Title: a}}}",
        "providers: {p: {headers: {X-Title: a}}, q: {headers: {x-title: a}}}",
        "providers: {p: {headers: {X-Prompt-Cache-Key: agents, X-Max-Tokens: '9'}}}",
        "pool: [{model: a, pick: task.index > 1, fallback: [b], fallback_on: [400]}, {model: b}]",
        "model: a\npool: [{model: a, provider: q}]",
        "model: a\nprovider: p\npool: [{model: a}]",
        "precedence: [{id: x, use: pool, when: task.index > 0}, {use: pool}]",
        "precedence: [{use: call, order_by: 1}, {use: task, order_by: 2}]",
        "model: a\nprovider: p\npool: [{model: a}]\nprecedence: strict",
    ],
)
def test_what_is_right_is_left_alone(text: str) -> None:
    assert found_in(text) == []


@pytest.mark.parametrize(
    ("text", "help_"),
    [
        (
            "pool:\n  - {model: a, name: x}\n  - {model: b, name: x}",
            "first given at <policy>:2:22",
        ),
        (
            "pool:\n  - {model: a}\n  - {model: a}",
            "the other is at <policy>:2:5",
        ),
        ("pool: [{model: glm, fallback: [gml]}]", "did you mean `glm`?"),
        ("pool: [{model: glm, fallback: [x]}]", "name an entry of the pool"),
        ("pool: [{model: glm}]\nprecedence: [{use: pool, entry: gml}]", "did you mean `glm`?"),
        ("precedence: [{use: pool, entry: gml}]", "name an entry of the pool"),
        ("provider: opnrouter\nproviders: {openrouter: {}}", "did you mean `openrouter`?"),
        ("provider: x\nproviders: {openrouter: {}}", "declare it under `providers`"),
        ("pool: []", "to restrict nothing, leave `pool` out"),
        (
            "model: x\npool: [{model: a}]",
            "add it to the pool",
        ),
        (
            "providers: {p: {api_key: hunter2}}",
            "write `env:NAME` or `file:PATH`",
        ),
        (
            "model: a\nprovider: p\nprecedence:\n  - {use: config}\n  - {use: parent}",
            "at <policy>:4:5",
        ),
    ],
)
def test_a_finding_says_what_to_do(text: str, help_: str) -> None:
    # The whole texts are golden files.
    (item,) = findings(text)
    assert item.help is not None
    assert help_ in item.help


def test_no_finding_prints_the_secret() -> None:
    for text in (
        "providers: {p: {api_key: hunter2}}",
        f"name: {KEY}",
        f"pool: [{{model: {KEY}, fallback: [x]}}]",
        f"providers: {{{KEY}: {{api_key: {KEY}}}}}",
    ):
        _, found = check_text(text)
        assert found.errors
        assert "hunter2" not in found.to_text() + found.to_json()
        assert KEY not in found.to_text() + found.to_json()


# A rule after one that always decides.

POOL = "pool: [{model: a, provider: p%s}, {model: b, provider: p}]\n"


@each(
    "text",
    [
        "model: a\nprovider: p\nprecedence: [{use: config}, {use: parent}]",
        "model: a\nprovider: p\nprecedence: [{use: config, when: true}, {use: parent}]",
        # A rule that is not enforced is no guard.
        (
            "model: a\nprovider: p\nforbid: [{when: task.index > 0, enforce: false}]\n"
            "precedence: [{use: config}, {use: parent}]"
        ),
        # Limits are none either, where no wish is refused.
        (
            f"{POOL % ', pick: true, limits: {top_k: {max: 5}}'}"
            "precedence: [{use: task}, {use: pool}, {use: parent}]"
        ),
        f"model: a\nprovider: p\n{POOL % ''}precedence: [{{use: config}}, {{use: parent}}]",
        f"{POOL % ''}precedence: [{{use: pool, entry: a}}, {{use: parent}}]",
        f"{POOL % ', allow: true'}precedence: [{{use: pool, entry: a}}, {{use: parent}}]",
        f"{POOL % ', pick: true'}precedence: [{{use: pool}}, {{use: parent}}]",
        # A guard does not help where a violation refuses.
        (
            f"{POOL % ', pick: true, allow: task.index > 0'}"
            "precedence: [{use: pool, on_violation: reject}, {use: parent}]"
        ),
        (
            "model: a\nforbid: [{when: task.index > 0}]\n"
            "precedence: [{use: config, on_violation: reject}, {use: parent}]"
        ),
    ],
)
def test_a_rule_after_one_that_always_decides_is_never_reached(text: str) -> None:
    assert Code.UNREACHABLE_RULE in [row[0] for row in found_in(text)]


@each(
    "text",
    [
        "precedence: [{use: config}, {use: parent}]",
        "model: a\nprovider: p\nprecedence: [{use: config, when: task.index > 0}, {use: parent}]",
        "model: a\nprovider: p\nprecedence: [{use: config, when: false}, {use: parent}]",
        (
            "model: a\nprovider: p\nforbid: [{when: task.index > 0}]\n"
            "precedence: [{use: config}, {use: parent}]"
        ),
        # Without a provider it may be incomplete.
        "model: a\nprecedence: [{use: config}, {use: parent}]",
        "pool: [{model: a, pick: true}]\nprecedence: [{use: pool}, {use: parent}]",
        # A wish may be refused that it does not grant.
        (
            f"{POOL % ', pick: true, limits: {top_k: {max: 5}}'}"
            "precedence: [{use: task, on_violation: reject}, {use: pool}, {use: parent}]"
        ),
        (
            f"{POOL % ', pick: true, limits: {top_k: {max: 5}}'}"
            "precedence: [{use: task, when: 1 / task.index > 0}, {use: pool}, {use: parent}]"
        ),
        (
            f"model: a\nprovider: p\n{POOL % ', allow: task.index > 0'}"
            "precedence: [{use: config}, {use: parent}]"
        ),
        (
            f"model: a\nprovider: p\n{POOL % ', supports: []'}"
            "precedence: [{use: config}, {use: parent}]"
        ),
        (
            f"model: a\nprovider: p\n{POOL % ', context_window: 9'}"
            "precedence: [{use: config}, {use: parent}]"
        ),
        (
            f"model: x\nprovider: p\n{POOL % ''}"
            "precedence: [{use: config, in_pool: true}, {use: parent}]"
        ),
        f"{POOL % ''}precedence: [{{use: pool}}, {{use: parent}}]",
        f"{POOL % ', pick: false'}precedence: [{{use: pool}}, {{use: parent}}]",
        f"{POOL % ', pick: task.index > 0'}precedence: [{{use: pool}}, {{use: parent}}]",
        # An order may fail, and then nothing is picked.
        (
            f"{POOL % ', pick: true'}"
            "precedence: [{use: pool, order_by: 1 / task.index}, {use: parent}]"
        ),
        "precedence: [{use: call, on_violation: reject}, {use: task}, {use: parent}]",
        # A profile is not the policy's own to mend.
        "model: a",
        "model: a\nprecedence: strict",
    ],
)
def test_a_rule_that_may_be_reached_is_left_alone(text: str) -> None:
    assert Code.UNREACHABLE_RULE not in [row[0] for row in found_in(text)]


def test_every_rule_after_the_deciding_one_is_named_once() -> None:
    rules = "[{use: call}, {use: config}, {use: parent}, {use: pool}]"
    text = f"model: a\nprovider: p\nprecedence: {rules}"
    paths = [row[2] for row in found_in(text) if row[0] is Code.UNREACHABLE_RULE]
    assert paths == ["$.precedence[2]", "$.precedence[3]"]


@each(
    ("text", "path"),
    [
        ("delegation: {model: m, forbid: [{id: a, wen: 'true'}]}", "$.delegation.forbid[0].wen"),
        ("delegation: {pool: [{modle: a}]}", "$.delegation.pool[0].modle"),
        ("delegation: {precedence: [{usee: call}]}", "$.delegation.precedence[0].usee"),
        ("delegation: {facts: {risk: {typ: int}}}", "$.delegation.facts.risk.typ"),
        ("delegation: {forbiden: [{when: true}]}", "$.delegation.forbiden"),
        ("delegation: {Precedence: strict}", "$.delegation.Precedence"),
    ],
)
def test_a_guard_is_not_lost_to_a_misspelt_key_under_a_host_s(text: str, path: str) -> None:
    assert (Code.UNKNOWN_KEY, ERROR, path) in found_in(text)


@each(
    "text",
    [
        "providers: {a: {base_url: 'https://x.example/?token=hunter2hunter2'}}",
        "providers: {a: {base_url: 'https://hunter2@x.example/'}}",
        "parameters: {authorization: Bearer hunter2hunter2}",
        "pool: [{model: a, parameters: {x_api_key: hunter2}}]",
    ],
)
def test_a_secret_is_found_wherever_it_is_written_out(text: str) -> None:
    _, found = check_text(text)
    assert [item.code for item in found] == [Code.INLINE_SECRET]
    assert "hunter2" not in found.to_text() + found.to_json()


def test_a_key_is_no_parameter_and_no_secret_is_written_out() -> None:
    _, found = check_text("pool: [{model: a, parameters: {api_key: hunter2}}]")
    assert [item.code for item in found] == [Code.RESERVED_PARAMETER, Code.INLINE_SECRET]
    assert "hunter2" not in found.to_text() + found.to_json()


def test_what_a_host_has_around_the_policy_is_not_shown() -> None:
    _, found = check_text("{bot: hunter2, delegation: {model: m, pol: 1}, more: hunter2}")
    assert [item.code for item in found] == [Code.UNKNOWN_KEY]
    assert "hunter2" not in found.to_text()


def test_a_wrong_default_of_a_fact_is_not_shown() -> None:
    _, found = check_text("facts: {ssn: {type: int, default: '078-05-1120'}}")
    assert [item.code for item in found] == [Code.WRONG_TYPE]
    assert "078-05-1120" not in found.to_text()


def test_a_context_window_fits_in_64_bits() -> None:
    assert found_in("pool: [{model: a, context_window: 1e30}]") == [
        (Code.BAD_VALUE, ERROR, "$.pool[0].context_window")
    ]


@each(
    ("name", "value"),
    [("prompt_cache_key", "agents"), ("max_tokens", "9"), ("stop_token_name", "agents")],
)
def test_a_parameter_whose_name_is_like_a_secret_s_is_no_secret(name: str, value: str) -> None:
    assert found_in(f"parameters: {{{name}: {value}}}") == []
