"""A policy under `delegation` of a host's configuration is the native one, written otherwise."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from policy_router import loads
from policy_router.calls.endpoints import Endpoint, endpoint_of
from policy_router.diagnostics.codes import Code, Severity
from policy_router.files.loader import check_text, schema
from policy_router.log.folder import LogFolder
from policy_router.log.policies import PolicyStore
from policy_router.policy.embedded import HOST_KEYS
from tests.support.rows import each

ENDPOINT = """
delegation:
  model: qwen
  base_url: http://localhost:1234/v1
  api_key: env:LOCAL_KEY
  max_iterations: 50
  pool:
    - {model: qwen, provider: ""}
    - {model: far, provider: openrouter}
"""
ENVIRON = {"LOCAL_KEY": "the-host-s-own", "OPENROUTER_API_KEY": "another"}


def found_in(text: str) -> list[tuple[Code, Severity, str]]:
    _, found = check_text(text)
    return [(item.code, item.severity, item.path) for item in found]


SPELLINGS = {
    "beside other keys": (
        "{delegation: {model: m, provider: zai}, other: 1}",
        "{model: m, provider: zai}",
    ),
    "nothing set": (
        """
        delegation:
          {model: '', provider: null, reasoning_effort: '', name: null, base_url: '', api_key: null}
        """,
        "version: 1",
    ),
    "nothing set in parameters": (
        "delegation: {parameters: {reasoning_effort: null, top_p: 0.5}}",
        "parameters: {top_p: 0.5}",
    ),
    "nothing set further down": (
        """
        delegation:
          provider: zai
          pool:
            - {model: a, name: '', provider: ''}
            - {model: b, parameters: {reasoning_effort: ''}}
          providers: {zai: {base_url: 'http://[::1]', api_key: ''}}
        """,
        """
        provider: zai
        pool: [{model: a}, {model: b}]
        providers: {zai: {base_url: 'http://[::1]'}}
        """,
    ),
    "an endpoint": (
        ENDPOINT,
        """
        model: qwen
        provider: custom
        pool: [{model: qwen}, {model: far, provider: openrouter}]
        providers:
          openrouter: {}
          custom: {base_url: 'http://localhost:1234/v1', api_key: env:LOCAL_KEY}
        """,
    ),
    "an endpoint said twice": (
        """
        delegation:
          provider: zai
          base_url: http://[::1]/
          providers: {zai: {base_url: 'http://[::1]'}, openrouter: {}}
        """,
        "{provider: zai, providers: {zai: {base_url: 'http://[::1]'}, openrouter: {}}}",
    ),
    "a key for a declared provider": (
        """
        delegation:
          provider: zai
          api_key: env:K
          providers: {zai: {dialect: {api: responses}}}
        """,
        "{provider: zai, providers: {zai: {api_key: env:K, dialect: {api: responses}}}}",
    ),
    "keys that the host owns": (
        """
        delegation:
          model: m
          provider: zai
          foreign: [base_url, fallback_model, retries]
          base_url: 5
          fallback_model: x
          retries: [{a: 1}]
        """,
        "{model: m, provider: zai}",
    ),
}


@each(("embedded", "native"), SPELLINGS.values(), ids=SPELLINGS)
def test_two_spellings_of_a_policy_have_one_revision(embedded: str, native: str) -> None:
    policy, found = check_text(embedded, name="same")
    assert policy is not None
    assert list(found) == []
    assert policy.canonical == loads(native, name="same").canonical


def test_a_key_of_the_host_goes_to_its_own_endpoint_alone() -> None:
    policy = loads(ENDPOINT)
    own, other = (endpoint_of(policy, name, ENVIRON) for name in ("custom", "openrouter"))
    assert isinstance(own, Endpoint)
    assert (own.base_url, own.api_key) == ("http://localhost:1234/v1", "the-host-s-own")
    assert isinstance(other, Endpoint)
    assert (other.base_url, other.api_key) == ("https://openrouter.ai/api/v1", "another")


@each(
    ("text", "key"),
    [
        ("base_url: 'http://[::1]', providers: {zai: {base_url: 'http://[::2]'}}", "base_url"),
        ("base_url: 'http://[::1]', providers: {zai: {api_key: env:K}}", "base_url"),
        ("base_url: 'http://[::1]', providers: {zai: {headers: {X-A: b}}}", "base_url"),
        ("api_key: env:A, providers: {zai: {api_key: env:B}}", "api_key"),
    ],
)
def test_another_address_or_key_for_the_same_name_is_an_error(text: str, key: str) -> None:
    found = found_in(f"delegation: {{provider: zai, {text}}}")
    assert found == [(Code.GIVEN_TWICE, Severity.ERROR, f"$.delegation.{key}")]


def test_the_host_s_own_keys_are_known() -> None:
    endpoint = {"base_url": "http://localhost:1/v1", "api_key": "env:K"}
    values: dict[str, Any] = {key: endpoint.get(key) for key in HOST_KEYS}
    assert found_in(json.dumps({"delegation": {"model": "m", **values}})) == []


def test_all_that_is_unknown_is_one_warning() -> None:
    _, found = check_text(
        "delegation: {model: m, provider: zai, zorp: 1, blah: {model: a}, quux: []}"
    )
    (item,) = found
    assert (item.code, item.severity) == (Code.UNKNOWN_KEY, Severity.WARNING)
    assert item.message == "unknown here, and left to the host: `zorp`, `blah`, `quux`"


@each("key", ["pool", "forbid", "precedence", "variables"])
def test_a_section_that_restricts_cannot_be_empty_by_accident(key: str) -> None:
    found = found_in(f"delegation: {{model: m, provider: zai, {key}: null}}")
    assert (Code.WRONG_TYPE, Severity.ERROR, f"$.delegation.{key}") in found


@each("key", ["pool", "forbid", "precedence", "facts", "parameters", "assert"])
def test_a_key_of_a_policy_beside_it_is_a_warning(key: str) -> None:
    found = found_in(f"{key}: 1\ndelegation: {{model: m, provider: zai}}")
    assert found == [(Code.NO_EFFECT, Severity.WARNING, f"$.{key}")]


@each("value", ["null", "''", "[]", "{}"])
def test_no_fallbacks_of_the_host_are_as_none_given(value: str) -> None:
    assert found_in(f"delegation: {{model: m, provider: zai, fallback_providers: {value}}}") == []


@each("value", ["x", "{model: x}", "[{model: x}]", "[x]", "[[x]]", "5"])
def test_fallbacks_of_the_host_are_an_error_whatever_their_shape(value: str) -> None:
    found = found_in(f"delegation: {{model: m, provider: zai, fallback_model: {value}}}")
    assert found == [(Code.HOST_FALLBACK, Severity.ERROR, "$.delegation.fallback_model")]


def test_no_value_of_the_host_is_shown() -> None:
    text = """\
