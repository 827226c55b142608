"""What to write in place of slips that authors make in rule files and suites: each has a remedy."""

from __future__ import annotations

from policy_router.analysis.suites import read_suite_text
from policy_router.files.loader import check_text, loads
from tests.support.rows import each

LISTED = "put it in brackets: `[...]`"
DASHES = "begin each item with `- `"
CONDITION = 'write one condition, such as `task.kind == "coding" && parent.depth < 2`'
POLICY = "model: small\nprovider: zai\n"
IN_POLICIES = [
    # Keys of other languages.
    ("rules: []\n", 3, "did you mean `precedence`?"),
    ("models: []\n", 3, "did you mean `pool`?"),
    ("denied: []\n", 3, "did you mean `forbid`?"),
    ("Delegation: {}\n", 3, "did you mean `delegation`?"),
    ("tests: []\n", 3, "policy tests are in a file `*_test.yaml`, which `policy-router test` runs"),
    ("forbid:\n  - {id: a, if: 'true'}\n", 4, "did you mean `when`?"),
    ("precedence:\n  - {level: task}\n", 4, "did you mean `use`?"),
    ("pool:\n  - {model: a, contextWindow: 5}\n", 4, "did you mean `context_window`?"),
    ("pool:\n  - {model: a, price: {prompt: 5}}\n", 4, "did you mean `input`?"),
    (
        "pool:\n  - {model: a, temperature: 0.2}\n",
        4,
        "write it under `parameters`: `{temperature: ...}`",
    ),
    ("max_tokens: 5\n", 3, "write it under `parameters`: `{max_tokens: ...}`"),
    ("providers: {zai: {url: 'https://z.example'}}\n", 3, "did you mean `base_url`?"),
    # Values of another type.
    ("pool: {small: {model: a}}\n", 3, DASHES),
    ("forbid: target.name == 'a'\n", 3, DASHES),
    ("facts: [region]\n", 3, "write keys, without `- `"),
    ("pool: [a]\n", 3, "write a mapping, such as `{model: ...}`"),
    ("pool:\n  - model:a\n", 4, "a blank is missing after the `:`"),
    ("pool:\n  - {model: 4.1}\n", 4, "put it in quotes"),
    ("pool:\n  - {model: a, fallback: b}\n", 4, LISTED),
    ("pool:\n  - {model: a, allow: [x]}\n", 4, CONDITION),
    ("pool:\n  - {model: a, pick: {kind: x}}\n", 4, CONDITION),
    ("pool:\n  - {model: a, context_window: 128k}\n", 4, "write `128000`"),
    ("pool:\n  - {model: a, context_window: 1.5K}\n", 4, "write `1500`"),
    ("pool:\n  - {model: a, context_window: 128_000}\n", 4, "write `128000`"),
    ("pool:\n  - {model: a, price: {input: $0.55}}\n", 4, "write `0.55`"),
    (
        "pool:\n  - {model: a, context_window: '1,5'}\n",
        4,
        "write the number in digits alone, such as `128000`",
    ),
    ("pool:\n  - {model: a, context_window: large}\n", 4, None),
    (
        "pool:\n  - {model: a, price: {input: 0,55}}\n",
        4,
        "write a number with a point, and without commas",
    ),
    ("pool:\n  - {model: a, timeouts: {total: 30s}}\n", 4, "write `30`"),
    (
        "pool:\n  - {model: a, limits: {max_tokens: 9}}\n",
        4,
        "write a mapping, such as `{min: ..., max: ...}`",
    ),
    ("version: v1\n", 3, "write `1`"),
    ("facts: {risk: int}\n", 3, "write a mapping, such as `{type: ...}`"),
    ("forbid:\n  - {id: a, when: 'true', enforce: no}\n", 4, "write `false`"),
    ("precedence:\n  - {use: pool, fallback: no}\n", 4, "write `false`"),
    ("precedence:\n  - {use: pool, fallback: candidate}\n", 4, "did you mean `candidates`?"),
    ("pool:\n  - {model: a, supports: }\n", 4, "write `[]` for an empty list"),
    ("pool:\n  - {model: a, pick: }\n", 4, "leave the key out"),
    ("kinds: [coding, ]\nlabels: [null]\n", 4, "leave the item out"),
]


