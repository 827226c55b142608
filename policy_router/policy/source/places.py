"""Where each character of a scalar's text stands in the file, for every style of scalar."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TypeAlias

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
