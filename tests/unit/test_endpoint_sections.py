"""What a policy says of endpoints: headers, dialects, and failures after which one goes on."""

from __future__ import annotations

import json

import pytest

from policy_router import loads
from policy_router.calls.failing import Failing
from policy_router.diagnostics.codes import Code
from policy_router.domain import FALLBACK_CODES, Dialect, FrozenDict, Provider, Timeouts
from policy_router.files.loader import check_text
from tests.support.rows import each

FULL = """
name: acme
providers:
  p:
    base_url: https://p/v1
    headers: {X-Title: acme, Authorization: env:P_KEY, "base_url": "env:", a~b: file:/run/ü}
    dialect: {api: responses, system_role: developer, max_tokens: max_tokens, unsupported: [top_p]}
  q: {}
pool:
  - {model: a, fallback: [b], fallback_on: [400, 4.01e2], dialect: {unsupported: [seed, n]}}
  - {model: b, dialect: {max_tokens: max_completion_tokens}}
"""


def found_in(text: str) -> list[tuple[Code, str, str]]:
    """Return code, path and message of what is wrong with a policy."""
    _, found = check_text(text)
    return [(item.code, item.path, item.message) for item in found]


def test_a_provider_has_the_headers_and_the_dialect_that_are_written() -> None:
    first, second = loads(FULL).providers.values()
    assert first == Provider(
        "https://p/v1",
        headers=FrozenDict(
            {
                "X-Title": "acme",
                "Authorization": "env:P_KEY",
                "base_url": "env:",
                "a~b": "file:/run/ü",
            }
        ),
        dialect=Dialect("responses", "developer", "max_tokens", ("top_p",)),
    )
    assert second == Provider()


def test_an_entry_has_the_dialect_and_the_statuses_that_are_written() -> None:
    first, second = loads(FULL).pool or ()
    assert first.fallback_on == (400, 401)
    assert all(type(status) is int for status in first.fallback_on)
    assert first.dialect == Dialect(unsupported=("seed", "n"))
    assert (second.fallback_on, second.dialect) == ((), Dialect(max_tokens="max_completion_tokens"))


def test_headers_cannot_be_changed() -> None:
    headers = loads(FULL).providers["p"].headers
    with pytest.raises(TypeError, match="cannot be changed"):
        headers["X-Title"] = "other"  # type: ignore[index]


# The canonical form.


def test_the_canonical_form_has_what_is_said_and_no_more() -> None:
    form = json.loads(loads(FULL).canonical)
    assert form["providers"]["p"]["dialect"] == {
        "api": "responses",
        "max_tokens": "max_tokens",
        "system_role": "developer",
        "unsupported": ["top_p"],
    }
    assert form["providers"]["p"]["headers"]["Authorization"] == "env:P_KEY"
    assert form["providers"]["q"] == {}
    assert form["pool"] == [
        {
            "model": "a",
            "fallback": ["b"],
            "fallback_on": [400, 401],
            "dialect": {"unsupported": ["seed", "n"]},
        },
        {"model": "b", "dialect": {"max_tokens": "max_completion_tokens"}},
    ]


def test_the_canonical_form_loads_as_the_same_policy() -> None:
    policy = loads(FULL)
    again = loads(policy.canonical, name="other.json")
    assert (again.revision, again.canonical) == (policy.revision, policy.canonical)
    assert (again.providers, again.pool) == (policy.providers, policy.pool)


BARE = "name: acme\nproviders: {p: {}}\npool: [{model: a, fallback: [b]}, {model: b}]"


def test_the_revision_of_a_policy_without_them_is_what_it_was() -> None:
    known = "sha256:5efe3e89a576"
    assert loads(BARE).revision.startswith(known)


def test_what_is_said_empty_is_not_said() -> None:
    empty = (
        "name: acme\nproviders: {p: {headers: {}, dialect: {unsupported: []}}}\n"
        "pool: [{model: a, fallback: [b], fallback_on: [], dialect: {}}, {model: b}]"
    )
    assert loads(empty).revision == loads(BARE).revision


@each(
    ("place", "said"),
    [
        ("{p: {}}", "{p: {headers: {x: y}}}"),
        ("{p: {}}", "{p: {dialect: {system_role: system}}}"),
        ("fallback: [b]", "fallback: [b], fallback_on: [400]"),
        ("{model: b}", "{model: b, dialect: {api: chat_completions}}"),
        ("{model: b}", "{model: b, timeouts: {idle: 3}}"),
        ("{p: {}}", "{p: {concurrency: 4}}"),
    ],
)
def test_what_is_said_changes_the_revision(place: str, said: str) -> None:
    assert loads(BARE.replace(place, said)).revision != loads(BARE).revision


