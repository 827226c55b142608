"""Our typed tree to the tree that the evaluator interprets, without a parser."""

from __future__ import annotations

from typing import Any, Final

import lark
from celpy import celtypes

from policy_router.cel.ast import (
    Apply,
    Attribute,
    ListOf,
    Literal,
    Loop,
    LoopVariable,
    Node,
    Present,
)
from tests.support.oracles.celpy_oracle.evaluator import MACROS
from tests.support.oracles.celpy_oracle.functions import FUNCTIONS
from tests.support.oracles.celpy_oracle.values import bound

_OPERATORS: Final = {"||": "conditionalor", "&&": "conditionaland", "?:": "expr"}


def lowered(node: Node) -> lark.Tree[Any]:
    """Turn our tree into the evaluator's."""
    match node:
        case Literal():
            tree = lark.Tree[Any]("constant", [bound(node.value)])
        case Attribute() | Present():
            kind = "attribute" if isinstance(node, Attribute) else "present"
            tree = lark.Tree[Any](kind, list(_split(node.path)))
        case LoopVariable():
            tree = lark.Tree[Any]("element", [node.name])
        case ListOf():
            tree = _lowered_list([lowered(item) for item in node.items])
        case Loop():
            walk = [lowered(node.source), lowered(node.body)]
            tree = lark.Tree[Any]("macro", [MACROS[node.macro], node.variable, *walk])
        case Apply():
            tree = _lowered_call(node)
        case _:
            raise TypeError(node)
    return tree


def _lowered_list(items: list[lark.Tree[Any]]) -> lark.Tree[Any]:
    """Turn a list into a constant if all its elements are."""
    if all(item.data == "constant" for item in items):
        constants: list[Any] = [item.children[0] for item in items]
        return lark.Tree("constant", [celtypes.ListType(constants)])
    return lark.Tree("list_lit", list(items))


def _lowered_call(node: Apply) -> lark.Tree[Any]:
    """Turn an operator or a function into the evaluator's node."""
    arguments = _chain(node) if node.function in {"||", "&&"} else node.arguments
    operands: list[Any] = [lowered(argument) for argument in arguments]
    if node.function in _OPERATORS:
        return lark.Tree(_OPERATORS[node.function], operands)
    return lark.Tree("call", [FUNCTIONS[node.function], *operands])


def _chain(node: Apply) -> list[Node]:
    """Return all operands of a chain such as ``a || b || c``, which may be long but not deep."""
    operands: list[Node] = []
    pending: list[Node] = [node]
    while pending:
        top = pending.pop()
        if isinstance(top, Apply) and top.function == node.function:
            pending.extend(reversed(top.arguments))
        else:
            operands.append(top)
    return operands


def _split(path: str) -> tuple[str, str]:
    """Split a path into its root and the rest."""
    root, _, rest = path.partition(".")
    return root, rest