forbid: hunter2-beside
delegation: {model: 5, queue: hunter2-own, api_key: hunter2-key, request_overrides: {a: hunter2}}
after: hunter2-after
"""
    _, found = check_text(text)
    assert {item.code for item in found} >= {Code.WRONG_TYPE, Code.UNKNOWN_KEY, Code.NO_EFFECT}
    assert "hunter2" not in found.to_text() + found.to_json()


def test_it_is_kept_beside_a_log_and_read_again(tmp_path: Path) -> None:
    policy = loads(f"agent: {{key: hunter2}}\n{ENDPOINT}\nafter: 1\n", name="policy.yaml")
    store = PolicyStore(LogFolder(tmp_path))
    store.keep(policy)
    again = store.load_as_written(policy.revision)
    assert again.canonical == policy.canonical
    (source,) = again.sources
    assert source.name.endswith("000-policy.yaml")
    assert "hunter2" not in source.text


@pytest.mark.slow
def test_likenesses_of_very_many_keys_are_not_looked_for() -> None:
    keys = "".join(f"  precedenc{number}: 1\n" for number in range(20_000))
    begin = time.process_time()
    _, found = check_text(f"delegation:\n  model: m\n  provider: zai\n{keys}")
    assert (found.errors, found.warnings) == (100, 1)
    assert time.process_time() - begin < 30, "looking for them takes minutes"


# The published schema.


def errors_of(policy: Any) -> list[str]:
    return [error.message for error in Draft7Validator(schema("policy")).iter_errors(policy)]


def test_the_schema_accepts_both_forms() -> None:
    native = {"model": "m", "pool": [{"model": "m"}], "precedence": "strict"}
    host = {
        "max_iterations": 50,
        "provider": "",
        "reasoning_effort": None,
        "foreign": ["x"],
        "x": 1,
    }
    assert errors_of(native) == []
    assert errors_of({"agent": {}, "delegation": {**native, **host}}) == []


@each(
    "policy",
    [
        {"modle": "m"},
        {"foreign": ["x"]},
        {"base_url": "http://localhost"},
        {"model": ""},
        {"delegation": {"pool": [{"modle": "m"}]}},
        {"delegation": {"pool": None}},
        {"delegation": {"fallback_model": "x"}},
        {"delegation": {"forbid": [{"id": "a"}]}},
        {"delegation": []},
        [],
    ],
)
def test_the_schema_refuses_what_is_wrong_in_either_form(policy: Any) -> None:
    assert errors_of(policy) != []


def test_every_key_of_a_policy_has_one_shape_in_both_forms() -> None:
    definitions = schema("policy")["definitions"]
    embedded = definitions["embedded"]["properties"]
    for key in definitions["native"]["properties"]:
        assert f"#/definitions/native/properties/{key}" in json.dumps(embedded[key]), key
