"""Comments of CEL in conditions: one ends with its line, where YAML leaves the lines apart."""

from __future__ import annotations

import re
from dataclasses import replace

from policy_router.diagnostics.model import Code, Diagnostic
from policy_router.policy.sections import Piece
from policy_router.policy.yaml import ScalarNode

_LITERAL_OR_COMMENT = re.compile(
    r"""(?xs)
      (?:[rR][bB]?|[bB][rR]) (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*" | '[^'\n]*' )
    | \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
    | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'
    | (?P<comment>//)
    """
)
"""A text literal, raw or not, or where a comment begins."""


def swallowing(piece: Piece) -> Diagnostic | None:
    """Return the error for a comment in lines that YAML joins: it would swallow the rest."""
    node = piece.node
    if not isinstance(node, ScalarNode) or "//" not in node.text or node.is_literal_block:
        return None
    comments = (it for it in _LITERAL_OR_COMMENT.finditer(node.text) if it["comment"])
    comment = next(comments, None)
    end = len(node.text.rstrip())
    first, last = node.span_of(0, 1), node.span_of(end - 1, end)
    if comment is None or first.position[0] == last.position[0]:
        return None
    message = "the comment hides the rest of the condition, since YAML joins these lines"
    remedy = "write the condition as a literal block (`|`), or leave the comment out"
    found = piece.error(Code.SWALLOWING_COMMENT, message, remedy)
    return replace(found, span=node.span_of(*comment.span()))
