"""Whatever a file holds: no exception, no secret, nothing that a terminal would act on."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy_router.diagnostics.model import Diagnostics
from policy_router.files.loader import check_text
from tests.support.rows import each

SECRET = "hunter2"  # noqa: S105 - the word that all secrets below hold
KEY = f"sk-{SECRET}abcdefghijklmnop"

fault = pytest.mark.xfail(strict=True, reason="a secret that YAML takes for something else")


def _checked(text: str) -> Diagnostics:
    return check_text(text, name="policy.yaml")[1]


def _picking(condition: str, before: str = "") -> str:
    return f"{before}pool:\n  - model: glm-5\n    pick: {json.dumps(condition)}\n"


# --- Secrets that the golden cases do not show ----------------------------------------------------

SECRETS = {
    "escaped key": f'providers:\n  zai:\n    "api\\x5fkey": {SECRET}\n    base_url: x\n',
    "misspelt key": f"providers:\n  zai:\n    api_kye: {SECRET}\n",
    "shortened key": f"providers:\n  zai:\n    key: {SECRET}\n",
    "another word for it": f"providers:\n  zai:\n    client_secret: {SECRET}\n",
    "token of another word": f"providers:\n  zai:\n    access_token: {SECRET}\n",
    "in place of a provider": f"providers:\n  zai: {SECRET}\n",
    "old secret in a comment": f"providers:\n  zai:\n    api_key: {SECRET} # was {SECRET}-1\n",
    "list at the level of its key": f"providers:\n  zai:\n    api_key:\n    - {SECRET}\n",
    "text at the level of its key": f"providers:\n  zai:\n    api_key:\n    {SECRET}\n    x: 1\n",
    "text after a quote": f"providers:\n  zai:\n    api_key: 'x' {SECRET}\n",
    "text after a brace": f"providers:\n  zai: {{api_key: x}}{SECRET}}}\n",
    "no space after the colon": f"providers:\n  zai: {{api_key:{SECRET}}}\n",
    "comma in the value": f"providers:\n  zai: {{api_key: x, {SECRET}}}\n",
    "header": f"providers:\n  zai:\n    headers: {{Authorization: Bearer {SECRET}}}\n",
    "escaped header": f'providers: {{zai: {{headers: {{"api\\x2dkey": {SECRET}}}}}}}\n',
    "header that is a number": f"providers: {{zai: {{headers: {{api-key: 1, y: {SECRET}}}}}}}\n",
    "header in a list": f"providers:\n  zai:\n    headers:\n      cookie: [{SECRET}]\n",
    "headers that are a text": f"providers:\n  zai:\n    headers: {SECRET}\n",
    "header with another end": f'providers: {{zai: {{headers: {{x-api-key: "{SECRET}\\n"}}}}}}\n',
    "header beside a wrong one": f"providers: {{a: {{headers: {{base_url: {SECRET}, é: x}}}}}}\n",
    "vendor's header": f"providers:\n  zai:\n    headers:\n      x-acme-api-key: {SECRET}\n",
    "header with a reference in it": (
        f"providers: {{zai: {{headers: {{Authorization: 'env:A {SECRET}'}}}}}}\n"
    ),
    "in place of a dialect": f"providers:\n  zai:\n    dialect: {SECRET}\n",
    "key in a dialect": f"providers:\n  zai:\n    dialect: {{pass: {SECRET}}}\n",
    "address that is a list": f"providers:\n  zai:\n    base_url: [{SECRET}]\n",
    "pattern that is broken": _picking(f"task.kind.matches('({KEY}')"),
    "string where none can stand": _picking(f"task.kind '{KEY}'"),
    "in place of a condition": _picking(KEY),
    "suggested entry": f"pool:\n  - model: {KEY}1\n  - {{model: b, fallback: [{KEY}2]}}\n",
    "suggested provider": f"providers: {{{KEY}: {{}}}}\nprovider: {KEY}2\n",
    "listed kinds": _picking("task.kind == 'x'", f"kinds: [{KEY}]\n"),
    "rule that decides": f"model: a\nprecedence: [{{id: {KEY}, use: config}}, {{use: parent}}]\n",
    "name of a profile": f"precedence: {KEY}\n",
    "word of a set": f"precedence:\n  - {{use: {KEY}}}\n",
    "entry of a rule": f"pool: [{{model: a}}]\nprecedence: [{{use: pool, entry: {KEY}}}]\n",
    "name given twice": f"pool: [{{model: a, name: {KEY}}}, {{model: b, name: {KEY}}}]\n",
    "key given twice": f"{KEY}: 1\n{KEY}: 2\n",
}
SHOWN = {"text at the level of its key", "text after a brace", "comma in the value"}
"""Where a secret is shown so far."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=fault if name in SHOWN else ()) for name in SECRETS]
)
def test_no_secret_is_shown(name: str) -> None:
    found = _checked(SECRETS[name])

    assert len(found) > 0
    assert SECRET not in found.to_text() + found.to_json()


