"""Hostile and broken input: a clear message with a place, soon, and never a traceback."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_router import (
    Policy,
    PolicyError,
    Request,
    RequestError,
    decide,
    explain,
    loads,
    permitted,
)
from policy_router.cli import main
from tests.support.commands import NOW, ROOT, STRICT, Run, write
from tests.support.examples import examples
from tests.support.rows import each

Value = TypeVar("Value")
GENEROUS = 60.0
"""Seconds of processor time. The promise is under one; this is for a busy machine and a tracer."""


@contextmanager
def soon() -> Iterator[None]:
    begin = time.process_time()
    yield
    assert time.process_time() - begin < GENEROUS


def with_pick(expression: str) -> str:
    pool = f"pool:\n  - model: m\n    pick: {json.dumps(expression)}\n"
    return f"version: 1\nname: x\nmodel: m\n{pool}"


DEEP_FLOW = "version: 1\npool: " + "[" * 5000 + "]" * 5000
DEEP_BLOCK = "version: 1\npool:\n" + "".join(f"{' ' * n}- \n" for n in range(1, 1000))
BOMB = "version: 1\n" + "".join(
    f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n" for n in range(9)
)
BAD_POLICIES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "PR104"),
    "blank": ("\n  \n", "PR104"),
    "comments alone": ("# nothing\n", "PR104"),
    "binary": (bytes(range(256)), "PR101"),
    "NUL characters": (b"version: 1\nname: a\x00b\n", "PR103"),
    "UTF-16": ("version: 1\nmodel: m\n".encode("utf-16"), "PR101"),
    "Latin-1": ("version: 1\nname: näme\n".encode("latin-1"), "PR101"),
    "list at the root": ("- version: 1\n", "PR202"),
    "scalar at the root": ("hello\n", "PR202"),
    "null at the root": ("null\n", "PR104"),
    "null under delegation": ("delegation:\n", "PR104"),
    "list under delegation": ("delegation: [1]\n", "PR202"),
    "two documents": ("version: 1\n---\nversion: 1\n", "PR111"),
    "10 MB": ("version: 1\n" + "# x\n" * 2_500_000, "PR102"),
    "10 MB on a line": ("name: " + "x" * 10_000_000, "PR102"),
    "10 MB of brackets": ("[" * 10_000_000, "PR102"),
    "too many nodes": ("version: 1\npool: [" + "{}," * 210_000 + "]", "PR110"),
    "alias bomb": (BOMB, "PR106"),
    "deep flow": (DEEP_FLOW, "PR109"),
    "deep block": (DEEP_BLOCK, "PR109"),
    "deep keys": ("? " * 3000 + "a", "PR1"),
    "duplicate key": ("version: 1\nmodel: a\nmodel: b\n", "PR105"),
    "many duplicate keys": ("version: 1\n" + "model: a\n" * 50_000, "PR105"),
    "tag": ("version: !!python/object/apply:os.system [ls]\n", "PR107"),
    "merge key": ("version: 1\n<<: {model: m}\n", "PR108"),
    "key that is no string": ("1: 2\n", "PR112"),
    "unclosed": ("pool: [\n", "PR103"),
    "tabs": ("pool:\n\t- model: m\n", "PR103"),
    "bad escape": ('name: "\\q"\n', "PR103"),
    "lone surrogate": ('name: "\\ud800"\n', "PR1"),
    "huge int": ("version: " + "9" * 5000 + "\n", "PR"),
    "infinity": ("version: 1\nname: x\nparameters: {a: .inf}\n", "PR2"),
    "no such version": ("version: 2\n", "PR206"),
    "unknown key": ("version: 1\nmodle: m\n", "PR201"),
    "thousands of unknown keys": (
        "version: 1\n" + "".join(f"k{n}: 1\n" for n in range(20_000)),
        "PR201",
    ),
    "wrong type": ("version: 1\npool: {a: 1}\n", "PR202"),
    "no model": ("version: 1\npool: [{name: x}]\n", "PR203"),
    "unknown profile": ("version: 1\nprecedence: stirct\n", "PR411"),
    "model among the parameters": ("parameters: {model: zz}", "PR416"),
    "key among the limits": ("pool: [{model: m, limits: {api_key: [x]}}]", "PR416"),
    "value outside its own limits": (
        "pool: [{model: m, parameters: {top_k: 9}, limits: {top_k: {max: 5}}}]",
        "PR417",
    ),
    "limits that nothing meets": ("pool: [{model: m, limits: {top_k: {min: 2, max: 1}}}]", "PR417"),
    "two spellings": ("parameters: {max_tokens: 1, max_output_tokens: 1}", "PR412"),
    "table of two types": ("tables: {t: {a: 1, b: x}}", "PR303"),
    "table that is deep": ("tables: {t: {a: {b: 1}}}", "PR202"),
    "required name that is none": ("require: [caller.tem]", "PR301"),
    "labels that are dropped": ("labels: {values: [a], unknown: drop}", "PR204"),
    "default that never runs": ("model: x\npool: [{model: m}]\nprecedence: strict", "PR408"),
    "empty expression": (with_pick(""), "PR"),
    "unfinished expression": (with_pick("task.kind =="), "PR302"),
    "300 parentheses": (with_pick("(" * 300 + "true" + ")" * 300), "PR309"),
    "2,000 parentheses": (with_pick("(" * 2000 + "true" + ")" * 2000), "PR309"),
    "4,000 open parentheses": (with_pick("(" * 4000), "PR3"),
    "1,000 nots": (with_pick("!" * 1000 + "true"), "PR309"),
    "10,000 terms": (with_pick(" || ".join(["true"] * 10_000)), "PR309"),
    "1,000 terms": (with_pick("||".join(["true"] * 1_000)), "PR309"),
    "500 pluses": (with_pick("+".join(["1"] * 502) + " == 1"), "PR309"),
    "conditionals": (with_pick("true ? " * 300 + "true" + " : true" * 300), "PR309"),
    "deep list": (with_pick("size(" + "[" * 500 + "]" * 500 + ") == 1"), "PR309"),
    "long chain": (with_pick("task" + ".a" * 500), "PR3"),
    "nested maps": (
        with_pick("size([1].map(a, [1].map(b, [1].map(c, [1].map(d, d))))) == 1"),
        "PR3",
    ),
    "huge literal": (with_pick("9" * 3000 + " == 1"), "PR312"),
    "huge double": (with_pick("1e999 == 1.0"), "PR312"),
    "unclosed string": (with_pick('task.kind == "x'), "PR302"),
    "pattern that is no RE2": (with_pick("task.kind.matches('(?=a)')"), "PR311"),
    "pattern that grows": (with_pick("task.kind.matches('((a{1000}){1000}){1000}')"), "PR311"),
    "pattern with 400 groups": (with_pick("task.kind.matches('" + "(" * 400 + "')"), "PR311"),
    "pattern that is computed": (with_pick("task.kind.matches(task.model)"), "PR"),
    "pattern with a backreference": (with_pick("task.kind.matches('(a)\\\\1')"), "PR311"),
}


@pytest.mark.parametrize("case", BAD_POLICIES)
def test_a_bad_policy_has_a_diagnostic_with_its_place(run: Run, tmp_path: Path, case: str) -> None:
    content, code = BAD_POLICIES[case]
    write(tmp_path, bad_yaml=content)
    with soon():
        ran = run("check", "bad.yaml", "--format", "json")
    found = json.loads(ran.out)
    assert (ran.code, ran.err) == (1, "")
    assert 0 < len(found["diagnostics"]) <= 100
    assert any(item["code"].startswith(code) for item in found["diagnostics"])
    for item in found["diagnostics"]:
        assert item["line"] >= 1
        assert item["column"] >= 1
        assert item["path"].startswith("$")
        assert "\n" not in item["message"]
        assert len(item["message"]) < 300


SLOW = {"too many nodes", "thousands of unknown keys"}


@each("case", [case for case in BAD_POLICIES if case not in SLOW])
def test_the_library_says_the_same_to_a_person(case: str) -> None:
    content, code = BAD_POLICIES[case]
    with soon(), pytest.raises(PolicyError) as caught:
        loads(content, name="bad.yaml")
    text = str(caught.value)
    assert f": error[{code}" in text
    assert max(map(len, text.splitlines())) < 400


EVIL_PATTERNS = ["(a+)+$", "(a|aa)*b", "(.*)*x", "a{0,900}b", "(((a*)*)*)*b", "[a-z]+[a-z]+[0-9]"]


@each("pattern", EVIL_PATTERNS)
def test_a_pattern_that_would_backtrack_is_matched_soon(pattern: str) -> None:
    policy = loads(with_pick(f"task.kind.matches({json.dumps(pattern)})"), name="x")
    with soon():
        decide(policy, {"task": {"kind": "a" * 65_000 + "!"}}, now=NOW)


NESTED = "task.labels.exists(a, task.labels.exists(b, a + b == 'x'))"


@each(
    "expression",
    [
        NESTED,
        "size(task.labels.map(a, task.labels.map(b, a + b))) > 1",
        "task.labels.all(a, task.labels.all(b, (a + b).matches('(x+x+)+y') == false))",
        " && ".join(["task.labels.all(a, task.labels.all(b, a != b || true))"] * 8),
        "size(" + " + ".join(["task.labels"] * 25) + ") > 1",
        "(" + " + ".join(["task.kind"] * 25) + ").contains('y')",
    ],
)
def test_a_condition_that_multiplies_ends_soon(expression: str) -> None:
    policy = loads(with_pick(expression), name="x")
    request = {"task": {"kind": "k" * 65_536, "labels": [f"l{n}" for n in range(1000)]}}
    with soon():
        decide(policy, request, now=NOW)


# requests


POLICY = """\
version: 1
name: facts
model: m
provider: zai
kinds: [coding, math]
teams: [ops]
facts:
  text: {type: string}
  count: {type: int}
  share: {type: double}
  flag: {type: bool}
  tags: {type: list}
