"""Fusing: conditions that are needed together become one expression that yields all outcomes.

To call an engine takes longer than a comparison does, so that a list of fifty conditions costs
little more than ten of them one by one. Where one element fails, the engine fails the whole list,
and says not which: the conditions of that list are then without an outcome, and have to be
evaluated one by one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

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
        single: whether it yields one outcome, and not a list.
    """

    program: Program
    places: tuple[tuple[int, ...], ...]
    single: bool


class Fused:
    """Conditions, or other expressions of one type, that are evaluated together."""

    __slots__ = ("_chunks", "_constants")

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

    def outcomes(self, activation: Activation) -> list[Outcome]:
        """Return the outcomes, in order; ``FAILURE`` where they have to be found one by one."""
        found = self._constants.copy()
        for chunk in self._chunks:
            outcome = chunk.program.evaluate(activation)
            if outcome is FAILURE:
                continue
            several: Iterable[Outcome] = (outcome,) if chunk.single else outcome  # type: ignore[assignment]
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
    single = len(nodes) == 1
    expression = nodes[0] if single else ListOf(Type("list", nodes[0].type), 0, 0, nodes)
    return _Chunk(Deferred(engine, expression), tuple(tuple(at) for _, at in part), single)
