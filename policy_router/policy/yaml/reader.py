"""A file to a policy, or to plain data.

Which tree of a file is the policy, in the native or the embedded form, is found out here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NoReturn

import yaml

from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import Diagnostic, SourceFile, Span
from policy_router.policy.yaml.nodes import (
    Document,
    MappingNode,
    Node,
    ScalarNode,
    kind_of_node,
    plain,
)
from policy_router.policy.yaml.parser import (
    ENDS,
    STARTS,
    Neutral,
    SecondDocumentError,
    StopReadingError,
    SyntaxProblemError,
    directives,
    error,
    events,
    opened,
    second_document,
)
from policy_router.policy.yaml.tree import Tree

MAX_HOST_DEPTH = 256
"""The most collections inside each other in those parts of a host's config that are not read."""

EMBEDDED_KEY = "delegation"
"""The root key of a host's config under which a policy may stand."""

_GUESS_EMBEDDED = re.compile(rf"^[\"']?{EMBEDDED_KEY}[\"']?\s*:", re.MULTILINE)


def read(name: str, content: str | bytes) -> tuple[Document | None, tuple[Diagnostic, ...]]:
    """Read one rule file.

    Args:
        name: how the file is called in diagnostics.
        content: its bytes, or its text.

    Returns:
        The document, or None where no mapping can be had from the file, and everything found.
    """
    remedy = "split the policy into several files of one folder"
    source, problem = opened(name, content, remedy=remedy)
    return (None, (problem,)) if problem else _File(source).read()


class _File:
    """Reads the events of one file, in the native or the embedded form."""

    def __init__(self, source: SourceFile) -> None:
        self.source = source
        self.found = list(directives(source))
        self.neutral = Neutral.of(source.text)
        self.native = Tree(source, "$", self.neutral)
        self.embedded: Tree | None = None
        self.active: Tree | None = self.native
        self.maybe_embedded = EMBEDDED_KEY in source.text or "\\" in source.text
        self.key = Span(source, 0, 0)
        self.beside: list[tuple[str, Span]] = []
        self.depth = 0
        self.is_mapping = self.awaits_key = self.enters = self.stopped = False

    def read(self) -> tuple[Document | None, tuple[Diagnostic, ...]]:
        """Return the document and what was found."""
        if any(item.code is Code.YAML_SYNTAX for item in self.found):
            return None, tuple(self.found)
        try:
            for event in events(self.source, self.neutral.text):
                self._feed(event)
        except SyntaxProblemError as problem:
            self.stopped = True
            self.found.append(problem.problem)
        except StopReadingError:
            self.stopped = True
        except SecondDocumentError as problem:
            self.found.append(second_document(problem.span, "a rule file"))
        return self._result()

    def _feed(self, event: Any) -> None:
        kind = type(event)
        if kind in ENDS:
            self.depth -= 1
        elif self.depth <= 1 or kind in STARTS:
            self._enter(event, kind)
        if self.active is not None:
            self._pass_on(self.active, event)

    def _enter(self, event: Any, kind: type) -> None:
        """Follow the depth, and the keys of the root mapping."""
        if self.depth == 0:
            self.is_mapping = self.awaits_key = kind is yaml.MappingStartEvent
        elif self.depth == 1 and self.is_mapping:
            self._top(event, kind)
        if kind in STARTS:
            self.depth += 1
            if self.depth > MAX_HOST_DEPTH:
                self._too_deep(event)

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
        if kind is not yaml.ScalarEvent:
            return
        span = Span(self.source, event.start_mark.index, event.end_mark.index)
        if event.value != EMBEDDED_KEY:
            self.beside.append((event.value, span))
            return
        if self.embedded is None:
            self.embedded = Tree(self.source, f"$.{EMBEDDED_KEY}", self.neutral)
            self.key, self.enters, self.active = span, True, None
        else:
            message = f"the key `{EMBEDDED_KEY}` is given twice"
            remedy = f"first at line {self.key.position[0]}"
            path = f"$.{EMBEDDED_KEY}"
            self.found.append(error(Code.DUPLICATE_KEY, message, span, path, remedy))

    def _pass_on(self, tree: Tree, event: Any) -> None:
        try:
            tree.feed(event)
        except StopReadingError:
            self.active = None
            # a key `delegation` further down would make all this the host's business
            if tree is self.embedded or not (self.maybe_embedded and self.is_mapping):
                raise
        if tree.root is not None:
            self.active = None

    def _too_deep(self, event: Any) -> NoReturn:
        span = Span(self.source, event.start_mark.index, event.start_mark.index + 1)
        message = f"a file is at most {MAX_HOST_DEPTH} collections deep"
        self.found.append(error(Code.TOO_DEEP, message, span))
        raise StopReadingError

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
            if self.embedded is None:
                return Document(self.source, tree.root, embedded=False, path=tree.base), found
            root, beside = tree.root, tuple(self.beside)
            embedded = Document(
                self.source, root, embedded=True, path=tree.base, key=self.key, beside=beside
            )
            return embedded, found
        return None, (*found, *self._wrong_root(tree.root, tree.base))

    def _wrong_root(self, root: Node | None, path: str) -> Iterator[Diagnostic]:
        what = f"`{EMBEDDED_KEY}`" if self.embedded else "the root of a policy"
        span = root.span if root else Span(self.source, 0, 0)
        if root is not None and plain(root) is not None:
            message = f"{what} is a mapping, not {kind_of_node(root)}"
            yield error(Code.WRONG_TYPE, message, span, path)
        elif not self.source.text.startswith("*", span.start):  # an alias is reported already
            message = f"{what} is empty" if self.embedded else "the file is empty"
            remedy = "indent what belongs to it" if self.embedded else "write at least `version: 1`"
            yield error(Code.EMPTY_FILE, message, span, path, remedy)


def read_value(name: str, content: str | bytes) -> tuple[Any, tuple[Diagnostic, ...]]:
    """Read a YAML file that is no policy, such as a request, under the same rules.

    Args:
        name: how the file is called in diagnostics.
        content: its bytes, or its text.

    Returns:
        Dicts, lists and scalars, and everything found; None where anything was.
    """
    _, root, found = _read_root(name, content)
    return (None if found or root is None else plain(root)), found


def read_mapping(
    name: str, content: str | bytes, what: str
) -> tuple[Document | None, tuple[Diagnostic, ...]]:
    """Read a YAML file that is no policy and holds a mapping, such as tests, with its places.

    Args:
        name: how the file is called in diagnostics.
        content: its bytes, or its text.
        what: what the mapping is called in messages, such as ``a suite of tests``.

    Returns:
        The document, and everything found; None where no mapping can be had from the file.
    """
    source, root, found = _read_root(name, content)
    if isinstance(root, MappingNode):
        return Document(source, root, embedded=False, path="$"), found
    if root is not None and not found:
        message = f"{what} is a mapping, not {kind_of_node(root)}"
        found = (error(Code.WRONG_TYPE, message, root.span),)
    return None, found


def _read_root(
    name: str, content: str | bytes
) -> tuple[SourceFile, Node | None, tuple[Diagnostic, ...]]:
    source, problem = opened(name, content, remedy="split the document into several files")
    found = (problem,) if problem else tuple(directives(source))
    if found:
        return source, None, found
    tree = Tree(source, "$", Neutral.of(source.text), noun="document")
    found = tuple(_fed(tree))
    return source, tree.root, found


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