# Time, and calls at once.


def test_an_entry_says_how_long_an_attempt_may_take_and_a_provider_how_many_there_may_be() -> None:
    policy = loads(
        "providers: {p: {concurrency: 4}}\n"
        "pool: [{model: a, provider: p, timeouts: {first_byte: 5, total: 60.5}}]"
    )
    assert policy.providers["p"].concurrency == 4
    assert policy.pool is not None
    assert policy.pool[0].timeouts == Timeouts(first_byte=5.0, total=60.5)
    again = loads(policy.canonical)
    assert (again.pool, again.providers) == (policy.pool, policy.providers)
    assert again.revision == policy.revision


@each(
    ("said", "code", "path"),
    [
        ("timeouts: {total: 0}", Code.BAD_VALUE, "timeouts.total"),
        ("timeouts: {total: -1}", Code.BAD_VALUE, "timeouts.total"),
        ("timeouts: {idle: 1e9}", Code.BAD_VALUE, "timeouts.idle"),
        ("timeouts: {idle: soon}", Code.WRONG_TYPE, "timeouts.idle"),
        ("timeouts: 5", Code.WRONG_TYPE, "timeouts"),
        ("timeouts: {first: 1}", Code.UNKNOWN_KEY, "timeouts.first"),
    ],
)
def test_a_time_that_is_none_is_an_error(said: str, code: Code, path: str) -> None:
    found = found_in(f"pool: [{{model: a, {said}}}]")
    assert [row[:2] for row in found] == [(code, f"$.pool[0].{path}")]


@each("number", ["0", "1.5", "many"])
def test_a_number_of_calls_is_whole_and_above_0(number: str) -> None:
    found = found_in(f"model: m\nprovider: p\nproviders: {{p: {{concurrency: {number}}}}}")
    assert [row[1] for row in found if row[0] in {Code.BAD_VALUE, Code.WRONG_TYPE}] == [
        "$.providers.p.concurrency"
    ]


# What cannot be said.

CARRIES = "a header is printable ASCII, without spaces at its ends"


@each(
    ("value", "code", "message"),
    [
        ('"a\\n"', Code.BAD_VALUE, CARRIES),
        ('"a\\r\\nHost: b"', Code.BAD_VALUE, CARRIES),
        ('"a\\tb"', Code.BAD_VALUE, CARRIES),
        ('"env:A\\n"', Code.BAD_VALUE, CARRIES),
        ('"file:/run/a\\n"', Code.BAD_VALUE, CARRIES),
        ('" a"', Code.BAD_VALUE, CARRIES),
        ("é", Code.BAD_VALUE, CARRIES),
        ('""', Code.BAD_VALUE, "the text is empty"),
        ("1", Code.WRONG_TYPE, "expected a string, found a whole number"),
        ("[a]", Code.WRONG_TYPE, "expected a string, found a list"),
    ],
)
def test_a_header_that_cannot_be_sent_is_an_error(value: str, code: Code, message: str) -> None:
    text = f"providers: {{p: {{headers: {{x: {value}}}}}}}"
    assert found_in(text) == [(code, "$.providers.p.headers.x", message)]


@each("name", ['"X A"', '"X:"', '""', "é", '"X-A\\n"', '"(x)"'])
def test_a_name_that_no_header_can_have_is_an_error(name: str) -> None:
    _, (item,) = check_text(f"providers: {{p: {{headers: {{{name}: a}}}}}}")
    assert item.code is Code.BAD_VALUE
    assert item.message.endswith("cannot be used as a name")
    assert item.help == "the name of a header is letters, digits and hyphens"


@each(
    ("status", "code"),
    [
        ("399", Code.BAD_VALUE),
        ("600", Code.BAD_VALUE),
        ("1e30", Code.BAD_VALUE),
        ("400.5", Code.WRONG_TYPE),
        ("true", Code.WRONG_TYPE),
        ("'400'", Code.BAD_VALUE),
    ],
)
def test_what_is_no_status_of_an_error_is_an_error(status: str, code: Code) -> None:
    text = f"pool: [{{model: a, fallback: [b], fallback_on: [500, {status}]}}, {{model: b}}]"
    assert [row[:2] for row in found_in(text)] == [(code, "$.pool[0].fallback_on[1]")]


