"""Who may read the pages: sign-in, sessions, forms, and what a browser may not do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import BrowserContext, expect

from policy_router.server.credentials import TokenLine, new_token
from policy_router.server.pages.sessions import COOKIE
from policy_router.server.settings import Role
from tests.pages.conftest import until_indexed
from tests.support.service import Service, until
from tests.support.year import write_year

pytestmark = pytest.mark.slow
_FORM = re.compile('name="form_value" value="([0-9a-f]+)"')


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("guarded")
    write_year(made, 20)
    return made


@pytest.fixture(scope="module")
def tokens(place: Path) -> dict[str, str]:
    roles: tuple[Role, ...] = ("agent", "host", "auditor", "admin")
    path = str(place / "tokens.jsonl")
    return {
        role: new_token(lambda digest, role=role: TokenLine(digest, role, {"id": role}), path)  # type: ignore[misc]
        for role in roles
    }


@pytest.fixture(scope="module")
def guarded(place: Path, tokens: dict[str, str]) -> Iterator[Service]:
    assert tokens
    with Service(place, "--log", "log", "--tokens", "tokens.jsonl") as made:
        until_indexed(made.client(tokens["auditor"]), 20)
        yield made


def form_value(client: httpx.Client) -> str:
    found = _FORM.search(client.get("/pages/sign-in").text)
    assert found
    return found[1]


def signed_in(service: Service, token: str) -> httpx.Client:
    client = service.client()
    fields = {"form_value": form_value(client), "token": token, "next": "/pages/log"}
    answer = client.post("/pages/sign-in", data=fields)
    assert (answer.status_code, answer.headers["location"]) == (303, "/pages/log")
    return client


def test_a_reader_signs_in_and_comes_to_the_page_that_was_wanted(
    guarded: Service, tokens: dict[str, str], open_page: Callable[..., BrowserContext]
) -> None:
    page = open_page(guarded).new_page()
    page.goto("/pages/decisions?outcome=refused")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    page.get_by_label("Token").fill(tokens["auditor"])
    page.keyboard.press("Enter")
    page.wait_for_url("**/pages/decisions?outcome=refused")
    expect(page.locator(".who")).to_contain_text("auditor")
    page.get_by_role("button", name="Sign out").click()
    page.goto("/pages/decisions")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


def test_the_cookie_is_for_the_pages_alone(guarded: Service, tokens: dict[str, str]) -> None:
    client = guarded.client()
    fields = {"form_value": form_value(client), "token": tokens["auditor"]}
    cookie = client.post("/pages/sign-in", data=fields).headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/pages"} <= set(cookie.split("; "))
    assert tokens["auditor"] not in cookie
    client.cookies.set(COOKIE, cookie.partition("=")[2].partition(";")[0], path="/")
    assert client.get("/pages/decisions").status_code == 200
    assert client.get("/v1/decisions").status_code == 401  # only a credential opens these


@pytest.mark.parametrize("role", ["agent", "host"])
def test_nothing_of_the_log_leaves_without_the_role(
    guarded: Service, tokens: dict[str, str], role: str
) -> None:
    client = guarded.client()
    fields = {"form_value": form_value(client), "token": tokens[role]}
    answer = client.post("/pages/sign-in", data=fields)
    assert answer.status_code == 403
    assert "the role auditor is needed" in answer.text
    for path in PAGES:
        refused = client.get(path)
        assert refused.status_code == 303
        assert refused.headers["location"].startswith("/pages/sign-in?next=")


PAGES = (
    *("/pages/decisions", "/pages/decisions.csv", "/pages/decisions.jsonl"),
    *("/pages/decisions/x", "/pages/playground", "/pages/policies", "/pages/what-if"),
    *("/pages/log", "/pages/spend", "/pages/spend.csv", "/pages/compliance"),
)


@pytest.mark.parametrize("value", ["", "0" * 64, "\u00fc\u20ac"])
def test_a_form_of_another_session_is_refused(
    guarded: Service, tokens: dict[str, str], value: str
) -> None:
    client = guarded.client()
    form_value(client)
    answer = client.post("/pages/sign-in", data={"form_value": value, "token": tokens["auditor"]})
    assert answer.status_code == 403
    assert "load the page again" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers


def test_a_token_that_is_not_known_begins_no_session(guarded: Service) -> None:
    client = guarded.client()
    fields = {"form_value": form_value(client), "token": "pr_nothing"}
    answer = client.post("/pages/sign-in", data=fields)
    assert answer.status_code == 401
    assert "the credential is not known" in answer.text
    assert client.get("/pages/decisions").status_code == 303


@pytest.mark.parametrize("cookie", ["", "x", "x.y", "é.ü", "W10." + "0" * 64])
def test_a_forged_cookie_is_nobody(guarded: Service, cookie: str) -> None:
    headers = [(b"cookie", f"{COOKIE}={cookie}".encode())]
    assert guarded.client().get("/pages/decisions", headers=headers).status_code == 303


def test_a_token_that_is_taken_back_ends_its_sessions(
    place: Path, guarded: Service, tokens: dict[str, str]
) -> None:
    assert tokens
    path = place / "tokens.jsonl"
    before = path.read_text()
    token = new_token(lambda digest: TokenLine(digest, "auditor", {"id": "gone"}), str(path))
    until(lambda: guarded.client(token).get("/v1/decisions").status_code == 200)
    client = signed_in(guarded, token)
    assert client.get("/pages/decisions").status_code == 200
    path.write_text(before)
    until(lambda: client.get("/pages/decisions").status_code == 303)


def test_a_session_that_ends_as_one_types_loses_nothing(
    guarded: Service, tokens: dict[str, str], open_page: Callable[..., BrowserContext]
) -> None:
    window = open_page(guarded)
    page = window.new_page()
    page.goto("/pages/playground")
    page.get_by_label("Token").fill(tokens["auditor"])
    page.keyboard.press("Enter")
    expect(page.locator("#took")).to_contain_text("ms")
    window.clear_cookies()
    page.get_by_label("Time").fill("2026-01-31T09:00:00Z")
    page.get_by_role("button", name="Sign in again").click()
    page.get_by_label("Token").fill(tokens["auditor"])
    page.keyboard.press("Enter")
    expect(page.locator("#result")).to_contain_text("at 2026-01-31T09:00:00Z")
    assert page.locator("#now").input_value() == "2026-01-31T09:00:00Z"


def test_a_session_that_ends_before_rules_are_sent_loses_none_of_them(
    guarded: Service, tokens: dict[str, str], open_page: Callable[..., BrowserContext]
) -> None:
    window = open_page(guarded)
    page = window.new_page()
    page.goto("/pages/what-if")
    page.get_by_label("Token").fill(tokens["auditor"])
    page.keyboard.press("Enter")
    rules = page.get_by_role("textbox", name="Rules")
    rules.fill("version: 1\nmodel: other-model # <b>\nprovider: p\n")
    page.get_by_role("textbox", name="until").fill("2026-07-01")
    window.clear_cookies()
    page.get_by_role("button", name="Decide them again").click()
    page.get_by_label("Token").fill(tokens["auditor"])
    page.keyboard.press("Enter")
    expect(rules).to_have_value("version: 1\nmodel: other-model # <b>\nprovider: p\n")
    expect(page.get_by_role("textbox", name="until")).to_have_value("2026-07-01")
    page.get_by_role("button", name="Decide them again").click()
    page.wait_for_url("**/pages/what-if/*")
    page.goto("/pages/what-if")  # what was sent is not waiting any more
    expect(rules).not_to_have_value("version: 1\nmodel: other-model # <b>\nprovider: p\n")


def test_a_session_that_ends_on_a_live_page_leads_to_sign_in(
    guarded: Service, tokens: dict[str, str], open_page: Callable[..., BrowserContext]
) -> None:
    window = open_page(guarded)
    page = window.new_page()
    page.goto("/pages/decisions?live=true")
    page.get_by_label("Token").fill(tokens["auditor"])
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Stop live")).to_be_visible()
    window.clear_cookies()
    page.wait_for_url("**/pages/sign-in?next=*")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


@pytest.mark.parametrize("path", ["/pages/log", "/pages/what-if", "/pages/playground"])
def test_a_form_of_another_page_is_refused(
    guarded: Service, tokens: dict[str, str], path: str
) -> None:
    client = signed_in(guarded, tokens["auditor"])
    for fields in ({}, {"form_value": "0" * 64}, {"form_value": form_value(guarded.client())}):
        assert client.post(path, data={**fields, "policy": ""}).status_code == 403
    elsewhere = {"origin": "https://elsewhere.example.com"}
    own = {"form_value": form_value(client)}
    assert client.post(path, data=own, headers=elsewhere).status_code == 403
    assert client.post(path, json={}).status_code == 415


def test_sign_in_leads_to_no_other_site(guarded: Service, tokens: dict[str, str]) -> None:
    for place in ("https://elsewhere.example.com/", "//elsewhere.example.com", "/pages/\\x", "/v1"):
        client = guarded.client()
        fields = {"form_value": form_value(client), "token": tokens["admin"], "next": place}
        answer = client.post("/pages/sign-in", data=fields)
        assert answer.headers["location"] == "/pages/decisions"


def test_a_browser_may_run_nothing_but_our_files(guarded: Service) -> None:
    client = guarded.client()
    for path in ("/pages/sign-in", "/pages/static/pages.css", "/pages/static/nothing"):
        policy = client.get(path).headers.get("content-security-policy", "")
        if path.endswith("nothing"):
            assert client.get(path).status_code == 404
            continue
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy


def test_pages_can_be_left_out(place: Path) -> None:
    with Service(place, "--log", "log", "--no-pages") as service:
        assert service.client().get("/pages/decisions").status_code == 404
        assert service.client().get("/").status_code == 404
        assert service.client().get("/elsewhere").status_code == 404
