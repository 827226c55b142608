"""The nodes of a file that was read: what each means and where it stands."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from policy_router.diagnostics import SourceFile, Span
from policy_router.policy.source.places import places
from policy_router.policy.source.scalars import SHOWN_KINDS, Value


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
    """

    source: SourceFile
    root: MappingNode
    embedded: bool
    path: str


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
