"""What is wrong with a rule file, as values: where, which rule of the language, and the remedy."""

from __future__ import annotations

import bisect
import difflib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.redaction import redact, secret_spans

SHOWN = 100
"""The most diagnostics that are kept; the rest is counted."""

_LINE_END = re.compile(r"\r\n|\r|\n")
_WIDEST_LINE = 160
_QUOTED = re.compile("`[^`]*`")
_LONGEST_QUOTED = 1000
_MOST_COMPARED = 200
_UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_LONGEST_KEY = 100  # characters of a key that a path shows
_LONGEST_READ = 1_000  # characters of a key that are searched for secrets


@dataclass(frozen=True)
class SourceFile:
    """A text with a name, in which places can be pointed at.

    Attributes:
        name: how the text is called in diagnostics: a path as the user gave it.
        text: the decoded text.
    """

    name: str
    text: str = field(repr=False)
    _hidden: list[tuple[int, int]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )
    _values: list[tuple[int, int]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )

    @cached_property
    def _line_starts(self) -> tuple[int, ...]:
        return (0, *(match.end() for match in _LINE_END.finditer(self.text)))

    @cached_property
    def secrets(self) -> tuple[tuple[int, int], ...]:
        """Where the text holds what looks like a secret."""
        return secret_spans(self.text)

    def hide(self, span: Span) -> None:
        """Never show a stretch of this text: a secret stands where only a reference belongs."""
        self._hidden.append((span.start, span.end))

    def hide_value(self, span: Span) -> None:
        """Never show a stretch of this text in a message: a value of a fact, which is no secret."""
        self._values.append((span.start, span.end))

    def has_secret(self, start: int, end: int) -> bool:
        """Tell whether a stretch of the text has a secret in it."""
        return any(first < end and start < last for first, last in self._all_hidden())

    def _all_hidden(self) -> Iterator[tuple[int, int]]:
        yield from self.secrets
        yield from self._hidden
        yield from self._values

    def position(self, offset: int) -> tuple[int, int]:
        """Return the line and the column of an offset, both counted from 1, in characters."""
        line = bisect.bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line_bounds(self, line: int) -> tuple[int, int]:
        """Return the offsets between which a line stands, its line end left out."""
        start = self._line_starts[line - 1]
        match = _LINE_END.search(self.text, start)
        return start, match.start() if match else len(self.text)

    def masked(self, start: int, end: int) -> str:
        """Return a stretch of the text with a star for each character of a secret."""
        stretch = list(self.text[start:end])
        for first, last in self._all_hidden():
            for offset in range(max(first, start), min(last, end)):
                stretch[offset - start] = "*"
        return "".join(stretch)

    def blanked(self) -> str:
        """Return the text with blanks for its secrets; every line stays where it is."""
        kept = list(self.text)
        for first, last in (*self.secrets, *self._hidden):
            for offset in range(first, min(last, len(kept))):
                if kept[offset] not in "\r\n":
                    kept[offset] = " "
        return "".join(kept)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a source file, from ``start`` up to but without ``end`` (offsets)."""

    source: SourceFile
    start: int
    end: int

    @property
    def position(self) -> tuple[int, int]:
        """The line and column of the first character, from 1."""
        return self.source.position(self.start)

    @property
    def end_position(self) -> tuple[int, int]:
        """The line and column after the last character, from 1."""
        return self.source.position(max(self.start, self.end))

    def __str__(self) -> str:
        """Return ``file:line:column``."""
        line, column = self.position
        return f"{printable(self.source.name)}:{line}:{column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding.

    Attributes:
        code: the code of the broken rule of the language.
        severity: an error makes the policy unusable; a warning and a hint do not.
        message: one line, lower-case, without a final full stop.
        span: the place in the file.
        path: the YAML path from the root of the file, such as ``$.pool[0].pick``.
        help: the remedy, or None.
    """

    code: Code
    severity: Severity
    message: str
    span: Span
    path: str = "$"
    help: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the finding for JSON, with lines and columns counted from 1."""
        line, column = self.span.position
        end_line, end_column = self.span.end_position
        return {
            "code": self.code.value,
            "severity": self.severity.value,
            "message": self.message,
            "file": self.span.source.name,
            "line": line,
            "column": column,
            "end_line": end_line,
            "end_column": end_column,
            "path": self.path,
            "help": self.help,
        }

    def to_text(self, paint: Paint | None = None) -> str:
        """Return the finding for a person: place, message, source line, caret, remedy."""
        paint = paint or _plain
        head = f"{paint(f'{self.severity}[{self.code}]', self.severity)}: {self.message}"
        lines = [f"{self.span}: {head}", *_snippet(self.span, paint)]
        if self.help:
            lines.append(f"   = help: {self.help}")
        lines.append(f"   = path: {self.path}")
        return "\n".join(lines)


Paint = Callable[[str, str], str]
"""Colours a text for a role: a severity, ``good``, ``dim`` or ``strong``."""


def _plain(text: str, _role: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """Everything found in one run: sorted by place, without repeats, at most :data:`SHOWN`.

    Attributes:
        items: the findings that are kept; if there are too many, the more severe ones.
        errors: how many errors were found, kept or not.
        warnings: how many warnings were found, kept or not.
        hints: how many hints were found, kept or not.
    """

    items: tuple[Diagnostic, ...] = ()
    errors: int = 0
    warnings: int = 0
    hints: int = 0

    @classmethod
    def of(cls, found: Iterable[Diagnostic]) -> Diagnostics:
        """Sort, deduplicate and count the findings, and keep at most :data:`SHOWN`."""
        unique = sorted(set(found), key=_order)
        by_severity = [[item for item in unique if item.severity is each] for each in Severity]
        kept = sorted([item for items in by_severity for item in items][:SHOWN], key=_order)
        return cls(tuple(_safe(item) for item in kept), *map(len, by_severity))

    def __iter__(self) -> Iterator[Diagnostic]:
        """Iterate over the findings that are kept."""
        return iter(self.items)

    def __len__(self) -> int:
        """Return how many findings are kept."""
        return len(self.items)

    def without_hints(self) -> Diagnostics:
        """Return the errors and warnings alone."""
        kept = tuple(item for item in self.items if item.severity is not Severity.HINT)
        return replace(self, items=kept, hints=0)

    @property
    def omitted(self) -> int:
        """How many findings were counted but not kept."""
        return self.errors + self.warnings + self.hints - len(self.items)

    def to_dict(self) -> dict[str, Any]:
        """Return the findings for JSON; ``omitted`` is present only if it is not 0."""
        counts = {"errors": self.errors, "warnings": self.warnings, "hints": self.hints}
        rest = {"omitted": self.omitted} if self.omitted else {}
        return {"diagnostics": [item.to_dict() for item in self.items], **counts, **rest}

    def to_json(self) -> str:
        """Return the findings as JSON text."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2)

    def to_text(self, paint: Paint | None = None) -> str:
        """Return the findings for a person."""
        blocks = [item.to_text(paint) for item in self.items]
        if self.omitted:
            blocks.append(f"... and {self.omitted} more")
        return "\n".join(blocks)


