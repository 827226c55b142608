"""A file to PyYAML's events: the checks before YAML, and the errors of YAML in our own words.

No message holds a word of the file: any of them may be a secret.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import yaml

from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic, SourceFile, Span


def error(
    code: Code, message: str, span: Span, path: str = "$", remedy: str | None = None
) -> Diagnostic:
    """Return an error at a place of the file."""
    return Diagnostic(code, Severity.ERROR, message, span, path, remedy)


def second_document(span: Span, what: str) -> Diagnostic:
    """Return the error for a file, called ``what``, in which another document begins."""
    remedy = "move what follows `---` into a file of its own"
    return error(Code.MANY_DOCUMENTS, f"{what} holds one document", span, remedy=remedy)


class StopReadingError(Exception):
    """The rest of the file is not read."""


class SecondDocumentError(Exception):
    """What follows is another document.

    Attributes:
        span: the mark between the two.
    """

    def __init__(self, span: Span) -> None:
        super().__init__()
        self.span = span


class SyntaxProblemError(StopReadingError):
    """The file is not YAML."""

    def __init__(self, problem: Diagnostic) -> None:
        super().__init__()
        self.problem = problem


MAX_BYTES = 1_048_576
"""The largest file, in bytes of UTF-8."""

_BOMS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_UNPRINTABLE = re.compile(
    r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_DIRECTIVE = re.compile(r"(?:[ \t]*+(?:#[^\r\n]*+)?[\r\n]++)*+(%[^\r\n]*+)")
_YAML_1_2 = re.compile(r"%YAML[ \t]+1\.2[ \t]*(?:[ \t]#.*)?")
_SAVE_AS_UTF8 = "save the file as UTF-8"
_NOT_BREAKS = "\x85\u2028\u2029"


def opened(name: str, content: str | bytes, *, remedy: str) -> tuple[SourceFile, Diagnostic | None]:
    """Return the text of a file, and the problem where YAML could not begin to read it.

    Args:
        name: how the file is called in diagnostics.
        content: its bytes, or its text.
        remedy: what to do about a file that is too large.
    """
    if _too_large(content):
        source = SourceFile(name, "")
        message = "the file is larger than 1 MiB"
        return source, error(Code.FILE_TOO_LARGE, message, Span(source, 0, 0), remedy=remedy)
    source, problem = _decoded(name, content)
    return source, problem or _unreadable(source)


def _decoded(name: str, content: str | bytes) -> tuple[SourceFile, Diagnostic | None]:
    if isinstance(content, str):
        return SourceFile(name, content.removeprefix("\ufeff")), None
    if content.startswith(_BOMS):
        source = SourceFile(name, "")
        return source, _not_utf8(source, 0)
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        return SourceFile(name, content.decode("utf-8")), None
    except UnicodeDecodeError as problem:
        source = SourceFile(name, content.decode("utf-8", "replace"))
        return source, _not_utf8(source, len(content[: problem.start].decode("utf-8")))


def _too_large(content: str | bytes) -> bool:
    if len(content) > MAX_BYTES:
        return True
    if isinstance(content, bytes) or len(content) * 4 <= MAX_BYTES:
        return False
    return len(content.encode("utf-8", "surrogatepass")) > MAX_BYTES


def _not_utf8(source: SourceFile, offset: int) -> Diagnostic:
    span = Span(source, offset, min(offset + 1, len(source.text)))
    return error(Code.NOT_UTF8, "the file is not UTF-8", span, remedy=_SAVE_AS_UTF8)


def _unreadable(source: SourceFile) -> Diagnostic | None:
    """Look for a character that YAML does not have."""
    found = _UNPRINTABLE.search(source.text)
    if found is None:
        return None
    name = f"U+{ord(found.group()):04X}"
    remedy = _SAVE_AS_UTF8 if name == "U+0000" else "remove it, or write it as an escape"
    message = f"the character {name} is not allowed in a YAML file"
    return error(Code.YAML_SYNTAX, message, Span(source, *found.span()), remedy=remedy)


def readable(text: str) -> str:
    """Return a text with U+FFFD in place of each character that YAML does not have."""
    return _UNPRINTABLE.sub("\ufffd", text)


def directives(source: SourceFile) -> Iterator[Diagnostic]:
    """Judge the lines before the document: only ``%YAML 1.2`` changes nothing."""
    line = _DIRECTIVE.match(source.text)
    while line:
        yield from _directive(line.group(1), Span(source, *line.span(1)))
        line = _DIRECTIVE.match(source.text, line.end())


def _directive(line: str, span: Span) -> Iterator[Diagnostic]:
    if line.startswith("%TAG"):
        yield error(Code.TAG, "a `%TAG` directive is not allowed", span, remedy="leave it out")
    elif not _YAML_1_2.fullmatch(line):
        message = "the only directive that is allowed is `%YAML 1.2`"
        yield error(Code.YAML_SYNTAX, message, span, remedy="leave it out")


@dataclass(frozen=True, slots=True)
class Neutral:
    """What PyYAML is to see of a file, of the same length; private characters stand in for others.

    Attributes:
        text: the text. No character in it is a line end in YAML 1.1 and not in YAML 1.2, and a
            character that JSON escapes as two halves is one escape and two fillers.
        back: stand-in to what it stands for.
        filler: what fills up an escape, and stands for nothing.
        pairs: the offsets at which there were two halves.
        original: the file.
    """

    text: str
    back: Mapping[int, str]
    filler: str
    pairs: tuple[int, ...]
    original: str

    @classmethod
    def of(cls, text: str) -> Neutral:
        """Return what PyYAML is to see of a file."""
        pairs = [m.start() for m in _ESCAPE.finditer(text) if m["high"]] if "\\u" in text else []
        hidden = [character for character in _NOT_BREAKS if character in text]
        if not hidden and not pairs:
            return cls(text, {}, "", (), text)
        shown = _ESCAPE.sub(_joined, text) if pairs else text
        stand_ins = list(islice(_unused(shown), 1 + len(hidden)))
        there = dict(zip(map(ord, [_FILLER, *hidden]), stand_ins, strict=True))
        back = dict(zip(map(ord, stand_ins), ["", *hidden], strict=True))
        return cls(shown.translate(there), back, stand_ins[0], tuple(pairs), text)

    def restored(self, value: str, style: str | None, start: int, end: int) -> str:
        """Return what a scalar comes to.

        Args:
            value: what it comes to for PyYAML.
            style: its style; only in double quotes an escape is one.
            start: offset of its first character.
            end: offset after its last one.
        """
        if style != '"' and self.filler in value:
            pairs = self.pairs[bisect_left(self.pairs, start) : bisect_left(self.pairs, end)]
            *parts, last = value.split(self.filler * 2)
            halves = [self.original[at : at + _PAIR] for at in pairs[-len(parts) :]]
            joined = zip(parts, halves, strict=True)
            value = "".join(part[:-_ESCAPE_LENGTH] + pair for part, pair in joined) + last
        return value.translate(self.back)


_FILLER = "\0"  # which no file that is read can hold
_PAIR, _ESCAPE_LENGTH = len(r"\ud83d\ude00"), len(r"\U0001F600")
_ESCAPE = re.compile(
    r"\\(?:u(?P<high>[dD][89abAB][0-9a-fA-F]{2})\\u(?P<low>[dD][c-fC-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


def _joined(escape: re.Match[str]) -> str:
    """Join the two halves of a character (RFC 8259, 7) into one escape, as YAML has it."""
    if not escape["high"]:
        return escape.group()
    point = ((int(escape["high"], 16) & 0x3FF) << 10 | int(escape["low"], 16) & 0x3FF) + 0x10000
    return f"\\U{point:08X}{_FILLER * 2}"


def _unused(text: str) -> Iterator[str]:
    """Yield private characters that a text does not hold, not as an escape either."""
    lower = text.lower()
    return (
        chr(point)
        for point in range(0x100000, 0x10FFFE)
        if chr(point) not in text and f"\\u{point:08x}" not in lower
    )


LOADER: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader

STARTS = frozenset({yaml.MappingStartEvent, yaml.SequenceStartEvent})
ENDS = frozenset({yaml.MappingEndEvent, yaml.SequenceEndEvent})
NODES = frozenset({yaml.ScalarEvent, yaml.AliasEvent, *STARTS, *ENDS})


def events(source: SourceFile, text: str) -> Iterator[Any]:
    """Yield the events of the nodes of one document.

    Args:
        source: the file.
        text: what PyYAML is to see of it, of the same length.

    Raises:
        SyntaxProblemError: the file is not YAML.
        SecondDocumentError: another document begins.
    """
    loader = LOADER(text)
    last = documents = 0
    try:
        while loader.check_event():
            event = loader.get_event()
            kind = type(event)
            if kind in NODES:
                if LOADER is yaml.SafeLoader and has_surrogate(event):
                    raise SyntaxProblemError(bad_escape(source, text, last))
                yield event
            elif kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    span = Span(source, event.start_mark.index, event.end_mark.index)
                    raise SecondDocumentError(span)
            last = event.end_mark.index
    except yaml.MarkedYAMLError as problem:
        raise SyntaxProblemError(syntax_error(source, problem)) from None
    except (ValueError, OverflowError):  # the slow parser, on an escape beyond U+10FFFF
        raise SyntaxProblemError(bad_escape(source, text, last)) from None
    finally:
        loader.dispose()


_SURROGATE = re.compile(r"[\ud800-\udfff]")
_BAD_ESCAPE = re.compile(
    r"(?<!\\)(?:\\\\)*+"
    r"(\\(?:u|U0000)[dD][89a-fA-F][0-9a-fA-F]{2}|\\U(?!00(?:0[0-9a-fA-F]|10))[0-9a-fA-F]{8})"
)
_ESCAPE_MESSAGE = "this escape is not a character"
_ESCAPE_REMEDY = "write a character beyond U+FFFF as one escape, such as `\\U0001F600`"
_INDENTATION = "check the indentation and the quotes above"
_NO_TAG = "quote a value that begins with `!`"
_WHOLE = "put the whole condition in single quotes, such as `'\"a\" in x'`"
_CLOSE = "close it, or quote a value that holds brackets or commas"
_PROBLEMS: tuple[tuple[str, str, str | None], ...] = (
    ("invalid unicode", _ESCAPE_MESSAGE, _ESCAPE_REMEDY),
    ("unknown escape", "this escape is unknown", "use single quotes, or double the backslash"),
    ("hexadecimal|hexdecimal", "this escape takes hexadecimal digits", "use single quotes"),
    ("end of stream", "this quote is never closed", "close the quote"),
    ("unexpected document", "a document ends inside a quoted value", "close the quote"),
    ("mapping values", "a `:` is not allowed here", f"quote a value with `: `, or {_INDENTATION}"),
    ("sequence entries", "a `- ` is not allowed here", "begin the list on a line of its own"),
    ("mapping keys", "a `? ` is not allowed here", _INDENTATION),
    ("expected ':'", "this key has no `:`", "write a `:` and a space after the key"),
    (r"',' or '\]'", "a `,` or a `]` is missing", _CLOSE),
    (r"',' or '\}'", "a `,` or a `}` is missing", _CLOSE),
    ("document start", "nothing more is allowed here", _INDENTATION),
    ("block end|expected key|'-' indicator", "this does not fit the lines above", _INDENTATION),
    ("node content", "a value is missing here", None),
    ("chomping|comment or line break", "nothing else is allowed after `|` or `>`", None),
    ("indentation indicator", "the indentation after `|` or `>` is 1 to 9", None),
    ("tab character", "a tab cannot indent", "indent with spaces"),
    ("tag handle|uri|tag", "a tag is not allowed", _NO_TAG),
    ("alphabetic", "a plain value cannot begin with `&` or `*`", "quote the value"),
    ("cannot start any token", "a plain value cannot begin with this character", "quote the value"),
    ("directive|version|yaml document", "a line cannot begin with `%` here", "quote the value"),
)


def syntax_error(source: SourceFile, found: yaml.MarkedYAMLError) -> Diagnostic:
    """Say in own words, without a word of the file, what PyYAML found."""
    problem = (found.problem or "").lower()
    offset = _offset(found.problem_mark or found.context_mark)
    message, remedy = "the file is not valid YAML here", None
    for pattern, own, help_text in _PROBLEMS:
        if re.search(pattern, problem):
            message, remedy = own, help_text
            break
    if re.search("end of stream|unexpected document|expected ':'", problem):
        offset = _offset(found.context_mark)
    elif "escape" in problem or "hexdecimal" in problem:
        offset = source.text.rfind("\\", 0, offset + 1)
    elif remedy == _CLOSE:
        line, _ = source.position(_offset(found.context_mark))
        remedy = f"the bracket was opened at line {line}: {_CLOSE}"
    begin = _line_begin(source.text, offset)
    if (tag := _TAG_BEFORE.search(source.text, begin, offset)) is not None:
        message, remedy, offset = "a tag is not allowed", _NO_TAG, tag.start(1)
    elif (
        remedy
        and remedy.endswith((_INDENTATION, _CLOSE))
        and _WHOLE_BEFORE.search(source.text, begin, offset)
    ):
        message, remedy = "nothing is allowed here after the quote or bracket", _WHOLE
    if _is_tab_indent(source.text, offset):
        message, remedy = "a tab cannot indent", "indent with spaces"
    elif not source.text[offset:].strip():
        offset = len(source.text.rstrip())
    span = Span(source, offset, min(offset + 1, len(source.text)))
    return error(Code.YAML_SYNTAX, message, span, remedy=remedy)


_WHOLE_BEFORE = re.compile(r"""[:,\[-][ \t]+(?:"[^"]*"|'[^']*'|\[[^]]*\])[ \t]*\Z""")
"""A quoted value or a list after a key, and a place after it on the same line."""
_TAG_BEFORE = re.compile(r"[:-][ \t]+(!(?!!)[\w(][^,\r\n]*)\Z")
"""A value that begins with an exclamation mark, and a place in it."""


def _offset(mark: Any) -> int:
    return int(mark.index) if mark else 0


def _is_tab_indent(text: str, offset: int) -> bool:
    return text[_line_begin(text, offset) : offset + 1].lstrip(" ").startswith("\t")


def _line_begin(text: str, offset: int) -> int:
    return max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1


def has_surrogate(event: Any) -> bool:
    """Tell whether a scalar has half a character, which only the slow parser lets pass."""
    return type(event) is yaml.ScalarEvent and _SURROGATE.search(event.value) is not None


def bad_escape(source: SourceFile, text: str, start: int) -> Diagnostic:
    """Return the error for the first escape, from an offset on, that is not a character.

    Args:
        source: the file.
        text: what PyYAML sees of it.
        start: the offset.
    """
    found = _BAD_ESCAPE.search(text, start)
    begin = found.start(1) if found else start
    span = Span(source, begin, begin + 1)
    return error(Code.YAML_SYNTAX, _ESCAPE_MESSAGE, span, remedy=_ESCAPE_REMEDY)