@each(
    ("dialect", "code", "key"),
    [
        ("{api: chat}", Code.NOT_ALLOWED, ".api"),
        ("{system_role: user}", Code.NOT_ALLOWED, ".system_role"),
        ("{max_tokens: max_output_tokens}", Code.NOT_ALLOWED, ".max_tokens"),
        ("{max_tokens: 9}", Code.NOT_ALLOWED, ".max_tokens"),
        ("{unsupported: top_p}", Code.WRONG_TYPE, ".unsupported"),
        ('{unsupported: [""]}', Code.BAD_VALUE, ".unsupported[0]"),
        ("{unsuported: []}", Code.UNKNOWN_KEY, ".unsuported"),
        ("responses", Code.WRONG_TYPE, ""),
    ],
)
def test_a_dialect_that_is_none_is_an_error(dialect: str, code: Code, key: str) -> None:
    for text, path in (
        (f"providers: {{p: {{dialect: {dialect}}}}}", "$.providers.p.dialect"),
        (f"pool: [{{model: a, dialect: {dialect}}}]", "$.pool[0].dialect"),
    ):
        assert [row[:2] for row in found_in(text)] == [(code, path + key)]


# What is shown.


def test_the_words_of_a_dialect_are_shown_and_headers_are_not() -> None:
    _, found = check_text(
        "providers: {p: {headers: {x: plain}, dialect: {api: chat, unsupported: [seed]}}}"
    )
    (line,) = [line for line in found.to_text().split("\n") if "headers" in line]
    assert line.endswith("{p: {headers: {x: *****}, dialect: {api: chat, unsupported: [seed]}}}")


def test_only_an_endpoint_s_own_address_is_shown() -> None:
    for text in (
        "providers: {p: {headers: {base_url: hunter2, x: 1}}}",
        "providers: {p: {x: {base_url: hunter2}}}",
        "providers: {p: {base_url: [hunter2]}}",
    ):
        _, found = check_text(text)
        assert found.errors
        assert "hunter2" not in found.to_text() + found.to_json()


def test_failures_are_named_by_code_too_and_taken_out_with_a_minus() -> None:
    rules = "[401, wants_tool, -rate_limited, -503, -timeout]"
    policy = loads(f"pool: [{{model: a, fallback: [b], fallback_on: {rules}}}, {{model: b}}]")
    expected = (401, "wants_tool", "-rate_limited", -503, "-timeout")
    assert policy.pool is not None
    assert policy.pool[0].fallback_on == expected
    assert json.loads(policy.canonical)["pool"][0]["fallback_on"] == list(expected)
    assert loads(policy.canonical, name="other.json").revision == policy.revision


def test_each_failure_of_an_attempt_can_be_named() -> None:
    assert {*FALLBACK_CODES} == {*Failing} - {Failing.CHILD_ERROR, Failing.STREAM_BROKEN}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("rate_limit", "there is no failure `rate_limit`"),
        ("-rate_limit", "there is no failure `rate_limit`"),
        ("stream_broken", "there is no failure `stream_broken`"),
        ("Timeout", "there is no failure `Timeout`"),
        ("'-'", "there is no failure `-`"),
        ("399", "the status 399 is not a failure: they are from 400 to 599"),
        ("-399", "the status -399 is not a failure: they are from 400 to 599"),
        ("0", "the status 0 is not a failure: they are from 400 to 599"),
        ("600", "the number is greater than 599"),
        ("-600", "the number is less than -599"),
        ("-401", "`401` cannot be both given and taken out"),
        ("-server_error", "`server_error` cannot be both given and taken out"),
    ],
)
def test_a_failure_that_cannot_be_is_an_error(rule: str, message: str) -> None:
    plan = f"fallback: [b], fallback_on: [401, server_error, {rule}]"
    (found,) = found_in(f"pool: [{{model: a, {plan}}}, {{model: b}}]")
    assert found == (Code.BAD_VALUE, "$.pool[0].fallback_on[2]", message)


@each("rule", ["true", "4.5", "[400]", "null", "''"])
def test_a_failure_is_a_number_or_a_word(rule: str) -> None:
    plan = f"fallback: [b], fallback_on: [401, {rule}]"
    found = found_in(f"pool: [{{model: a, {plan}}}, {{model: b}}]")
    assert [row[1] for row in found] == ["$.pool[0].fallback_on[1]"]
