"""Pseudonyms stand for persons: equal ones for equal texts, and nothing tells whose they are."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Any, Final

import pytest

from policy_router import RequestError, decide, loads
from policy_router.hosts import Pseudonyms
from tests.support.rows import each

KEY: Final = b"a key that nothing else is made with"
POLICY: Final = """\
version: 1
model: m
provider: p
providers: {p: {base_url: "https://p.example.com/v1"}}
pool: [{model: m}]
facts: {owner: {type: string}, readers: {type: list}, risk: {type: int}}
precedence: strict
"""


def test_a_pseudonym_is_half_of_the_hmac() -> None:
    expected = hmac.new(KEY, b"ada", hashlib.sha256).hexdigest()[:32]
    assert Pseudonyms(KEY).of("ada") == expected
    assert Pseudonyms(KEY[::-1]).of("ada") != expected
    assert Pseudonyms(KEY).of("") == ""


def test_a_caller_and_named_facts_are_replaced_and_nothing_else() -> None:
    names = Pseudonyms(KEY, ("owner", "readers"))
    request: dict[str, Any] = {
        "caller": {"id": "ada", "team": "research"},
        "facts": {"owner": "ada", "readers": ["ada", "bob"], "risk": 3},
        "task": {"kind": "coding"},
    }
    made = names.in_request(request)
    ada, bob = names.of("ada"), names.of("bob")
    assert made == {
        "caller": {"id": ada, "team": "research"},
        "facts": {"owner": ada, "readers": (ada, bob), "risk": 3},
        "task": {"kind": "coding"},
    }
    assert request["caller"]["id"] == "ada"
    record = decide(loads(POLICY, name="p.yaml"), made, now="2026-11-22T11:33:00Z")
    assert b"bob" not in record.to_json()
    assert ada.encode() in record.to_json()


@each(
    "request_",
    [{}, {"caller": {}}, {"caller": {"id": 7}}, {"caller": []}, {"facts": [1]}, {"facts": {}}],
)
def test_what_is_no_request_is_left_to_its_check(request_: dict[str, Any]) -> None:
    assert Pseudonyms(KEY, ("owner",)).in_request(request_) == request_


@each("value", [7, True, None, {"of": "ada"}, ["ada", 7], [["ada"]]])
def test_a_fact_that_is_no_text_is_an_error_that_does_not_show_it(value: Any) -> None:
    with pytest.raises(
        RequestError, match=r"^\$\.facts\.owner: expected a text, or a list"
    ) as found:
        Pseudonyms(KEY, ("owner",)).in_request({"facts": {"owner": value}})
    assert "ada" not in str(found.value)


def test_a_short_key_is_an_error() -> None:
    with pytest.raises(RequestError, match="at least 32 bytes"):
        Pseudonyms(KEY[:31])


def test_a_key_is_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pseudonyms.key"
    path.write_bytes(b" " + KEY + b"\n")
    assert Pseudonyms.from_file(path).of("ada") == Pseudonyms(KEY).of("ada")
    path.write_bytes(b"x" * 31 + b" \n")
    with pytest.raises(RequestError, match="expected a key of 32 to 4,096 bytes"):
        Pseudonyms.from_file(path)
    path.write_bytes(b"x" * 5000)
    with pytest.raises(RequestError, match="expected a key of 32 to 4,096 bytes"):
        Pseudonyms.from_file(path)
    with pytest.raises(RequestError, match=r"none\.key: cannot be read: no such file"):
        Pseudonyms.from_file(tmp_path / "none.key")
