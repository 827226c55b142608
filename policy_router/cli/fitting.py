"""Layout for a terminal of 80 columns: tables, texts beside a head, amounts of money."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Container, Iterable, Sequence
from typing import Any, Final

from policy_router.cli.terminal import cut, table, width

COLUMNS: Final = 80
_NARROWEST: Final = 4
_PLACES: Final = 9
"""A nano-dollar has so many places of a dollar."""
_FILLER: Final = "\1"
"""Stands beside a wide character while a text is wrapped; no text that is printed has it."""
_HEAD: Final = re.compile(r" *\S+(?: \S+)*  +")
"""What a text stands beside: words, and at least two spaces."""
_TARGET: Final = re.compile(r'([^\s()"]+) \(\S+( at \S+)?\)')


def fitted(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Container[int] = (),
    whole: Container[int] = (),
) -> str:
    """Return a table of at most 80 columns: the widest of its texts are cut, and numbers never.

    Args:
        heads: the names of the columns.
        rows: the cells.
        numbers: the columns that are numbers, which end below each other.
        whole: the columns that are not cut, such as ids.
    """
    lines = [list(heads), *map(list, rows)]
    if _columns(_widths(lines)) > COLUMNS:
        lines = [[*map(_without_model, line)] for line in lines]
    widths = _widths(lines)
    texts = [
        column for column in range(len(widths)) if column not in numbers and column not in whole
    ]
    while _columns(widths) > COLUMNS:
        widest = max(texts, key=widths.__getitem__)
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
    for line in lines:
        for column, wanted in enumerate(widths):
            if column in numbers:
                line[column] = " " * (wanted - width(line[column])) + line[column]
            elif width(line[column]) > wanted:
                line[column] = f"{cut(line[column], wanted - 1)}…"
    return table(lines[0], lines[1:])


def noted(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose last column goes below the rows where it has no room beside them.

    Args:
        heads: the names of the columns.
        rows: the cells.
    """
    beside = table(heads, rows)
    if max(map(width, beside.splitlines())) <= COLUMNS:
        return beside
    head, *lines = table(heads[:-1], [row[:-1] for row in rows]).splitlines()
    blank = " " * (len(heads[0]) + 2)
    return "\n".join(
        [head, *(_with_note(line, row[-1], blank) for line, row in zip(lines, rows, strict=True))]
    )


def _with_note(line: str, note: str, blank: str) -> str:
    """Return a line with a note below it."""
    if not note:
        return line
    below = textwrap.wrap(note, COLUMNS - len(blank), break_on_hyphens=False)
    return "\n".join([line, *(f"{blank}{it}" for it in below)])


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(width, column)) for column in zip(*lines, strict=True)]


def _columns(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _without_model(cell: str) -> str:
    """Return a target by its entry alone: a table without room for more names no model."""
    found = _TARGET.fullmatch(cell)
    return found[1] if found else cell


def folded(text: str) -> str:
    """Return a text in lines of at most 80 columns: what is longer goes on below its last part.

    Words are not broken, so that an id or a path can still be copied.
    """
    return "\n".join(it for line in text.splitlines() for it in _fold(line))


def _fold(line: str) -> list[str]:
    if width(line) <= COLUMNS:
        return [line]
    head = _HEAD.match(line)
    blank = " " * (head.end() if head and head.end() < COLUMNS // 2 else 2)
    return _wrapped(line, subsequent_indent=blank, break_long_words=False)


def _wrapped(text: str, **options: Any) -> list[str]:
    """Return a text in lines of at most 80 columns, wide characters counted as two."""
    filled = "".join(it + _FILLER * (width(it) - 1) for it in text)
    columns = COLUMNS if filled == text else COLUMNS - 1  # it may part a character from its filler
    lines = textwrap.wrap(filled, columns, break_on_hyphens=False, **options)
    return [it.replace(_FILLER, "") for it in lines]


def dollars(nano: int, places: int = 6) -> str:
    """Return nano-dollars as dollars, rounded half away from zero to some places."""
    unit = 10 ** (_PLACES - places)
    whole = (abs(nano) + unit // 2) // unit
    sign = "-" if nano < 0 and whole else ""
    return f"{sign}${whole // 10**places:,}.{whole % 10**places:0{places}d}"


def wrapped(head: str, parts: Iterable[str], indent: int = 13) -> list[str]:
    """Return texts beside a head, in lines of at most 80 columns."""
    lines: list[str] = []
    for text in parts:
        first, blank = f"{head:<{indent}}", " " * indent
        lines += _wrapped(text, initial_indent=first, subsequent_indent=blank)
        head = ""
    return lines
