"""A request pinned into a formula: each literal about it that can be told holds, or does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policy_router.analysis.outcomes import Outcome
from policy_router.analysis.proof.asking import Asking
from policy_router.analysis.proof.items import Items
from policy_router.analysis.proof.names import ELEMENT, NOW
from policy_router.analysis.proof.terms import Number, Text
from policy_router.analysis.proof.walk import Walk
from policy_router.analysis.proof.wishes import Wish
from policy_router.cel.ast import Attribute, walk
from policy_router.cel.evaluate import Program
from policy_router.decision.evaluation import Evaluation
from policy_router.parameters import EFFORT, is_number, named


def pinned(asking: Asking, outcome: Outcome) -> list[int]:
    """Return what holds of the names of a request."""
    evaluation, found = outcome.evaluation, list[int]()
    values = {path: _value(asking, path, outcome) for path in [*asking.names.terms]}
    for path, term in [*asking.names.terms.items()]:
        if path.startswith(ELEMENT):
            continue
        value = values[path]
        given = asking.names.given.get(path)
        if given is not None:
            found.append(_is(given, value is not None))
        if value is not None:
            found += _of_term(term, value)
    for path, term in [*asking.names.terms.items()]:
        if isinstance(term, Text | Number) and values[path] is not None:
            found += _of_twins(term, values[path], values)
        elif isinstance(term, Items) and values[path] is not None:
            found += _of_members(term, values[path], values)
    for wish in asking.wishes.values():
        found += _of_wish(wish, evaluation)
    return found


def _of_members(term: Items, value: Any, values: dict[str, Any]) -> Iterator[int]:
    """Yield which texts of the request are in a list, and what is at its places."""
    for place, text in term.places.items():
        if place < len(value):
            yield from _of_term(text, value[place])
    for text, is_in in term.elements:
        its = values.get(text.name)
        if its is not None:
            yield _is(is_in, its in value)


def _of_twins(term: Text | Number, value: Any, values: dict[str, Any]) -> Iterator[int]:
    """Yield how a term compares with those that it is compared with."""
    for other, *literals in term.twins:
        its = values.get(other.name)
        if its is not None and isinstance(term, Text):
            yield _is(literals[0], value == its)
        elif its is not None:
            yield _is(literals[0], value < its)
            yield _is(literals[1], value > its)


def pinned_pieces(walk_: Walk, evaluation: Evaluation) -> Iterator[int]:
    """Yield what holds of the pieces of conditions that are left open."""
    for opaque in walk_.conditions.opaque:
        paths = [it.path for it in walk(opaque.node) if isinstance(it, Attribute)]
        if not any(path.startswith(ELEMENT) for path in paths):
            outcome = Program(opaque.node).evaluate(evaluation.frame)
            yield from (_is(literal, test(outcome)) for literal, test in opaque.answers)


def _value(asking: Asking, path: str, outcome: Outcome) -> Any:
    """Return the value of a name; where the policies see several, the one that is given."""
    if path == NOW:
        return asking.names.ticks(outcome.evaluation.now)
    if path.startswith(ELEMENT):
        return None
    section, _, key = path.partition(".")
    views = {repr((it.closed.get(path), it.facts.get(key))) for it in asking.policies}
    seen = outcome.evaluation if len(views) == 1 else outcome.request
    return seen.values[section].get(key)


def _is(literal: int, is_so: bool) -> int:  # noqa: FBT001 - a truth
    return literal if is_so else -literal


def _of_term(term: Any, value: Any) -> Iterator[int]:
    if isinstance(term, int):
        yield _is(term, value)
        return
    yield from (_is(it.literal, it.test(value)) for it in term.questions.values())
    if isinstance(term, Text):
        yield from (_is(literal, word == value) for word, literal in term.words.items())
    elif isinstance(term, Number):
        yield from (_is(term.literal_of(it), value <= it) for it in term.bounds)
    elif isinstance(term, Items):
        yield from (_is(literal, word in value) for word, literal in term.words.items())
        yield _is(term.other, any(it not in (term.first or ()) for it in value))
        yield from (_is(term.size.literal_of(it), len(value) <= it) for it in term.size.bounds)


def _of_wish(wish: Wish, evaluation: Evaluation) -> Iterator[int]:
    if wish.name == EFFORT:
        return
    wished = evaluation.values[wish.level]["parameters"]
    value = {named(key): it for key, it in wished.items()}.get(wish.name)
    yield _is(wish.given, value is not None)
    if value is None:
        return
    yield _is(wish.is_number, is_number(value))
    if is_number(value):
        yield from (_is(wish.number.literal_of(it), value <= it) for it in wish.number.bounds)
    for listed, literal in wish.listed:
        yield _is(literal, type(listed) is type(value) and listed == value)
