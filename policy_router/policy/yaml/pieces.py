"""The tokens and the comments of a YAML file, each with the place that it gets in one layout.

Source: YAML 1.2.2, chapters 6 to 8, https://yaml.org/spec/1.2.2/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from policy_router.diagnostics.model import SourceFile
from policy_router.policy.yaml.nodes import Document
from policy_router.policy.yaml.parser import LOADER, Neutral

STEP: Final = 2
"""Columns by which a level is indented, and the least before a comment at the end of a line."""
LINE_BREAK = re.compile(r"\r\n|\r|\n")
_COMMENT = re.compile(r"[ \t\r\n]*+(#[^\r\n]*+)")
_LINE = re.compile(r"([^\r\n]*+)(?:\r\n|\r|\n|\Z)")
_BLOCK_HEADER = re.compile(r"[|>][+-]?([1-9]?)")
_OPENS = {yaml.BlockMappingStartToken, yaml.BlockSequenceStartToken}
_SIGNS = {
    yaml.BlockEntryToken: "-",
    yaml.KeyToken: "?",
    yaml.ValueToken: ":",
    yaml.FlowEntryToken: ",",
    yaml.FlowMappingStartToken: "open",
    yaml.FlowSequenceStartToken: "open",
    yaml.FlowMappingEndToken: "close",
    yaml.FlowSequenceEndToken: "close",
    yaml.ScalarToken: "scalar",
    yaml.DirectiveToken: "mark",
    yaml.DocumentStartToken: "mark",
    yaml.DocumentEndToken: "mark",
}


def pieces_of(document: Document) -> Iterator[Piece]:
    """Yield the tokens of a file, of an embedded policy with the ``:`` before it, and the comments.

    Comments behind an embedded policy are taken as far as they are indented like it.
    """
    tokens = list(_Walk(document).pieces())
    return _with_comments(document.source, tokens, is_native=document.key is None)


@dataclass(frozen=True, slots=True)
class Block:
    """A block collection that is open.

    Attributes:
        column: the column that it has.
        indent: the column that it gets.
        is_list: whether it is a list.
        is_at_key: whether it is a list in the column of its own key (YAML 1.2.2, 8.2.1).
    """

    column: int
    indent: int
    is_list: bool = False
    is_at_key: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """A token or a comment.

    Attributes:
        kind: one of the words in ``_SIGNS``, or ``comment``.
        start: its offset in the file.
        end: the offset after it.
        text: what it is written as, in its new layout; a line end is always one character.
        column: the column where it stands.
        indent: the column that it gets if it begins a line.
        blocks: the block collections that are open after it.
        inner: the column of further lines, if a flow collection is open after it; else None.
    """

    kind: str
    start: int
    end: int
    text: str
    column: int
    indent: int
    blocks: tuple[Block, ...]
    inner: int | None


def _with_comments(source: SourceFile, pieces: list[Piece], *, is_native: bool) -> Iterator[Piece]:
    before: Piece | None = None
    start = 0 if is_native else pieces[0].start
    for after in pieces:
        for found in _COMMENT.finditer(source.text, start, after.start):
            yield _comment(source, found.span(1), before, after)
        yield after
        before, start = after, after.end
    while behind := _COMMENT.match(source.text, start):
        comment = _comment(source, behind.span(1), before, None)
        if not is_native and comment.column <= pieces[0].blocks[0].column:
            return
        yield comment
        start = comment.end


def _comment(
    source: SourceFile, span: tuple[int, int], before: Piece | None, after: Piece | None
) -> Piece:
    column = source.position(span[0])[1] - 1
    indent = _comment_indent(column, before, after)
    text = source.text[slice(*span)].rstrip(" \t")
    return Piece("comment", *span, text, column, indent, (), None)


def _comment_indent(column: int, before: Piece | None, after: Piece | None) -> int:
    """Return the column of a comment that stands on a line of its own.

    It goes with what comes after it; behind the end of a block, with that block if it stands as
    far to the right.
    """
    if before is not None and before.inner is not None:
        return before.inner
    opened, next_ = before.blocks if before else (), after.blocks if after else ()
    if after is not None and len(next_) >= len(opened):
        return after.indent
    inside = opened[max(len(next_), 1) :]
    columns = [it.indent for it in inside if it.column <= column and not it.is_at_key]
    return max([*columns, next_[-1].indent if next_ else 0])


class _Walk:
    """Goes along the tokens of a file, and knows which collections are open."""

    def __init__(self, document: Document) -> None:
        self.text = document.source.text
        self.document = document
        self.blocks: tuple[Block, ...] = ()
        self.flows: list[int] = []  # the indent of the line on which each was opened
        self.last_end = self.line_indent = 0
        self.is_key = self.is_ours = False

    def pieces(self) -> Iterator[Piece]:
        """Yield the pieces that get a layout; of an embedded policy first the ``:`` before it."""
        span, is_native = self.document.root.span, self.document.key is None
        before: Piece | None = None
        for token in _tokens(self.text):
            start = token.start_mark.index
            self.is_ours = is_native or span.start <= start < span.end
            piece = self._piece(token)
            if piece is not None and self.is_ours:
                yield from (it for it in (before, piece) if it)
                before = None
            elif piece is not None and start < span.start:
                before = piece

    def _piece(self, token: Any) -> Piece | None:
        """Take a token, and return its piece, or None where it has no width."""
        start, end = token.start_mark.index, token.end_mark.index
        self._follow(type(token), token.start_mark.column)
        kind = _SIGNS.get(type(token))
        if kind is None or start == end:
            return None
        indent = self._indent(kind) if self.is_ours else token.start_mark.column
        if not self.last_end or LINE_BREAK.search(self.text, self.last_end, start):
            self.line_indent = indent
        self.is_key = False
        text = self.text[start:end].rstrip(" \t")
        if kind == "open":
            self.flows.append(self.line_indent)
        elif kind == "close":
            self.flows.pop()
        elif kind == "scalar":
            text, end = self._scalar(start, end)
        self.last_end = end
        inner = self._inner() if self.flows else None
        return Piece(kind, start, end, text, token.start_mark.column, indent, self.blocks, inner)

    def _follow(self, kind: type, column: int) -> None:
        """Follow which block collections are open."""
        if kind in _OPENS:
            self._open(column, is_list=kind is yaml.BlockSequenceStartToken)
        elif kind is yaml.BlockEntryToken and not self.blocks[-1].is_list:
            self._open(column, is_list=True, is_at_key=True)
        elif kind is yaml.KeyToken or kind is yaml.BlockEndToken:
            self.is_key = kind is yaml.KeyToken
            if not self.flows and self.blocks[-1].is_at_key:
                self.blocks = self.blocks[:-1]
            if kind is yaml.BlockEndToken:
                self.blocks = self.blocks[:-1]

    def _open(self, column: int, *, is_list: bool, is_at_key: bool = False) -> None:
        indent = self.blocks[-1].indent + STEP if self.blocks else 0
        block = Block(column, indent if self.is_ours else column, is_list, is_at_key)
        self.blocks = (*self.blocks, block)

    def _indent(self, kind: str) -> int:
        """Return the column of a piece that begins a line."""
        if kind == "close":
            return max(self.flows[-1], self.blocks[-1].indent + STEP if self.blocks else 0)
        if self.flows:
            return self._inner()
        if not self.blocks or kind == "mark":
            return 0
        block = self.blocks[-1]
        begins = kind == "-" if block.is_list else kind in {"?", ":"} or self.is_key
        return block.indent if begins else block.indent + STEP

    def _inner(self) -> int:
        """Return the column of a further line of a collection or of a scalar."""
        line = [self.flows[-1]] if self.flows else []
        block = [self.blocks[-1].indent] if self.blocks else []
        return max(*line, *block, 0, 0) + STEP

    def _scalar(self, start: int, end: int) -> tuple[str, int]:
        """Return the layout of a scalar, and where it ends."""
        text = self.text[start:end]
        header = _BLOCK_HEADER.match(text)
        if header is None:
            return _folded(text, " " * self._inner()), end
        lines = [(it.group(1), start + it.end(1)) for it in _LINE.finditer(text)]
        block, digit = self.blocks[-1], int(header.group(1) or 0)
        first = next((line for line, _ in lines[1:] if line.strip(" ")), "")
        old = block.column + digit if digit else len(first) - len(first.lstrip(" "))
        new = " " * (block.indent + (digit or STEP))
        shown = [new + it[old:] if len(it) > old or it.strip(" ") else "" for it, _ in lines]
        shown[0] = lines[0][0].rstrip(" \t")
        keeps = "+" in lines[0][0].partition("#")[0]
        count = len(shown) - 1 if keeps and not shown[-1] else len(shown)
        while count > 1 and not keeps and not shown[count - 1]:
            count -= 1
        return "\n".join(shown[:count]), lines[count - 1][1]


def _folded(text: str, indent: str) -> str:
    """Return a plain or quoted scalar with its further lines indented."""
    first, *lines = LINE_BREAK.split(text)
    edge = "" if text.startswith('"') else " \t"  # behind a backslash, a blank is a character
    more = [indent + it.lstrip(" \t") for it in lines]
    return "\n".join(it.rstrip(edge) if it.strip(" \t") else "" for it in [first, *more])


def _tokens(text: str) -> Iterator[Any]:
    loader = LOADER(Neutral.of(text).text)
    try:
        while loader.check_token():
            yield loader.get_token()
    finally:
        loader.dispose()
