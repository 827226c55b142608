"""The checker's part for functions with a namespace: ``math.least(1, 2)``, ``cel.bind(...)``."""

from __future__ import annotations

from dataclasses import replace

from policy_router.cel.ast import Bind, BoundName, ListOf, Node
from policy_router.cel.calls import (
    applied,
    instead_of,
    new_name,
    unknown_function,
    word_of,
)
from policy_router.cel.checking import Checked, Scope, Walk
from policy_router.cel.functions import FUNCTIONS, NAMESPACES
from policy_router.cel.operators import in_closed_set, mixes_numbers
from policy_router.cel.parser import Syntax
from policy_router.cel.vocabulary import Paths
from policy_router.diagnostics.codes import Code

_BIND = "cel.bind"


def is_namespaced(syntax: Syntax) -> bool:
    """Tell whether what looks like a method is a function with a namespace."""
    receiver = syntax.children[0]
    return receiver.kind == "name" and receiver.word in NAMESPACES


def check_namespaced(walk: Walk, syntax: Syntax, scope: Scope) -> Checked:
    """Check a function with a namespace."""
    namespace, *arguments = syntax.children
    name = f"{namespace.word}.{syntax.word}"
    if name == _BIND:
        return _bind(walk, syntax, scope)
    if name not in FUNCTIONS:
        known = [it for it in (*FUNCTIONS, _BIND) if it.startswith(f"{namespace.word}.")]
        place = (syntax.start, word_of(syntax)[1])
        return unknown_function(walk, name, place, _remedy(syntax.word, name, known))
    call = replace(syntax, word=name, children=tuple(arguments))
    operands = walk.operands(call, scope)
    if operands is None or any(mixes_numbers(walk, [operands[0], it]) for it in operands[1:]):
        return Checked(None)
    if namespace.word == "sets" and not _alike(walk, call, operands):
        return Checked(None)
    return applied(walk, call, operands, FUNCTIONS[name])


def _remedy(word: str, name: str, known: list[str]) -> str | None:
    """Name the function that is meant, or those that the namespace has."""
    return instead_of(word, ()) or instead_of(name, known) or f"there is `{'`, `'.join(known)}`"


def _alike(walk: Walk, call: Syntax, operands: list[Node]) -> bool:
    """Check that two lists can have elements in common."""
    for one, other in (operands, operands[::-1]) if len(operands) == 2 else ():  # noqa: PLR2004
        if not one.type.accepts(other.type):
            message = f"`{call.word}` cannot compare {operands[0].type} with {operands[1].type}"
            walk.report(Code.TYPE_MISMATCH, message, call)
            return False
        elements = other.items if isinstance(other, ListOf) else ()
        if not all([in_closed_set(walk, one, it) for it in elements]):  # noqa: C419 - all are reported
            return False
    return True


def _bind(walk: Walk, syntax: Syntax, scope: Scope) -> Checked:
    """Check ``cel.bind(name, value, body)``: the name tells what its value does."""
    match syntax.children:
        case (_, Syntax(kind="name") as name, given, inner):
            pass
        case _:
            message = f"`{_BIND}` is written `{_BIND}(name, value, expression)`"
            return walk.report(Code.OUTSIDE_PROFILE, message, syntax)
    word = new_name(walk, name, scope, "bound name")
    value = walk.visit(given, scope)
    if word is None or value.node is None:
        return Checked(None)
    bound = value._replace(node=BoundName(value.node.type, 0, 0, word))
    body = walk.visit(inner, scope.naming(word, bound))
    if body.node is None:
        return Checked(None)
    node = Bind(body.node.type, syntax.start, syntax.end, word, value.node, body.node)
    return Checked(node, _outliving(body.present_if_true), _outliving(body.present_if_false))


def _outliving(paths: Paths) -> Paths:
    """Leave out what is known of a key in a table, since the bound name may be part of the key."""
    return frozenset(path for path in paths if "[" not in path)
