"""The table of known providers is sound, row by row."""

from __future__ import annotations

import urllib.parse

from policy_router.calls.dialects import CHAT, MESSAGES, RESPONSES
from policy_router.diagnostics.redaction import REFERENCE
from policy_router.domain import NOTHING
from policy_router.policy.known_providers import _ROWS, KNOWN_PROVIDERS

LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def test_every_name_has_one_row_in_the_order_of_the_alphabet() -> None:
    names = [row[0] for row in _ROWS]
    assert names == sorted(set(names))
    assert list(KNOWN_PROVIDERS) == names


def test_every_name_is_a_word_that_a_policy_can_have() -> None:
    assert [name for name in KNOWN_PROVIDERS if not (name.isalnum() and name.islower())] == []


def test_no_two_providers_share_an_address_or_a_key() -> None:
    for values in (
        [provider.base_url for provider in KNOWN_PROVIDERS.values()],
        [provider.api_key for provider in KNOWN_PROVIDERS.values() if provider.api_key],
    ):
        assert len(values) == len(set(values))


def test_an_address_is_safe_to_take_a_key_to() -> None:
    for provider in KNOWN_PROVIDERS.values():
        parts = urllib.parse.urlsplit(provider.base_url or "")
        assert parts.hostname
        is_local = parts.hostname in LOOPBACK
        assert parts.scheme == ("http" if is_local else "https")
        assert (provider.api_key is None) == is_local
        assert (parts.port is None) == (not is_local)


def test_an_address_is_one_that_paths_can_be_added_to() -> None:
    for provider in KNOWN_PROVIDERS.values():
        parts = urllib.parse.urlsplit(provider.base_url or "")
        assert not (provider.base_url or "").endswith("/")
        assert (parts.query, parts.fragment, parts.username, parts.password) == ("", "", None, None)
        assert (provider.base_url or "").isascii()


def test_a_key_is_a_reference_to_the_environment() -> None:
    for provider in KNOWN_PROVIDERS.values():
        if provider.api_key is not None:
            assert REFERENCE.fullmatch(provider.api_key)
            kind, _, name = provider.api_key.partition(":")
            assert kind == "env"
            assert name == name.upper()
            assert name.endswith(("_API_KEY", "_TOKEN"))


def test_a_dialect_has_only_words_that_there_are() -> None:
    for provider in KNOWN_PROVIDERS.values():
        dialect = provider.dialect
        assert dialect.api in {None, CHAT, RESPONSES, MESSAGES}
        assert dialect.system_role in {None, "system", "developer"}
        assert dialect.max_tokens in {None, "max_tokens", "max_completion_tokens"}
        assert set(dialect.unsupported) <= {"stream_options"}


def test_no_row_has_headers_of_its_own() -> None:
    for provider in KNOWN_PROVIDERS.values():
        assert provider.headers == NOTHING
