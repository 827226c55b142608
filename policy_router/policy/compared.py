"""Finds what conditions probably compare wrongly: spellings, whole lists, patterns."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from policy_router.cel.ast import (
    STRINGS,
    Apply,
    Attribute,
    ListOf,
    Literal,
    Loop,
    LoopVariable,
    Node,
    TableOf,
    walk,
)
from policy_router.cel.checker import Problem
from policy_router.cel.condition import Condition
from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic, quote
from policy_router.domain import Policy, PoolEntry
from policy_router.policy.conditions import placed
from policy_router.policy.parts import Finding
from policy_router.policy.request_sections import CLOSED
from policy_router.policy.sections import Sections
from policy_router.policy.written import Written

_HOSTS: Final = ("caller.", "facts.")
"""Where the names of what the host knows begin."""
_OPEN: Final = (*_HOSTS, "task.kind", "task.labels", "task.needs")
"""Where the names begin whose values a policy need not list."""
_WORDS: Final = ("[", "matches", "exists")
"""One of them is in each condition that is compared in an unlikely way."""
_ANCHOR: Final = re.compile(r"\^|\$|\\[Abz]")
_FLAGS: Final = re.compile(r"^\(\?[a-zA-Z]+\)")
_ANY_CHARACTER: Final = re.compile(r"(?<=[A-Za-z0-9])\.(?=[A-Za-z0-9])")


def findings(condition: Condition) -> list[Finding]:
    """Return the lists and patterns in a condition that are compared in an unlikely way."""
    found: list[Finding] = []
    if not any(word in condition.text for word in _WORDS):
        return found
    for node in walk(condition.tree):
        if isinstance(node, Apply) and node.function in {"==", "!="}:
            found += _whole_list(condition, node)
        elif isinstance(node, Apply) and node.function == "matches":
            found += _half_anchored(node)
        elif isinstance(node, Loop) and node.macro == "exists":
            found += _any_other(condition, node)
    return found


# Lists.


def _whole_list(condition: Condition, node: Apply) -> Iterator[Finding]:
    """Yield a list of the request that is compared with one that has items."""
    for one, other in (node.arguments, node.arguments[::-1]):
        if isinstance(one, Attribute) and one.type == STRINGS and isinstance(other, ListOf):
            if other.items:
                truth = "true" if node.function == "==" else "false"
                message = f"this is {truth} only for exactly this list, in this order"
                name, first = condition.text_of(one), condition.text_of(other.items[0])
                remedy = f"to look into the list, write `{first} in {name}`"
                problem = Problem(Code.UNLIKELY_LIST, message, node.start, node.end, remedy)
                yield Finding(problem)
            return


def _any_other(condition: Condition, node: Loop) -> Iterator[Finding]:
    """Yield ``list.exists(item, item != "a")``, which does not say that no item is that."""
    body = node.body
    if not isinstance(body, Apply) or body.function != "!=":
        return
    for one, other in (body.arguments, body.arguments[::-1]):
        if isinstance(one, LoopVariable) and isinstance(other, Literal):
            source, item = condition.text_of(node.source), condition.text_of(other)
            message = "this is true if the list has any other item"
            remedy = f"if the item must not be in the list, write `!({item} in {source})`"
            problem = Problem(Code.UNLIKELY_LIST, message, node.start, node.end, remedy)
            yield Finding(problem, Severity.HINT)


# Patterns.


def _half_anchored(node: Apply) -> Iterator[Finding]:
    """Yield a pattern of alternatives of which only some are bound to an end of the text."""
    pattern = node.arguments[1]
    if not isinstance(pattern, Literal):
        return
    parts = _alternatives(_FLAGS.sub("", str(pattern.value)))
    begin = {part.startswith(("^", r"\A")) for part in parts}
    end = {part.endswith(("$", r"\z")) and not part.endswith(r"\$") for part in parts}
    if len(begin) > 1 or len(end) > 1:
        message = "`^` and `$` bind only the alternative that they stand in"
        remedy = "put the alternatives in parentheses: `^(a|b)$`"
        yield Finding(Problem(Code.LOOSE_PATTERN, message, pattern.start, pattern.end, remedy))


def _alternatives(pattern: str) -> list[str]:
    """Split a pattern at each ``|`` that stands in no parentheses and no brackets."""
    parts, depth, in_brackets = [""], 0, False
    for piece in re.findall(r"\\.|.", pattern, re.DOTALL):
        if not in_brackets:
            depth += (piece == "(") - (piece == ")")
        in_brackets = piece != "]" and (in_brackets or piece == "[")
        if piece == "|" and not depth and not in_brackets:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def loose_patterns(written: Iterable[Written]) -> Iterator[Diagnostic]:
    """Yield the patterns of permissions and variables that match more than they say."""
    for each in written:
        if each.of is not None and not (isinstance(each.of, PoolEntry) and each.key == "allow"):
            continue
        if "matches" not in each.condition.text:
            continue
        for path, node, pattern in _patterns(each.condition.tree):
            if path.startswith(_HOSTS) and (found := _loose(pattern)) is not None:
                problem = Problem(Code.LOOSE_PATTERN, found[0], node.start, node.end, found[1])
                yield placed(each.piece, problem, Severity.HINT)


def _patterns(tree: Node) -> Iterator[tuple[str, Node, str]]:
    """Yield each pattern with its place and the name that it is for."""
    for path, node in _asked(tree):
        pattern = node.arguments[1]
        if node.function == "matches" and isinstance(pattern, Literal):
            yield path, pattern, str(pattern.value)


def _loose(pattern: str) -> tuple[str, str] | None:
    """Return what a pattern matches besides, with the remedy."""
    if _ANCHOR.search(pattern) is None:
        return "the pattern also matches inside a longer text", "for the whole text, write `^...$`"
    if _ANY_CHARACTER.search(re.sub(r"\[[^\]]*\]", "", pattern)):
        return "a `.` in a pattern matches any character", r"for a dot, write `[.]`"
    return None


# Spellings.


class _Word(NamedTuple):
    """A text that a name is compared with, the condition, and the place in it."""

    text: str
    each: Written
    node: Node

    def report(self, message: str, help_: str | None = None) -> Diagnostic:
        start, end = self.node.start, self.node.end
        problem = Problem(Code.UNLIKELY_SPELLING, message, start, end, help_)
        return placed(self.each.piece, problem, Severity.WARNING)


def spellings(
    policy: Policy, sections: Sections, written: Iterable[Written]
) -> Iterator[Diagnostic]:
    """Yield texts that a name is compared with and that differ only in their spelling."""
    yield from _of_closed(policy, sections)
    words: defaultdict[tuple[str, str], list[_Word]] = defaultdict(list)
    for path, word in _words(written):
        if path.startswith(_OPEN) and path not in policy.closed:
            words[path, _folded(word.text)].append(word)
            if word.text != word.text.strip():
                yield word.report(f"{quote(word.text)} begins or ends with a space")
    for (path, _), them in words.items():
        yield from _twins(path, them)


def _words(written: Iterable[Written]) -> Iterator[tuple[str, _Word]]:
    """Yield each text that a name is compared with, the keys of a table once for a name."""
    tables = set()
    for each in written:
        for path, node in _asked(each.condition.tree):
            for other in node.arguments if node.function in _COMPARING else ():
                if isinstance(other, TableOf) and (path, other.path) not in tables:
                    tables.add((path, other.path))
                    yield from ((path, _Word(key, each, node)) for key in other.values)
                for item in other.items if isinstance(other, ListOf) else (other,):
                    if isinstance(item, Literal) and isinstance(item.value, str) and item.value:
                        yield path, _Word(item.value, each, item)


def _folded(text: str) -> str:
    return re.sub(r"[\s_-]", "", text).casefold()


def _twins(path: str, words: list[_Word]) -> Iterator[Diagnostic]:
    """Yield the first place of each spelling after the first; two in one condition are meant."""
    first, conditions = words[0], defaultdict(set)
    for word in words:
        conditions[word.text].add(id(word.each))
    others = {word.text: word for word in reversed(words) if word.text != first.text}
    for word in reversed(others.values()):
        if conditions[word.text].isdisjoint(conditions[first.text]):
            message = f"`{path}` is {quote(word.text)} here and {quote(first.text)} elsewhere"
            span = first.report("").span
            yield word.report(
                message, f"names are exact: write one of them; the other is at {span}"
            )


def _of_closed(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    """Yield the values of a closed set that differ only in their spelling."""
    for key, path in CLOSED.items():
        piece, seen = sections.one(key), dict[str, str]()
        for value in policy.closed[path].values if piece and path in policy.closed else ():
            first = seen.setdefault(_folded(value), value)
            if first != value and piece is not None:
                message = f"{quote(value)} and {quote(first)} are two values of `{path}`"
                yield piece.warning(Code.UNLIKELY_SPELLING, message, "names are exact: keep one")


_COMPARING: Final = frozenset({"==", "!=", "in", "[]", "sets.contains", "sets.intersects"})
_ASKING: Final = _COMPARING | {"matches"}


def _asked(tree: Node) -> Iterator[tuple[str, Apply]]:
    """Yield each name of the request that is compared, with the comparison."""
    nothing: Mapping[str, str] = {}
    stack = [(tree, nothing)]  # with the names of lists, by the variables for their items
    while stack:
        node, names = stack.pop()
        if isinstance(node, Apply) and node.function in _ASKING:
            for one in node.arguments:
                if (path := _path(one, names)) is not None:
                    yield path, node
        elif isinstance(node, Loop) and (source := _path(node.source, names)) is not None:
            names = {**names, node.variable: source}
        below = node.children()[::-1]
        stack.extend([(it, names) for it in below if not isinstance(it, Literal | Attribute)])


def _path(node: Node, names: Mapping[str, str]) -> str | None:
    if isinstance(node, LoopVariable):
        return names.get(node.name)
    return node.path if isinstance(node, Attribute) else None
