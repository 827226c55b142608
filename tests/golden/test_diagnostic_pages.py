"""The pages under `docs/diagnostics/` say what the checks really say.

A page shows a wrong policy (a block `yaml wrong`), the diagnostic it gives (a block `text`), and
the policy put right (a block `yaml right`). Where the wrong policy is no text of a few lines, the
diagnostic is the one of a golden case. `pytest --update-golden` writes the diagnostics anew.
"""

from __future__ import annotations

import datetime
import json
import re
from pathlib import Path
from typing import NamedTuple

from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import Diagnostics
from policy_router.files.loader import check_text
from tests.support.rows import each

CASES = Path(__file__).parent / "diagnostics"
PAGES = Path(__file__).parent.parent.parent / "docs" / "diagnostics"
NOW = datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC)
_BLOCK = re.compile(r"^```(?P<kind>[a-z ]+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r"# (?P<code>PR\d{3}): (?P<title>.+)\n\nSeverity: (?P<severity>.+)\n")
_ROW = re.compile(
    r"^\| \[(?P<code>PR\d{3})\]\((?P<page>.+)\) \| (?P<severity>.+) \| (?P<title>.+) \|$",
    re.MULTILINE,
)


class Page(NamedTuple):
    path: Path
    text: str

    @property
    def blocks(self) -> dict[str, str]:
        return {match["kind"]: match["body"] for match in _BLOCK.finditer(self.text)}

    def with_text(self, diagnostic: str) -> str:
        return self.text.replace(f"```text\n{self.blocks['text']}```", f"```text\n{diagnostic}```")


def _page(name: str) -> Page:
    path = PAGES / f"{name}.md"
    return Page(path, path.read_text(encoding="utf-8"))


def _checked(text: str, name: str = "policy.yaml") -> Diagnostics:
    return check_text(text, name=name, now=NOW)[1]


CODES = [code.value for code in Code]


def test_every_code_has_a_page_and_every_page_has_a_code() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {*CODES, "README"}


@each("code", CODES)
def test_the_wrong_example_gives_the_diagnostic_that_is_shown(
    code: str, *, update_golden: bool
) -> None:
    page = _page(code)
    if "yaml wrong" in page.blocks:
        found = _checked(page.blocks["yaml wrong"])
        if update_golden:
            page.path.write_text(page.with_text(f"{found.to_text()}\n"), encoding="utf-8")
            page = _page(code)
        assert [item.code for item in found] == [code]
        assert page.blocks["text"] == f"{found.to_text()}\n"
    else:
        cases = [path.read_text(encoding="utf-8") for path in CASES.glob(f"{code}-*/expected.txt")]
        assert page.blocks["text"] in cases


def test_the_right_examples_are_right() -> None:
    for code in CODES:
        blocks = _page(code).blocks
        assert ("yaml right" in blocks) == ("yaml wrong" in blocks), code
        if "yaml right" in blocks:
            assert _checked(blocks["yaml right"]).to_text() == "", code


def test_the_table_has_each_page_with_its_title_and_severity() -> None:
    rows = [match.groupdict() for match in _ROW.finditer(_page("README").text)]

    assert [row["code"] for row in rows] == CODES
    for row in rows:
        title = _TITLE.match(_page(row["code"]).text)
        assert title is not None, row["code"]
        assert row["page"] == f"{row['code']}.md"
        assert title.groupdict() == {name: row[name] for name in ("code", "title", "severity")}


def test_the_severities_of_pages_are_what_the_cases_have() -> None:
    shown = {
        (item["code"], item["severity"])
        for path in CASES.glob("*/expected.json")
        for item in json.loads(path.read_text(encoding="utf-8"))["diagnostics"]
    }
    titles = [_TITLE.match(_page(code).text) for code in CODES]
    said = {(it["code"], word) for it in titles if it for word in it["severity"].split(" or ")}

    assert all(titles)
    assert said == shown


def test_the_overview_shows_a_real_diagnostic() -> None:
    wrong = _page("PR301").blocks["yaml wrong"]
    found = _checked(wrong, name="rules/acme.yaml")
    blocks = _page("README").blocks

    assert blocks["text"] == f"{found.to_text()}\n"
    assert json.loads(blocks["json"]) == found.to_dict()
