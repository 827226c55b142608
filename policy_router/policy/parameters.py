"""Compiles the parameters of a policy: values and limits, by their standard names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic, quote
from policy_router.domain import NOTHING, FrozenDict, Limit, frozen
from policy_router.parameters import EFFORT, KNOWN, RESERVED, Kind, fits, is_number, named, same
from policy_router.policy.sections import Piece
from policy_router.policy.yaml import MappingNode, ScalarNode, plain

Pairs = list[tuple[ScalarNode, Piece]]


def parameters(pairs: Pairs) -> Mapping[str, Any]:
    """Return the values of parameters."""
    return frozen({named(name.text): plain(piece.node) for name, piece in pairs}) or NOTHING


def limits(pairs: Pairs) -> Mapping[str, Limit]:
    """Return what may be wished for, by parameter."""
    return FrozenDict({named(name.text): _limit(piece) for name, piece in pairs})


def _limit(piece: Piece) -> Limit:
    if isinstance(piece.node, MappingNode):
        return Limit(None, piece.number_at("min"), piece.number_at("max"))
    return Limit(tuple(plain(item.node) for item in piece.items()))


def misnamed(pairs: Pairs) -> Iterator[Diagnostic]:
    """Yield an error for a name that is no parameter, and for two spellings of one."""
    seen: dict[str, ScalarNode] = {}
    for name, piece in pairs:
        first = seen.setdefault(named(name.text), name)
        if name.text in RESERVED:
            message = f"{quote(name.text)} is not a parameter: it would override the decision"
            remedy = "say it with the entry's own keys, such as `model` and `provider`"
            yield _at(name, piece, Code.RESERVED_PARAMETER, message, remedy)
        elif first.text != name.text:
            message = f"{quote(name.text)} and {quote(first.text)} are the same parameter"
            yield _at(name, piece, Code.GIVEN_TWICE, message, f"first given at {first.span}")


def unfit(pairs: Pairs) -> Iterator[Diagnostic]:
    """Yield an error for a value of another type than its parameter has."""
    for name, piece in _but_for_efforts(pairs):
        parameter = named(name.text)
        if not fits(parameter, plain(piece.node)):
            message = f"{quote(name.text)} is {KNOWN[parameter].value}"
            yield piece.error(Code.WRONG_TYPE, message)


def _but_for_efforts(pairs: Pairs) -> Pairs:
    """Leave out what the schema has a shape for."""
    return [(name, piece) for name, piece in pairs if name.text != EFFORT]


def bad_limits(pairs: Pairs) -> Iterator[Diagnostic]:
    """Yield an error for a limit that nothing meets, or that is of another type."""
    for name, piece in _but_for_efforts(pairs):
        limit, kind = _limit(piece), KNOWN.get(named(name.text))
        bounds = [bound for bound in (limit.least, limit.greatest) if bound is not None]
        if limit.allowed is None and kind is Kind.TEXT:
            message = f"{quote(name.text)} is a string: its limit is a list"
            yield piece.error(Code.WRONG_TYPE, message, "list the values that are allowed")
        elif any(not fits(named(name.text), it) for it in limit.allowed or bounds) and kind:
            yield piece.error(Code.WRONG_TYPE, f"{quote(name.text)} is {kind.value}")
        elif len(bounds) == 2 and bounds[0] > bounds[1]:  # noqa: PLR2004 - both are given
            message = f"no value is at least {bounds[0]} and at most {bounds[1]}"
            yield piece.error(Code.OUTSIDE_LIMITS, message, "let `min` be at most `max`")


def outside(pairs: Pairs, bounds: Mapping[str, Limit]) -> Iterator[Diagnostic]:
    """Yield an error for an entry's own value outside its own limits."""
    for name, piece in pairs:
        value, limit = plain(piece.node), bounds.get(named(name.text))
        if limit is None or value is False or not (isinstance(value, str) or is_number(value)):
            continue
        granted = limit.within(value)
        if granted is None or not same(granted, value):
            message = f"the entry's own {quote(name.text)} is outside its own limits"
            yield piece.error(Code.OUTSIDE_LIMITS, message, "change one of the two")


def _at(name: ScalarNode, piece: Piece, code: Code, message: str, remedy: str) -> Diagnostic:
    return Diagnostic(code, Severity.ERROR, message, name.span, piece.path, remedy)
