"""The tables in the package make the same parser as the grammar does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lark
import pytest

from policy_router.cel import parser, tables
from tests.support.rows import each

FILE = Path(parser.__file__).with_name(tables.FILE)
TEXTS = [
    'task.kind == "coding" && parent.depth < 2u || !facts.open',
    "a.b[0].c(1, -2.5e3, b'x', r'\\d', null, [1, 2,], {'k': v,})",
    "size(x) in [1] ? x.map(i, i * 2) : has(a.b) && true != false",
    'timestamp("2026-01-01T00:00:00Z") - duration("1h") > now',
    "0xFF % 3 / 2 >= 1 // comment\n",
    "a.?b",
    "'unclosed",
    "",
    "a b",
    "(" * 40,
]


def said(made: lark.Lark, text: str) -> Any:
    """Return the tree of a text, as plain data; or the kind and the place of the problem."""
    try:
        return plain(made.parse(text))
    except lark.exceptions.UnexpectedInput as problem:
        return type(problem).__name__, problem.pos_in_stream, sorted(expected(problem))


def expected(problem: Any) -> Any:
    return getattr(problem, "accepts", None) or getattr(problem, "expected", None) or ()


def plain(piece: Any) -> Any:
    if isinstance(piece, lark.Token):
        return piece.type, str(piece), piece.start_pos, piece.end_pos
    return piece.rule, [plain(it) for it in piece.children]


@pytest.fixture(scope="module")
def built() -> lark.Lark:
    return parser.built()


def kept() -> lark.Lark | None:
    return tables.stored(parser.grammar(), **parser.CODE)


@pytest.fixture
def _made(*, update_golden: bool, built: lark.Lark) -> None:
    if update_golden:
        FILE.write_bytes(tables.encoded(built, parser.grammar()))


@pytest.mark.usefixtures("_made")
def test_the_tables_belong_to_the_grammar_and_to_lark() -> None:
    assert kept() is not None, "make them: pytest tests/unit/test_parser_tables.py --update-golden"


@each("text", TEXTS)
def test_a_text_is_read_the_same_by_both(built: lark.Lark, text: str) -> None:
    found = kept()
    assert found is not None
    assert said(found, text) == said(built, text)


def test_another_grammar_has_no_tables() -> None:
    assert tables.stored("start: /x/") is None


def test_another_version_of_lark_has_no_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lark, "__version__", "0.0.0")
    assert kept() is None