def quote(text: str, limit: int = 60) -> str:
    """Put a user's text in backticks: safe to print, no secret in it, and cut where long."""
    safe = printable(redact(text[:_LONGEST_QUOTED])).replace("`", "'")
    return f"`{safe[:limit]}...`" if len(safe) > limit else f"`{safe}`"


def printable(text: str) -> str:
    """Replace what a terminal would act on: control, formatting and surrogate characters."""
    return "".join("\ufffd" if unicodedata.category(c) in _UNPRINTABLE else c for c in text)


def did_you_mean(word: str, known: Iterable[str], likeness: float = 0.6) -> str | None:
    """Return the remedy for a misspelt word, or None where nothing known is like it."""
    words = compared = list(known)
    if len(words) > _MOST_COMPARED:
        compared = [other for other in words if other[:1] == word[:1]][:_MOST_COMPARED]
    close = difflib.get_close_matches(word[:100], compared, n=1, cutoff=likeness)
    if not close:  # perhaps in another case
        alike, folded = [it for it in words if len(it) == len(word)], word.casefold()
        close = [it for it in alike if it.casefold() == folded]
    return f"did you mean `{close[0]}`?" if close else None


def json_path(*parts: str | int, base: str = "$") -> str:
    """Spell the path to a value: ``$.pool[0].pick``, or ``$["odd key"]``.

    A key is safe to print: no secret is in it, and a long one is cut.
    """
    steps = (
        f"[{part}]" if isinstance(part, int) else _key_step(part[:_LONGEST_READ]) for part in parts
    )
    return base + "".join(steps)


@lru_cache(maxsize=256)
def _key_step(key: str) -> str:
    shown = printable(redact(key))
    if len(shown) > _LONGEST_KEY:
        shown = f"{shown[:_LONGEST_KEY]}..."
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", shown):
        return f".{shown}"
    return f"[{json.dumps(shown, ensure_ascii=False)}]"


_IN_OWN_WORDS = frozenset({Code.INLINE_SECRET, Code.YAML_SYNTAX})
"""The codes of findings that quote nothing of the file."""


def _safe(item: Diagnostic) -> Diagnostic:
    """Return a finding whose words hold no secret."""
    message, help_ = printable(redact(item.message)), item.help and printable(redact(item.help))
    if item.code not in _IN_OWN_WORDS and item.span.source.has_secret(
        item.span.start, item.span.end
    ):
        message = _QUOTED.sub("`***`", message)
        help_ = None
    if (message, help_) == (item.message, item.help):
        return item
    return replace(item, message=message, help=help_)


def _order(item: Diagnostic) -> tuple[Any, ...]:
    span = item.span
    return (span.source.name, span.start, span.end, item.code, item.message, item.path)


def _snippet(span: Span, paint: Paint) -> list[str]:
    source, (line, _) = span.source, span.position
    start, end = source.line_bounds(line)
    if start == end:
        return []
    shown, first = _window(start, end, span.start)
    marked = max(1, min(span.end, shown) - span.start)
    text = source.masked(start, end)
    before = _displayed(text[first - start : span.start - start])
    under = _displayed(text[span.start - start : span.start - start + marked])
    pointer = " " * _width(before) + paint("^" * max(1, _width(under)), "error")
    return [f"   | {_displayed(text[first - start : shown - start])}", f"   | {pointer}"]


def _window(start: int, end: int, caret: int) -> tuple[int, int]:
    """Cut a very long line around the caret."""
    if end - start <= _WIDEST_LINE:
        return end, start
    first = max(start, min(caret - _WIDEST_LINE // 2, end - _WIDEST_LINE))
    return min(end, first + _WIDEST_LINE), first


def _displayed(text: str) -> str:
    return printable(text.replace("\t", " "))


def _width(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    combining = sum(unicodedata.combining(character) != 0 for character in text)
    return len(text) + wide - combining
