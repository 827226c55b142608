"""Expressions that YAML cuts in two: a comma in a flow mapping (YAML 1.2.2, 7.4.2), a comment."""

from __future__ import annotations

import re
from collections.abc import Iterator

from policy_router.policy.yaml import MappingNode, Node, ScalarNode

CUT_BY_COMMA = "in `{ }` a comma ends the value: quote the expression"
CUT_BY_COMMENT = "` #` begins a comment in YAML: quote the expression"

_COMMA = re.compile(r"\s*,")
_COMMENT = re.compile(r"[ \t]+#")


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
