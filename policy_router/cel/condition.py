"""A condition as the rest of the product holds it: its text, its tree, its program, its place."""

from __future__ import annotations

from dataclasses import dataclass, field

from policy_router.cel.ast import Node
from policy_router.cel.evaluate import Program
from policy_router.diagnostics.model import Span


@dataclass(frozen=True, slots=True)
class Condition:
    """A checked CEL expression.

    Attributes:
        text: what the rule author wrote.
        tree: the checked tree.
        program: evaluates the tree.
        span: where it was written.
        reads: the names it uses, ``has()`` included, and those its variables use.
        variables: the variables it uses, directly or not, each after the ones that it uses.
    """

    text: str
    tree: Node
    program: Program = field(compare=False, repr=False)
    span: Span = field(compare=False, repr=False)
    reads: frozenset[str] = frozenset()
    variables: tuple[str, ...] = ()

    def text_of(self, node: Node) -> str:
        """Return the text of a piece of the expression."""
        return self.text[node.start : node.end]
