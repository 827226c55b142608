"""What may stand at a place of a file that somebody is writing, and what stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from policy_router.analysis import Completion, Description, complete, describe
from policy_router.policy.yaml import cursor
from tests.support.commands import ROOT
from tests.support.rows import each

PLACE = "\u25ae"
POLICY = """\
version: 1
kinds: [coding, math]
roles: {values: [lead, guest]}
facts: {region: {type: string, default: eu}, risk: {type: int}, must: {type: bool, required: true}}
tables: {cap: {research: 5.0, ops: 1}}
variables:
  private: '"pii" in task.labels'
  low: variables.private && has(facts.risk)
providers:
  west: {base_url: "https://llm.example.com"}
pool:
  - {name: small, model: s-1, provider: west}
  - model: l-1
"""


def place_of(text: str) -> tuple[str, int, int]:
    """Return a text without its mark, and the line and column of the mark."""
    before, _, after = text.partition(PLACE)
    lines = before.split("\n")
    return before + after, len(lines), len(lines[-1]) + 1


def completed(text: str, name: str = "policy.yaml") -> list[str]:
    return [it.text for it in complete(*place_of(text), name=name)]


def described(text: str, name: str = "policy.yaml") -> Description | None:
    return describe(*place_of(text), name=name)


@each(
    ("text", "expected"),
    [
        ("pool:\n  - name: a\n    pi\u25ae", ["pick: "]),
        ("pool:\n  - name: a\n    pi\u25ae\n    model: m\n", ["pick: "]),
        ("pool:\n  - name: a\n    l\u25ae\n    limits: {}\n", ["limits: "]),  # not read so far
        (
            "forbid:\n  - \u25ae",
            ["id: ", "when: ", "message: ", "enforce: ", "description: ", "owner: "],
        ),
        ("forbid:\n  - {id: x, e\u25ae}", ["enforce: "]),
        ("forbid:\n  - {id: x, e\u25ae\nname: x", ["enforce: "]),
        ("forbid: [{id: x, when: y, message: '', enforce: true, d\u25ae", ["description: "]),
        ("version: 1\nprec\u25ae", ["precedence: "]),
        ("prec\u25ae\nversion: 1\n", ["precedence: "]),
        ("version: 1\nvers\u25ae", []),  # it is there already
        ("delegation:\n  prec\u25ae\n", ["precedence: "]),
        ("host: 1\ndelegation:\n  pool:\n    - {model: m, pi\u25ae}\n", ["pick: "]),
        ("prec\u25ae\ndelegation:\n  pool: []\n", []),  # the host's own keys
        ("providers:\n  west:\n    b\u25ae", ["base_url: "]),
        ("precedence:\n  - {use: \u25ae}", ["call", "task", "pool", "config", "parent"]),
        ("precedence:\n  - {use: p\u25ae", ["pool", "parent"]),
        ("precedence:\n  - use: pool\n    in_pool: \u25ae\n", ["true", "false"]),
        ("version: \u25ae", ["1"]),
        ("precedence: st\u25ae", ["strict"]),
        ("facts: {x: {type: \u25ae}}", ["string", "int", "double", "bool", "list"]),
        ("require: [bud\u25ae]", ["budget.spent_usd", "budget.remaining_usd"]),
        ("require: [bud\u25ae", ["budget.spent_usd", "budget.remaining_usd"]),
        ("pool: [] # \u25ae", []),
        ("unknown: {\u25ae}", []),
        ("pool: [[[\u25ae", []),
        ("a: [\nb: \u25ae", []),
    ],
)
def test_keys_and_values_are_those_of_the_schema(text: str, expected: list[str]) -> None:
    assert completed(text) == expected


@each(
    ("line", "expected"),
    [
        ("fallback: [\u25ae]", ["small", "l-1", "new"]),
        ("provider: \u25ae", ["west"]),
        ("pick: task.k\u25ae", ["task.kind"]),
        ("pick: task.k\u25ae && true", ["task.kind"]),
        ('pick: \'"x" in task.\u25ae', None),
        ('pick: task.kind == "\u25ae"', ["coding", "math"]),
        ("pick: task.kind == 'm\u25ae", ["math"]),
        ('pick: task.kind in ["coding", "m\u25ae', ["math"]),
        ("pick: '\"l\u25ae\" in caller.roles'", ["lead"]),
        ('allow: target.name == "\u25ae"', ["small", "l-1", "new"]),
        ('allow: target.provider == "\u25ae"', ["west"]),
        ('allow: parent.provider == "\u25ae"', ["west"]),
        ('allow: target.model != "\u25ae"', ["s-1", "l-1"]),
        ('allow: task.model != "\u25ae"', ["small", "l-1", "new", "s-1"]),
        ('allow: caller.team == "\u25ae"', []),  # any text
        ("allow: '\"\u25ae", []),
        ("allow: facts.\u25ae", ["facts.region", "facts.risk", "facts.must"]),
        ("allow: variables.\u25ae", ["variables.private", "variables.low"]),
        ("allow: tables.\u25ae", ["tables.cap"]),
        ("allow: target.price.o\u25ae", ["target.price.output"]),
        ("allow: task.kind.s\u25ae", ["size(", "startsWith(", "split(", "substring("]),
        ("allow: task.labels.e\u25ae", ["exists(", "exists_one("]),
        ("allow: now.getD\u25ae", None),
        ("allow: math.\u25ae", ["math.least(", "math.greatest("]),
        ("allow: ha\u25ae", ["has("]),
        ("order_by: zzz\u25ae", []),
        ("price: {in\u25ae", ["input: "]),
    ],
)
def test_conditions_are_completed_by_what_the_policy_declares(
    line: str, expected: list[str] | None
) -> None:
    found = completed(f"{POLICY}  - name: new\n    {line}\n")
    assert found if expected is None else found == expected


def test_what_a_place_does_not_see_is_not_offered() -> None:
    rule = "precedence:\n  - {use: pool, when: "
    assert completed(POLICY + rule + "target\u25ae") == []
    assert completed(POLICY + rule + "call.m\u25ae") == ["call.model"]
    assert completed(POLICY + "forbid:\n  - when: target.le\u25ae") == ["target.level"]
    assert completed(POLICY + "assert:\n  - never: outc\u25ae") == ["outcome"]
    assert completed(POLICY + "assume:\n  - outc\u25ae") == []
    above = POLICY.replace("has(facts.risk)", "variables.\u25ae")
    assert completed(above) == ["variables.private"]  # a variable uses the ones above it


def test_a_completion_says_what_it_means_and_replaces() -> None:
    (found,) = complete(*place_of(f"{POLICY}  - allow: budget.rem\u25ae"))
    about = "US dollars left; absent where there is no limit. May be absent: guard it with `has()`."
    assert found == Completion("budget.remaining_usd", "name", 10, "double", about)
    (key,) = complete(*place_of("pool:\n  - pic\u25ae"))
    assert key == Completion(
        "pick: ", "key", 3, "", "Level `pool` picks the entry if this is true."
    )
    (method,) = complete(*place_of(f"{POLICY}  - allow: task.kind.sub\u25ae"))
    ways = "(int) -> string; (int, int) -> string"
    assert method == Completion("substring(", "method", 3, ways)
    (must,) = complete(*place_of(f"{POLICY}  - allow: facts.m\u25ae"))
    assert (must.type, must.description) == ("bool", "")  # required: never absent


def test_a_suite_is_completed_by_its_own_schema() -> None:
    assert completed("tests:\n  - name: x\n    expect: {le\u25ae", "a_test.yaml") == ["level: "]
    assert completed("tests:\n  - na\u25ae", "a_test.yml") == ["name: "]
    assert "parent" in completed("tests:\n  - expect: {level: \u25ae}", "a_test.yaml")
    assert completed("tests:\n  - expect: {entry: \u25ae}", "a_test.yaml") == []


def test_a_suite_is_completed_by_its_requests_and_the_names_of_a_matrix() -> None:
    suite = "requests: {lead: {caller: {id: a}}}\ntests:\n  - name: x\n    "
    assert completed(f"{suite}request: {{use: \u25ae", "acme_test.yaml") == ["lead"]
    assert completed(f"{suite}matrix: {{task.k\u25ae", "acme_test.yaml") == ["task.kind: "]
    begun = f"{suite}matrix:\n      task.kind: [a]\n      task.\u25ae"
    assert "task.labels: " in completed(begun, "acme_test.yaml")
    assert "task.kind: " not in completed(begun, "acme_test.yaml")


@each("odd", ["\0", "\x1b", "\ud800", "\ufeff"])
def test_a_character_that_yaml_does_not_have_hides_nothing_behind_it(odd: str) -> None:
    text = f"owner: a{odd}b\npool:\n  - name: a\n    pi\u25ae"
    assert completed(text) == ["pick: "]
    assert described(text) is None


@each(("line", "column"), [(0, 1), (9, 1), (-1, 1)])
def test_a_place_that_is_not_there_has_nothing(line: int, column: int) -> None:
    assert complete("pool: []\n", line, column) == ()
    assert describe("pool: []\n", line, column) is None


def test_a_column_behind_a_line_is_its_end() -> None:
    assert complete("pool:\n  - pic\n", 2, 99) == complete("pool:\n  - pic\n", 2, 8)
    assert complete("pic", 1, -3) == complete("pic", 1, 1)


@each(
    ("text", "path", "before", "after"),
    [
        ("a:\n  b: x\u25aey\n", ("a", "b"), "x", "y"),
        ('a: "\\u00e9\\u25ae \u25aez"', ("a",), "\u00e9\u25ae ", "z"),
        ("a: |\n  x\n  y\u25ae\nb: 1", ("a",), "x\ny", "\n"),
        ("a: '\u2028 \u25ae", ("a",), "\u2028 ", ""),
        ("- [a, {b: \u25ae", (0, 1, "b"), "", ""),
        ("? [x]\n: \u25ae", ("",), "", ""),
        ("\u25ae", (), "", ""),
    ],
)
def test_the_place_is_found_in_what_is_unfinished(
    text: str, path: tuple[str | int, ...], before: str, after: str
) -> None:
    mark = text.rindex(PLACE)
    found = cursor(text[:mark] + text[mark + 1 :], mark)
    assert found is not None
    assert (found.path, found.before, found.after) == (path, before, after)


# describe


@each(
    ("text", "name", "type_", "definition"),
    [
        ("allow: fa\u25aects.region == ''", "facts.region", "string", "4:9"),
        ("allow: facts.region.si\u25aeze() > 1", "size", "() -> int", None),
        ("allow: variables.lo\u25aew", "variables.low", "bool", "8:3"),
        ("allow: 1.0 > tables.ca\u25aep[caller.team]", "tables.cap", "table of double", "5:10"),
        ("allow: target.pr\u25aeice.input > 1.0", "target.price.input", "double", None),
        ("allow: h\u25aeas(facts.risk)", "has", "(name) -> bool", None),
        ("allow: math.le\u25aeast(1, 2) > 1", "math.least", None, None),
        ("allow: task.labels.ex\u25aeists(l, true)", "exists", "(item, condition)", None),
        ("allow: target.name == 'sm\u25aeall'", "small", "string", "12:12"),
        ("allow: target.name == 'hu\u25aege'", "huge", "string", None),
        ("allow: \"'x' == 'sm\u25aeall'\"", "small", "string", None),
        ("fallback: [sma\u25aell]", "small", "", "12:12"),
        ("provider: we\u25aest", "west", "", "10:3"),
        ("provid\u25aeer: west", "provider", "", None),
    ],
)
def test_a_word_is_described(
    text: str, name: str, type_: str | None, definition: str | None
) -> None:
    found = described(f"{POLICY}  - model: new\n    {text}\n")
    assert found is not None
    assert found.name == name
    assert type_ is None or found.type == type_
    place = found.definition and ":".join(map(str, found.definition.position))
    assert place == definition


@each(
    "text",
    [
        "allow: 1 +\u25ae 2 > 1",
        "allow: unkn\u25aeown",
        "allow: task.labels.nothi\u25aeng()",
        "allow: tr\u25aeue",
        "# no\u25aete",
        "\u25ae allow: true",
    ],
)
def test_where_nothing_is_known_nothing_is_described(text: str) -> None:
    assert described(f"{POLICY}  - model: new\n    {text}\n") is None


def test_a_file_that_is_no_yaml_is_not_described() -> None:
    assert described("pool: [\u25ae") is None


def test_a_key_has_the_meaning_of_the_schema_and_its_place() -> None:
    found = described("host: 1\ndelegation:\n  pool:\n    - {model: m, al\u25aelow: 'true'}\n")
    assert found is not None
    assert found.description == "The entry may be used only if this is true."
    assert found.span.position == (4, 18)
    key = described("tests:\n  - {name: x, exp\u25aeect: {entry: a}}", "a_test.yaml")
    assert key is not None
    assert key.description


def test_a_condition_over_lines_is_described_at_its_letters() -> None:
    lines = "      task.kind\n      == 'x' && par\u25aeent.depth > 1\n"
    found = described(f"pool:\n  - model: m\n    pick: >-\n{lines}")
    assert found is not None
    assert (found.name, str(found.span)) == ("parent.depth", "policy.yaml:5:17")


# A law: what somebody wrote is offered where it was begun.


SHIPPED = sorted((ROOT / "rules/examples").rglob("*.yaml"))
_NAME = re.compile(r"(?:task|caller|facts|variables|target|parent|budget)\.(?:price\.)?[a-z_]+")


@pytest.mark.slow
@pytest.mark.parametrize("file", SHIPPED, ids=lambda it: it.stem)
def test_what_was_written_is_offered_where_it_was_begun(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    seen: set[str] = set()
    for found in _NAME.finditer(text):
        line = text[text.rfind("\n", 0, found.start()) + 1 : found.start()]
        if "#" in line or found.group() in seen or file.stem.endswith("_test"):
            continue
        seen.add(found.group())
        begun = text[: found.end() - 2] + PLACE
        for rest in ("", text[found.end() :]):
            assert found.group() in completed(begun + rest, file.name), found.group()


@pytest.mark.slow
def test_no_place_is_too_odd() -> None:
    text = (ROOT / "rules/examples/data-residency.yaml").read_text(encoding="utf-8")
    for at in range(0, len(text), 7):
        for part in (text, text[:at]):
            assert isinstance(completed(part[:at] + PLACE + part[at:]), list)
            described(part[:at] + PLACE + part[at:])
