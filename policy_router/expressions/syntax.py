"""Text of a condition to a plain syntax tree, with cel-python's grammar.

The grammar is the one that the package ``cel-python`` ships. A parser of our own is built from
it, since that package keeps one parser for the whole process, which its two kinds of runner
fight over. lark's tree is folded into :class:`Syntax` at once and never leaves this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TypeAlias

import lark

from policy_router.diagnostics import quote

MAX_CHARACTERS = 4096
MAX_NODES = 500
MAX_DEPTH = 28
"""Levels of nesting, parentheses included. Google's engine takes 30 of any shape, in a list too."""

_Part: TypeAlias = "lark.Tree[lark.Token] | lark.Token"


@dataclass(frozen=True, slots=True)
class Syntax:
    """A piece of an expression, before anything is known about names and types.

    Attributes:
        kind: ``literal``, ``name``, ``select``, ``call``, ``method``, ``list``, ``operator``, or
            ``other`` for what the grammar knows and the profile does not.
        start: offset of its first character.
        end: offset after its last character.
        word: the operator, the name, the function, or the text of a literal.
        children: operands; the receiver first for ``select`` and ``method``.
        word_start: offset of ``word``.
    """

    kind: str
    start: int
    end: int
    word: str
    children: tuple[Syntax, ...] = ()
    word_start: int = 0


class SyntaxProblem(Exception):  # noqa: N818 - becomes a diagnostic, never escapes
    """A text that cannot be parsed, or is past a limit."""

    def __init__(
        self,
        message: str,
        start: int,
        end: int,
        help: str | None = None,  # noqa: A002 - the word that diagnostics use too
        *,
        limit: bool = False,
    ) -> None:
        """Say what is wrong between two offsets; ``limit`` for a limit exceeded."""
        super().__init__(message)
        self.message, self.start, self.end = message, start, end
        self.help, self.limit = help, limit


def parse(text: str) -> Syntax:
    """Parse an expression.

    Raises:
        SyntaxProblem: the text is not an expression, or is longer, larger or deeper than allowed.
    """
    if len(text) > MAX_CHARACTERS:
        message = f"the expression has {len(text):,} characters, {MAX_CHARACTERS:,} are allowed"
        raise SyntaxProblem(message, 0, len(text), limit=True)
    try:
        tree = _parser().parse(text)
    except lark.exceptions.UnexpectedInput as problem:
        raise _syntax_problem(text, problem) from None
    syntax = _fold(tree, 0)
    nodes = _count(syntax)
    if nodes > MAX_NODES:
        message = f"the expression has {nodes:,} nodes, {MAX_NODES:,} are allowed"
        raise SyntaxProblem(message, 0, len(text), limit=True)
    return syntax


@cache
def _parser() -> lark.Lark:
    grammar = (resources.files("celpy") / "cel.lark").read_text(encoding="utf-8")
    return lark.Lark(
        grammar,
        parser="lalr",
        start="expr",
        g_regex_flags=re.MULTILINE,
        lexer_callbacks={"IDENT": _bool_or_name},
        propagate_positions=True,
        maybe_placeholders=False,
        priority="invert",
    )


def _bool_or_name(token: lark.Token) -> lark.Token:
    """Tell ``true`` and ``false`` from names, which the grammar cannot."""
    if token.value in {"true", "false"}:
        return lark.Token.new_borrow_pos("BOOL_LIT", token.value, token)
    return token


def _syntax_problem(text: str, problem: lark.exceptions.UnexpectedInput) -> SyntaxProblem:
    offset: int = getattr(problem, "pos_in_stream", None) or 0
    if isinstance(problem, lark.exceptions.UnexpectedToken):
        word = str(problem.token)
        if problem.token.type == "$END":
            end = len(text.rstrip())
            message = "the expression ends too early" if end else "the expression is empty"
            return SyntaxProblem(message, max(0, end - 1), end)
        remedy = _INSTEAD.get(word)
        return SyntaxProblem(f"unexpected {quote(word)}", offset, offset + len(word), remedy)
    character = text[offset : offset + 1]
    if character in {'"', "'"}:
        return SyntaxProblem("the string is not closed", offset, len(text))
    name = "a backtick" if character == "`" else quote(character)
    return SyntaxProblem(f"unexpected {name}", offset, offset + 1, _INSTEAD.get(character))


_INSTEAD = {
    "and": "write `&&`",
    "or": "write `||`",
    "not": "write `!`",
    "&": "write `&&`",
    "|": "write `||`",
    "=": "equality is written `==`",
    "\u201c": "write a straight quote",
    "\u201d": "write a straight quote",
    "\u2018": "write a straight quote",
    "\u2019": "write a straight quote",
}
"""What to write in place of words of other languages."""


