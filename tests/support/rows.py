"""Rows that cost less than a test: one test for all of them, which names each that is wrong."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest

Test = Callable[..., None]
SHOWN = 200
"""How many characters of a row its name has."""


def each(
    names: str | Sequence[str],
    rows: Iterable[Any],
    ids: Iterable[object] | Callable[[Any], object] | None = None,
) -> Callable[[Test], Test]:
    """Call a test with each row, as ``pytest.mark.parametrize`` does, but as one test.

    The rows share the fixtures: it is for tests that change nothing.
    """
    parts = [part.strip() for part in names.split(",")] if isinstance(names, str) else [*names]
    named = dict(_named(parts, [*rows], ids))

    def over_rows(test: Test) -> Test:
        @functools.wraps(test)
        def every(**fixtures: Any) -> None:
            wrong = {}
            for name, row in named.items():
                try:
                    test(**fixtures, **row)
                except (Exception, pytest.fail.Exception) as problem:  # noqa: BLE001 - told below
                    problem.add_note(f"in row {name}")
                    wrong[name] = problem
            if wrong:
                found = f"{len(wrong)} of {len(named)} rows are wrong: {', '.join(wrong)}"
                raise BaseExceptionGroup(found, [*wrong.values()])

        known = inspect.signature(test)
        others = [it for it in known.parameters.values() if it.name not in parts]
        every.__signature__ = known.replace(parameters=others)  # type: ignore[attr-defined]
        return every

    return over_rows


def _named(
    parts: Sequence[str],
    rows: Sequence[Any],
    ids: Iterable[object] | Callable[[Any], object] | None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows by their names, which differ."""
    assert rows
    told = [*ids] if isinstance(ids, Iterable) else [None] * len(rows)
    for at, (row, name) in enumerate(zip(rows, told, strict=True)):
        values = (row,) if len(parts) == 1 else row
        if isinstance(row, type(pytest.param())):
            assert not row.marks, "a row with a mark is a test of its own"
            name, values = row.id or name, row.values  # noqa: PLW2901 - its own name goes first
        if callable(ids):
            name = "-".join(str(ids(value)) for value in values)  # noqa: PLW2901 - as above
        shown = f"{values!r}"[:SHOWN] if name is None else name
        yield f"{at} {shown}", dict(zip(parts, values, strict=True))
