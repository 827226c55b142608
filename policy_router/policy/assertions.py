"""Assertions and assumptions as they are written: in a policy, or in a suite of tests."""

from __future__ import annotations

from collections.abc import Sequence

from policy_router.cel.condition import Condition
from policy_router.diagnostics.codes import Code
from policy_router.domain import Assertion, Note
from policy_router.policy.conditions import ConditionReader, Sees
from policy_router.policy.sections import Piece

_WORDS = ("never", "always", "unchanged")


def assertions(pieces: Sequence[Piece], reader: ConditionReader) -> tuple[Assertion, ...]:
    """Read assertions; what is wrong with them is found by the reader.

    Args:
        pieces: where they are written.
        reader: reads their conditions.
    """
    found = []
    for number, piece in enumerate(pieces, start=1):
        words = [key for key in _WORDS if piece.get(key) is not None]
        if len(words) != 1:
            message = "an assertion says one of `never`, `always` and `unchanged`"
            reader.found.append(piece.error(Code.BAD_VALUE, message))
            continue
        (word,) = words
        id_ = piece.text_at("id") or f"assert-{number}"
        note = Note(piece.text_at("description"), piece.text_at("owner"))
        if word == "unchanged":
            path = piece.text_at(word)
            found.append(Assertion(id_, word, None, path, note, piece.span))
        elif (condition := reader.condition(piece.get(word), Sees.OUTCOME)) is not None:
            found.append(Assertion(id_, word, condition, None, note, piece.span))
    return tuple(found)


def assumptions(pieces: Sequence[Piece], reader: ConditionReader) -> tuple[Condition, ...]:
    """Read what the host guarantees about each request."""
    read = (reader.condition(piece, Sees.REQUEST) for piece in pieces)
    return tuple(condition for condition in read if condition is not None)
