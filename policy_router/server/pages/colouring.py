"""Rule files and conditions with colours, for a reader: nothing is decided by what is found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from policy_router.diagnostics.model import printable

_CEL: Final = re.compile(
    r"""(?P<s>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<n>\b\d[\d_.]*\b|\b(?:true|false|null)\b)"""
    r"""|(?P<o>&&|\|\||[!=<>]=?|\?|\bin\b)"""
    r"""|(?P<k>\b[A-Za-z_]\w*(?:\.\w+)+)"""
)
_KEY: Final = re.compile(r"""(?P<lead>\s*(?:-\s+)*)(?P<key>[\w."$-]+)(?P<colon>:)(?=\s|$)""")
_COMMENT: Final = re.compile(r"(?:^|\s)#.*$")
_FLOW_KEY: Final = re.compile(r"(?P<k>[\w-]+)(?=:\s)|(?P<rest>[^\w-]+|[\w-]+)")
_CONDITIONS: Final = frozenset({"when", "pick", "allow", "order_by", "assert", "assume"})
Piece = tuple[str, str]
"""A part of a line: the name of its colour, which may be empty, and its text."""


def cel_pieces(text: str) -> Iterator[Piece]:
    """Yield the parts of a condition."""
    done = 0
    for match in _CEL.finditer(text):
        if match.start() > done:
            yield "", printable_line(text[done : match.start()])
        yield match.lastgroup or "", printable_line(match[0])
        done = match.end()
    if done < len(text):
        yield "", printable_line(text[done:])


def yaml_lines(text: str) -> Iterator[list[Piece]]:
    """Yield the parts of each line of a rule file; conditions in it have the colours of CEL."""
    is_condition, indent = False, 0
    for line in text.splitlines():
        depth = len(line) - len(line.lstrip())
        match = _KEY.match(line)
        if is_condition and line.strip() and depth <= indent:
            is_condition = False
        if match is None or is_condition:
            yield list(cel_pieces(line)) if is_condition else list(_value(line))
            continue
        indent, rest = depth, line[match.end() :]
        is_block = rest.strip() in {"|", ">", "|-", ">-", ""}
        name = match["key"].strip('"')
        is_condition = name in _CONDITIONS and is_block
        spelt = cel_pieces if name in _CONDITIONS and not is_block else _value
        key = [("", match["lead"]), ("k", printable(match["key"])), ("", ":")]
        yield [*key, *spelt(rest)]


def _value(text: str) -> Iterator[Piece]:
    comment = _COMMENT.search(text)
    body = text if comment is None else text[: comment.start()]
    for match in _FLOW_KEY.finditer(body):
        yield ("k" if match["k"] else ""), printable_line(match[0])
    if comment is not None:
        yield "c", printable_line(comment[0])


def printable_line(text: str) -> str:
    """Return a part of a line, safe to print; blanks stay."""
    return printable(text.replace("\t", "    "))
