"""Text or bytes to a tree of values with places, under strict YAML 1.2 core rules.

This is the only door to PyYAML. It reads the stream of events, never PyYAML's own values: what a
scalar means (``no`` is a string, ``010`` is ten), where it stands, and what a policy may not hold
(anchors, tags, duplicate keys) is decided here. Reading never recurses, so a hostile file stops
early.

Source: YAML 1.2.2, chapters 6 to 8 and 10.3, https://yaml.org/spec/1.2.2/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NoReturn, TypeAlias

import yaml

from policy_router.diagnostics import Code, Diagnostic, Severity, SourceFile, Span, printable, quote
from policy_router.redaction import redact

MAX_BYTES = 1_048_576
"""The largest file, in bytes of UTF-8."""

MAX_DEPTH = 32
"""The most collections inside each other, the policy mapping counted as one."""

MAX_NODES = 200_000
"""The most scalars and collections of a policy, keys counted too."""

MAX_HOST_DEPTH = 256
"""The most collections inside each other in those parts of a host's config that are not read."""

MAX_PROBLEMS = 1_000
"""Reading stops after that many problems."""

EMBEDDED_KEY = "delegation"
"""The root key of a host's config under which a policy may stand."""

Value: TypeAlias = bool | int | float | str | None
"""What a scalar can mean."""

Place: TypeAlias = tuple[int, int]
"""From one offset up to but without another."""

_LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader


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
        first = _as_written(self)
        if first is not None:
            start = min(start, len(self.text))
            return Span(self.source, first + start, first + max(start, end))
        places = _places(self)
        if start >= len(places):
            after = places[-1][1] if places else self.start
            return Span(self.source, after, after)
        last = places[min(end, len(places)) - 1][1] if end > start else places[start][0]
        return Span(self.source, places[start][0], last)


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


def read(name: str, content: str | bytes) -> tuple[Document | None, tuple[Diagnostic, ...]]:
    """Read one rule file.

    Args:
        name: how the file is called in diagnostics.
        content: its bytes, or its text.

    Returns:
        The document, or None where no mapping can be had from the file, and everything found.
    """
    source, problem = _decoded(name, content)
    problem = problem or _unreadable(source)
    if problem:
        return None, (problem,)
    return _File(source).read()


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


def json_path(base: str, parts: Iterable[str | int]) -> str:
    """Return a YAML path such as ``$.pool[0].pick``; an odd key is written ``$["odd key"]``."""
    return base + "".join(_path_part(part) for part in parts)


def _child(node: Node, part: str | int) -> Node:
    if isinstance(node, MappingNode) and isinstance(part, str) and node.pair(part):
        return node._index[part].value  # noqa: SLF001 - of this module
    if isinstance(node, SequenceNode) and isinstance(part, int) and 0 <= part < len(node.items):
        return node.items[part]
    raise KeyError(part)


_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_KEY = 100


