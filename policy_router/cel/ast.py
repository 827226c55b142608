"""The typed tree of a condition: what the checker makes and everything later reads.

A condition is parsed and checked once. The evaluator, constant folding, and the values that
``explain`` shows all walk this tree; the parser's own tree never leaves ``parser``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Type:
    """A type of the profile of CEL that conditions may use.

    Attributes:
        name: ``bool``, ``int``, ``double``, ``string``, ``timestamp``, ``duration``, ``list``
            or ``table``.
        element: the type of a list's elements or of a table's values; None for the empty list
            literal, which fits every list, and for types that have none.
    """

    name: str
    element: Type | None = None

    def __str__(self) -> str:
        """Spell the type as a rule author would: ``int``, ``list of string``."""
        return f"{self.name} of {self.element}" if self.element else self.name

    def accepts(self, other: Type) -> bool:
        """Tell whether a value of type ``other`` can stand where this type is wanted."""
        if self.name != other.name:
            return False
        if self.element is None or other.element is None:
            return True
        return self.element.accepts(other.element)


BOOL = Type("bool")
INT = Type("int")
DOUBLE = Type("double")
STRING = Type("string")
TIMESTAMP = Type("timestamp")
DURATION = Type("duration")
EMPTY_LIST = Type("list")
STRINGS = Type("list", STRING)
BROKEN = Type("broken")
"""Stands for the type of a variable that has a problem of its own, which is reported once."""


@dataclass(frozen=True, slots=True)
class Node:
    """A piece of a condition.

    Attributes:
        type: the type of its value, as the checker found it.
        start: offset of its first character in the text of the condition.
        end: offset after its last character.

    Pieces are equal where they come to the same, wherever they stand.
    """

    type: Type
    start: int = field(compare=False, repr=False)
    end: int = field(compare=False, repr=False)

    def children(self) -> tuple[Node, ...]:
        """Return the pieces directly under this one, in reading order."""
        return ()


@dataclass(frozen=True, slots=True, eq=False)
class Literal(Node):
    """A constant that the rule author wrote: a bool, an int, a double or a string."""

    value: bool | int | float | str

    def __eq__(self, other: object) -> bool:
        """Compare type and value; to Python ``0.0`` equals ``-0.0``, and ``1`` equals ``True``."""
        return (
            isinstance(other, Literal)
            and self.type == other.type
            and repr(self.value) == repr(other.value)
        )

    def __hash__(self) -> int:
        """Hash the value: equal literals have equal ones."""
        return hash(self.value)


@dataclass(frozen=True, slots=True)
class Attribute(Node):
    """The value of a name such as ``task.kind``, ``target.price.input`` or ``now``."""

    path: str


@dataclass(frozen=True, slots=True)
class LoopVariable(Node):
    """The element that a surrounding :class:`Loop` looks at."""

    name: str


@dataclass(frozen=True, slots=True)
class BoundName(Node):
    """The value that a surrounding :class:`Bind` gives a name."""

    name: str


@dataclass(frozen=True, slots=True)
class Present(Node):
    """``has(path)``: whether an optional name was given."""

    path: str


@dataclass(frozen=True, slots=True)
class Apply(Node):
    """An operator or a function, applied.

    ``function`` is the operator as it is written (``&&``, ``||``, ``!``, ``==``, ``!=``, ``<``,
    ``<=``, ``>``, ``>=``, ``in``, ``+``, ``-``, ``*``, ``/``, ``%``), ``neg`` for the minus sign
    of one operand, ``?:`` for a choice, ``[]`` for an element of a list, or the name of a
    function, with its namespace if it has one (``math.least``). The receiver of a method is its
    first argument.
    """

    function: str
    arguments: tuple[Node, ...]
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Hash once: trees are keys of many tables, and a large one takes long to hash."""
        object.__setattr__(self, "_hash", hash((self.function, self.arguments)))

    def __hash__(self) -> int:
        """Return the hash of function and arguments."""
        return self._hash

    def children(self) -> tuple[Node, ...]:
        """Return the arguments."""
        return self.arguments


@dataclass(frozen=True, slots=True)
class ListOf(Node):
    """A list literal."""

    items: tuple[Node, ...]

    def children(self) -> tuple[Node, ...]:
        """Return the elements."""
        return self.items


@dataclass(frozen=True, slots=True)
class TableOf(Node):
    """A table of the policy: a mapping from strings to values of one type."""

    path: str
    values: Mapping[str, Any]

    def __hash__(self) -> int:
        """Return the hash of the path: equal tables have equal ones."""
        return hash(self.path)


@dataclass(frozen=True, slots=True)
class Loop(Node):
    """One of the macros ``all``, ``exists``, ``exists_one``, ``filter`` and ``map``."""

    macro: str
    variable: str
    source: Node
    body: Node

    def children(self) -> tuple[Node, ...]:
        """Return the list that is walked and the expression for each of its elements."""
        return (self.source, self.body)


@dataclass(frozen=True, slots=True)
class Bind(Node):
    """``cel.bind(name, value, body)``: the body, in which a name stands for a value.

    The value is worked out when the body first asks for it, and once.
    """

    name: str
    value: Node
    body: Node

    def children(self) -> tuple[Node, ...]:
        """Return the value and the body."""
        return (self.value, self.body)


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all nodes under it, outer before inner, in reading order."""
    stack = [node]
    while stack:
        top = stack.pop()
        yield top
        stack.extend(reversed(top.children()))


def has_macros(node: Node) -> bool:
    """Tell whether an expression walks any list."""
    return any(isinstance(part, Loop) for part in walk(node))
