"""One layout for YAML files: only the white space between their tokens changes.

Every token and every comment stays, in its order and letter by letter, and so does each break
between two lines of values. What changes is how far a line is indented (two spaces a level), the
blanks inside a line, and the number of empty lines. Values that stand in one column stay in one,
and so do comments at the ends of lines. In the embedded form, only what stands under
``delegation`` is touched.

Source: YAML 1.2.2, chapters 6 to 8, https://yaml.org/spec/1.2.2/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from policy_router.diagnostics.codes import Severity
from policy_router.diagnostics.model import Diagnostic, SourceFile
from policy_router.policy.yaml.nodes import Document, Node, ScalarNode, SequenceNode
from policy_router.policy.yaml.pieces import LINE_BREAK, STEP, Piece, pieces_of
from policy_router.policy.yaml.reader import read
from policy_router.policy.yaml.remarks import remarks


def formatted(name: str, content: str | bytes) -> tuple[str | None, tuple[Diagnostic, ...]]:
    """Return a rule file, or a suite of tests, in the one layout.

    Args:
        name: how the file is called in diagnostics.
        content: its bytes, or its text.

    Returns:
        The text, without a byte order mark; None where the file has errors of YAML, which come
        second.
    """
    document, found = read(name, content)
    errors = tuple(item for item in found if item.severity is Severity.ERROR)
    if document is None or errors:
        return None, errors
    source = document.source
    text = _laid_out(document)
    again, _ = read(name, text)
    if again is None or not _is_same(document, again):
        message = f"the layout would change the meaning of {source.name}"
        raise AssertionError(message)
    return text, ()


def _is_same(one: Document, other: Document) -> bool:
    """Tell whether two files hold the same values in the same order, and the same comments."""
    if list(_values(one.root)) != list(_values(other.root)):
        return False
    return _comments(one.source) == _comments(other.source)


def _comments(source: SourceFile) -> list[str]:
    return [source.text[it.start : it.end].rstrip(" \t") for it in remarks(source)]


def _values(node: Node) -> Iterator[object]:
    """Yield what a tree holds in its order."""
    if isinstance(node, ScalarNode):
        yield type(node.value), node.value
    elif isinstance(node, SequenceNode):
        yield "list", len(node.items)
        for item in node.items:
            yield from _values(item)
    else:
        yield "mapping", len(node.pairs)
        for pair in node.pairs:
            yield pair.key.text
            yield from _values(pair.value)


@dataclass(slots=True)
class _Line:
    """A line of the file, or the lines of one long scalar.

    Attributes:
        pieces: what stands on it.
        is_apart: whether an empty line is above it.
        value_column: the least column of its value.
        comment_column: the least column of the comment at its end.
    """

    pieces: list[Piece]
    is_apart: bool
    value_column: int = 0
    comment_column: int = 0

    @property
    def comment(self) -> Piece | None:
        """The comment at its end."""
        is_comment = len(self.pieces) > 1 and self.pieces[-1].kind == "comment"
        return self.pieces[-1] if is_comment else None

    @property
    def value(self) -> int:
        """Where in ``pieces`` the value of a key of a block mapping stands; 0 if nowhere."""
        for index, (colon, after) in enumerate(pairwise(self.pieces), 1):
            if colon.kind == ":" and colon.inner is None and after.kind != "comment":
                return index
        return 0

    def layout(self, end: int | None = None) -> str:
        """Return the layout of its first pieces; of all but the comment, if no end is given."""
        end = len(self.pieces) - (self.comment is not None) if end is None else end
        text = " " * self.pieces[0].indent + self.pieces[0].text
        for index, (before, piece) in enumerate(pairwise(self.pieces[:end]), 1):
            text += _gap(before, piece)
            if index == self.value:
                text = text.ljust(self.value_column)
            text += piece.text
        return text


def _gap(before: Piece, after: Piece) -> str:
    """Return what stands between two pieces of one line."""
    if before.kind == ":":
        return " "  # even before a comma: `a:,` would be a word
    is_close = before.kind == "open" or after.kind in {":", ",", "close"}
    return "" if is_close else " "


def _laid_out(document: Document) -> str:
    """Return the text of a file in its new layout."""
    text = document.source.text
    pieces = list(pieces_of(document))
    lines = list(_lines(text, pieces))
    _align_values(lines)
    _align_comments(lines)
    shown = "\n".join(_shown(lines))
    found = LINE_BREAK.search(text)
    newline = found.group() if found else "\n"
    if document.key is not None:
        colon = pieces[0]
        shown = shown[colon.indent :].replace("\n", newline)
        return text[: colon.start] + shown + text[pieces[-1].end :]
    # One more line end would belong to a block that ends the file (YAML 1.2.2, 8.1.1.2).
    is_open = pieces[-1].text[:1] in {"|", ">"} and text[-1:] not in {"\r", "\n"}
    return (shown if is_open else f"{shown}\n").replace("\n", newline)


def _lines(text: str, pieces: Iterable[Piece]) -> Iterator[_Line]:
    """Yield the lines of pieces: a line ends where it did."""
    line: _Line | None = None
    for piece in pieces:
        breaks = len(LINE_BREAK.findall(text, line.pieces[-1].end, piece.start)) if line else 0
        if line is not None and not breaks:
            line.pieces.append(piece)
            continue
        if line is not None:
            yield line
        line = _Line([piece], is_apart=breaks > 1)
    if line is not None:
        yield line


def _align_values(lines: list[_Line]) -> None:
    """Let values that stand in one column stand in one, as far to the left as they can."""

    def place(line: _Line) -> tuple[int, int] | None:
        index = line.value
        return (line.pieces[index].column, line.pieces[index].blocks[-1].column) if index else None

    for group in _groups(lines, place):
        column = max(len(line.layout(line.value)) for line in group) + 1
        for line in group:
            line.value_column = column


def _align_comments(lines: list[_Line]) -> None:
    """Let comments at the ends of lines stay in their column, or go together to one behind it."""
    for group in _groups(lines, lambda it: it.comment.column if it.comment else None):
        ends = [len(line.layout().rpartition("\n")[2]) for line in group]
        for line in group:
            assert line.comment is not None  # noqa: S101 - so they were grouped
            line.comment_column = max(line.comment.column, max(ends) + STEP)


def _groups(lines: list[_Line], place: Callable[[_Line], Any]) -> Iterator[list[_Line]]:
    """Yield the neighbouring lines that have the same place, if they have one."""
    group: list[_Line] = []
    last = None
    for line in lines:
        here = place(line)
        if group and (here != last or line.is_apart):
            yield group
            group = []
        group += [line] if here is not None else []
        last = here
    if group:
        yield group


def _shown(lines: list[_Line]) -> Iterator[str]:
    for number, line in enumerate(lines):
        if line.is_apart and number:
            yield ""
        code, comment = line.layout(), line.comment
        begin, end, last = code.rpartition("\n")
        yield f"{begin}{end}{last.ljust(line.comment_column)}{comment.text}" if comment else code
