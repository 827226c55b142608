"""A typed tree back to the text of a CEL expression.

The text is canonical: equal trees give equal text, and no parenthesis could be left out without
changing the tree, except around what engines read differently (a minus sign before a number).
Every literal is spelled so that all engines read the same value.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from policy_router.cel.ast import (
    Apply,
    Attribute,
    Bind,
    BoundName,
    ListOf,
    Literal,
    Loop,
    LoopVariable,
    Node,
    Present,
    Type,
)
from policy_router.cel.functions import FUNCTIONS

# How tightly an expression holds together: an operand that holds less needs parentheses.
_CHOICE, _OR, _AND, _RELATION, _SUM, _PRODUCT, _UNARY, _MEMBER = range(8)

_BINARY: Final = {
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in"), _RELATION),
    **dict.fromkeys(("+", "-"), _SUM),
    **dict.fromkeys(("*", "/", "%"), _PRODUCT),
}
_CHAINS: Final = {"||": _OR, "&&": _AND}
_UNARY_SIGNS: Final = {"!": "!", "neg": "-"}

_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _present(path: str) -> str:
    return f"has({path})"


def _substring(text: str, start: str, end: str) -> str:
    return f"{text}.substring({start}, {end})"


def _bind(name: str, value: str, body: str, _: Type) -> str:
    return f"cel.bind({name}, {value}, {body})"


@dataclass(frozen=True, slots=True)
class Spelling:
    """How names are written.

    Attributes:
        present: what stands for ``has(path)``, by path; a name or a call.
        element: what stands for a loop variable or a bound name.
        substring: what stands for a part of a text, by the text, the start and the end.
        bind: what stands for ``cel.bind``, by its name, value and body, and the type of that.

    The last two hold together, as a name or a call does.
    """

    present: Callable[[str], str] = _present
    element: Callable[[str], str] = str
    substring: Callable[[str, str, str], str] = _substring
    bind: Callable[[str, str, str, Type], str] = _bind


CEL: Final = Spelling()


def render(node: Node, spelling: Spelling = CEL) -> str:
    """Write a tree as text.

    Args:
        node: the tree.
        spelling: how names are written; as a rule author writes them, unless told otherwise.

    Returns:
        The text. Parsed and checked, it gives the same tree, apart from offsets and from numbers
        that have no literal (infinities and NaN are written ``double("inf")``).
    """
    return _Writer(spelling).write(node)[0]


class _Writer:
    """Writes trees; each method returns a text and how tightly it holds together."""

    def __init__(self, spelling: Spelling) -> None:
        self.spelling = spelling

    def write(self, node: Node) -> tuple[str, int]:
        """Write any node."""
        match node:
            case Literal():
                return _literal(node.value)
            case Attribute():
                return node.path, _MEMBER
            case LoopVariable() | BoundName():
                return self.spelling.element(node.name), _MEMBER
            case Present():
                return self.spelling.present(node.path), _MEMBER
            case ListOf():
                return f"[{self.listed(node.items)}]", _MEMBER
            case Loop():
                return self.loop(node), _MEMBER
            case Bind():
                return self.bind(node), _MEMBER
            case Apply():
                return self.apply(node)
        raise TypeError(node)

    def apply(self, node: Apply) -> tuple[str, int]:
        """Write an operator or a function."""
        function, arguments = node.function, node.arguments
        if function in _CHAINS:
            return self.chain(function, arguments)
        if function in _BINARY:
            return self.binary(function, *arguments), _BINARY[function]
        if function in _UNARY_SIGNS:
            return self.unary(function, *arguments), _UNARY
        if function == "?:":
            return self.choice(*arguments), _CHOICE
        return self.call(function, arguments), _MEMBER

    def chain(self, function: str, arguments: tuple[Node, ...]) -> tuple[str, int]:
        """Write ``a && b && c``; a chain in a chain of the same kind keeps its parentheses."""
        if len(arguments) == 1:
            return self.write(arguments[0])
        level = _CHAINS[function]
        operands = [self.operand(argument, level + 1) for argument in arguments]
        return f" {function} ".join(operands), level

    def binary(self, function: str, left: Node, right: Node) -> str:
        """Write an operator between its operands; all of them group to the left."""
        level = _BINARY[function]
        return f"{self.operand(left, level)} {function} {self.operand(right, level + 1)}"

    def unary(self, function: str, argument: Node) -> str:
        """Write a sign before its operand.

        Google's parser drops two signs in a row, overflow included, and a minus sign before a
        number belongs to the number: both stay apart by parentheses.
        """
        return f"{_UNARY_SIGNS[function]}{self.operand(argument, _MEMBER, number=True)}"

    def choice(self, condition: Node, positive: Node, negative: Node) -> str:
        """Write ``a ? b : c``."""
        first, second = self.operand(condition, _OR), self.operand(positive, _OR)
        return f"{first} ? {second} : {self.operand(negative, _CHOICE)}"

    def call(self, function: str, arguments: tuple[Node, ...]) -> str:
        """Write an element of a list, a function, or a method."""
        if function in FUNCTIONS:
            return f"{function}({self.listed(arguments)})"
        receiver = self.operand(arguments[0], _MEMBER, number=True)
        if function == "[]":
            return f"{receiver}[{self.listed(arguments[1:])}]"
        if function == "substring" and len(arguments) > 2:
            start, end = (self.write(argument)[0] for argument in arguments[1:])
            return self.spelling.substring(receiver, start, end)
        return f"{receiver}.{function}({self.listed(arguments[1:])})"

    def loop(self, node: Loop) -> str:
        """Write a macro."""
        source = self.operand(node.source, _MEMBER, number=True)
        variable = self.spelling.element(node.variable)
        return f"{source}.{node.macro}({variable}, {self.write(node.body)[0]})"

    def bind(self, node: Bind) -> str:
        """Write ``cel.bind(name, value, body)``."""
        value, body = (self.write(child)[0] for child in node.children())
        return self.spelling.bind(self.spelling.element(node.name), value, body, node.type)

    def listed(self, nodes: tuple[Node, ...]) -> str:
        """Write nodes with commas between them."""
        return ", ".join([self.write(node)[0] for node in nodes])

    def operand(self, node: Node, level: int, *, number: bool = False) -> str:
        """Write an operand, in parentheses if it holds less tightly than wanted.

        Args:
            node: the operand.
            level: how tightly it has to hold together.
            number: whether a number needs parentheses, too.
        """
        text, found = self.write(node)
        loose = found < level or (number and text[0] in "-0123456789")
        return f"({text})" if loose else text


def _literal(value: bool | float | str) -> tuple[str, int]:  # noqa: FBT001 - it is data
    if isinstance(value, bool):
        return ("true" if value else "false"), _MEMBER
    if isinstance(value, str):
        return f'"{"".join(map(_character, value))}"', _MEMBER
    if isinstance(value, int):
        return str(value), _MEMBER
    return _double(value), _MEMBER


def _double(value: float) -> str:
    """Write the shortest digits that come to the value; ``repr`` has a dot or an exponent."""
    return repr(value) if math.isfinite(value) else f'double("{value!r}")'


def _character(character: str) -> str:
    """Write a character of a string: as it is, or escaped where it cannot be seen."""
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    point = ord(character)
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def bare(value: Any) -> Any:
    """Return a tree without offsets, with the types of its literals' values."""
    if isinstance(value, tuple):
        return tuple(map(bare, value))
    if not isinstance(value, Node):
        return type(value), repr(value)
    fields = [field.name for field in dataclasses.fields(value)]
    parts = {name: bare(getattr(value, name)) for name in fields if name not in {"start", "end"}}
    return type(value), parts