def _path_part(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    return _path_key(part[: 2 * _LONGEST_KEY])


@lru_cache(maxsize=256)
def _path_key(key: str) -> str:
    shown = printable(redact(key))
    shown = shown[:_LONGEST_KEY] + "..." * (len(shown) > _LONGEST_KEY)
    if _IDENTIFIER.fullmatch(shown):
        return f".{shown}"
    return f"[{json.dumps(shown, ensure_ascii=False)}]"


# --- Before YAML: bytes, size, characters, directives ---------------------------------------------

_BOMS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_UNPRINTABLE = re.compile(
    r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|\Z)")
_DIRECTIVE = re.compile(r"(?:[ \t]*+(?:#[^\r\n]*+)?[\r\n]++)*+(%[^\r\n]*+)")
_YAML_1_2 = re.compile(r"%YAML[ \t]+1\.2[ \t]*(?:[ \t]#.*)?")
_SAVE_AS_UTF8 = "save the file as UTF-8"


def _error(
    code: Code, message: str, span: Span, path: str = "$", remedy: str | None = None
) -> Diagnostic:
    return Diagnostic(code, Severity.ERROR, message, span, path, remedy)


def _decoded(name: str, content: str | bytes) -> tuple[SourceFile, Diagnostic | None]:
    if _too_large(content):
        source = SourceFile(name, "")
        return source, _error(
            Code.FILE_TOO_LARGE,
            "the file is larger than 1 MiB",
            Span(source, 0, 0),
            remedy="split the policy into several files of one folder",
        )
    if isinstance(content, str):
        return SourceFile(name, content.removeprefix("\ufeff")), None
    if content.startswith(_BOMS):
        source = SourceFile(name, "")
        return source, _not_utf8(source, 0)
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        return SourceFile(name, content.decode("utf-8")), None
    except UnicodeDecodeError as error:
        source = SourceFile(name, content.decode("utf-8", "replace"))
        return source, _not_utf8(source, len(content[: error.start].decode("utf-8")))


def _too_large(content: str | bytes) -> bool:
    if len(content) > MAX_BYTES:
        return True
    if isinstance(content, bytes) or len(content) * 4 <= MAX_BYTES:
        return False
    return len(content.encode("utf-8", "surrogatepass")) > MAX_BYTES


def _not_utf8(source: SourceFile, offset: int) -> Diagnostic:
    span = Span(source, offset, min(offset + 1, len(source.text)))
    return _error(Code.NOT_UTF8, "the file is not UTF-8", span, remedy=_SAVE_AS_UTF8)


def _unreadable(source: SourceFile) -> Diagnostic | None:
    found = _UNPRINTABLE.search(source.text)
    if found is None:
        return None
    name = f"U+{ord(found.group()):04X}"
    remedy = _SAVE_AS_UTF8 if name == "U+0000" else "remove it, or write it as an escape"
    message = f"the character {name} is not allowed in a YAML file"
    return _error(Code.YAML_SYNTAX, message, Span(source, *found.span()), remedy=remedy)


def _directives(source: SourceFile) -> Iterator[Diagnostic]:
    """Judge the lines before the document: only ``%YAML 1.2`` changes nothing."""
    line = _DIRECTIVE.match(source.text)
    while line:
        yield from _directive(line.group(1), Span(source, *line.span(1)))
        line = _DIRECTIVE.match(source.text, line.end())


def _directive(line: str, span: Span) -> Iterator[Diagnostic]:
    if line.startswith("%TAG"):
        yield _error(Code.TAG, "a `%TAG` directive is not allowed", span, remedy="leave it out")
    elif not _YAML_1_2.fullmatch(line):
        message = "the only directive that is allowed is `%YAML 1.2`"
        yield _error(Code.YAML_SYNTAX, message, span, remedy="leave it out")


_NOT_BREAKS = "\x85\u2028\u2029"
_GUESS_EMBEDDED = re.compile(rf"^[\"']?{EMBEDDED_KEY}[\"']?\s*:", re.MULTILINE)


# --- What a scalar means --------------------------------------------------------------------------

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
_STAND_IN = 1


class _BadNumberError(Exception):
    """A number that no policy can mean."""


def _resolved(text: str) -> Value:
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
        raise _BadNumberError(message)
    return value


def _float(text: str) -> float:
    if text[-1] in "fFnN":
        message = "a number must be finite"
        raise _BadNumberError(message)
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        message = "the number is too large"
        raise _BadNumberError(message)
    return value


# --- Where each character of a scalar stands ------------------------------------------------------

_BREAK = re.compile(r"\r\n|\r|\n")
_FOLDED = r"(?P<trailing>[ \t]++(?=[\r\n]))|(?P<breaks>[\r\n][ \t\r\n]*+)|(?P<blanks>[ \t]++)"
_TOKENS = {
    "": re.compile(rf"{_FOLDED}|(?P<characters>[^ \t\r\n]+)"),
    "'": re.compile(rf"{_FOLDED}|(?P<escape>'')|(?P<characters>[^ \t\r\n']+)"),
    '"': re.compile(
        rf"{_FOLDED}|(?P<joined>\\[\r\n][ \t\r\n]*+)"
        r"|(?P<escape>\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[^\r\n]))"
        r'|(?P<characters>[^ \t\r\n\\"]+)'
    ),
}


def _as_written(node: ScalarNode) -> int | None:
    """Return where the text begins if it stands in the file letter by letter, as most do."""
    edge = 0 if node.plain else 1
    start, end = node.start + edge, node.end - edge
    return start if node.source.text[start:end] == node.text else None


@lru_cache(maxsize=4)
def _places(node: ScalarNode) -> tuple[Place, ...]:
    """Return the place of each character of a scalar's text."""
    text, start, end = node.source.text, node.start, node.end
    style = "" if node.plain else text[start : start + 1]
    if style in {"|", ">"}:
        return tuple(_block_places(node, folded=style == ">"))[: len(node.text)]
    edge = len(style)
    return tuple(_flow_places(text, start + edge, end - edge, _TOKENS[style]))[: len(node.text)]


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


def _block_places(node: ScalarNode, *, folded: bool) -> Iterator[Place]:
    """Walk the lines of a literal or folded scalar (YAML 1.2.2, 8.1.2 and 8.1.3)."""
    text, header = node.source.text, _BREAK.search(node.source.text, node.start)
    first = header.end() if header else len(text)
    indent = _block_indent(node.text, text, first)
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


# --- Events to a tree -----------------------------------------------------------------------------

_BLOCK_STYLES = frozenset("|>")
_STARTS = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_ENDS = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
_NODES = (yaml.ScalarEvent, yaml.AliasEvent, *_STARTS)
_PROPERTY = re.compile(r"(?P<anchor>&[^\s,\[\]{}]+)|(?P<tag>![^\s,\[\]{}]*)|(?:\s++|#[^\r\n]*+)++")
_SHOWN_KINDS = {type(None): "null", bool: "a boolean", int: "a number", float: "a number"}


class _StopReadingError(Exception):
    """The rest of the file is not read."""


class _SecondDocumentError(Exception):
    """What follows is another document."""


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


class _Tree:
    """Builds the nodes of one policy from its events, and notes what they break."""

    def __init__(self, source: SourceFile, base: str, back: dict[int, str]) -> None:
        self.source = source
        self.base = base
        self.back = back
        self.frames: list[_Frame] = []
        self.count = 0
        self.root: Node | None = None
        self.found: list[Diagnostic] = []

    def feed(self, event: Any) -> None:
        """Take one event of a node."""
        kind = type(event)
        if kind in _ENDS:
            self._add(self._closed(self.frames.pop(), event.end_mark.index))
            return
        self.count += 1
        if self.count > MAX_NODES:
            message = f"a policy has at most {MAX_NODES:,} values"
            self._stop(Code.TOO_MANY_NODES, message, event, "split the policy into several files")
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
        if self.back:
            text = text.translate(self.back)
        is_plain = not event.style
        end = event.end_mark.index
        if start == end or event.style in _BLOCK_STYLES:
            start, end = self._trimmed(start, end)
        if self.frames and self.frames[-1].awaits_key:
            self._key(ScalarNode(text, text, is_plain, self.source, start, end))
            return
        value: Value = text
        if is_plain:
            try:
                value = _resolved(text)
            except _BadNumberError as error:
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
                self._report(Code.TAG, "a tag is not allowed", span, "leave it out")
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
            message = f"a policy is at most {MAX_DEPTH} collections deep"
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
        elif kind := _kind_of_key(key.text):
            message = f"the key {quote(key.text)} is {kind}, not a string"
            if not key.text:
                frame.key, frame.part, message = None, None, "a key is missing"
            remedy = "quote the key" if key.text else "write a key before the `:`"
            self._report(Code.KEY_NOT_A_STRING, message, key.span, remedy)

    def _odd_key(self, frame: _Frame, node: Node) -> None:
        frame.awaits_key, frame.key = False, None
        kind = "a mapping" if isinstance(node, MappingNode) else "a list"
        message = f"a key is {kind}, not a string"
        self._report(Code.KEY_NOT_A_STRING, message, node.span, "quote the key")

    def _report(self, code: Code, message: str, span: Span, remedy: str | None) -> None:
        self.found.append(_error(code, message, span, self._path(), remedy))
        if len(self.found) >= MAX_PROBLEMS:
            raise _StopReadingError

    def _stop(self, code: Code, message: str, event: Any, remedy: str | None) -> NoReturn:
        span = Span(self.source, event.start_mark.index, event.start_mark.index + 1)
        self._report(code, message, span, remedy)
        raise _StopReadingError

    def _path(self) -> str:
        return json_path(self.base, (part for frame in self.frames for part in frame.parts()))


def _kind_of_key(text: str) -> str | None:
    """Return what a plain key is where it is not a string."""
    try:
        return _SHOWN_KINDS.get(type(_resolved(text)))
    except _BadNumberError:
        return "a number"


# --- A file: which tree is the policy -------------------------------------------------------------


class _File:
    """Reads the events of one file, in the native or the embedded form."""

    def __init__(self, source: SourceFile) -> None:
        self.source = source
        self.found = list(_directives(source))
        self.text, self.back = _neutral(source.text)
        self.native = _Tree(source, "$", self.back)
        self.embedded: _Tree | None = None
        self.active: _Tree | None = self.native
        self.maybe_embedded = EMBEDDED_KEY in source.text or "\\" in source.text
        self.key = Span(source, 0, 0)
        self.documents = self.depth = 0
        self.is_mapping = self.awaits_key = self.enters = self.stopped = False

    def read(self) -> tuple[Document | None, tuple[Diagnostic, ...]]:
        """Return the document and what was found."""
        if any(item.code is Code.YAML_SYNTAX for item in self.found):
            return None, tuple(self.found)
        try:
            for event in _events(self.source, self.text):
                self._feed(event)
        except _SyntaxProblemError as error:
            self.stopped = True
            self.found.append(error.problem)
        except _StopReadingError:
            self.stopped = True
        except _SecondDocumentError:
            pass
        return self._result()

    def _feed(self, event: Any) -> None:
        kind = type(event)
        if kind in _ENDS:
            self.depth -= 1
        elif self.depth <= 1 or kind in _STARTS:
            if kind not in _NODES:
                self._document(event, kind)
                return
            self._enter(event, kind)
        if self.active is not None:
            self._pass_on(self.active, event)

    def _enter(self, event: Any, kind: type) -> None:
        """Follow the depth, and the keys of the root mapping."""
        if self.depth == 0:
            self.is_mapping = self.awaits_key = kind is yaml.MappingStartEvent
        elif self.depth == 1 and self.is_mapping:
            self._top(event, kind)
        if kind in _STARTS:
            self.depth += 1
            if self.depth > MAX_HOST_DEPTH:
                self._too_deep(event)

    def _document(self, event: Any, kind: type) -> None:
        self.documents += kind is yaml.DocumentStartEvent
        if self.documents > 1:
            span = Span(self.source, event.start_mark.index, event.end_mark.index)
            message = "a rule file holds one document"
            remedy = "move what follows `---` into a file of its own"
            self.found.append(_error(Code.MANY_DOCUMENTS, message, span, remedy=remedy))
            raise _SecondDocumentError

    def _top(self, event: Any, kind: type) -> None:
        """See whether a key of the root mapping, or its value, is where the policy stands."""
        if self.awaits_key:
            self._root_key(event, kind)
        elif self.enters:
            self.enters, self.active = False, self.embedded
        self.awaits_key = not self.awaits_key

    def _root_key(self, event: Any, kind: type) -> None:
        if self.embedded is not None:
            self.active = None
        if kind is not yaml.ScalarEvent or event.value != EMBEDDED_KEY:
            return
        span = Span(self.source, event.start_mark.index, event.end_mark.index)
        if self.embedded is None:
            self.embedded = _Tree(self.source, f"$.{EMBEDDED_KEY}", self.back)
            self.key, self.enters, self.active = span, True, None
        else:
            message = f"the key `{EMBEDDED_KEY}` is given twice"
            remedy = f"first at line {self.key.position[0]}"
            path = f"$.{EMBEDDED_KEY}"
            self.found.append(_error(Code.DUPLICATE_KEY, message, span, path, remedy))

    def _pass_on(self, tree: _Tree, event: Any) -> None:
        try:
            tree.feed(event)
        except _StopReadingError:
            self.active = None
            # a key `delegation` further down would make all this the host's business
            if tree is self.embedded or not (self.maybe_embedded and self.is_mapping):
                raise
        if tree.root is not None:
            self.active = None

    def _too_deep(self, event: Any) -> NoReturn:
        span = Span(self.source, event.start_mark.index, event.start_mark.index + 1)
        message = f"a file is at most {MAX_HOST_DEPTH} collections deep"
        self.found.append(_error(Code.TOO_DEEP, message, span))
        raise _StopReadingError

    def _result(self) -> tuple[Document | None, tuple[Diagnostic, ...]]:
        tree, own, inner = self.native, self.found, self.native.found
        if self.embedded is not None:
            tree, inner = self.embedded, self.embedded.found
            own = [item for item in own if item.code is not Code.TAG]  # the host's directive
        elif self.stopped and own and _GUESS_EMBEDDED.search(self.source.text):
            inner = []
        found = (*own, *inner)
        if self.stopped or (tree.root is None and tree.found):
            return None, found
        if isinstance(tree.root, MappingNode):
            embedded = self.embedded is not None
            return Document(self.source, tree.root, embedded, tree.base), found
        return None, (*found, *self._wrong_root(tree.root, tree.base))

    def _wrong_root(self, root: Node | None, path: str) -> Iterator[Diagnostic]:
        what = f"`{EMBEDDED_KEY}`" if self.embedded else "the root of a policy"
        span = root.span if root else Span(self.source, 0, 0)
        if root is not None and plain(root) is not None:
            message = f"{what} is a mapping, not {_kind(root)}"
            yield _error(Code.WRONG_TYPE, message, span, path)
        elif not self.source.text.startswith("*", span.start):  # an alias is reported already
            message = f"{what} is empty" if self.embedded else "the file is empty"
            yield _error(Code.EMPTY_FILE, message, span, path, "write at least `version: 1`")


def _kind(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return _SHOWN_KINDS.get(type(node.value), "a string")
    return "a mapping" if isinstance(node, MappingNode) else "a list"


def _neutral(text: str) -> tuple[str, dict[int, str]]:
    """Hide from PyYAML the characters that are line ends in YAML 1.1 and not in YAML 1.2.

    Args:
        text: a file.

    Returns:
        A text of the same length with private characters in their place, and the way back.
    """
    hidden = [character for character in _NOT_BREAKS if character in text]
    if not hidden:
        return text, {}
    lower = text.lower()
    free = (
        chr(point)
        for point in range(0x100000, 0x10FFFE)
        if chr(point) not in text and f"\\u{point:08x}" not in lower
    )
    there = {ord(character): stand_in for character, stand_in in zip(hidden, free, strict=False)}
    back = {ord(stand_in): chr(character) for character, stand_in in there.items()}
    return text.translate(there), back


def _events(source: SourceFile, text: str) -> Iterator[Any]:
    """Yield the events of a text; of both parsers of PyYAML, the same exceptions."""
    loader = _LOADER(text)
    last = 0
    try:
        while loader.check_event():
            event = loader.get_event()
            if _LOADER is yaml.SafeLoader and _has_surrogate(event):
                raise _SyntaxProblemError(_bad_escape(source, last))
            last = event.end_mark.index
            yield event
    except yaml.MarkedYAMLError as error:
        raise _SyntaxProblemError(_syntax_error(source, error)) from None
    except (ValueError, OverflowError):  # the slow parser, on an escape beyond U+10FFFF
        raise _SyntaxProblemError(_bad_escape(source, last)) from None
    finally:
        loader.dispose()


# --- Syntax errors, reworded ----------------------------------------------------------------------


class _SyntaxProblemError(_StopReadingError):
    """The file is not YAML."""

    def __init__(self, problem: Diagnostic) -> None:
        super().__init__()
        self.problem = problem


_SURROGATE = re.compile(r"[\ud800-\udfff]")
_BAD_ESCAPE = re.compile(
    r"\\(?:u|U0000)[dD][89a-fA-F][0-9a-fA-F]{2}|\\U(?!00(?:0[0-9a-fA-F]|10))[0-9a-fA-F]{8}"
)
_ESCAPE_MESSAGE = "this escape is not a character"
_ESCAPE_REMEDY = "write a character beyond U+FFFF as one escape, such as `\\U0001F600`"
_INDENTATION = "check the indentation and the quotes above"
_CLOSE = "close it, or quote a value that holds brackets or commas"
_PROBLEMS: tuple[tuple[str, str, str | None], ...] = (
    ("invalid unicode", _ESCAPE_MESSAGE, _ESCAPE_REMEDY),
    ("unknown escape", "this escape is unknown", "use single quotes, or double the backslash"),
    ("hexadecimal|hexdecimal", "this escape wants hexadecimal digits", "use single quotes"),
    ("end of stream", "this quote is never closed", "close the quote"),
    ("unexpected document", "a document ends inside a quoted value", "close the quote"),
    ("mapping values", "a `:` cannot stand here", f"quote a value with `: `, or {_INDENTATION}"),
    ("sequence entries", "a `- ` cannot stand here", "begin the list on a line of its own"),
    ("mapping keys", "a `? ` cannot stand here", _INDENTATION),
    ("expected ':'", "this key has no `:`", "write a `:` and a space after the key"),
    (r"',' or '\]'", "a `,` or a `]` is missing", _CLOSE),
    (r"',' or '\}'", "a `,` or a `}` is missing", _CLOSE),
    ("document start", "nothing more can stand here", _INDENTATION),
    ("block end|expected key|'-' indicator", "this does not fit the lines above", _INDENTATION),
    ("node content", "a value is missing here", None),
    ("chomping|comment or line break", "nothing else can stand after `|` or `>`", None),
    ("indentation indicator", "the indentation after `|` or `>` is 1 to 9", None),
    ("tab character", "a tab cannot indent", "indent with spaces"),
    ("tag handle|uri|tag", "a tag is not allowed", "quote a value that begins with `!`"),
    ("alphabetic", "a plain value cannot begin with `&` or `*`", "quote the value"),
    ("cannot start any token", "a plain value cannot begin with this character", "quote the value"),
    ("directive|version|yaml document", "a line cannot begin with `%` here", "quote the value"),
)


def _syntax_error(source: SourceFile, error: yaml.MarkedYAMLError) -> Diagnostic:
    """Say in own words, without a word of the file, what PyYAML found."""
    problem = (error.problem or "").lower()
    offset = _offset(error.problem_mark or error.context_mark)
    message, remedy = "the file is not valid YAML here", None
    for pattern, own, help_text in _PROBLEMS:
        if re.search(pattern, problem):
            message, remedy = own, help_text
            break
    if re.search("end of stream|unexpected document|expected ':'", problem):
        offset = _offset(error.context_mark)
    elif "escape" in problem or "hexdecimal" in problem:
        offset = source.text.rfind("\\", 0, offset + 1)
    elif remedy == _CLOSE:
        line, _ = source.position(_offset(error.context_mark))
        remedy = f"the bracket was opened at line {line}: {_CLOSE}"
    if _is_tab_indent(source.text, offset):
        message, remedy = "a tab cannot indent", "indent with spaces"
    elif not source.text[offset:].strip():
        offset = len(source.text.rstrip())
    span = Span(source, offset, min(offset + 1, len(source.text)))
    return _error(Code.YAML_SYNTAX, message, span, remedy=remedy)


def _offset(mark: Any) -> int:
    return int(mark.index) if mark else 0


def _is_tab_indent(text: str, offset: int) -> bool:
    begin = max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1
    return text[begin : offset + 1].lstrip(" ").startswith("\t")


def _has_surrogate(event: Any) -> bool:
    return type(event) is yaml.ScalarEvent and _SURROGATE.search(event.value) is not None


def _bad_escape(source: SourceFile, start: int) -> Diagnostic:
    found = _BAD_ESCAPE.search(source.text, start)
    begin = found.start() if found else start
    span = Span(source, begin, begin + 1)
    return _error(Code.YAML_SYNTAX, _ESCAPE_MESSAGE, span, remedy=_ESCAPE_REMEDY)
