"""What is secret is never printed: not on a stream, not in a log, not in an exception.

Two things are excepted by contract: a decision's record holds the request, and an explanation shows
the values of the conditions it explains to the reader who supplied them.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from policy_router import Policy, PolicyError, Request, RequestError, check, decide, load, loads
from tests.support.commands import NOW, Run, in_process_of_its_own, write
from tests.support.rows import each

KEY = "sk-ant-api03-PLANTED0123456789abcdef"
WORD = "hunter2-correct-horse"
POLICY = """\
version: 1
name: s
model: m
provider: p
kinds: [coding]
facts: {salary: {type: int}, note: {type: string}, tags: {type: list, default: []}}
pool:
  - {model: m}
  - {model: n, allow: has(facts.salary) && 100 / facts.salary > 1, pick: 10 / task.index > 1}
forbid:
  - {id: by-note, when: has(facts.note) && int(facts.note) > 3}
precedence: strict
"""


def leaks(text: str, *secrets: str) -> list[str]:
    """Return the secrets, or telling parts of them, that a text holds."""
    parts = [part for secret in secrets for part in (secret, secret[3:17], secret[-14:])]
    return [part for part in parts if part in text]


SECRET_POLICIES = {
    "an inline key": f"version: 1\nproviders: {{p: {{api_key: {KEY}}}}}\n",
    "a plain word as a key": f"version: 1\nproviders:\n  p:\n    api_key: {WORD}\n",
    "a quoted key": f'version: 1\nproviders: {{p: {{api_key: "{WORD}"}}}}\n',
    "a key with an escape": f'version: 1\nproviders: {{p: {{"api_key": "{WORD}\\n"}}}}\n',
    "a key in two quotes": f"version: 1\nproviders: {{p: {{api_key: '{WORD}''x'}}}}\n",
    "a header": f"version: 1\nproviders: {{p: {{authorization: Bearer {WORD}}}}}\n",
    "another header": f"version: 1\nproviders:\n  p:\n    X-API-Key: {WORD}\n",
    "a header of a call": (
        f"version: 1\nproviders:\n  p:\n    headers: {{Authorization: Bearer {WORD}}}\n"
    ),
    "a vendor's header": f"version: 1\nproviders: {{p: {{headers: {{x-acme-api-key: {KEY}}}}}}}\n",
    "a key in a plain header": f"version: 1\nproviders: {{p: {{headers: {{X-Title: {KEY}}}}}}}\n",
    "a password": f"version: 1\npassword: {WORD}\n",
    "a token": f"version: 1\nproviders: {{p: {{token: [{WORD}]}}}}\n",
    "userinfo": f"version: 1\nproviders: {{p: {{base_url: 'ftp://me:{WORD}@h/v1'}}}}\n",
    "userinfo of a good address": (
        f"version: 1\nproviders: {{p: {{base_url: 'https://me:{WORD}@h'}}}}\n"
    ),
    "a block": f"version: 1\nproviders:\n  p:\n    api_key: |\n      {WORD}\n      {WORD}\n",
    "a folded block": f"version: 1\nproviders:\n  p:\n    api_key: >-\n\n      {WORD}\n",
    "a plain value over lines": (
        f"version: 1\nproviders:\n  p:\n    api_key: {WORD}\n      {WORD}\n"
    ),
    "a quoted value over lines": (
        f'version: 1\nproviders:\n  p:\n    api_key: "x\n      {WORD}"\n'
    ),
    "a block beside an error": (
        f"version: 1\nproviders:\n  p:\n    api_key: |\n      {WORD}\n  x: [\n"
    ),
    "a value on the next line": f"version: 1\nproviders:\n  p:\n    api_key:\n      {WORD}\n",
    "a syntax error after it": f"version: 1\napi_key: {WORD} : [\n",
    "a syntax error before it": f"version: 1\nname: [ api_key: {KEY}\n",
    "a syntax error in it": f'version: 1\napi_key: "{WORD}\\q"\n',
    "a tab after it": f"version: 1\nproviders:\n  p: {{api_key: {WORD}}}\n\tx\n",
    "a key as a name": f"version: 1\n{KEY}: 1\n",
    "a key as a model": f"version: 1\npool: [{{model: {KEY}, name: [{KEY}]}}]\n",
    "a key twice": f"version: 1\npool: [{{model: {KEY}}}, {{model: {KEY}}}]\n",
    "a key in a condition": (f"version: 1\npool: [{{model: m, pick: 'tsk.kind == \"{KEY}\"'}}]\n"),
    "a key as a name in a condition": (
        f"version: 1\npool: [{{model: m, pick: '\"{KEY}\" in tsk'}}]\n"
    ),
    "a key in a pattern": (
        f"version: 1\npool: [{{model: m, pick: 'task.kind.matches(\"({KEY}\")'}}]\n"
    ),
    "a key as a precedence": f"version: 1\nprecedence: {KEY}\n",
    "a key as a provider": f"version: 1\nproviders: {{p: {{}}}}\nprovider: {KEY}\n",
    "a key as a fallback": f"version: 1\npool: [{{model: m, fallback: [{KEY}]}}]\n",
    "a key in the embedded form": (
        f"delegation:\n  {KEY}: x\n  providers: {{p: {{api_key: {KEY}}}}}\n"
    ),
    "beside the embedded form": f"api_key: {KEY}\ndelegation: {{modle: m}}\n",
    "two keys on a line": f"version: 1\nproviders: {{p: {{api_key: {WORD}, token: {KEY}}}}}\n",
    "another error on its line": (
        f"version: 1\nproviders: {{p: {{api_key: {WORD}, base_ulr: x}}}}\n"
    ),
}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.mark.parametrize("case", SECRET_POLICIES)
def test_a_secret_in_a_policy_is_printed_nowhere(
    run: Run, tmp_path: Path, log: pytest.LogCaptureFixture, case: str
) -> None:
    text = SECRET_POLICIES[case]
    write(tmp_path, s_yaml=text)
    commands = [
        *(("check", "s.yaml"), ("check", "s.yaml", "--format", "json"), ("check", "s.yaml", "-v")),
        *(("decide", "s.yaml", "-"), ("menu", "s.yaml", "-q"), ("explain", "s.yaml", "-", "-v")),
    ]
    for words in commands if case not in {"a key as a model", "a key twice"} else commands[:4]:
        ran = run(*words, stdin="{}")
        assert leaks(ran.out + ran.err, KEY, WORD) == []
    assert leaks(log.text, KEY, WORD) == []


@each("case", SECRET_POLICIES)
def test_a_secret_in_a_policy_is_in_no_exception_or_repr(case: str) -> None:
    text = SECRET_POLICIES[case]
    try:
        loads(text, name="s.yaml")
    except PolicyError as problem:
        found = problem.diagnostics
        shown = (str(problem), repr(problem), repr(found), found.to_json(), found.to_text())
        for each in shown:
            assert leaks(each, KEY, WORD) == []
        cause = problem.__cause__ or (None if problem.__suppress_context__ else problem.__context__)
        assert cause is None


@each(
    "key",
    [
        *("api_key", "apikey", "apiKey", "api-key", "API_KEY", "OPENAI_API_KEY", "secret_key"),
        *("token", "auth_token", "access_token", "accessToken", "refresh-token", "bearer_token"),
        *("client_secret", "secret", "password", "db_password", "passwd", "passphrase"),
        *("authorization", "Proxy-Authorization", "X-Api-Key", "x-goog-api-key", "Cookie"),
        *("credential", "credentials", "private_key"),
    ],
)
@each("layout", ["{}: {}\n", "providers:\n  p: {{{}: {}}}\n"])
def test_the_value_of_a_key_that_sounds_secret_is_masked(key: str, layout: str) -> None:
    with pytest.raises(PolicyError) as caught:
        loads("version: 1\n" + layout.format(key, WORD), name="s.yaml")
    assert leaks(str(caught.value), WORD) == []


def test_no_library_underneath_prints_a_secret_by_itself(tmp_path: Path) -> None:
    write(tmp_path, s_yaml=SECRET_POLICIES["a key in a pattern"])
    ran = in_process_of_its_own("check", "s.yaml", cwd=tmp_path)
    assert (ran.code, ran.err) == (1, "")
    assert leaks(ran.out, KEY) == []


def test_an_inline_secret_is_an_error_with_its_own_code(tmp_path: Path) -> None:
    for case in ("an inline key", "a plain word as a key", "userinfo of a good address", "a block"):
        write(tmp_path, s_yaml=SECRET_POLICIES[case])
        assert "PR409" in [item.code for item in check(tmp_path / "s.yaml")[1]]


def test_a_policy_is_shown_without_its_references() -> None:
    text = "version: 1\nmodel: m\nproviders: {p: {api_key: env:MY_SECRET_NAME}}\nprovider: p\n"
    assert leaks(repr(decide(loads(text), {}, now=NOW)), "MY_SECRET_NAME") == []


SECRET_REQUESTS: dict[str, dict[str, Any]] = {
    "a fact of a wrong type": {"facts": {"salary": WORD}},
    "a fact that is a wrong list": {"facts": {"tags": [[WORD]]}},
    "a fact that is too long": {"facts": {"note": WORD * 5000}},
    "a fact that is no text": {"facts": {"note": WORD + "\ud800"}},
    "a fact with NUL": {"facts": {"note": WORD + "\x00"}},
    "a label of a wrong type": {"task": {"labels": [{WORD: WORD}]}},
    "a wish of a wrong type": {"task": {"model": [WORD]}},
    "a kind outside the set": {"task": {"kind": WORD}},
    "a section of a wrong type": {"task": WORD},
    "a key as a name": {"facts": {KEY: 1}},
    "a key as a key": {"task": {KEY: 1}},
    "a key as a section": {KEY: {}},
}


@pytest.mark.parametrize("case", SECRET_REQUESTS)
def test_a_secret_in_a_bad_request_is_in_no_message(
    run: Run, tmp_path: Path, log: pytest.LogCaptureFixture, case: str
) -> None:
    write(tmp_path, s_yaml=POLICY, r_json=json.dumps(SECRET_REQUESTS[case]))
    for command in ("decide", "explain", "menu"):
        ran = run(command, "s.yaml", "r.json", "--now", NOW)
        assert ran.code == 2
        assert leaks(ran.out + ran.err, KEY, WORD) == []
    with pytest.raises(RequestError) as caught:
        decide(loads(POLICY), SECRET_REQUESTS[case], now=NOW)
    assert leaks(str(caught.value) + repr(caught.value), KEY, WORD) == []
    assert leaks(log.text, KEY, WORD) == []


@pytest.mark.parametrize(
    "text",
    [
        f'{{"facts": {{"note": "{WORD}" x}}}}',
        f'{{"facts": {{"note": "{WORD}',
        f"facts: {{note: {WORD}",
        f"facts: {{note: {WORD}}}\n\tx",
        f"facts: {{note: !!str {WORD}}}",
        f"facts: {{note: &{WORD} a}}",
        f"facts: {{note: *{WORD}}}",
        f"{{'facts': {WORD}}}",
        WORD,
    ],
)
def test_a_secret_in_a_file_that_cannot_be_parsed_is_in_no_message(run: Run, text: str) -> None:
    ran = run("decide", "policy.yaml", "-", stdin=text)
    assert ran.code == 2
    assert leaks(ran.out + ran.err, WORD) == []


GOOD: dict[str, Any] = {
    "task": {"kind": "coding", "labels": [WORD], "needs": [KEY], "index": 0},
    "caller": {"id": WORD, "team": KEY, "roles": [WORD]},
    "facts": {"salary": 0, "note": WORD, "tags": [KEY]},
}


def test_a_decision_for_a_person_holds_no_fact_and_no_label(
    run: Run, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, s_yaml=POLICY, r_json=json.dumps(GOOD))
    for options in ((), ("-q",)):
        ran = run("decide", "s.yaml", "r.json", *options)
        assert ran.code in {0, 3}
        assert leaks(ran.out + ran.err, KEY, WORD) == []
    assert leaks(run("menu", "s.yaml", "r.json").out, KEY, WORD) == []
    assert leaks(log.text, KEY, WORD) == []


def test_the_outcome_and_the_steps_hold_no_fact_and_no_label() -> None:
    record = decide(loads(POLICY), GOOD, now=NOW)
    assert leaks(repr(record.decision) + repr(record.steps), KEY, WORD) == []


def test_a_key_that_an_agent_asks_for_as_a_model_is_masked_in_decisions(
    run: Run, tmp_path: Path
) -> None:
    write(tmp_path, s_yaml=POLICY, r_json=json.dumps({"task": {"model": KEY, "provider": KEY}}))
    ran = run("decide", "s.yaml", "r.json")
    assert ran.code == 3
    assert leaks(ran.out + ran.err, KEY) == []


def test_a_policy_object_and_its_errors_show_no_secret(tmp_path: Path) -> None:
    text = f"api_key: {KEY}\nhost: {{password: {WORD}}}\ndelegation: {{model: m, provider: p}}\n"
    write(tmp_path, s_yaml=text)
    policy = load(tmp_path / "s.yaml")
    assert isinstance(policy, Policy)
    assert leaks(repr(policy) + policy.revision + repr(policy.canonical), KEY, WORD) == []
    assert leaks(repr(Request()) + repr(policy.warnings), KEY, WORD) == []