pool:
  - {model: m, limits: {style: [terse]}}
  - {model: n, pick: 'task.kind == "coding"', allow: parent.depth < 3}
"""

BAD_REQUESTS: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "bad.json: there is nothing in it"),
    "blank": (" \n\n", "bad.json: there is nothing in it"),
    "binary": (bytes(range(128, 256)), "not UTF-8"),
    "UTF-16": ('{"task": {}}'.encode("utf-16"), "not UTF-8"),
    "null": ("null", "$: expected a mapping, found null"),
    "string": ('"x"', "$: expected a mapping, found a string"),
    "number": ("3", "$: expected a mapping, found an int"),
    "unclosed": ('{"task": {', "bad.json: this is not JSON (line 1, column 11)"),
    "words after it": ('{"task": {}} x', "bad.json: this is not JSON"),
    "single quotes": ("{'task': {}}", "bad.json: this is not JSON (line 1, column 2)"),
    "duplicate key": ('{"task": {"kind": "a", "kind": "b"}}', "`kind` is given twice"),
    "duplicate section": ('{"task": {}, "task": {}}', "`task` is given twice"),
    "NaN": ('{"budget": {"remaining_usd": NaN}}', "$.budget.remaining_usd: "),
    "Infinity": ('{"budget": {"remaining_usd": -Infinity}}', "$.budget.remaining_usd: "),
    "1e400": (
        '{"budget": {"remaining_usd": 1e400}}',
        "$.budget.remaining_usd: expected a finite number",
    ),
    "-1e400 for a fact": (
        '{"facts": {"share": -1e400}}',
        "$.facts.share: expected a finite number",
    ),
    "2**63": ('{"task": {"index": 9223372036854775808}}', "$.task.index: the number does not fit"),
    "-2**63-1": ('{"task": {"index": -9223372036854775809}}', "$.task.index: the number does not"),
    "huge int for a double": ('{"facts": {"share": 1' + "0" * 400 + "}}", "$.facts.share: "),
    "5,000 digits": ('{"task": {"index": ' + "9" * 5000 + "}}", "number"),
    "fraction for an int": ('{"task": {"index": 1.5}}', "$.task.index: expected an int"),
    "bool for an int": ('{"task": {"index": true}}', "$.task.index: expected an int"),
    "bool for a double": ('{"facts": {"share": true}}', "$.facts.share: expected a number"),
    "int for a string": ('{"task": {"model": 3}}', "$.task.model: expected a string"),
    "null for a string": ('{"task": {"model": null}}', "$.task.model: expected a string"),
    "string for a list": ('{"task": {"labels": "x"}}', "$.task.labels: expected a list of "),
    "list in a list": ('{"task": {"labels": [["x"]]}}', "$.task.labels[0]: expected a string"),
    "mapping for a fact": ('{"facts": {"text": {}}}', "$.facts.text: expected a "),
    "int for a bool": ('{"facts": {"flag": 1}}', "$.facts.flag: expected true or false"),
    "list of ints": ('{"facts": {"tags": [1]}}', "$.facts.tags[0]: expected a string"),
    "section that is a list": ('{"task": []}', "$.task: expected a mapping, found a list"),
    "section that is null": ('{"facts": null}', "$.facts: expected a mapping, found null"),
    "unknown section": ('{"tsk": {}}', "$.tsk: unknown key `tsk`; did you mean `task`?"),
    "unknown key": ('{"task": {"knid": "x"}}', "unknown key `knid`; did you mean `kind`?"),
    "unknown fact": ('{"facts": {"cuont": 1}}', "did you mean `count`?"),
    "kind outside the set": ('{"task": {"kind": "codign"}}', "$.task.kind: "),
    "team outside the set": ('{"caller": {"team": "hr"}}', "$.caller.team: the team is not one"),
    "parameters that are a list": (
        '{"task": {"parameters": []}}',
        "$.task.parameters: expected a mapping",
    ),
    "parameters of the parent": ('{"parent": {"parameters": {}}}', "unknown key `parameters`"),
    "unknown parameter": ('{"task": {"parameters": {"topp": 1}}}', "did you mean `top_p`?"),
    "model among the parameters": (
        '{"call": {"parameters": {"model": "zz"}}}',
        "$.call.parameters.model: `model` is not a parameter",
    ),
    "parameter of another type": (
        '{"task": {"parameters": {"top_k": "9"}}}',
        "$.task.parameters.top_k: expected a whole number, found a string",
    ),
    "parameter that is a mapping": (
        '{"task": {"parameters": {"style": {}}}}',
        "$.task.parameters.style: expected a string, a number, or true or false",
    ),
    "parameter that is infinite": (
        '{"task": {"parameters": {"top_p": 1e400}}}',
        "$.task.parameters.top_p: expected a finite number",
    ),
    "long parameter": (
        json.dumps({"task": {"parameters": {"style": "x" * 65}}}),
        "$.task.parameters.style: the string has more than 64 characters",
    ),
    "two spellings": (
        '{"task": {"parameters": {"max_tokens": 1, "max_output_tokens": 1}}}',
        "are the same parameter",
    ),
    "two efforts": (
        '{"task": {"reasoning_effort": "low", "parameters": {"reasoning_effort": "high"}}}',
        "$.task.parameters.reasoning_effort: reasoning_effort is given twice",
    ),
    "odd key": ('{"task": {"a b\\n": 1}}', "unknown key"),
    "empty key": ('{"": 1}', "unknown key"),
    "lone surrogate": ('{"task": {"model": "\\ud800"}}', "$.task.model: the string"),
    "lone surrogate in a list": ('{"task": {"labels": ["\\udfff"]}}', "$.task.labels[0]"),
    "lone surrogate in a key": ('{"facts": {"\\ud800": 1}}', "$.facts"),
    "NUL": ('{"task": {"model": "a\\u0000"}}', "$.task.model: the string has a NUL"),
    "long string": (json.dumps({"task": {"model": "x" * 65_537}}), "$.task.model: the string"),
    "long list": (json.dumps({"task": {"labels": ["x"] * 1001}}), "$.task.labels: the list"),
    "deep JSON": ('{"task": ' * 100_000, "$: "),
    "deep list": ("[" * 100_000 + "]" * 100_000, "$"),
    "deep list in place": ('{"facts": {"tags": ' + "[" * 500 + "]" * 500 + "}}", "$.facts.tags[0]"),
    "10 MB": (json.dumps({"task": {"model": "x" * 10_000_000}}), "$"),
    "10 MB of blanks": ('{"task": {}' + " " * 10_000_000 + "}x", "bad.json: "),
    "10 MB of keys": (json.dumps({f"k{n}": 1 for n in range(700_000)}), "$.k0: unknown key"),
    "a request in a list in a list": ("[[{}]]", "$[0]: expected a mapping, found a list"),
    "YAML": ("task: {kind: [}", "line 1, column"),
    "YAML alias": ("task: &a {kind: coding}\ncall: *a\n", "line 1, column"),
    "YAML tag": ("task: !!python/name:os.system {}\n", "line 1, column"),
    "YAML infinity": ("budget: {remaining_usd: .inf}\n", "$.budget.remaining_usd"),
    "YAML wrong type": ("task: {kind: 3}\n", "$.task.kind: expected a string, found an int"),
    "YAML date": ("task: {kind: 2026-01-31}\n", "$.task.kind"),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_a_bad_request_has_an_error_with_its_place(run: Run, tmp_path: Path, case: str) -> None:
    content, message = BAD_REQUESTS[case]
    write(tmp_path, facts_yaml=POLICY, bad_json=content)
    with soon():
        ran = run("decide", "facts.yaml", "bad.json")
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err
    assert ran.err.startswith("policy-router: ")
    assert ran.err.count("\n") == 1
    assert len(ran.err) < 400


@pytest.mark.parametrize("command", ["explain", "menu"])
@pytest.mark.parametrize("case", ["empty", "binary", "NaN", "unknown fact", "deep JSON", "YAML"])
def test_other_commands_say_the_same(run: Run, tmp_path: Path, command: str, case: str) -> None:
    content, _ = BAD_REQUESTS[case]
    write(tmp_path, facts_yaml=POLICY, bad_json=content)
    assert run(command, "facts.yaml", "bad.json") == run("decide", "facts.yaml", "bad.json")


@each("case", [c for c in BAD_REQUESTS if not c.startswith(("YAML", "10 MB of keys"))])
def test_the_library_refuses_the_same_json(case: str) -> None:
    content, _ = BAD_REQUESTS[case]
    policy = loads(POLICY, name="x")
    if case.startswith("duplicate"):
        pytest.skip("the library's JSON reader takes the last of two keys")
    with soon(), pytest.raises(RequestError):
        decide(policy, Request.from_json(content), now=NOW)


def test_a_request_that_is_no_mapping_of_strings_is_a_request_error() -> None:
    policy = loads(POLICY, name="x")
    loop: dict[str, Any] = {}
    loop["task"] = loop
    bad: list[Any] = [
        *(None, 3, "x", [], object(), {1: {}}, {"task": {1: 2}}, {"task": object()}, loop),
        *({"facts": {"text": b"x"}}, {"facts": {"count": 1j}}, {"task": {"labels": {"x"}}}),
        *({"self": {}}, {"sections": {}}, {"facts": {None: 1}}),
    ]
    for request in bad:
        with pytest.raises(RequestError):
            decide(policy, request, now=NOW)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read_says_so(run: Run, tmp_path: Path) -> None:
    write(tmp_path, closed_yaml=STRICT, closed_json="{}")
    (tmp_path / "closed.yaml").chmod(0)
    (tmp_path / "closed.json").chmod(0)
    ran = run("check", "closed.yaml")
    assert ran.code == 1
    assert "PR113" in ran.out
    ran = run("decide", "policy.yaml", "closed.json")
    assert ran.code == 2
    assert "permission denied" in ran.err


def test_a_name_that_no_file_can_have_is_no_traceback(run: Run) -> None:
    for name in ("x" * 5000, "a\0b", "\udc80"):
        for words in (("check", name), ("decide", name, "-"), ("decide", "policy.yaml", name)):
            assert run(*words, stdin="{}").code in {1, 2}
        assert run("init", name).code == (0 if name == "\udc80" else 2)


def test_a_folder_that_links_to_itself_ends(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules/again").symlink_to(tmp_path / "rules")
    (tmp_path / "rules/a.yaml").write_text(STRICT)
    with soon():
        ran = run("check", "rules")
    assert (ran.code, ran.out.splitlines()[0]) == (
        1,
        "rules/again:1:1: error[PR113]: a linked folder is not read",
    )


# whatever else


_WORDS = st.sampled_from(
    [
        *("call", "task", "parent", "caller", "budget", "facts", "model", "provider", "kind"),
        *("labels", "needs", "index", "depth", "roles", "remaining_usd", "text", "count", "share"),
        *("flag", "tags", "m", "n", "coding", "math", "", "schema", "policy-router/record/v1"),
    ]
)
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | _WORDS
    | st.text(st.characters(codec=None, categories=None), max_size=8)
)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_WORDS | st.text(max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)
_LIKE_REQUESTS = st.dictionaries(
    _WORDS, st.dictionaries(_WORDS, _SCALARS | st.lists(_WORDS, max_size=3), max_size=3), max_size=4
)


@examples(150)
@given(request=_LIKE_REQUESTS | _JSON, why_not=_WORDS)
def test_any_request_is_decided_or_is_a_request_error(request: Any, why_not: str) -> None:
    policy = loads_once(POLICY)
    record, problem = attempt(RequestError, lambda: decide(policy, request, now=NOW))
    if record is None:
        assert isinstance(problem, RequestError)
        assert problem.path.startswith("$")
        assert "\n" not in str(problem)
        return
    assert str(explain(policy, record, why_not=why_not))
    assert permitted(policy, request, now=NOW) is not None


def attempt(
    expected: type[Exception], action: Callable[[], Value]
) -> tuple[Value | None, Exception | None]:
    """Return the value of an action, or the one kind of error that it may end with."""
    try:
        return action(), None
    except expected as problem:
        return None, problem


_LOADED: dict[str, Policy] = {}


def loads_once(text: str) -> Policy:
    return _LOADED.setdefault(text, loads(text, name="x"))


_TEXTS = [
    (ROOT / "rules" / name).read_text(encoding="utf-8")
    for name in ("starter.yaml", "examples/hermes.yaml", "precedence/strict.yaml")
]
_SNIPPETS = st.sampled_from(
    [
        *(" ", "\n", "\t", ":", "- ", "[", "]", "{", "}", '"', "'", "#", "&a", "*a", "!!str ", "|"),
        *(">", "? ", "<<: ", "---\n", "...\n", "%YAML 1.1\n", "\0", "\x07", "\ufeff", "é", "中"),
        *("\U0001f600", "\u2028", "\r", "null", "true", "1e999", "0x10", "-", "(", ")", "!", "&&"),
        *("== ", ".map(a, ", "has(", "variables.x", "9" * 30, "\\", "..", "@", "`", "\x85"),
    ]
)


@st.composite
def mutated_policies(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(_TEXTS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 12)))
        text = text[:start] + draw(_SNIPPETS | st.text(max_size=3)) + text[end:]
    return text


@examples(150)
@given(text=mutated_policies())
def test_any_text_is_a_policy_or_a_policy_error(text: str) -> None:
    policy, problem = attempt(PolicyError, lambda: loads(text, name="x.yaml"))
    if policy is None:
        assert isinstance(problem, PolicyError)
        assert problem.diagnostics.errors
        assert problem.diagnostics.to_json()
        assert str(problem)
        return
    decide(policy, {"task": {"model": "large", "kind": "coding"}}, now=NOW)


@examples(100)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_policy_or_a_policy_error(content: bytes) -> None:
    policy, problem = attempt(PolicyError, lambda: loads(content))
    assert policy or str(problem)


@examples(60)
@given(
    policy=st.just(STRICT) | mutated_policies(),
    request=(_JSON.map(json.dumps) | st.lists(_LIKE_REQUESTS, max_size=3).map(json.dumps))
    | st.text(max_size=30),
    words=st.sampled_from(
        [("decide", "-v"), ("decide", "--format=json"), ("explain", "--why-not=m"), ("menu",)]
    ),
)
def test_the_command_line_always_ends_with_one_of_its_exit_codes(
    tmp_path_factory: pytest.TempPathFactory, policy: str, request: str, words: tuple[str, ...]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "fuzz"
    folder.mkdir(exist_ok=True)
    (folder / "p.yaml").write_bytes(policy.encode("utf-8", "surrogatepass"))
    (folder / "r").write_bytes(request.encode("utf-8", "surrogatepass"))
    command, *options = words
    assert main([command, str(folder / "p.yaml"), str(folder / "r"), *options]) in {0, 1, 2, 3}
    assert main(["check", str(folder / "p.yaml")]) in {0, 1}


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, dict | list):
            yield from leaves(item, (*path, key))


RECORD = json.loads(
    decide(
        loads(POLICY),
        {"task": {"kind": "coding", "model": "x"}, "facts": {"count": 1}},
        now=NOW,
    ).to_json()
)


@examples(150)
@given(path=st.sampled_from(list(leaves(RECORD))), value=_JSON)
def test_any_record_is_explained_or_is_an_error(
    tmp_path_factory: pytest.TempPathFactory, path: tuple[str | int, ...], value: Any
) -> None:
    folder = tmp_path_factory.getbasetemp() / "records"
    folder.mkdir(exist_ok=True)
    (folder / "p.yaml").write_text(POLICY)
    record = json.loads(json.dumps(RECORD))
    *parents, last = path
    place = record
    for part in parents:
        place = place[part]
    place[last] = value
    (folder / "r.json").write_text(json.dumps(record))
    words = ("explain", str(folder / "p.yaml"), str(folder / "r.json"))
    assert main([*words, "--why-not", "n", "-v"]) in {0, 2}