# --- Characters that a terminal acts on -----------------------------------------------------------

CHARACTERS = {
    "key": 'a\x1b"]b: 1\n',
    "quoted key": '"a\\e[31m\\u2028": 1\n',
    "name of an entry": 'pool:\n  - {model: a, fallback: ["x\\e[31m"]}\n',
    "condition": _picking("\x1b[31m"),
    "string in a condition": _picking("task.kind 'a\tb'"),
    "right-to-left override": 'providers: {}\nprovider: "a\\u202eb"\n',
    "line separator": "a\u2028b: 1\n",
    "line separator in a condition": _picking("\u2028"),
    "name of a header": 'providers: {p: {headers: {"x\\e[31m": a}}}\n',
    "header twice": 'providers: {p: {headers: {"x\\u202e": a, "X\\u202e": b}}}\n',
    "level of a rule": 'precedence:\n  - {use: "a\\tb", entry: x}\n',
    "name of a fact": _picking("facts.regoin", 'facts: {"region\\u0085": {type: bool}}\n'),
}


@each("name", CHARACTERS)
def test_nothing_shown_is_acted_on_by_a_terminal(name: str) -> None:
    found = _checked(CHARACTERS[name])

    assert len(found) > 0
    for item in found:
        assert item.message.isprintable()
        assert (item.help or "").isprintable()
    assert all(line.isprintable() for line in found.to_text().split("\n"))


# --- Anything at all ------------------------------------------------------------------------------

WORDS = (
    *("task.kind", "task", "now", "1", "2.0", "'a'", '"', "'", "==", "<", "&&", "||", "!", "-"),
    *("+", "%", "in", "(", ")", "[", "]", "{", "}", ".", ",", "?", ":", "has(task.input_tokens)"),
    *("task.input_tokens", "task.labels", "size(", ".exists(l, ", ".map(x, ", "null", "b'x'", "1u"),
    *("0xFFFFFFFFFFFFFFFFF", "1e999", "r'\\d'", "\\", "é", "日", "\t", "\n", "//", "matches('(')"),
    *("timestamp('x')", "getHours('UTC')", "variables.v", "facts.f", "=", "&", "`", "#", "@"),
)
BEGIN = "facts: {f: {type: int}}\nvariables: {v: task.index > 1}\n"
TEXTS = (
    *("model: glm-5\n", "pool:\n", "  - model: a\n", "    pick: tsk\n", "  -\n", "delegation:\n"),
    *("  provider: zai\n", "x: {a: 1, ", "]\n", "}\n", "---\n", "...\n", "%YAML 1.2\n", "? ", "- "),
    *("<<: ", "&a ", "*a ", "!t ", "|\n", ">-\n  ", "'", '"', "\t", "\r\n", "\ufeff", "\x85", "é"),
    *("# c\n", "precedence: strict\n", "kinds: [a]\n", "1: 2\n", ": ", "\x00", "\ud800", "\\u12"),
)


def _is_sound(text: str) -> None:
    policy, found = check_text(text, name="policy.yaml")
    assert (policy is None) == (found.errors > 0)
    assert found.to_text() is not None
    json.loads(found.to_json())
    for item in found:
        assert 0 <= item.span.start <= item.span.end <= len(item.span.source.text)
        assert "\n" not in item.message


@given(st.lists(st.sampled_from(WORDS), max_size=9), st.sampled_from(["", " "]))
def test_any_condition_is_judged(words: list[str], between: str) -> None:
    _is_sound(_picking(between.join(words), BEGIN))


@given(st.lists(st.sampled_from(TEXTS), max_size=12))
def test_any_file_is_judged(parts: list[str]) -> None:
    _is_sound("".join(parts))


@given(st.binary(max_size=60))
def test_any_bytes_are_judged(content: bytes) -> None:
    check_text(content)


@each(
    "condition",
    ["true < false", "true + 1", "true.size()", "-true", "true ? 1 : 'a'"],
)
def test_a_literal_true_has_a_place(condition: str) -> None:
    _is_sound(_picking(condition))
