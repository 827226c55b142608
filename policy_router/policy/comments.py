"""Changes that YAML makes to a condition before CEL reads it: joined lines, control characters."""

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
_CONTROL = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")
_ESCAPES = {"\a": "\\a", "\b": "\\b", "\v": "\\v", "\f": "\\f", "\x1b": "\\e"}
"""Characters that YAML has short escapes for, most of which mean something else in a pattern."""


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


def control_character(piece: Piece) -> Diagnostic | None:
    """Return the warning for a control character, which an escape of YAML leaves in a condition."""
    node = piece.node
    if not isinstance(node, ScalarNode) or (control := _CONTROL.search(node.text)) is None:
        return None
    escape = _ESCAPES.get(control.group(), f"\\x{ord(control.group()):02x}")
    message = f"this is a control character, since YAML reads `{escape}` in double quotes"
    remedy = "put the condition in single quotes, which leave backslashes alone"
    found = piece.warning(Code.CONTROL_CHARACTER, message, remedy)
    return replace(found, span=node.span_of(*control.span()))
