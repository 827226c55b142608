"""What looks like a secret is never shown."""

from __future__ import annotations

import pytest

from policy_router.diagnostics.redaction import KEY_SHAPE, REFERENCE, redact, redact_words
from tests.support.rows import each

SHAPED = [
    "sk-abcdefghijklmnop",
    "sk-ant-api03-abcdefghijkl",
    "sk-or-v1-0123456789abcdef",
    "pk-abcdefghijkl",
    "ghp_0123456789abcdef0123",
    "github_pat_0123456789abcdef0123",
    "glpat-0123456789abcdef0",
    "hf_abcdefghijklmnopqr",
    "gsk_abcdefghijklmnopqr",
    "xai-abcdefghijklmnopqr",
    "nvapi-abcdefghijklmnopqr",
    "xoxb-0123456789",
    "AKIA0123456789ABCDEF",
    "AIza0123456789abcdefghijklmnopqrstu",
    "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSM",
    "-----BEGIN RSA PRIVATE KEY-----",
]


@each("key", SHAPED)
def test_a_word_in_the_shape_of_a_key_is_masked_wherever_it_stands(key: str) -> None:
    shown = redact(f"before {key} after")
    assert shown.startswith("before *")
    assert shown.endswith("* after")
    assert not any(part in shown for part in key.split())
    assert KEY_SHAPE.search(key)


