"""Completion for editors: what may follow at a place of an unfinished rule file or suite."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from policy_router.analysis.words import Shape, Words
from policy_router.cel.functions import FUNCTIONS, MACROS, METHODS, Signature
from policy_router.cel.vocabulary import Name, Vocabulary
from policy_router.diagnostics.model import SourceFile
from policy_router.policy.yaml import Cursor, cursor

_WORD: Final = re.compile(r"[A-Za-z_][\w.]*\Z")
_LITERAL: Final = re.compile(r"\"(?:[^\"\\]|\\.)*\"?|'(?:[^'\\]|\\.)*'?")
_COMPARED: Final = re.compile(r"([A-Za-z_][\w.]*)\s*(?:==|!=|in\s*\[[^\]]*)\s*\Z")
_MEMBER: Final = re.compile(r"[^\"']*[\"']\s*in\s+([A-Za-z_][\w.]*)")
PRESENT: Final = "Whether a name is present."
MACRO: Final = "(item, condition)"


@dataclass(frozen=True, slots=True)
class Completion:
    """A text that may stand at a place.

    Attributes:
        text: what to insert.
        kind: ``key``, ``value``, ``name``, ``function`` or ``method``.
        replaced: how many characters before the place it replaces.
        type: the type of a name; the ways to call a function; else empty.
        description: what it means, in a sentence; may be empty.
    """

    text: str
    kind: str
    replaced: int
    type: str = ""
    description: str = ""


def complete(
    text: str, line: int, column: int, *, name: str = "policy.yaml"
) -> tuple[Completion, ...]:
    """Return what may stand at a place of a file, which may be unfinished.

    Args:
        text: the file.
        line: the line of the place, from 1.
        column: the column of the place, from 1: the place is before this character.
        name: how the file is called: ``*_test.yaml`` is a suite of policy tests.

    Returns:
        What begins with the word before the place, in the order of the schema or of the language.
    """
    offset = offset_of(text, line, column)
    here = None if offset is None else cursor(text, offset)
    if here is None:
        return ()
    words = Words(text, name, line)
    vocabulary = None if here.is_key else words.vocabulary(here.path)
    if vocabulary is not None:
        found = _in_condition(here, words, vocabulary)
    else:
        found = _keys(here, words) if here.is_key else _values(here, words)
    begun = here.before.casefold()
    kept = [it for it in found if it.text.casefold().startswith(begun[len(begun) - it.replaced :])]
    return tuple({it.text: it for it in reversed(kept)}.values())[::-1]


def offset_of(text: str, line: int, column: int) -> int | None:
    """Return how many characters are before a place; None where the text has no such line."""
    source = SourceFile("", text)
    if not 1 <= line <= source.position(len(text))[0]:
        return None
    start, end = source.line_bounds(line)
    return min(start + max(column, 1) - 1, end)


def _keys(here: Cursor, words: Words) -> Iterator[Completion]:
    yield from _keys_of(words.shapes(here.path), here)
    for name in words.names_at(here.path):
        if name not in here.keys:
            yield Completion(f"{name}: ", "key", len(here.before))


def _keys_of(shapes: list[Shape], here: Cursor) -> Iterator[Completion]:
    replaced = len(here.before)
    for shape in shapes:
        for key, inner in shape.get("properties", {}).items():
            if key not in here.keys:
                about = inner.get("description", "")
                yield Completion(f"{key}: ", "key", replaced, description=about)


def _values(here: Cursor, words: Words) -> Iterator[Completion]:
    """Yield the words that a value can be; where it is a mapping, the keys that can begin it."""
    replaced = len(here.before)
    for known in words.known_at(here.path):
        yield Completion(known, "value", replaced)
    shapes = words.shapes(here.path)
    for shape in shapes:
        values = [*shape.get("enum", ()), *([shape["const"]] if "const" in shape else [])]
        values = values or shape.get("examples", [])
        if not values and "boolean" in shape.get("type", ()):
            values = [True, False]
        for value in values:
            if isinstance(value, str | bool | int) and value != "":
                shown = str(value).lower() if isinstance(value, bool) else str(value)
                about = shape.get("description", "")
                yield Completion(shown, "value", replaced, description=about)
    yield from _keys_of(shapes, here)


def _in_condition(here: Cursor, words: Words, vocabulary: Vocabulary) -> Iterator[Completion]:
    before = here.before
    literal = literal_at(before + here.after, len(before) - 1)
    if literal is not None and (literal.end() > len(before) or not _is_closed(literal.group())):
        begun = before[literal.start() + 1 :]
        owner = compared_name(before[: literal.start()], here.after)
        for value in words.values_of(owner, vocabulary) if owner else ():
            yield Completion(value, "value", len(begun))
        return
    word = _WORD.search(before)
    begun = word.group() if word else ""
    yield from _names(begun, vocabulary)
    yield from _methods(begun, vocabulary)
    for function, ways in FUNCTIONS.items():
        yield Completion(f"{function}(", "function", len(begun), shown_ways(ways))
    yield Completion("has(", "function", len(begun), description=PRESENT)


def literal_at(text: str, at: int) -> re.Match[str] | None:
    """Return the text literal of a condition that an offset is in, closed or not."""
    return next((it for it in _LITERAL.finditer(text) if it.start() <= at < it.end()), None)


def compared_name(before: str, after: str) -> str | None:
    """Return the name that a text literal is compared with: what is before it or after it.

    Args:
        before: the condition before the literal.
        after: the rest of the literal, and the condition after it.
    """
    found = _COMPARED.search(before) or _MEMBER.match(after)
    return found[1] if found else None


def _is_closed(literal: str) -> bool:
    return re.fullmatch(r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", literal) is not None


def _names(begun: str, vocabulary: Vocabulary) -> Iterator[Completion]:
    for path, name in vocabulary.names.items():
        yield Completion(path, "name", len(begun), str(name.type), meaning(name))
    for path, (type_, _) in vocabulary.tables.items():
        yield Completion(path, "name", len(begun), f"table of {type_}")


def _methods(begun: str, vocabulary: Vocabulary) -> Iterator[Completion]:
    """Yield the methods of the value before the last dot."""
    owner, dot, word = begun.rpartition(".")
    name = vocabulary.names.get(owner) if dot else None
    if name is None:
        return
    for method, ways in METHODS.items():
        fitting = tuple(it for it in ways if it.takes[0].accepts(name.type))
        if fitting:
            yield Completion(f"{method}(", "method", len(word), shown_ways(fitting, is_method=True))
    for macro in MACROS if name.type.name == "list" else ():
        yield Completion(f"{macro}(", "method", len(word), MACRO)


def shown_ways(ways: tuple[Signature, ...], *, is_method: bool = False) -> str:
    """Return the ways to call a function, such as ``(string, string) -> int``."""
    shown = []
    for way in ways:
        takes = [str(it) for it in way.takes[is_method:]] + ["..."] * way.repeats
        shown.append(f"({', '.join(takes)}) -> {way.gives}")
    return "; ".join(shown)


def meaning(name: Name) -> str:
    """Return what a name means, and when it is present."""
    absent = "May be absent: guard it with `has()`." if name.optional and not name.required else ""
    return " ".join(filter(None, (name.description, absent)))
