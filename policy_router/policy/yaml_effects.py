"""What YAML makes of a condition before CEL reads it: joined lines, escapes, a cut value."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import Diagnostic
from policy_router.policy.sections import Piece
from policy_router.policy.yaml import MappingNode, Node, ScalarNode

CUT_BY_COMMA = "in `{ }` a comma ends the value: quote the expression"
"""In a flow mapping a comma ends a value (YAML 1.2.2, 7.4.2)."""
CUT_BY_COMMENT = "` #` begins a comment in YAML: quote the expression"

_LITERAL_OR_COMMENT = re.compile(
    r"""(?xs)
      (?:[rR][bB]?|[bB][rR]) (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\n]*" | '[^'\n]*' )
    | \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
    | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'
    | (?P<comment>//)
    """
)
"""A text literal, raw or not, or where a comment begins."""
_COMMA = re.compile(r"\s*,")
_COMMENT = re.compile(r"[ \t]+#")
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


def is_cut(node: Node) -> bool:
    """Tell whether a value ends at a comma while a parenthesis is open."""
    if not isinstance(node, ScalarNode) or not node.plain or _open(node.text) <= 0:
        return False
    return _COMMA.match(node.source.text, node.end) is not None


def is_commented(node: Node) -> bool:
    """Tell whether a value ends at a comment while a quote is open."""
    if not isinstance(node, ScalarNode) or not node.plain:
        return False
    is_open = any(node.text.count(quote) % 2 for quote in "\"'")
    return is_open and _COMMENT.match(node.source.text, node.end) is not None


def cut_off(mapping: MappingNode) -> Iterator[str]:
    """Yield the keys of a mapping that are the rest of a value before them."""
    depth = 0
    for pair in mapping.pairs:
        if depth > 0 and pair.value.span.start == pair.value.span.end:
            yield pair.key.text
            depth += _open(pair.key.text)
        else:
            value = pair.value
            depth = _open(value.text) if isinstance(value, ScalarNode) and is_cut(value) else 0


def _open(text: str) -> int:
    return sum(text.count(bracket) for bracket in "([") - sum(text.count(end) for end in ")]")
