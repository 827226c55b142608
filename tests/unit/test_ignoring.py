"""Remarks silence warnings where they are comments, and only there."""

from __future__ import annotations

import datetime
from pathlib import Path

from policy_router.diagnostics.codes import Code
from policy_router.files.loader import check, check_text
from tests.support.rows import each

USELESS = Code.USELESS_IGNORE
EMPTY = "# policy-router: ignore PR410 (nothing yet)"


def found_in(text: str) -> list[tuple[Code, int]]:
    """Return the code and the line of all that is found in a policy."""
    _, found = check_text(f"provider: zai\n{text}")
    return [(item.code, item.span.position[0]) for item in found]


@each(
    "text",
    [
        f"pool: []  {EMPTY}",
        f"pool: [] \t{EMPTY}",
        f"{EMPTY}\npool: []",
        f"model:\n  m\n{EMPTY}\n# more\n  # and more\npool: []",
        f"name: |\n  a block\n\n{EMPTY}\npool: []",
        f"name: >-\n  a block\n{EMPTY}\npool: []",
        f"name: 'a # b'\npool: [  {EMPTY}\n]",
        f"pool:\n  []  {EMPTY}",
        f"model: m\r\n{EMPTY}\r\npool: []\r\n",
        f"model: m\r{EMPTY}\rpool: []\r",
        "pool: []  #policy-router:ignore PR410 (a reason (of a kind))",
    ],
)
def test_a_remark_silences_a_warning(text: str) -> None:
    assert found_in(text.replace("name: |\n  a block\n", "description: |\n  a block\n")) == []


@each(
    "text",
    [
        f"description: '{EMPTY}'\npool: []",
        f'description: "{EMPTY}"\npool: []',
        "description: a#policy-router:ignore PR410 (x)\npool: []",
        f"description: |\n  {EMPTY}\npool: []",
        f"description: >\n  text\n  {EMPTY}\npool: []",
        f"description: '\n\n  {EMPTY}'\npool: []",
        f"variables:\n  a: |\n    true // {EMPTY}\npool: []",
        f"'{EMPTY}': 1\npool: []",
    ],
)
def test_what_stands_in_a_text_is_no_remark(text: str) -> None:
    codes = [code for code, _ in found_in(text)]
    assert Code.EMPTY_POOL in codes
    assert USELESS not in codes


@each(
    ("text", "expected"),
    [
        (f"model: m  {EMPTY}\npool: []", [(USELESS, 2), (Code.EMPTY_POOL, 3)]),
        (f"{EMPTY}\n\npool: []", [(USELESS, 2), (Code.EMPTY_POOL, 4)]),
        (f"pool: []\n{EMPTY}", [(Code.EMPTY_POOL, 2), (USELESS, 3)]),
        ("pool: []  # policy-router: ignore PR410", [(Code.EMPTY_POOL, 2), (USELESS, 2)]),
        ("pool: []  # policy-router: ignore PR410 ( )", [(Code.EMPTY_POOL, 2), (USELESS, 2)]),
        ("pool: []  # policy-router: ignore PR411 (no)", [(Code.EMPTY_POOL, 2), (USELESS, 2)]),
        ("pool: []  # policy-router: ignore all (no)", [(Code.EMPTY_POOL, 2), (USELESS, 2)]),
        ("pool: 1  # policy-router: ignore PR202 (no)", [(Code.WRONG_TYPE, 2), (USELESS, 2)]),
        (
            "# policy-router: ignore PR453 (no)\nmodel: m # policy-router: ignore PR410 (no)",
            [(USELESS, 2), (USELESS, 3)],
        ),
    ],
)
def test_a_remark_that_silences_nothing_is_found(
    text: str, expected: list[tuple[Code, int]]
) -> None:
    assert found_in(text) == expected


def test_a_warning_about_the_host_s_part_can_be_silenced_there() -> None:
    text = "# policy-router: ignore PR414 (of the host)\nforbid: a\ndelegation: {provider: zai}\n"
    assert check_text(text)[1].to_text() == ""


def test_what_depends_on_the_day_can_be_silenced_on_every_day(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    allow = (
        "now < timestamp('2026-01-01T00:00:00Z')  # policy-router: ignore PR317 (kept for a while)"
    )
    path.write_text(f"model: m\nprovider: zai\npool:\n  - model: m\n    allow: {allow}\n")
    for year in (2025, 2027):
        now = datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)
        assert check(path, now=now)[1].to_text() == ""
    assert check(path)[1].to_text() == ""
