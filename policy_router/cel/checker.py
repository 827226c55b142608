"""The static checker: names, types, guards and closed sets, all problems in one walk.

A condition that passes can fail when it is evaluated only by arithmetic: overflow, division by
zero, a conversion, an index, the least or greatest of no numbers, or a text or list too long.
"""

from __future__ import annotations

from policy_router.cel import literals
from policy_router.cel.ast import (
    BOOL,
    DOUBLE,
    EMPTY_LIST,
    INT,
    STRING,
    ListOf,
    Literal,
    Type,
)
from policy_router.cel.calls import check_call, check_loop, check_method
from policy_router.cel.checking import EMPTY_IN_LIST, Checked, Problem, Scope, Walk
from policy_router.cel.functions import MACROS
from policy_router.cel.names import check_name
from policy_router.cel.namespaces import check_namespaced, is_namespaced
from policy_router.cel.operators import check_operator, mixes_numbers
from policy_router.cel.parser import Syntax, SyntaxProblem, parse
from policy_router.cel.remedies import NAMES
from policy_router.cel.vocabulary import Vocabulary
from policy_router.diagnostics.codes import Code

__all__ = ["Checked", "Problem", "check"]


def check(text: str, vocabulary: Vocabulary) -> tuple[Checked, tuple[Problem, ...]]:
    """Parse and check an expression.

    Args:
        text: the expression.
        vocabulary: the names it may use.

    Returns:
        The typed tree with what it tells about optional names, and all problems found.
    """
    try:
        syntax = parse(text)
    except SyntaxProblem as problem:
        code = Code.LIMIT_EXCEEDED if problem.limit else Code.CEL_SYNTAX
        return Checked(None), (
            Problem(code, problem.message, problem.start, problem.end, problem.help),
        )
    walk = _Walk(vocabulary)
    return walk.visit(syntax, Scope()), tuple(walk.problems)


class _Walk(Walk):
    """The walk, with the part of the checker for each kind of piece."""

    def visit(self, syntax: Syntax, scope: Scope) -> Checked:
        """Check a piece by its kind."""
        match syntax.kind:
            case "literal":
                return _literal(self, syntax)
            case "name" | "select":
                return check_name(self, syntax, scope)
            case "list":
                return _list_of(self, syntax, scope)
            case "call":
                return check_call(self, syntax, scope)
            case "method" if is_namespaced(syntax):
                return check_namespaced(self, syntax, scope)
            case "method" if syntax.word in MACROS:
                return check_loop(self, syntax, scope)
            case "method":
                return check_method(self, syntax, scope)
            case "operator":
                return check_operator(self, syntax, scope)
        message = "maps, messages and names with a leading dot are outside the profile of CEL"
        return self.report(Code.OUTSIDE_PROFILE, message, syntax)


def _literal(walk: Walk, syntax: Syntax) -> Checked:
    try:
        value = literals.value_of(syntax.word)
    except literals.LiteralProblem as problem:
        code = Code.OUTSIDE_PROFILE if "outside" in str(problem) else Code.BAD_LITERAL
        remedy = NAMES.get(syntax.word)
        if "unknown escape" in str(problem):
            remedy = 'double the backslash, or write a raw text: `r"..."`'
        return walk.report(code, str(problem), syntax, remedy)
    if isinstance(value, str) and "\0" in value:
        return walk.report(Code.BAD_LITERAL, "a NUL character is not allowed in a string", syntax)
    return Checked(Literal(_type_of(value), syntax.start, syntax.end, value))


def _list_of(walk: Walk, syntax: Syntax, scope: Scope) -> Checked:
    items = [walk.visit(child, scope).node for child in syntax.children]
    nodes = [item for item in items if item is not None]
    if len(nodes) < len(items):
        return Checked(None)
    element = nodes[0].type if nodes else None
    for node in nodes:
        if node.type == EMPTY_LIST:
            return walk.report(Code.OUTSIDE_PROFILE, EMPTY_IN_LIST, node)
        if element and mixes_numbers(walk, [nodes[0], node]):
            return Checked(None)
        if element and not element.accepts(node.type):
            message = f"a list of {element} cannot hold {node.type}"
            return walk.report(Code.TYPE_MISMATCH, message, node)
    type_ = Type("list", element) if element else EMPTY_LIST
    return Checked(ListOf(type_, syntax.start, syntax.end, tuple(nodes)))


def _type_of(value: object) -> Type:
    if isinstance(value, bool):
        return BOOL
    if isinstance(value, str):
        return STRING
    return INT if isinstance(value, int) else DOUBLE
