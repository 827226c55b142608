"""The nodes of a file that was read: what each means, and where each of its characters stands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

from policy_router.diagnostics.model import SourceFile, Span

# What a scalar means, by the core schema (YAML 1.2.2, 10.3).

Value: TypeAlias = bool | int | float | str | None
"""What a scalar can mean."""

SHOWN_KINDS = {type(None): "null", bool: "a boolean", int: "a number", float: "a number"}
"""How a message names what is not a string."""

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBER_STARTS = frozenset("0123456789+-.")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_LONGEST_INTEGER = 30
_BASES = {"0o": 8, "0x": 16}


class BadNumberError(Exception):
    """A number that no policy can mean; the message says why."""


def resolved(text: str) -> Value:
    """Return what a plain scalar means (YAML 1.2.2, 10.3.2)."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if _INTEGER.fullmatch(text):
        return _integer(text)
    return _float(text) if _FLOAT.fullmatch(text) else text


def _integer(text: str) -> int:
    base = _BASES.get(text[:2], 10)
    sign = "-" if text[0] == "-" else ""
    digits = (text[2:] if base != 10 else text.lstrip("+-")).lstrip("0") or "0"  # noqa: PLR2004
    value = int(sign + digits, base) if len(digits) <= _LONGEST_INTEGER else 1 << 64
    if not -(1 << 63) <= value < 1 << 63:
        message = "the integer does not fit into 64 bits"
        raise BadNumberError(message)
    return value


def _float(text: str) -> float:
    if text[-1] in "fFnN":
        message = "a number must be finite"
        raise BadNumberError(message)
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        message = "the number is too large"
        raise BadNumberError(message)
    return value


@lru_cache(maxsize=1024)  # the keys of a file are few words, many times
def kind_of_key(text: str) -> str | None:
    """Return what a plain key is where it is not a string."""
    try:
        return SHOWN_KINDS.get(type(resolved(text)))
    except BadNumberError:
        return "a number"


# The tree.


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A scalar and where it stands.

    Attributes:
        value: what it means; 1 stands in for a number that was reported.
        text: the string as YAML decoded it.
        plain: whether it is written without quotes and not as a block.
        source: the file.
        start: offset of its first character, quotes and block header included.
        end: offset after its last character.
    """

    value: Value
    text: str
    plain: bool
    source: SourceFile = field(repr=False)
    start: int
    end: int

    @property
    def span(self) -> Span:
        """From its first to its last character, quotes and block header included."""
        return Span(self.source, self.start, self.end)

    @property
    def is_literal_block(self) -> bool:
        """Whether it is written as a block whose lines stay apart (YAML 1.2.2, 8.1.2)."""
        return not self.plain and self.source.text.startswith("|", self.start)

    def span_of(self, start: int, end: int) -> Span:
        """Return where a stretch of :attr:`text` stands in the file.

        Args:
            start: offset of the first character in ``text``.
            end: offset after the last one.

        Returns:
            The place, exact for every style of scalar; without width where the stretch is empty.
        """
        start, end = max(start, 0), min(end, len(self.text))
        first = self._as_written()
        if first is not None:
            start = min(start, len(self.text))
            return Span(self.source, first + start, first + max(start, end))
        found = places(self.source.text, self.start, self.end, self.text, plain=self.plain)
        if start >= len(found):
            after = found[-1][1] if found else self.start
            return Span(self.source, after, after)
        last = found[min(end, len(found)) - 1][1] if end > start else found[start][0]
        return Span(self.source, found[start][0], last)

    def _as_written(self) -> int | None:
        """Return where the text begins if it stands in the file letter by letter, as most do."""
        edge = 0 if self.plain else 1
        start, end = self.start + edge, self.end - edge
        return start if self.source.text[start:end] == self.text else None


@dataclass(frozen=True, slots=True)
class Pair:
    """One key of a mapping and its value."""

    key: ScalarNode
    value: Node


@dataclass(frozen=True, slots=True)
class MappingNode:
    """A mapping, in file order; of a repeated key only the first pair."""

    pairs: tuple[Pair, ...]
    span: Span
    _index: dict[str, Pair] = field(repr=False, compare=False)

    @classmethod
    def of(cls, pairs: Iterable[Pair], span: Span) -> MappingNode:
        """Make a mapping of pairs whose keys differ."""
        index = {pair.key.text: pair for pair in pairs}
        return cls(tuple(index.values()), span, index)

    def pair(self, key: str) -> Pair | None:
        """Return the pair of a key, to point at the key itself, or None."""
        return self._index.get(key)

    def get(self, key: str) -> Node | None:
        """Return the value of a key, or None where there is no such key."""
        pair = self._index.get(key)
        return pair.value if pair else None

    def keys(self) -> tuple[str, ...]:
        """Return the keys in file order."""
        return tuple(self._index)


@dataclass(frozen=True, slots=True)
class SequenceNode:
    """A list."""

    items: tuple[Node, ...]
    span: Span


Node: TypeAlias = ScalarNode | MappingNode | SequenceNode


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read.

    Attributes:
        source: the text.
        root: the policy mapping: the root, or what stands under ``delegation``.
        embedded: whether the policy stands under ``delegation``.
        path: the YAML path of ``root``.
        key: where ``delegation`` stands; None in the native form.
        beside: the keys beside it; in the native form of the policy, those that it could have.
        moved: YAML paths of values that stand elsewhere in the native form, to where they are.
    """

    source: SourceFile
    root: MappingNode
    embedded: bool
    path: str
    key: Span | None = None
    beside: tuple[tuple[str, Span], ...] = ()
    moved: Mapping[str, str] = field(default_factory=dict)


