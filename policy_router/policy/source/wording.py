"""Syntax errors in own words, without a word of the file."""

from __future__ import annotations

import re
from typing import Any

import yaml

from policy_router.diagnostics import Code, Diagnostic, SourceFile, Span
from policy_router.policy.source.problems import error

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_BAD_ESCAPE = re.compile(
    r"(?<!\\)(?:\\\\)*+"
    r"(\\(?:u|U0000)[dD][89a-fA-F][0-9a-fA-F]{2}|\\U(?!00(?:0[0-9a-fA-F]|10))[0-9a-fA-F]{8})"
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
    if _is_tab_indent(source.text, offset):
        message, remedy = "a tab cannot indent", "indent with spaces"
    elif not source.text[offset:].strip():
        offset = len(source.text.rstrip())
    span = Span(source, offset, min(offset + 1, len(source.text)))
    return error(Code.YAML_SYNTAX, message, span, remedy=remedy)


def _offset(mark: Any) -> int:
    return int(mark.index) if mark else 0


def _is_tab_indent(text: str, offset: int) -> bool:
    begin = max(text.rfind("\n", 0, offset), text.rfind("\r", 0, offset)) + 1
    return text[begin : offset + 1].lstrip(" ").startswith("\t")


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