_CHAINS = {"conditionalor": "||", "conditionaland": "&&"}
_BINARY = {
    "relation_lt": "<",
    "relation_le": "<=",
    "relation_gt": ">",
    "relation_ge": ">=",
    "relation_eq": "==",
    "relation_ne": "!=",
    "relation_in": "in",
    "addition_add": "+",
    "addition_sub": "-",
    "multiplication_mul": "*",
    "multiplication_div": "/",
    "multiplication_mod": "%",
}
_UNARY = {"unary_not": "!", "unary_neg": "neg"}


def _fold(part: _Part, depth: int) -> Syntax:
    """Turn lark's tree into ours, leaving out the grammar's steps that hold only one child."""
    if depth > MAX_DEPTH:
        raise SyntaxProblem(
            f"the expression is nested deeper than {MAX_DEPTH} levels", *_extent(part), limit=True
        )
    while isinstance(part, lark.Tree) and len(part.children) == 1 and part.data in _STEPS:
        part = part.children[0]
    if isinstance(part, lark.Token):
        return Syntax("literal", *_extent(part), str(part))
    return _fold_tree(part, depth)


_STEPS = {
    "expr",
    "conditionalor",
    "conditionaland",
    "relation",
    "addition",
    "multiplication",
    "unary",
    "member",
    "primary",
    "literal",
}


def _fold_tree(tree: lark.Tree[lark.Token], depth: int) -> Syntax:
    rule, children = str(tree.data), tree.children
    start, end = _extent(tree)
    if rule == "paren_expr":
        return _fold(children[0], depth + 1)
    if rule == "expr":
        return Syntax("operator", start, end, "?:", _fold_all(children, depth + 1))
    if rule in _CHAINS:
        operands = _fold_all(_chain(tree), depth + 1)
        return Syntax("operator", start, end, _CHAINS[rule], operands)
    if rule in {"relation", "addition", "multiplication", "unary"}:
        return _fold_operator(tree, depth)
    if rule == "list_lit":
        return Syntax("list", start, end, "[]", _fold_all(_arguments(tree, 0), depth + 1))
    if rule == "member_index":
        return Syntax("operator", start, end, "[]", _fold_all(children, depth + 1))
    return _fold_names(tree, depth)


def _fold_operator(tree: lark.Tree[lark.Token], depth: int) -> Syntax:
    head, right = tree.children
    start, end = _extent(tree)
    rule = str(head.data) if isinstance(head, lark.Tree) else ""
    if rule in _UNARY:
        return Syntax("operator", start, end, _UNARY[rule], (_fold(right, depth + 1),))
    left = head.children[0] if isinstance(head, lark.Tree) else head
    operands = (_fold(left, depth + 1), _fold(right, depth + 1))
    return Syntax("operator", start, end, _BINARY[rule], operands)


def _fold_names(tree: lark.Tree[lark.Token], depth: int) -> Syntax:
    rule, (start, end) = str(tree.data), _extent(tree)
    if rule == "ident":
        word = tree.children[0]
        return Syntax("name", start, end, str(word), (), start)
    if rule == "ident_arg":
        arguments = _fold_all(_arguments(tree, 1), depth + 1)
        return Syntax("call", start, end, str(tree.children[0]), arguments, start)
    if rule in {"member_dot", "member_dot_arg"}:
        receiver, word = tree.children[0], tree.children[1]
        arguments = (_fold(receiver, depth + 1), *_fold_all(_arguments(tree, 2), depth + 1))
        kind = "select" if rule == "member_dot" else "method"
        return Syntax(kind, start, end, str(word), arguments, _extent(word)[0])
    return Syntax("other", start, end, rule)


def _fold_all(parts: list[_Part], depth: int) -> tuple[Syntax, ...]:
    return tuple(_fold(part, depth) for part in parts)


def _chain(tree: lark.Tree[lark.Token]) -> list[_Part]:
    """Return the operands of ``a || b || c``, which the grammar nests to the left."""
    operands: list[_Part] = []
    part: _Part = tree
    while isinstance(part, lark.Tree) and part.data == tree.data and len(part.children) > 1:
        operands.append(part.children[1])
        part = part.children[0]
    return [part, *reversed(operands)]


def _arguments(tree: lark.Tree[lark.Token], position: int) -> list[_Part]:
    """Return the expressions of the list that may stand at a position among the children."""
    if position >= len(tree.children):
        return []
    inner = tree.children[position]
    return list(inner.children) if isinstance(inner, lark.Tree) else []


def _extent(part: _Part) -> tuple[int, int]:
    if isinstance(part, lark.Token):
        return part.start_pos or 0, part.end_pos or 0
    return getattr(part.meta, "start_pos", 0), getattr(part.meta, "end_pos", 0)


def _count(syntax: Syntax) -> int:
    """Count nodes as in CEL's own tree, where ``a && b && c`` is two operators."""
    return sum(
        len(piece.children) - 1 if piece.word in {"&&", "||"} else 1 for piece in _pieces(syntax)
    )


def _pieces(syntax: Syntax) -> Iterator[Syntax]:
    yield syntax
    for child in syntax.children:
        yield from _pieces(child)