def plain(node: Node) -> Any:
    """Return a node as dicts, lists and scalars."""
    if isinstance(node, MappingNode):
        return {pair.key.text: plain(pair.value) for pair in node.pairs}
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    return node.value


def at(node: Node, path: Iterable[str | int]) -> Node:
    """Walk down from a node.

    Args:
        node: where the walk begins.
        path: keys of mappings and indexes of lists.

    Returns:
        The node at the end of the path.

    Raises:
        KeyError: there is no such node.
    """
    for part in path:
        node = _child(node, part)
    return node


def _child(node: Node, part: str | int) -> Node:
    if isinstance(node, MappingNode) and isinstance(part, str) and node.pair(part):
        return node._index[part].value  # noqa: SLF001 - of this module
    if isinstance(node, SequenceNode) and isinstance(part, int) and 0 <= part < len(node.items):
        return node.items[part]
    raise KeyError(part)


def kind_of_node(node: Node) -> str:
    """Say what a node is, as a message does: `a list`."""
    if isinstance(node, ScalarNode):
        return SHOWN_KINDS.get(type(node.value), "a string")
    return "a mapping" if isinstance(node, MappingNode) else "a list"


# Where each character of a scalar's text stands, for every style of scalar.

Place: TypeAlias = tuple[int, int]

_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")
_BREAK = re.compile(r"\r\n|\r|\n")
_FOLDED = r"(?P<trailing>[ \t]++(?=[\r\n]))|(?P<breaks>[\r\n][ \t\r\n]*+)|(?P<blanks>[ \t]++)"
_TOKENS = {
    "": re.compile(rf"{_FOLDED}|(?P<characters>[^ \t\r\n]+)"),
    "'": re.compile(rf"{_FOLDED}|(?P<escape>'')|(?P<characters>[^ \t\r\n']+)"),
    '"': re.compile(
        rf"{_FOLDED}|(?P<joined>\\[\r\n][ \t\r\n]*+)"
        r"|(?P<escape>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
        r"|\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[^\r\n]))"
        r'|(?P<characters>[^ \t\r\n\\"]+)'
    ),
}


@lru_cache(maxsize=4)
def places(text: str, start: int, end: int, decoded: str, *, plain: bool) -> tuple[Place, ...]:
    """Find the characters of a scalar.

    Args:
        text: the file.
        start: offset of the scalar's first character, quotes and block header included.
        end: offset after its last character.
        decoded: what the scalar comes to.
        plain: whether it is written without quotes and not as a block.

    Returns:
        The place of each character of ``decoded``.
    """
    style = "" if plain else text[start : start + 1]
    if style in {"|", ">"}:
        found = _block_places(text, start, decoded, folded=style == ">")
    else:
        edge = len(style)
        found = _flow_places(text, start + edge, end - edge, _TOKENS[style])
    return tuple(found)[: len(decoded)]


def _flow_places(text: str, start: int, end: int, tokens: re.Pattern[str]) -> Iterator[Place]:
    for token in tokens.finditer(text, start, end):
        kind = token.lastgroup
        if kind == "escape":
            yield token.span()
        elif kind in {"breaks", "joined"}:
            breaks = [each.span() for each in _BREAK.finditer(text, *token.span())]
            yield from _folded(breaks, joined=kind == "joined")
        elif kind != "trailing":
            yield from _each(*token.span())


def _each(start: int, end: int) -> Iterator[Place]:
    return zip(range(start, end), range(start + 1, end + 1), strict=True)


def _folded(breaks: list[Place], *, joined: bool = False) -> list[Place]:
    """Return the line ends that line folding leaves: one becomes a space, more lose the first."""
    return breaks if len(breaks) == 1 and not joined else breaks[1:]


def _block_places(text: str, start: int, decoded: str, *, folded: bool) -> Iterator[Place]:
    """Walk the lines of a literal or folded scalar (YAML 1.2.2, 8.1.2 and 8.1.3)."""
    header = _BREAK.search(text, start)
    first = header.end() if header else len(text)
    indent = _block_indent(decoded, text, first)
    waiting: list[Place] = []
    after_blank = True
    for line in _LINE.finditer(text, first):
        start, end = line.start() + indent, line.end(1)
        if start < end and text.startswith(" " * indent, line.start()):
            blank = text[start] in " \t"
            yield from waiting if not folded or blank or after_blank else _folded(waiting)
            yield from _each(start, end)
            waiting, after_blank = [], blank
        elif line.group(1).strip(" "):
            break
        waiting.append(line.span(2))
    yield from waiting


def _block_indent(decoded: str, text: str, first: int) -> int:
    """Compare the first line that is not empty with its source line."""
    content = decoded.lstrip("\n")
    for _ in range(len(decoded) - len(content)):
        found = _BREAK.search(text, first)
        first = found.end() if found else len(text)
    if not content:
        return len(text)
    return _spaces(text, first) - _spaces(content, 0)


def _spaces(text: str, start: int) -> int:
    end = start
    while text.startswith(" ", end):
        end += 1
    return end - start