@each(("text", "line", "remedy"), IN_POLICIES)
def test_a_slip_in_a_policy_has_one_finding_with_its_line_and_remedy(
    text: str, line: int, remedy: str | None
) -> None:
    _, found = check_text(POLICY + text)
    errors = [it for it in found if "is missing" not in it.message and it.severity == "error"]
    assert [(it.span.position[0], it.help) for it in errors] == [(line, remedy)]


def test_a_section_of_another_shape_is_reported_alone() -> None:
    _, found = check_text(f"{POLICY}providers: [zai]\n")
    assert [(it.code, it.help) for it in found] == [("PR202", None)]


def test_a_precedence_without_rules_is_reported() -> None:
    _, found = check_text(f"{POLICY}precedence: []\n")
    (item,) = [it for it in found if it.code == "PR414"]
    assert (item.message, item.span.position) == (
        "no rule selects a target, so every request is refused",
        (3, 13),
    )


def test_what_stands_beside_delegation_is_to_be_indented() -> None:
    _, found = check_text(f"delegation:\n{POLICY}")
    assert [(it.code, it.help) for it in found] == [("PR104", "indent what belongs to it")]


CODES = (
    "one of outside_pool, not_allowed, forbidden, lacks_capability, context_too_small, incomplete,"
    " parameter_not_allowed, evaluation_error, no_target"
)
IN_SUITES = [
    ("expect: {outcome: refused}", "did you mean `refused`?"),
    ("expect: {name: small}", "did you mean `entry`?"),
    ("expect: {refused: true}", CODES),
    ("expect: {refused: [outside_pool]}", CODES),
    ("expect: {fallbacks: small}", LISTED),
    ("expect: small", "write a mapping, such as `{entry: ...}`"),
    ("expect: {bad_request: true}", "write the place, such as `$.task.kind`"),
    ("{expect: {entry: a}, skip: true}", "write the reason, or leave the key out"),
    ("{expect: {entry: a}, now: 5}", "write a time such as `2026-01-31T09:00:00Z`"),
    ("{expect: {entry: a}, use: lead}", "write it under `request`"),
    ("{expect: {entry: a}, input: {}}", "did you mean `request`?"),
    ("{expect: {entry: a}, request: {task.kind: x}}", "write `task: {kind: ...}`"),
    ("{expect: {entry: a}, request: {parent: {depth: '2'}}}", "write `2`"),
    (
        "{expect: {entry: a}, matrix: {task: {kind: [x]}}}",
        "write the whole name, such as `task.kind: [coding, math]`",
    ),
]


@each(("text", "remedy"), IN_SUITES)
def test_a_slip_in_a_suite_has_one_finding_with_its_line_and_remedy(text: str, remedy: str) -> None:
    test = text[1:] if text.startswith("{") else f"{text}}}"
    found = read_suite_text("a_test.yaml", f"tests:\n- {{name: a, {test}\n").found
    assert [(it.span.position[0], it.help) for it in found] == [(2, remedy)]


def test_a_value_that_a_matrix_has_twice_is_found_and_so_is_a_place_without_its_root() -> None:
    policy = loads(POLICY)
    matrix = "matrix: {task.index: [1, 2, 1], facts.seen: [true, 1]}, expect: {level: config}"
    text = f"tests:\n- {{name: a, {matrix}}}\n- {{name: b, expect: {{bad_request: task.kind}}}}\n"
    found = read_suite_text("a_test.yaml", text, policy).found
    assert [(it.span.position[0], it.message) for it in found] == [
        (2, "this value is given twice"),
        (2, "a request has no `facts.seen`"),
        (3, "a place in a request begins with `$`, such as `$.task.kind`"),
    ]


def test_an_empty_list_is_no_remedy_where_tests_are_wanted() -> None:
    (item,) = read_suite_text("a_test.yaml", "tests:\n").found
    assert item.help == DASHES
