"""The requests of tests: merged of several parts, and multiplied by a matrix."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from policy_router.analysis.schema import MAX_COMBINATIONS
from policy_router.cel.vocabulary import REQUEST_NAMES
from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import Diagnostic, did_you_mean, json_path, quote
from policy_router.domain import Policy
from policy_router.policy.sections import Piece
from policy_router.policy.yaml import plain

_PATHS = frozenset(name.path for name in REQUEST_NAMES)
_PARAMETERS = ("call.parameters.", "task.parameters.")
_LONGEST = 40


@dataclass(frozen=True, slots=True)
class Combination:
    """Values of a matrix, one for each of its names.

    Attributes:
        values: a name such as ``task.kind`` to its value.
        suffix: what tells the test apart: `` [task.kind=coding]``; empty without a matrix.
        pieces: where the values are written.
    """

    values: Mapping[str, Any]
    suffix: str = ""
    pieces: tuple[Piece, ...] = ()


def combinations(
    matrix: Piece | None, policy: Policy, found: list[Diagnostic]
) -> list[Combination]:
    """Return the combinations of a matrix; one without values where there is none.

    Args:
        matrix: the matrix of a test, or None.
        policy: declares facts.
        found: takes what is wrong with the matrix; then there is no combination.
    """
    if matrix is None:
        return [Combination({})]
    problems = [*_unknown_names(matrix, policy), *_repeated_values(matrix)]
    names = [(key.text, value.items()) for key, value in matrix.pairs()]
    count = prod(len(items) for _, items in names)
    if count > MAX_COMBINATIONS:
        message = f"the matrix makes {count:,} tests, and at most {MAX_COMBINATIONS:,} are allowed"
        problems.append(matrix.error(Code.TOO_MANY_TESTS, message, "split the test"))
    found += problems
    if problems:
        return []
    chosen = itertools.product(*(list(enumerate(items, start=1)) for _, items in names))
    paths = [path for path, _ in names]
    return [_combination(paths, row) for row in chosen]


def _combination(paths: Sequence[str], row: Sequence[tuple[int, Piece]]) -> Combination:
    values = {path: plain(it.node) for path, (_, it) in zip(paths, row, strict=True)}
    shown = [_shown(path, place, it) for path, (place, it) in zip(paths, row, strict=True)]
    pieces = tuple(piece for _, piece in row)
    return Combination(values, f" [{', '.join(shown)}]", pieces)


def _shown(path: str, place: int, piece: Piece) -> str:
    """Return a value for the name of a test; a fact's value is never shown."""
    if path.startswith("facts."):
        return f"{path}#{place}"
    value = plain(piece.node)
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return f"{path}={text if len(text) <= _LONGEST else f'#{place}'}"


def _unknown_names(matrix: Piece, policy: Policy) -> Iterator[Diagnostic]:
    known = _PATHS | {f"facts.{name}" for name in policy.facts}
    for key, values in matrix.pairs():
        if key.text not in known and not key.text.startswith(_PARAMETERS):
            remedy = did_you_mean(key.text, known) or "such as `task.kind` or `caller.team`"
            message = f"a request has no {quote(key.text)}"
            error = values.error(Code.UNKNOWN_KEY, message, remedy)
            yield Diagnostic(error.code, error.severity, message, key.span, error.path, remedy)


def _repeated_values(matrix: Piece) -> Iterator[Diagnostic]:
    """Yield the values that would make a test a second time, under the same name."""
    for _, values in matrix.pairs():
        seen: set[str] = set()
        for item in values.items():
            value = json.dumps(plain(item.node), sort_keys=True)
            if value in seen:
                yield item.error(Code.DUPLICATE_NAME, "this value is given twice", "leave one out")
            seen.add(value)


def merged(parts: Iterable[Mapping[str, Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a request of several: mappings are united, and what comes later wins.

    Args:
        parts: requests, the first is the one below; ``use`` is left out.
        values: values by their names, put over all.
    """
    found: dict[str, Any] = {}
    for part in parts:
        found = _over(found, {key: value for key, value in part.items() if key != "use"})
    for path, value in values.items():
        nested: Any = value
        for key in reversed(_keys(path)):
            nested = {key: nested}
        found = _over(found, nested)
    return found


def _keys(path: str) -> list[str]:
    """Split a name; that of a parameter may have dots in it."""
    return path.split(".", 2 if path.startswith(_PARAMETERS) else 1)


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(below)
    for key, value in above.items():
        under = found.get(key)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        found[key] = _over(under, value) if both else value  # type: ignore[arg-type]
    return found


def place_of(path: str, pieces: Sequence[Piece]) -> Piece:
    """Return where a value of a request is written.

    Args:
        path: the JSON path of the value in the request.
        pieces: where parts of the request are written, the one that counts first; there is one.

    Returns:
        The place of the value, or the first piece where it is in none.
    """
    for piece in pieces:
        for inner in _inside(piece):
            if json_path(*inner.parts[len(piece.parts) :]) == path:
                return inner
    return pieces[0]


def _inside(piece: Piece) -> Iterator[Piece]:
    yield piece
    for inner in (*(it for _, it in piece.pairs()), *piece.items()):
        yield from _inside(inner)
