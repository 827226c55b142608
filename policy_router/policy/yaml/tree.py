"""Events to the nodes of a tree, and what they break of the rules of a policy."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import yaml

from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import Diagnostic, SourceFile, Span, json_path, quote
from policy_router.policy.yaml.nodes import (
    BadNumberError,
    MappingNode,
    Node,
    Pair,
    Place,
    ScalarNode,
    SequenceNode,
    Value,
    kind_of_key,
    resolved,
)
from policy_router.policy.yaml.parser import ENDS, Neutral, StopReadingError, error

MAX_DEPTH = 32
"""The most collections inside each other, the policy mapping counted as one."""

MAX_NODES = 200_000
"""The most scalars and collections of a policy, keys counted too."""

MAX_PROBLEMS = 1_000
"""Reading stops after that many problems."""

_STAND_IN = 1
_BLOCK_STYLES = frozenset("|>")
_PROPERTY = re.compile(r"(?P<anchor>&[^\s,\[\]{}]+)|(?P<tag>![^\s,\[\]{}]*)|(?:\s++|#[^\r\n]*+)++")


class _Frame:
    """A collection that is still open."""

    __slots__ = ("awaits_key", "end", "flow", "is_mapping", "items", "key", "part", "seen", "start")

    def __init__(self, start: int, *, is_mapping: bool, flow: bool) -> None:
        self.start = self.end = start
        self.is_mapping = is_mapping
        self.flow = flow
        self.items: list[Node] = []
        self.seen: dict[str, Pair] = {}
        self.key: ScalarNode | None = None
        self.awaits_key = is_mapping
        self.part: str | None = None

    def parts(self) -> tuple[str | int, ...]:
        """Return the step of the path from this collection to what is being read."""
        if not self.is_mapping:
            return (len(self.items),)
        return () if self.part is None else (self.part,)


class Tree:
    """Builds the nodes of one policy from its events, and notes what they break.

    Attributes:
        source: the file.
        base: the YAML path of the root.
        neutral: what PyYAML sees of the file.
        noun: what the whole is called in messages.
        root: the node of the whole, or None before its last event.
        found: what is wrong.
    """

    def __init__(
        self, source: SourceFile, base: str, neutral: Neutral, *, noun: str = "policy"
    ) -> None:
        self.source = source
        self.base = base
        self.neutral = neutral
        self.noun = noun
        self.frames: list[_Frame] = []
        self.count = 0
        self.root: Node | None = None
        self.found: list[Diagnostic] = []

    def feed(self, event: Any) -> None:
        """Take one event of a node."""
        kind = type(event)
        if kind in ENDS:
            self._add(self._closed(self.frames.pop(), event.end_mark.index))
            return
        self.count += 1
        if self.count > MAX_NODES:
            message = f"a {self.noun} has at most {MAX_NODES:,} values"
            remedy = f"split the {self.noun} into several files"
            self._stop(Code.TOO_MANY_NODES, message, event, remedy)
        if kind is yaml.ScalarEvent:
            self._scalar(event)
        elif kind is yaml.AliasEvent:
            self._alias(event)
        else:
            self._open(event)

    def _scalar(self, event: Any) -> None:
        start, text = event.start_mark.index, event.value
        if event.anchor or event.tag:
            start = self._properties(start, event.end_mark.index)
        is_plain = not event.style
        end = event.end_mark.index
        if self.neutral.back:
            text = self.neutral.restored(text, event.style, start, end)
        if start == end or event.style in _BLOCK_STYLES:
            start, end = self._trimmed(start, end)
        if self.frames and self.frames[-1].awaits_key:
            self._key(ScalarNode(text, text, is_plain, self.source, start, end))
            return
        value: Value = text
        if is_plain:
            try:
                value = resolved(text)
            except BadNumberError as error:
                self._report(Code.BAD_VALUE, str(error), Span(self.source, start, end), None)
                value = _STAND_IN
        self._add(ScalarNode(value, text, is_plain, self.source, start, end))

    def _trimmed(self, start: int, end: int) -> Place:
        """Cut the white space that a mark takes in: before an empty scalar, behind a block."""
        text, least = self.source.text, start if start < end else 0
        while end > least and text[end - 1] in " \t\r\n":
            end -= 1
        return min(start, end), end

    def _properties(self, start: int, end: int) -> int:
        """Report the anchor and the tag before a node, and return where the node begins."""
        while start < end and (found := _PROPERTY.match(self.source.text, start, end)):
            span = Span(self.source, *found.span())
            if found.lastgroup == "anchor":
                remedy = "write the value out where it is used"
                self._report(Code.ANCHOR_OR_ALIAS, "an anchor is not allowed", span, remedy)
            elif found.lastgroup == "tag":
                is_local = not found.group().startswith("!!")
                remedy = "leave it out, or quote a value that begins with `!`"
                self._report(
                    Code.TAG, "a tag is not allowed", span, remedy if is_local else "leave it out"
                )
            start = found.end()
        return start

    def _alias(self, event: Any) -> None:
        span = Span(self.source, event.start_mark.index, event.end_mark.index)
        remedy = "write the value out here"
        self._report(Code.ANCHOR_OR_ALIAS, "an alias is not allowed", span, remedy)
        frame = self.frames[-1] if self.frames else None
        if frame and frame.awaits_key:
            frame.awaits_key, frame.key, frame.part = False, None, None
        else:
            is_plain = True
            self._add(ScalarNode(None, "", is_plain, self.source, span.start, span.end))

    def _open(self, event: Any) -> None:
        start = event.start_mark.index
        if event.anchor or event.tag:
            # a block collection's start mark has no width: its first token comes after
            end = event.end_mark.index - 1 if event.flow_style else event.end_mark.index
            start = self._properties(start, end)
        if len(self.frames) == MAX_DEPTH:
            message = f"a {self.noun} is at most {MAX_DEPTH} collections deep"
            self._stop(Code.TOO_DEEP, message, event, None)
        is_mapping = type(event) is yaml.MappingStartEvent
        self.frames.append(_Frame(start, is_mapping=is_mapping, flow=bool(event.flow_style)))

    def _closed(self, frame: _Frame, end: int) -> Node:
        """Make the node of a collection; a block ends where its last value does."""
        span = Span(self.source, frame.start, end if frame.flow else max(frame.start, frame.end))
        if frame.is_mapping:
            return MappingNode(tuple(frame.seen.values()), span, frame.seen)
        return SequenceNode(tuple(frame.items), span)

    def _add(self, node: Node) -> None:
        """Put a node where it belongs."""
        if not self.frames:
            self.root = node
            return
        frame = self.frames[-1]
        frame.end = node.end if isinstance(node, ScalarNode) else node.span.end
        if not frame.is_mapping:
            frame.items.append(node)
        elif frame.awaits_key:
            self._odd_key(frame, node)
        else:
            if frame.key is not None:
                frame.seen[frame.key.text] = Pair(frame.key, node)
            frame.awaits_key, frame.part = True, None

    def _key(self, key: ScalarNode) -> None:
        """Take a key; one that can have no value in the tree is reported and forgotten."""
        frame = self.frames[-1]
        frame.awaits_key, frame.part, frame.end = False, key.text, key.end
        first = frame.seen.get(key.text)
        frame.key = None if first else key
        if key.plain:
            self._plain_key(frame, key)
        if first:
            line, _ = first.key.span.position
            message = f"the key {quote(key.text)} is given twice"
            self._report(Code.DUPLICATE_KEY, message, key.span, f"first at line {line}")

    def _plain_key(self, frame: _Frame, key: ScalarNode) -> None:
        if key.text == "<<":
            frame.key = None
            message = "the merge key `<<` is not allowed"
            self._report(Code.MERGE_KEY, message, key.span, "write the merged keys out")
        elif kind := kind_of_key(key.text):
            message = f"the key {quote(key.text)} is {kind}, not a string"
            if not key.text:
                frame.key, frame.part, message = None, None, "a key is missing"
            remedy = "quote the key" if key.text else "write a key before the `:`"
            if key.text and frame.flow and self.source.text[key.start - 1] == ",":
                remedy = "write a number with a point, and without commas"
            self._report(Code.KEY_NOT_A_STRING, message, key.span, remedy)

    def _odd_key(self, frame: _Frame, node: Node) -> None:
        frame.awaits_key, frame.key = False, None
        kind = "a mapping" if isinstance(node, MappingNode) else "a list"
        message = f"a key is {kind}, not a string"
        self._report(Code.KEY_NOT_A_STRING, message, node.span, "quote the key")

    def _report(self, code: Code, message: str, span: Span, remedy: str | None) -> None:
        self.found.append(error(code, message, span, self._path(), remedy))
        if len(self.found) >= MAX_PROBLEMS:
            raise StopReadingError

    def _stop(self, code: Code, message: str, event: Any, remedy: str | None) -> NoReturn:
        span = Span(self.source, event.start_mark.index, event.start_mark.index + 1)
        self._report(code, message, span, remedy)
        raise StopReadingError

    def _path(self) -> str:
        parts = (part for frame in self.frames for part in frame.parts())
        return json_path(*parts, base=self.base)
