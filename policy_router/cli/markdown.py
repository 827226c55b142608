"""Tables for a comment or a letter: no name in them is markup, a link or somebody's name."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence

from policy_router.diagnostics.model import printable

_TICKS = re.compile(r"`+")


def markdown_table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], numbers: Container[int] = (0,)
) -> Iterator[str]:
    """Yield the lines of a table.

    Args:
        heads: the names of the columns.
        rows: the cells.
        numbers: the columns that are numbers; all others are names, in code spans.
    """
    aligned = "|".join("---:" if column in numbers else "---" for column in range(len(heads)))
    yield f"| {' | '.join(heads)} |"
    yield f"|{aligned}|"
    for row in rows:
        cells = (it if column in numbers else cell(it) for column, it in enumerate(row))
        yield f"| {' | '.join(cells)} |"


def code(text: str) -> str:
    """Return a text as a code span."""
    fence = "`" * (1 + max(map(len, _TICKS.findall(text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{space}{text}{space}{fence}"


def cell(text: str) -> str:
    """Return a text as a cell."""
    return code(printable(text)).replace("|", r"\|") if text else ""
