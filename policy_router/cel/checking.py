"""Shared parts of the checker: results, reports and the state of a check."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from policy_router.cel.ast import Node
from policy_router.cel.parser import Syntax
from policy_router.cel.vocabulary import Paths, Vocabulary
from policy_router.diagnostics.codes import Code

NONE: Paths = frozenset()


EMPTY_IN_LIST = "an empty list inside a list is outside the profile of CEL used here"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with an expression, between two offsets of its text.

    Attributes:
        code: which rule of the language is broken.
        message: what is wrong.
        start: the first offset.
        end: the offset after the last character.
        help: the remedy.
        guard: the condition that is missing before it, where that is what is wrong.
    """

    code: Code
    message: str
    start: int
    end: int
    help: str | None = None
    guard: str | None = None


class Checked(NamedTuple):
    """A checked expression.

    Attributes:
        node: the typed tree, or None where there is a problem under it.
        present_if_true: the optional names that are there whenever the expression is true.
        present_if_false: the optional names that are there whenever the expression is false.
    """

    node: Node | None
    present_if_true: Paths = NONE
    present_if_false: Paths = NONE


@dataclass(frozen=True, slots=True)
class Scope:
    """What is known on the way to a piece: present names, loop variables and bound names."""

    present: Paths = NONE
    variables: Mapping[str, Checked] = field(default_factory=dict)

    def knowing(self, paths: Paths) -> Scope:
        """Return what is known where some more names are present."""
        return Scope(self.present | paths, self.variables)

    def naming(self, name: str, value: Checked) -> Scope:
        """Return what is known where a loop variable or a bound name stands for something."""
        return Scope(self.present, {**self.variables, name: value})


class Walk(ABC):
    """One walk over the syntax of one expression; collects problems on the way.

    Attributes:
        vocabulary: the names that the expression may use.
        problems: what was found so far.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        """Begin with no problems."""
        self.vocabulary = vocabulary
        self.problems: list[Problem] = []

    @abstractmethod
    def visit(self, syntax: Syntax, scope: Scope) -> Checked:
        """Check a piece of any kind."""

    def operands(self, syntax: Syntax, scope: Scope) -> list[Node] | None:
        """Check the operands one by one; None where one has a problem."""
        nodes = []
        for child in syntax.children:  # no comprehension: it would be one more frame a level
            nodes.append(self.visit(child, scope).node)  # noqa: PERF401
        return None if None in nodes else [node for node in nodes if node is not None]

    def report(
        self,
        code: Code,
        message: str,
        at: Syntax | Node | tuple[int, int],
        help_: str | None = None,
        *,
        guard: str | None = None,
    ) -> Checked:
        """Note a problem, and return that a piece has one."""
        start, end = at if isinstance(at, tuple) else (at.start, at.end)
        self.problems.append(Problem(code, message, start, end, help_, guard))
        return Checked(None)


def dotted(syntax: Syntax | None) -> str | None:
    """Return ``a.b.c`` for a name and the selections on it, or None."""
    words: list[str] = []
    while syntax is not None and syntax.kind == "select":
        words.append(syntax.word)
        syntax = syntax.children[0]
    if syntax is None or syntax.kind != "name":
        return None
    return ".".join([syntax.word, *reversed(words)])
