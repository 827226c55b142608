"""Text of a condition to a plain syntax tree, with cel-python's grammar.

The grammar is the one that the package ``cel-python`` ships. A parser of our own is built from
it, since that package keeps one parser for the whole process, which its two kinds of runner
fight over. lark's tree is folded into :class:`Syntax` at once and never leaves this module.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Final, TypeAlias

import lark

from policy_router.cel import remedies
from policy_router.cel.tables import stored
from policy_router.diagnostics.model import quote

MAX_CHARACTERS = 4096
MAX_NODES = 1000
"""Values, names (one each, dots included), operators and functions; a chain of ``||`` is one."""
MAX_DEPTH = 28
"""Levels of nesting: parentheses, arguments, lists, and operators of another precedence."""
MAX_CHAIN = 100
"""Operators of one precedence in a row, as in ``a + b - c``, those around each other in all.

With the levels of nesting it bounds how deep a tree can be, and so whatever walks it recursively.
"""


class _Part:
    """A rule of the grammar with all that it holds, as lark makes them.

    Attributes:
        rule: the rule's name.
        children: its tokens and parts, punctuation included.
        start_pos: offset of its first character, named as for a token.
        end_pos: offset after its last character.
    """

    __slots__ = ("children", "end_pos", "rule", "start_pos")

    def __init__(self, rule: str, children: list[Any]) -> None:
        self.rule, self.children = rule, children
        self.start_pos: int = children[0].start_pos or 0
        self.end_pos: int = children[-1].end_pos or 0


_Piece: TypeAlias = "_Part | lark.Token"


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
        tree: Any = _parser().parse(text)
    except lark.exceptions.UnexpectedInput as problem:
        raise _syntax_problem(text, problem) from None
    syntax = _fold(tree)
    nodes = _count(syntax)
    if nodes > MAX_NODES:
        message = f"the expression has {nodes:,} nodes, {MAX_NODES:,} are allowed"
        raise SyntaxProblem(message, 0, len(text), limit=True)
    return syntax


@cache
def _parser() -> lark.Lark:
    return stored(grammar(), **CODE) or built()


def built() -> lark.Lark:
    """Make the parser from the grammar, which takes a quarter of a second."""
    return lark.Lark(
        grammar(),
        parser="lalr",
        start="expr",
        g_regex_flags=re.MULTILINE,
        keep_all_tokens=True,
        maybe_placeholders=False,
        priority="invert",
        **CODE,
    )


def grammar() -> str:
    """Return cel-python's grammar, with what this module needs.

    The steps that hold a single child give that child, which saves most of the tree. A list may
    end in a comma, as CEL has it (``Primary`` in the language definition); there it may not.
    """
    found: Any = find_spec("celpy")  # not imported: its import takes a while
    file = f"{found.submodule_search_locations[0]}/cel.lark"
    grammar = found.loader.get_data(file).decode()
    return f"{_STEPS.sub('?', grammar)}\n{_LISTS}\n"


_STEPS = re.compile(
    "^(?=(?:expr|conditionalor|conditionaland|relation|addition|multiplication|unary|member|primary"
    "|literal) )",
    re.MULTILINE,
)
_LISTS = """%override list_lit : "[" [expr ("," expr)*] [","] "]" """


def _bool_or_name(token: lark.Token) -> lark.Token:
    """Tell ``true`` and ``false`` from names, which the grammar cannot."""
    if token.value in {"true", "false"}:
        return lark.Token.new_borrow_pos("BOOL_LIT", token.value, token)
    return token


CODE: Final[dict[str, Any]] = {
    "lexer_callbacks": {"IDENT": _bool_or_name},
    "tree_class": _Part,
}
"""The parts of the parser that are code: its tables are kept without them."""


def _syntax_problem(text: str, problem: lark.exceptions.UnexpectedInput) -> SyntaxProblem:
    offset: int = getattr(problem, "pos_in_stream", None) or 0
    if isinstance(problem, lark.exceptions.UnexpectedToken):
        word = str(problem.token)
        if problem.token.type == "$END":
            end = len(text.rstrip())
            message = "the expression ends too early" if end else "the expression is empty"
            return SyntaxProblem(message, max(0, end - 1), end, remedies.at(text, len(text), ""))
        remedy = remedies.at(text, offset, word)
        return SyntaxProblem(f"unexpected {quote(word)}", offset, offset + len(word), remedy)
    character = text[offset : offset + 1]
    if character in {'"', "'"}:
        return SyntaxProblem("the string is not closed", offset, len(text))
    name = "backtick" if character == "`" else quote(character)
    if not character.isprintable():  # nobody would see it
        name = f"character U+{ord(character):04X}"
        return SyntaxProblem(f"unexpected {name}", offset, offset + 1, "remove it")
    return SyntaxProblem(
        f"unexpected {name}", offset, offset + 1, remedies.at(text, offset, character)
    )


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


def _fold(part: _Piece, depth: int = 0, links: int = 0) -> Syntax:
    """Turn lark's tree into ours.

    Args:
        part: what to turn.
        depth: how many levels of nesting are around it.
        links: how many operators of the chain that it is in, and of chains around, are around it.
    """
    if depth > MAX_DEPTH:
        message = f"the expression is nested deeper than {MAX_DEPTH} levels"
        raise SyntaxProblem(message, *_extent(part), limit=True)
    if links == MAX_CHAIN:
        message = f"the expression has more than {MAX_CHAIN} operators in a row"
        raise SyntaxProblem(message, *_extent(part), limit=True)
    if isinstance(part, lark.Token):
        return Syntax("literal", *_extent(part), str(part))
    if part.rule == "paren_expr":
        return _fold(part.children[1], depth + 1, links)
    return _fold_part(part, depth, links)


def _fold_part(part: _Part, depth: int, links: int) -> Syntax:
    rule, children, (start, end) = part.rule, part.children, _extent(part)
    if rule == "expr":
        test, good = _fold_all(children[0:3:2], depth, links)
        choice = (test, good, _link(part, children[4], depth, links))
        return Syntax("operator", start, end, "?:", choice)
    if rule in _CHAINS:
        operands = _fold_all(_chain(part), depth, links)
        return Syntax("operator", start, end, _CHAINS[rule], operands)
    if rule == "unary":
        operand = _fold(children[1], depth + 1, links)
        return Syntax("operator", start, end, _UNARY[children[0].rule], (operand,))
    if rule in {"relation", "addition", "multiplication"}:
        head, right = children
        left = _link(part, head.children[0], depth, links)
        operands = (left, _fold(right, depth + 1, links))
        return Syntax("operator", start, end, _BINARY[head.rule], operands)
    if rule == "list_lit":
        items = [child for child in children[1:-1] if not _is_comma(child)]
        return Syntax("list", start, end, "[]", _fold_all(items, depth, links))
    return _fold_names(part, depth, links)


def _fold_names(part: _Part, depth: int, links: int) -> Syntax:
    rule, children, (start, end) = part.rule, part.children, _extent(part)
    if rule == "ident":
        return Syntax("name", start, end, str(children[0]), (), start)
    if rule == "ident_arg":
        arguments = _fold_all(_arguments(children[2]), depth, links)
        return Syntax("call", start, end, str(children[0]), arguments, start)
    if rule not in {"member_dot", "member_dot_arg", "member_index"}:
        return Syntax("other", start, end, rule)
    receiver = _link(part, children[0], depth, links)
    if rule == "member_index":
        index = _fold(children[2], depth + 1, links)
        return Syntax("operator", start, end, "[]", (receiver, index))
    word = children[2]
    if rule == "member_dot":
        return Syntax("select", start, end, str(word), (receiver,), word.start_pos)
    operands = (receiver, *_fold_all(_arguments(children[4]), depth, links))
    return Syntax("method", start, end, str(word), operands, word.start_pos)


def _fold_all(parts: list[_Piece], depth: int, links: int) -> tuple[Syntax, ...]:
    return tuple([_fold(part, depth + 1, links) for part in parts])


def _link(part: _Part, operand: _Piece, depth: int, links: int) -> Syntax:
    """Fold an operand. One that continues the chain of its operator is nested no deeper."""
    if isinstance(operand, _Part) and _family(operand) == _family(part):
        return _fold(operand, depth, links + 1)
    return _fold(operand, depth + 1, links)


def _family(part: _Part) -> str:
    """Return the precedence of an operator: all of ``a.b``, ``a.b()`` and ``a[b]`` are members."""
    return part.rule.partition("_")[0]


def _chain(part: _Part) -> list[_Piece]:
    """Return the operands of ``a || b || c``, which the grammar nests to the left."""
    operands: list[_Piece] = []
    left: _Piece = part
    while isinstance(left, _Part) and left.rule == part.rule:
        left, _, right = left.children
        operands.append(right)
    return [left, *reversed(operands)]


def _arguments(part: _Piece) -> list[_Piece]:
    """Return the expressions of a list of arguments; the bracket that closes it has none."""
    return part.children[::2] if isinstance(part, _Part) else []


def _is_comma(part: _Piece) -> bool:
    return isinstance(part, lark.Token) and part.type == "COMMA"


def _extent(part: _Piece) -> tuple[int, int]:
    return part.start_pos or 0, part.end_pos or 0


def _count(syntax: Syntax) -> int:
    """Count the nodes; a name is one, dots included."""
    count, pending = 0, [syntax]
    while pending:
        top = pending.pop()
        count += 1
        while top.kind == "select":
            top = top.children[0]
            count += top.kind not in {"select", "name"}
        pending.extend(top.children)
    return count
