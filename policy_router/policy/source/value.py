"""A file to plain data, whatever its root is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policy_router.diagnostics import Code, Diagnostic, SourceFile, Span
from policy_router.policy.source.events import events
from policy_router.policy.source.nodes import Node, ScalarNode, plain
from policy_router.policy.source.problems import (
    SecondDocumentError,
    StopReadingError,
    SyntaxProblemError,
    error,
    second_document,
)
from policy_router.policy.source.text import Neutral, directives, opened
from policy_router.policy.source.tree import Tree


def read_value(name: str, content: str | bytes) -> tuple[Any, tuple[Diagnostic, ...]]:
    """Read a YAML file that is no policy, such as a request, under the same rules.

    Args:
        name: how the file is called in diagnostics.
        content: its bytes, or its text.

    Returns:
        Dicts, lists and scalars, and everything found; None where anything was.
    """
    source, problem = opened(name, content, remedy="split the document into several files")
    found = (problem,) if problem else tuple(directives(source))
    if found:
        return None, found
    tree = Tree(source, "$", Neutral.of(source.text), noun="document")
    found = tuple(_fed(tree))
    return (None if found or tree.root is None else plain(tree.root)), found


def _fed(tree: Tree) -> Iterator[Diagnostic]:
    """Feed a tree all its events, and yield what is wrong."""
    last = None
    try:
        for event in events(tree.source, tree.neutral.text):
            tree.feed(event)
    except SyntaxProblemError as problem:
        last = problem.problem
    except SecondDocumentError as problem:
        last = second_document(problem.span, "a file")
    except StopReadingError:
        pass
    else:
        if not tree.found and _is_empty(tree.root):
            last = _empty(tree.source)
    yield from tree.found
    if last:
        yield last


def _is_empty(root: Node | None) -> bool:
    return root is None or (isinstance(root, ScalarNode) and root.plain and not root.text)


def _empty(source: SourceFile) -> Diagnostic:
    return error(Code.EMPTY_FILE, "the file is empty", Span(source, 0, 0))
