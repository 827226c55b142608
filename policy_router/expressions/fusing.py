"""Fusing: conditions that are needed together become one expression that yields all outcomes.

To call an engine takes longer than a comparison does, so that a list of fifty conditions costs
little more than ten of them one by one. Where one element fails, the engine fails the whole list,
and says not which: the conditions of that list are then without an outcome, and have to be
evaluated one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from policy_router.expressions.engine import FAILURE, Activation, Deferred, Engine, Outcome, Program
from policy_router.expressions.render import render
from policy_router.expressions.tree import ListOf, Literal, Node, Type

MAX_CONDITIONS: Final = 64
MAX_CHARACTERS: Final = 60_000
"""How much is fused into one expression: Google's engine reads at most 100,000 characters."""


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One expression.

    Attributes:
        program: the expression.
        places: for each of its elements, where its outcome stands among all.
        is_list: whether it yields a list, and not one outcome.
    """

    program: Program
    places: tuple[tuple[int, ...], ...]
    is_list: bool


class Fused:
    """Conditions, or other expressions of one type, that are evaluated together."""

    __slots__ = ("_chunks", "_constants", "_whole")

    def __init__(self, engine: Engine, nodes: Sequence[Node]) -> None:
        """Fuse expressions; equal ones are evaluated once, constant ones never."""
        self._constants: list[Outcome] = [
            node.value if isinstance(node, Literal) else FAILURE for node in nodes
        ]
        distinct: dict[str, tuple[Node, list[int]]] = {}
        for place, node in enumerate(nodes):
            if not isinstance(node, Literal):
                distinct.setdefault(render(node), (node, []))[1].append(place)
        self._chunks = tuple(_chunk(engine, part) for part in _cut(distinct))
        first = self._chunks[0] if len(self._chunks) == 1 else None
        is_whole = first is not None and first.is_list and len(first.places) == len(nodes)
        self._whole = first.program if first is not None and is_whole else None

    def outcomes(self, activation: Activation) -> list[Outcome]:
        """Return the outcomes, in order; ``FAILURE`` where they have to be found one by one."""
        if self._whole is not None:
            outcome = self._whole.evaluate(activation)
            return self._constants.copy() if outcome is FAILURE else cast("list[Outcome]", outcome)
        found = self._constants.copy()
        for chunk in self._chunks:
            outcome = chunk.program.evaluate(activation)
            if outcome is not FAILURE:
                several = cast("list[Outcome]", outcome) if chunk.is_list else (outcome,)
                for value, places in zip(several, chunk.places, strict=True):
                    for place in places:
                        found[place] = value
        return found


def _cut(distinct: dict[str, tuple[Node, list[int]]]) -> Iterable[list[tuple[Node, list[int]]]]:
    """Cut expressions into parts that an engine takes."""
    part: list[tuple[Node, list[int]]] = []
    length = 0
    for text, item in distinct.items():
        if part and (len(part) == MAX_CONDITIONS or length + len(text) > MAX_CHARACTERS):
            yield part
            part, length = [], 0
        part.append(item)
        length += len(text)
    if part:
        yield part


def _chunk(engine: Engine, part: list[tuple[Node, list[int]]]) -> _Chunk:
    nodes = tuple(node for node, _ in part)
    is_list = len(nodes) > 1
    expression = ListOf(Type("list", nodes[0].type), 0, 0, nodes) if is_list else nodes[0]
    return _Chunk(Deferred(engine, expression), tuple(tuple(at) for _, at in part), is_list)