@each(
    "text",
    [
        "sk-short",
        "task-abcdefghijklmnop",
        "a model named glm-5-turbo-preview-long",
        "ghp_short",
        "AKIA0123",
        "https://api.example.com/v1",
        "max_tokens: 4096",
        "tokens: 12",
        "deepseek-r1-distill-qwen-32b",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_user_and_password_in_an_address_are_masked() -> None:
    assert redact("https://me:hunter2@example.com/v1") == "https://**********@example.com/v1"


@each(
    ("text", "shown"),
    [
        ("api_key: hunter2", "api_key: *******"),
        ("API-KEY: hunter2", "API-KEY: *******"),
        ("x-api-key: hunter2", "x-api-key: *******"),
        ("apikey: hunter2", "apikey: *******"),
        ("password: hunter2", "password: *******"),
        ("secret: hunter2", "secret: *******"),
        ("token: hunter2", "token: *******"),
        ("access_key: hunter2", "access_key: *******"),
        ("authorization: Bearer hunter2", "authorization: ****** *******"),
        ('"api_key": "hunter2"', '"api_key": *********'),
        ("my_api_key_name: hunter2", "my_api_key_name: *******"),
        ("passphrase: hunter2", "passphrase: *******"),
        ("Cookie: hunter2", "Cookie: *******"),
        # An old secret may stand in a comment beside the new one.
        ("api_key: 'hunter2' # mine", "api_key: ********* * ****"),
        ("api_key: hunter2 # mine", "api_key: ******* * ****"),
        ('api_key: "a\\"b"', "api_key: ******"),
        ("api_key: 'a''b'", "api_key: ******"),
        # A quote that is not closed hides the rest.
        ('api_key: "hunter2', "api_key: ********"),
        # In a flow mapping a plain value ends where the next key begins.
        ("{api_key: hunter2, base_url: x}", "{api_key: *******, base_url: x}"),
        ("{base_url: x, api_key: hunter2}", "{base_url: x, api_key: *******}"),
        ("{api_key: hunter2", "{api_key: *******"),
        ("{a: 1, api_key: hunter2 # mine\n}", "{a: 1, api_key: ******* * ****\n}"),
        # A block or a plain scalar goes on over the deeper lines.
        ("api_key: |\n  hunter2\n  more\nb: c", "api_key: *\n  *******\n  ****\nb: c"),
        ("api_key: >\n\n  hunter2\nb: c", "api_key: *\n\n  *******\nb: c"),
        ("a:\n  api_key: one\n    two\n  b: c", "a:\n  api_key: ***\n    ***\n  b: c"),
        ("api_key: one\r\n  two\r\nb: c", "api_key: ***\r\n  ***\r\nb: c"),
        # Each of several is found.
        ("token: one\nsecret: two", "token: ***\nsecret: ***"),
    ],
)
def test_the_value_of_a_secret_key_is_masked(text: str, shown: str) -> None:
    assert redact(text) == shown


@each(
    "text",
    [
        "api_key: env:ZAI_API_KEY",
        'api_key: "env:ZAI_API_KEY"',
        "api_key: file:/run/secrets/zai",
        "{api_key: env:ZAI_API_KEY, b: c}",
        "name: hunter2",
    ],
)
def test_a_reference_is_no_secret_and_neither_is_the_value_of_another_key(text: str) -> None:
    assert redact(text) == text


@each(
    ("text", "is_reference"),
    [
        ("env:A", True),
        ("env:_a1", True),
        ("file:/a/b", True),
        ("file:relative", True),
        ("env:", False),
        ("env:1A", False),
        ("env:A B", False),
        ("file:", False),
        ("file:/a b", False),
        ("hunter2", False),
    ],
)
def test_a_reference_names_a_variable_or_a_file(
    text: str,
    is_reference: bool,  # noqa: FBT001
) -> None:
    assert bool(REFERENCE.fullmatch(text)) is is_reference


WORDS = [
    ("Unknown key: temperatur", "Unknown key: temperatur"),
    ("Unrecognized keys: 'a', 'b'", "Unrecognized keys: 'a', 'b'"),
    ("KeyError: 'messages'", "KeyError: 'messages'"),
    ("missing token: <eos>", "missing token: <eos>"),
    ("unexpected keyword: max_tokens", "unexpected keyword: max_tokens"),
    ("token: expected string, received number", "token: expected string, received number"),
    ("Invalid API key: please check it", "Invalid API key: please check it"),
    ("basic authentication failed", "basic authentication failed"),
    ("author: somebody", "author: somebody"),
    ("Invalid API key: a1b2c3d4", "Invalid API key: ********"),
    ("Incorrect API key provided: a1***d4. See", "Incorrect API key provided: ******** See"),
    ("Authorization: Bearer abcdef123 is wrong", "Authorization: Bearer ********* is wrong"),
    ("got Basic dXNlcjpwYXNz=", "got Basic *************"),
    ("'x-api-key': 'hunter22'", "'x-api-key': '********'"),
    ('{"api_key": "abcd-1234"}', '{"api_key": "*********"}'),
    ("the password: hunter2", "the password: *******"),
    ("client_secret=abc12345", "client_secret=********"),
    ("set-cookie: sid=b12345; path=/", "set-cookie: **********; path=/"),
    ("wrong: sk-abcdefghijklmnop", "wrong: *******************"),
    ("https://me:hunter2@h/v1", "https://**********@h/v1"),
]


@each(("text", "shown"), WORDS)
def test_of_what_others_say_only_secrets_are_masked(text: str, shown: str) -> None:
    assert redact_words(text) == shown


@pytest.mark.slow
@pytest.mark.parametrize("text", ["api-key " * 20_000, "key:" * 30_000, "bearer a1" * 20_000])
def test_long_words_of_others_take_no_long_time(text: str) -> None:
    assert len(redact_words(text)) == len(text)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["key" * 30_000, "eyJ-" * 20_000, "{" + "key: 1, " * 30_000 + "}"])
def test_a_text_made_to_take_long_is_read_like_any_other(text: str) -> None:
    # Without bounds on what is tried, each of these takes minutes.
    assert len(redact(text)) == len(text)


@each(
    "key",
    [
        *("TOKEN", "Api-Key", "KYE", "PassWord", "PASSPHRASE", "Credentials", "COOKIE"),
        *("\u017fecret", "pa\u017f\u017fword", "\u212aey", "author\u0131zation", "AUTHOR\u0130TY"),
    ],
)
def test_a_key_is_found_in_any_case_and_with_the_odd_forms_of_its_letters(key: str) -> None:
    assert redact(f"{key}: hunter2 # x") == f"{key}: ******* * *"


@each("end", ["", "\n", "\r\n", "\r", "\r\nmodel: m\r\n"])
def test_a_reference_is_no_secret_however_its_line_ends(end: str) -> None:
    assert redact(f"api_key: env:KEY{end}") == f"api_key: env:KEY{end}"
