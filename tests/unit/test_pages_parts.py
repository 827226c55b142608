"""Parts of the pages by themselves: colours, texts, sessions, what ships, background."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import pytest

from policy_router.server.credentials import Credential
from policy_router.server.gate import Gate
from policy_router.server.helpers import Helpers, StayingHelper
from policy_router.server.pages.background import Background
from policy_router.server.pages.colouring import cel_pieces, yaml_lines
from policy_router.server.pages.reader import place_of
from policy_router.server.pages.rendering import FILTERS, Templates
from policy_router.server.pages.sessions import Sessions, secret_in
from policy_router.server.problems import Problem
from policy_router.server.settings import Settings
from policy_router.server.tasks import Task
from tests.support.rows import each

STATIC = files("policy_router.server.pages") / "static"


def test_the_scripts_of_others_are_those_that_are_named() -> None:
    text = (STATIC / "VENDORED.txt").read_text(encoding="utf-8")
    sums = dict(re.findall(r"^sha256 ([0-9a-f]{64})  (\S+)$", text, re.MULTILINE))
    assert {
        name: hashlib.sha256((STATIC / name).read_bytes()).hexdigest() for name in sums.values()
    } == {name: digest for digest, name in sums.items()}
    shipped = {it.name for it in STATIC.iterdir() if it.name.endswith(".js")}
    assert shipped - {"pages.js"} == set(sums.values())


def test_every_script_of_others_has_a_version_and_a_licence_that_allows_it() -> None:
    text = (STATIC / "VENDORED.txt").read_text(encoding="utf-8")
    rows = re.findall(r"^(\S+\.js)  (\S+) (\S+)  (\S+)$", text, re.MULTILINE)
    assert {file for file, *_ in rows} == {"editor.js", "htmx.min.js"}
    for _, name, version, licence in rows:
        assert re.fullmatch(r"\d+\.\d+\.\d+", version)
        assert licence in {"MIT", "0BSD"}
        if licence == "MIT":
            assert re.search(rf"^--- .*{re.escape(name)}", text, re.MULTILINE)


def test_templates_and_static_files_are_part_of_the_package() -> None:
    package = files("policy_router.server.pages")
    assert (package / "templates" / "base.html").is_file()
    assert (package / "static" / "pages.css").is_file()


def test_no_template_has_inline_code() -> None:
    for path in (files("policy_router.server.pages") / "templates").iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=|javascript:|\|safe\b", text
        ), path
        assert not re.search(r"(?:src|href)=\"https?:", text), path


def test_colours_lose_no_character() -> None:
    rules = (Path(__file__).parents[2] / "rules" / "examples" / "data-residency.yaml").read_text()
    lines = ["".join(text for _, text in line) for line in yaml_lines(rules)]
    assert lines == rules.splitlines()


@each(
    ("text", "coloured"),
    [
        ('task.kind == "a b"', [("k", "task.kind"), ("o", "=="), ("s", '"a b"')]),
        ("x in [1, 2.5]", [("o", "in"), ("n", "1"), ("n", "2.5")]),
        ("!(true)", [("o", "!"), ("n", "true")]),
    ],
)
def test_conditions_have_colours(text: str, coloured: list[tuple[str, str]]) -> None:
    pieces = list(cel_pieces(text))
    assert "".join(it for _, it in pieces) == text
    assert [piece for piece in pieces if piece[0]] == coloured


@each(
    ("name", "value", "text"),
    [
        ("cost", 0.009325, "$0.009325"),
        ("cost", -1234.5, "-$1,234.500000"),
        ("money", 0.0, "$0.00"),
        ("money", 1234.5, "$1,234.50"),
        ("money", 0.00042, "$0.00042"),
        ("money", -2.174, "-$2.17"),
        ("count", 1234567, "1,234,567"),
        ("day", 20_000, "2024-10-04"),
        ("name", "<b>\u202ea", "<bdi>&lt;b&gt;\ufffda</bdi>"),
        ("name", "x" * 400, f"<bdi>{'x' * 300}…</bdi>"),
        ("time", 1_000_000, '<time datetime="1970-01-01T00:00:01Z">1970-01-01 00:00:01</time>'),
        ("query", {"a": "1 &", "b": None}, "?a=1+%26"),
        ("plain_json", {"b": "\u202e", "a": [1]}, '{"a": [1], "b": "\ufffd"}'),
        ("short", f"at /x/policies/sha256:{'a' * 64}/{'b' * 32}/000-p.yaml:3", "at p.yaml:3"),
    ],
)
def test_what_templates_print(name: str, value: Any, text: str) -> None:
    assert str(FILTERS[name](value)) == text


@each(
    ("before", "after", "marked"),
    [
        ("a && b > 5", "a && b > 10", "a &amp;&amp; b &gt; -5-+10+"),
        ("task.kind == x", "task.kind == x || y", "task.kind == x+ || y+"),
        ("next", "reject", "-next- +reject+"),
        ("<b>\u202e1 2", "<b>\u202e1 3", "&lt;b&gt;\ufffd1 -2-+3+"),
        ("a " * 2_000, "a " * 2_001, f"-{'a ' * 2_000}- +{'a ' * 2_001}+"),
    ],
)
def test_the_words_of_only_one_text_are_marked(before: str, after: str, marked: str) -> None:
    text = str(FILTERS["differing"](before, after))
    for mark, name, when in (("-", "del", "before"), ("+", "ins", "after")):
        opening = f'<{name} class="whole"><span class="hidden">{when} </span><bdi>'
        text = text.replace(opening, mark).replace(f"</bdi></{name}>", mark)
    assert text.removeprefix('<bdi class="whole">').removesuffix("</bdi>") == marked


@each(
    ("text", "shown"),
    [
        ("`deep` is <b> & `a<b`", "<code>deep</code> is &lt;b&gt; &amp; <code>a&lt;b</code>"),
        ("one ` alone", "one ` alone"),
        ("`` is none", "`` is none"),
        (f"`{'a' * 400}`", f"<code>{'a' * 300}…</code>"),
    ],
)
def test_what_a_message_quotes_is_shown_as_code(text: str, shown: str) -> None:
    assert str(FILTERS["message"](text)) == f'<bdi class="whole">{shown}</bdi>'


def test_a_file_that_is_no_page_is_not_sent() -> None:
    assert "VENDORED.txt" not in Templates()._files  # noqa: SLF001 - what is sent, and nothing else


@each("address", ["", "/", "//x", "https://x/pages/", "/pages/\\x", "/pages/\n", "/v1/policy"])
def test_nobody_is_led_elsewhere(address: str) -> None:
    assert place_of(address) == "/pages/decisions"


def test_a_session_ends_and_is_not_that_of_another_secret(tmp_path: Path) -> None:
    now = [1_000_000.0]
    gate, secret = Gate(Settings()), secret_in(tmp_path)
    assert secret == secret_in(tmp_path)
    sessions = Sessions(gate, secret, lambda: now[0])
    session = sessions.of({})
    headers = {b"cookie": f"policy_router_session={session.cookie}".encode()}
    assert session.is_new
    assert not sessions.of(headers).is_new
    sessions.check_form(sessions.of(headers), sessions.for_forms(session))
    assert Sessions(gate, b"other", lambda: now[0]).of(headers).is_new
    now[0] += 13 * 3600
    assert sessions.of(headers).is_new


class _Issuer:
    """Believes every token, and says what its bearer may do."""

    everybody = None

    def __init__(self, *roles: str) -> None:
        self._roles = frozenset(roles)

    async def credential(self, headers: Mapping[bytes, bytes]) -> Credential:
        return Credential(headers[b"authorization"].decode(), self._roles)


def test_the_session_of_a_token_of_others_holds_the_token() -> None:
    sessions = Sessions(cast("Gate", _Issuer("auditor")), b"secret", lambda: 0.0, has_tls=True)
    session = asyncio.run(sessions.signed_in("a.b.c"))
    assert b"; Secure" in sessions.header(session)[1]
    headers = {b"cookie": f"policy_router_session={session.cookie}".encode()}
    found = asyncio.run(sessions.credential(sessions.of(headers)))
    assert found.key == "Bearer a.b.c"
    with pytest.raises(Problem, match="too_large"):
        asyncio.run(sessions.signed_in("a" * 3_000))
    other = Sessions(cast("Gate", _Issuer("agent")), b"secret", lambda: 0.0)
    with pytest.raises(Problem, match="role_needed"):
        asyncio.run(other.signed_in("a.b.c"))
    with pytest.raises(Problem, match="unknown_credential"):
        asyncio.run(other.credential(other.of({})))


async def _worked(background: Background, task: Task) -> Any:
    name = background.start(task, {"title": "x"})
    while not (work := background.find(name)).is_done:  # noqa: ASYNC110 - as a page asks
        await asyncio.sleep(0.02)
    return work


@pytest.mark.slow
def test_work_goes_on_in_the_background_and_says_why_it_cannot(tmp_path: Path) -> None:
    background = Background(Helpers(Settings(), tmp_path), tmp_path)
    good = asyncio.run(_worked(background, Task("check", text="version: 1\nmodel: a\n")))
    assert good.report["errors"] == 0
    bad = asyncio.run(_worked(background, Task("verify", log=str(tmp_path / "none"))))
    assert "log" in bad.problem
    for name in ("", "x", "../secret", "0" * 32):
        with pytest.raises(Problem):
            background.find(name)


@pytest.mark.slow
def test_work_is_begun_again_where_nobody_has_lately(tmp_path: Path) -> None:
    background = Background(Helpers(Settings(), tmp_path), tmp_path)
    task = Task("check", text="version: 1\nmodel: a\n")

    async def asked(seconds: float) -> bool:
        """Ask until it is done; return whether it was so at once."""
        is_done = background.once("key", task, {}, seconds=seconds).is_done
        while not background.once("key", task, {}).is_done:  # noqa: ASYNC110 - as a page asks
            await asyncio.sleep(0.02)
        return is_done

    assert [asyncio.run(asked(seconds)) for seconds in (60, 60, 0)] == [False, True, False]


@pytest.mark.slow
def test_a_helper_that_stays_does_one_thing_after_another(tmp_path: Path) -> None:
    async def asked() -> list[Any]:
        staying = StayingHelper(Settings())
        task = Task("try", text="version: 1\nmodel: a\nprovider: p\n", request="{}")
        try:
            first = await staying.report(task)
            with pytest.raises(Problem) as caught:
                await staying.report(Task("policy", log=str(tmp_path), revision="x"))
            return [first, caught.value.code, await staying.report(task)]
        finally:
            await staying.aclose()

    first, code, again = asyncio.run(asked())
    assert code == "unknown_policy"
    assert first["explanation"]["record"]["decision"]["target"]["model"] == "a"
    assert again["revision"] == first["revision"]


@pytest.mark.stress
@pytest.mark.slow
def test_a_helper_that_takes_too_much_is_replaced() -> None:
    entries = "".join(
        f"  - {{name: e{number}, model: m{number}, allow: task.index < {number}}}\n"
        for number in range(3_000)
    )

    async def asked() -> tuple[str, Any]:
        staying = StayingHelper(Settings(helper_seconds=1))
        task = Task("try", text=f"version: 1\nprovider: p\nprecedence: strict\npool:\n{entries}")
        with pytest.raises(Problem) as caught:
            await staying.report(task)
        again = await staying.report(Task("place", text="versio", line=1, column=7))
        await staying.aclose()
        return caught.value.code, again

    code, again = asyncio.run(asked())
    assert code == "too_much"
    assert [it["text"] for it in again["items"]] == ["version: "]
