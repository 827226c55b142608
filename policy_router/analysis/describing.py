"""Hover texts for editors: the type, the meaning and the definition of a word in a rule file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from policy_router.analysis.completing import (
    MACRO,
    PRESENT,
    compared_name,
    literal_at,
    meaning,
    offset_of,
    shown_ways,
)
from policy_router.analysis.words import Path, Words
from policy_router.cel.functions import FUNCTIONS, MACROS, METHODS
from policy_router.cel.vocabulary import Name, Vocabulary
from policy_router.diagnostics.model import Span
from policy_router.policy.yaml import Node, ScalarNode, SequenceNode

_WORD: Final = re.compile(r"[A-Za-z_][\w.]*")
_DECLARED: Final = ("facts", "tables", "variables")


@dataclass(frozen=True, slots=True)
class Description:
    """What stands at a place.

    Attributes:
        name: the word.
        kind: ``key``, ``value``, ``name``, ``function`` or ``method``.
        span: where it stands.
        type: the type of a name; the ways to call a function; else empty.
        description: what it means, and of a name whether it may be absent; may be empty.
        definition: where this file defines it; None where it does not.
    """

    name: str
    kind: str
    span: Span
    type: str = ""
    description: str = ""
    definition: Span | None = None


def describe(text: str, line: int, column: int, *, name: str = "policy.yaml") -> Description | None:
    """Return what stands at a place of a file.

    Args:
        text: the file.
        line: the line of the place, from 1.
        column: the column of the place, from 1: the place is this character.
        name: how the file is called: ``*_test.yaml`` is a suite of policy tests.

    Returns:
        What is known of the word there; None where no word stands, or the file is no YAML.
    """
    offset = offset_of(text, line, column)
    words = Words(text, name)
    if offset is None or words.document is None:
        return None
    found = _scalar(words.document.root, offset, words.root)
    if found is None:
        return None
    path, node, is_key = found
    vocabulary = None if is_key else words.vocabulary(path)
    if vocabulary is not None:
        return _of_condition(node, offset, words, vocabulary)
    about = next((it["description"] for it in words.shapes(path) if "description" in it), "")
    if is_key:
        return Description(node.text, "key", node.span, description=about)
    definition = words.known_at(path).get(node.text)
    return Description(node.text, "value", node.span, description=about, definition=definition)


def _scalar(node: Node, offset: int, path: Path) -> tuple[Path, ScalarNode, bool] | None:
    """Return the key or value at an offset, its path, and whether it is a key."""
    if isinstance(node, ScalarNode):
        return (path, node, False) if node.start <= offset < node.end else None
    inner: list[tuple[Node, Path]]
    if isinstance(node, SequenceNode):
        inner = [(item, (*path, index)) for index, item in enumerate(node.items)]
    else:
        inner = [(pair.value, (*path, pair.key.text)) for pair in node.pairs]
        for pair in node.pairs:
            if pair.key.start <= offset < pair.key.end:
                return (*path, pair.key.text), pair.key, True
    return next((it for child, way in inner if (it := _scalar(child, offset, way))), None)


def _of_condition(
    node: ScalarNode, offset: int, words: Words, vocabulary: Vocabulary
) -> Description | None:
    """Describe the word of a condition at an offset."""
    spans = ((at, node.span_of(at, at + 1)) for at in range(len(node.text)))
    at = next((at for at, span in spans if span.start <= offset < span.end), None)
    if at is None:
        return None
    literal = literal_at(node.text, at)
    if literal is not None:
        start, end = literal.span()
        owner = compared_name(node.text[:start], node.text[end - 1 :])
        text = literal.group()[1:-1]
        known = words.values_of(owner, vocabulary) if owner else {}
        return Description(text, "value", node.span_of(start, end), "string", "", known.get(text))
    word = next((it for it in _WORD.finditer(node.text) if it.start() <= at < it.end()), None)
    if word is None:
        return None
    return _of_word(node, word, at, words, vocabulary)


def _of_word(
    node: ScalarNode, word: re.Match[str], at: int, words: Words, vocabulary: Vocabulary
) -> Description | None:
    """Describe the part of a dotted word at an offset: a name, or what is called on it."""
    steps, start = word.group().split("."), word.start()
    before = word.group()[: at - start].count(".")  # dots before the place
    for size in range(len(steps), 0, -1):
        path = ".".join(steps[:size])
        if path in vocabulary.names or path in vocabulary.tables:
            break
    else:
        return _function(word.group(), node.span_of(*word.span()))
    end = start + len(path)
    if before < size:
        return _name(path, node.span_of(start, end), words, vocabulary)
    called = steps[before]
    begin = start + len(".".join(steps[:before])) + 1
    return _method(called, node.span_of(begin, begin + len(called)), vocabulary.names.get(path))


def _name(path: str, span: Span, words: Words, vocabulary: Vocabulary) -> Description:
    section, _, rest = path.partition(".")
    definition = words.declared(section).get(rest) if section in _DECLARED else None
    if path in vocabulary.tables:
        about = f"Guard it with `key in {path}`, and read it as `{path}[key]`."
        type_ = f"table of {vocabulary.tables[path][0]}"
        return Description(path, "name", span, type_, about, definition)
    name = vocabulary.names[path]
    return Description(path, "name", span, str(name.type), meaning(name), definition)


def _function(word: str, span: Span) -> Description | None:
    if word == "has":
        return Description(word, "function", span, "(name) -> bool", PRESENT)
    if word not in FUNCTIONS:
        return None
    return Description(word, "function", span, shown_ways(FUNCTIONS[word]))


def _method(word: str, span: Span, owner: Name | None) -> Description | None:
    if word in MACROS:
        return Description(word, "method", span, MACRO)
    ways = METHODS.get(word, ())
    fitting = tuple(it for it in ways if owner is None or it.takes[0].accepts(owner.type))
    shown = shown_ways(fitting or ways, is_method=True)
    return Description(word, "method", span, shown) if ways else None
