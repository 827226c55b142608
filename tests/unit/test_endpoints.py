"""Where a provider is and what opens its door: all of a bundle, or nothing of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from policy_router import Policy, loads
from policy_router.calls.endpoints import MAX_KEY_BYTES, Endpoint, endpoint_of, entry_of
from policy_router.calls.failing import Failing
from policy_router.calls.failures import Failure
from policy_router.decision.record import Target
from policy_router.domain import Dialect, PoolEntry, Provider
from policy_router.policy.known_providers import KNOWN_PROVIDERS
from tests.support.rows import each

KEY = "key-0123456789abcdef"
HOME = "https://home.example/v1"
NO_POLICY = loads("model: m")


def policy_of(**providers: Provider) -> Policy:
    return dataclasses.replace(NO_POLICY, providers=providers)


def found(
    provider: Provider, name: str = "mine", /, environ: Mapping[str, str] | None = None
) -> Endpoint:
    """Return the endpoint of a provider that has one."""
    made = endpoint_of(policy_of(**{name: provider}), name, {} if environ is None else environ)
    assert isinstance(made, Endpoint), made
    return made


def refused(
    provider: Provider, name: str = "mine", /, environ: Mapping[str, str] | None = None
) -> Failure:
    """Return why a provider has no endpoint."""
    made = endpoint_of(policy_of(**{name: provider}), name, {} if environ is None else environ)
    assert isinstance(made, Failure), made
    return made


# --- Addresses ------------------------------------------------------------------------------------


@each("name", sorted(KNOWN_PROVIDERS))
def test_a_known_provider_is_where_it_usually_is(name: str) -> None:
    known = KNOWN_PROVIDERS[name]
    variable = (known.api_key or "").removeprefix("env:")
    endpoint = endpoint_of(NO_POLICY, name, {variable: KEY})
    assert isinstance(endpoint, Endpoint)
    assert endpoint.provider == name
    assert endpoint.base_url == known.base_url
    assert endpoint.api_key == (KEY if known.api_key else "")
    assert endpoint.dialect == known.dialect


def test_a_policys_own_address_goes_before_the_usual_one() -> None:
    assert found(Provider(HOME), "openai").base_url == HOME


@pytest.mark.parametrize(
    ("name", "words"), [("nobody", "the provider `nobody`"), ("", "names no provider")]
)
def test_a_provider_that_nobody_knows_has_no_endpoint(name: str, words: str) -> None:
    failure = endpoint_of(NO_POLICY, name, {})
    assert isinstance(failure, Failure)
    assert failure.code is Failing.NO_ENDPOINT
    assert words in failure.message
    assert "`base_url`" in failure.message


def test_a_provider_without_an_address_has_no_endpoint() -> None:
    assert refused(Provider(api_key="env:KEY"), environ={"KEY": KEY}).code is Failing.NO_ENDPOINT


@each(
    "address",
    [
        "https://home.example",
        "https://home.example/v1/",
        "http://localhost:8080/v1",
        "https://[::1]/v1",
        "https://ä.example/v1",
    ],
)
def test_an_address_is_taken_as_it_is_written(address: str) -> None:
    assert found(Provider(address)).base_url == address


@each(
    "address",
    [
        "home.example",
        "https://",
        "https:///v1",
        "https://[::1/v1",
        "https://home.example:99999/v1",
        "https://home.example:0/v1",
        "https://home.example:eighty/v1",
    ],
)
def test_what_is_no_address_is_no_endpoint(address: str) -> None:
    failure = refused(Provider(address))
    assert failure.code is Failing.NO_ENDPOINT
    assert failure.message == "the `base_url` of the provider `mine` is not an address"


@each(
    "address",
    [
        "https://a\x7fb.example/v1",
        "https://\u200b/v1",
        "http://[v1.x]/v1",
        f"https://home.example/{'x' * 70_000}",
        "https://home.example/v1?api-version=1",
    ],
)
def test_an_address_that_no_call_can_be_made_to_is_no_endpoint(address: str) -> None:
    assert refused(Provider(address)).code is Failing.NO_ENDPOINT


# --- One bundle -----------------------------------------------------------------------------------


def test_an_address_of_its_own_without_a_key_takes_no_key_along() -> None:
    endpoint = found(Provider(HOME), "openai", environ={"OPENAI_API_KEY": KEY})
    assert (endpoint.api_key, endpoint.headers, endpoint.secrets) == ("", (), frozenset())


@pytest.mark.parametrize("end", ["", "/"])
def test_the_usual_address_written_out_takes_the_usual_key(end: str) -> None:
    usual = f"https://api.openai.com/v1{end}"
    assert found(Provider(usual), "openai", environ={"OPENAI_API_KEY": KEY}).api_key == KEY


@each(
    "address",
    [
        "https://api.openai.com/v1/evil",
        "https://api.openai.com.evil.example/v1",
        "https://api.openai.com",
        "http://api.openai.com/v1",
        "https://api.openai.com:8443/v1",
    ],
)
def test_an_address_that_only_resembles_the_usual_one_takes_no_key_along(address: str) -> None:
    assert found(Provider(address), "openai", environ={"OPENAI_API_KEY": KEY}).api_key == ""


@pytest.mark.parametrize("address", [None, HOME])
def test_a_policys_own_key_goes_before_the_usual_one(address: str | None) -> None:
    environ = {"OPENAI_API_KEY": "another-key", "MINE": KEY}
    assert found(Provider(address, "env:MINE"), "openai", environ=environ).api_key == KEY


def test_a_provider_that_needs_no_key_has_none() -> None:
    endpoint = found(Provider(HOME))
    assert (endpoint.api_key, endpoint.headers, endpoint.secrets) == ("", (), frozenset())


def test_what_a_policy_does_not_say_of_a_dialect_the_table_says() -> None:
    endpoint = found(
        Provider(dialect=Dialect(system_role="system")), "groq", environ={"GROQ_API_KEY": KEY}
    )
    assert endpoint.dialect == Dialect(system_role="system", max_tokens="max_completion_tokens")


def test_headers_are_texts_and_references_in_their_order() -> None:
    headers = {"X-Title": "a title", "X-Key": "env:OTHER", "X-Env": "the env:OTHER"}
    endpoint = found(
        Provider(HOME, "env:MINE", headers), environ={"MINE": KEY, "OTHER": "other-0123456789"}
    )
    assert endpoint.headers == (
        ("X-Title", "a title"),
        ("X-Key", "other-0123456789"),
        ("X-Env", "the env:OTHER"),
    )
    assert endpoint.secrets == {KEY, "other-0123456789"}


def test_an_endpoint_is_shown_without_its_secrets() -> None:
    provider = Provider(HOME, "env:MINE", {"X-Key": "env:MINE", "X-Plain": "plain-text"})
    shown = repr(found(provider, environ={"MINE": KEY}))
    assert KEY not in shown
    assert "plain-text" not in shown
    assert HOME in shown


# --- Keys -----------------------------------------------------------------------------------------


def test_a_key_is_looked_up_anew_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of(mine=Provider(HOME, "env:THE_KEY"))
    for key in ("first-key", "second-key"):
        monkeypatch.setenv("THE_KEY", key)
        endpoint = endpoint_of(policy, "mine", None)
        assert isinstance(endpoint, Endpoint)
        assert endpoint.api_key == key


def test_a_given_environment_stands_in_place_of_the_processs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("THE_KEY", KEY)
    assert refused(Provider(HOME, "env:THE_KEY")).code is Failing.NO_CREDENTIAL


@each(
    ("content", "words"),
    [
        (None, "the key is missing: env:THE_KEY is not set"),
        ("", "the key is missing: env:THE_KEY is not set"),
        (" \n\t", "the key is missing: env:THE_KEY is not set"),
        ("one\ntwo", "the key in env:THE_KEY has characters that no header can carry"),
        ("one\r\nX-Other: two", "the key in env:THE_KEY has characters that no header can carry"),
        ("one\ttwo", "the key in env:THE_KEY has characters that no header can carry"),
        ("clé", "the key in env:THE_KEY has characters that no header can carry"),
        ("key\u2026", "the key in env:THE_KEY has characters that no header can carry"),
        ("a\x00b", "the key in env:THE_KEY has characters that no header can carry"),
        ("a\x7fb", "the key in env:THE_KEY has characters that no header can carry"),
        ("\ufeffkey", "the key in env:THE_KEY has characters that no header can carry"),
    ],
)
@each("place", ["key", "header"])
def test_a_key_that_cannot_be_sent_is_no_key(content: str | None, words: str, place: str) -> None:
    provider = {
        "key": Provider(HOME, "env:THE_KEY"),
        "header": Provider(HOME, headers={"X-Key": "env:THE_KEY"}),
    }[place]
    failure = refused(provider, environ={} if content is None else {"THE_KEY": content})
    assert failure.code is Failing.NO_CREDENTIAL
    assert failure.message == words
    assert failure.status is None


@each("content", [KEY, f"{KEY}\n", f"  {KEY}\r\n", "a", "two words", "!~", f"\n{KEY}\n\n"])
def test_space_around_a_key_is_no_part_of_it(content: str) -> None:
    assert found(Provider(HOME, "env:K"), environ={"K": content}).api_key == content.strip()


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (KEY.encode(), KEY),
        (f"{KEY}\n".encode(), KEY),
        (f"{KEY}\r\n".encode(), KEY),
        (b"\xef\xbb\xbf" + KEY.encode(), KEY),
        (b"\xef\xbb\xbf" + KEY.encode() + b"\n", KEY),
        (b"x" * MAX_KEY_BYTES, "x" * MAX_KEY_BYTES),
    ],
)
def test_a_key_is_read_from_a_file_as_editors_leave_it(
    tmp_path: Path, content: bytes, key: str
) -> None:
    (tmp_path / "key").write_bytes(content)
    assert found(Provider(HOME, f"file:{tmp_path}/key")).api_key == key


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"x" * (MAX_KEY_BYTES + 1), "is too long for a key"),
        (b"\xff\xfe\x00", "is not text"),
        (b"one\ntwo", "has characters that no header can carry"),
        ("clé".encode(), "has characters that no header can carry"),
    ],
)
def test_a_file_that_holds_no_key_is_said_to(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "key").write_bytes(content)
    failure = refused(Provider(HOME, f"file:{tmp_path}/key"))
    assert failure.code is Failing.NO_CREDENTIAL
    assert failure.message.endswith(words)
    assert "x" * 20 not in failure.message


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("{}/missing", "cannot be read (No such file or directory)"),
        ("{}", "cannot be read (Is a directory)"),
        ("{}/file/below", "cannot be read (Not a directory)"),
        ("~nobody-of-this-name/key", "cannot be read (no such file)"),
        ("{}/" + "n" * 300, "cannot be read (File name too long)"),
    ],
)
def test_a_file_that_cannot_be_read_is_said_to(tmp_path: Path, place: str, words: str) -> None:
    (tmp_path / "file").touch()
    failure = refused(Provider(HOME, f"file:{place.format(tmp_path)}"))
    assert failure.code is Failing.NO_CREDENTIAL
    assert failure.message.endswith(words)


def test_a_file_is_found_from_the_working_directory_and_from_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text(KEY)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert found(Provider(HOME, "file:key")).api_key == KEY
    assert found(Provider(HOME, "file:~/key")).api_key == KEY


def test_a_key_is_not_looked_for_where_there_is_no_address() -> None:
    assert refused(Provider(api_key="file:/nowhere")).code is Failing.NO_ENDPOINT


# --- Entries --------------------------------------------------------------------------------------


@each(
    ("target", "place"),
    [
        (("a", "p", "a"), 0),
        (("a", "q", "a"), 1),
        (("a", "elsewhere", "a"), 2),
        (("b", "parents", "b"), 3),
        (("other", "p", "a"), None),
        (("c", "p", "c"), None),
        (("c", "q", "c"), 4),
        (("a", "p", None), None),
        (("z", "p", "z"), None),
    ],
)
def test_a_targets_entry_is_found_by_name_model_and_provider(
    target: tuple[str, str, str | None], place: int | None
) -> None:
    pool = (
        PoolEntry("a", "a", "p"),
        PoolEntry("a", "a", "q"),
        PoolEntry("a", "a"),
        PoolEntry("b", "b"),
        PoolEntry("c", "c", "q"),
    )
    policy = dataclasses.replace(NO_POLICY, pool=pool)
    model, provider, name = target
    named: dict[str, Any] = {} if name is None else {"entry": name}
    entry = entry_of(policy, Target(model, provider, {}, **named))
    assert (entry.position if entry else None) == place


def test_without_a_pool_a_target_has_no_entry() -> None:
    assert entry_of(NO_POLICY, Target("a", "p", {}, entry="a")) is None
