"""A file before YAML: its bytes, size, characters and directives."""

from __future__ import annotations

import re
from collections.abc import Iterator

from policy_router.diagnostics import Code, Diagnostic, SourceFile, Span
from policy_router.policy.source.problems import error

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


def neutral(text: str) -> tuple[str, dict[int, str]]:
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
