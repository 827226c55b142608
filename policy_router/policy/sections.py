"""The sections of a policy, whichever file each piece of it stands in.

Lists are joined and mappings united; what may stand once is an error the second time, and the
error shows both places.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic, Span, json_path, quote
from policy_router.diagnostics.redaction import REFERENCE
from policy_router.policy.yaml import Document, MappingNode, Node, ScalarNode, SequenceNode

_SINGLE = (
    *("name", "description", "owner", "model", "provider", "reasoning_effort"),
    *("unknown_cost_usd", "precedence"),
)
"""The root keys that stand in one file only."""
_OPEN_WORDS = frozenset({"api", "max_tokens", "system_role", "unsupported"})
"""The keys of a dialect; a key that is none of them may be a secret's, in the wrong place."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A value in a file, with its YAML path.

    Attributes:
        node: the value.
        base: the YAML path of the policy.
        parts: keys and indexes on the way from there to the value.
    """

    node: Node
    base: str
    parts: tuple[str | int, ...] = ()

    @property
    def path(self) -> str:
        """The YAML path, spelled only where a message needs it."""
        return json_path(*self.parts, base=self.base)

    @property
    def span(self) -> Span:
        """Where it stands."""
        return self.node.span

    def get(self, key: str) -> Piece | None:
        """Return the value of a key; None where there is none, or this is no mapping."""
        node = self.node.get(key) if isinstance(self.node, MappingNode) else None
        return None if node is None else self._at(node, key)

    def items(self) -> list[Piece]:
        """Return the items of a list; nothing where this is no list."""
        if not isinstance(self.node, SequenceNode):
            return []
        return [self._at(item, position) for position, item in enumerate(self.node.items)]

    def pairs(self) -> list[tuple[ScalarNode, Piece]]:
        """Return the keys and values of a mapping; nothing where this is no mapping."""
        if not isinstance(self.node, MappingNode):
            return []
        return [(pair.key, self._at(pair.value, pair.key.text)) for pair in self.node.pairs]

    def _at(self, node: Node, part: str | int) -> Piece:
        return Piece(node, self.base, (*self.parts, part))

    def text(self) -> str | None:
        """Return a non-empty string; None where this is something else."""
        value = self.node.value if isinstance(self.node, ScalarNode) else None
        return value if isinstance(value, str) and value else None

    def texts(self) -> tuple[str, ...]:
        """Return the strings of a list."""
        return tuple(text for item in self.items() if (text := item.text()) is not None)

    def number(self) -> int | float | None:
        """Return a number; None where this is something else."""
        value = self.node.value if isinstance(self.node, ScalarNode) else None
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        return value if numeric else None  # type: ignore[return-value]

    def flag(self) -> bool | None:
        """Return true or false; None where this is something else."""
        value = self.node.value if isinstance(self.node, ScalarNode) else None
        return value if isinstance(value, bool) else None

    def text_at(self, key: str) -> str | None:
        """Return the string under a key; None where there is none."""
        inner = self.get(key)
        return inner.text() if inner else None

    def texts_at(self, key: str) -> tuple[str, ...]:
        """Return the strings of the list under a key."""
        inner = self.get(key)
        return inner.texts() if inner else ()

    def number_at(self, key: str) -> float | None:
        """Return the number under a key; None where there is none."""
        inner = self.get(key)
        return inner.number() if inner else None

    def flag_at(self, key: str, *, default: bool) -> bool:
        """Return the truth under a key, or the default where there is none."""
        inner = self.get(key)
        flag = inner.flag() if inner else None
        return default if flag is None else flag

    def error(self, code: Code, message: str, help_: str | None = None) -> Diagnostic:
        """Return an error at this place."""
        return Diagnostic(code, Severity.ERROR, message, self.span, self.path, help_)

    def warning(self, code: Code, message: str, help_: str | None = None) -> Diagnostic:
        """Return a warning at this place."""
        return Diagnostic(code, Severity.WARNING, message, self.span, self.path, help_)

    def hint(self, code: Code, message: str, help_: str | None = None) -> Diagnostic:
        """Return a hint at this place."""
        return Diagnostic(code, Severity.HINT, message, self.span, self.path, help_)


def hide_secrets(document: Document) -> None:
    """Hide what no diagnostic may show of a file.

    That is every value under ``providers`` that is not an address, no word of a dialect and no
    reference, the defaults of facts, and what a host has around the policy.
    """
    root = Piece(document.root, document.path)
    providers, facts = root.get("providers"), root.get("facts")
    if document.key is not None:
        _hide_host(document, document.key)
    for _, fact in facts.pairs() if facts else ():
        for piece in scalars(default) if (default := fact.get("default")) else ():
            document.source.hide_value(piece.span)
    shown = {piece.span for piece in _open(providers)} if providers else set()
    for piece in scalars(providers) if providers else ():
        text = piece.text()
        if text and piece.span not in shown and not REFERENCE.fullmatch(text):
            document.source.hide(piece.span)


def _hide_host(document: Document, key: Span) -> None:
    """Hide what a host has around the policy, but for the root keys that are reported."""
    source, hidden_from = document.source, 0
    shown = sorted(
        (span.start, span.end)
        for span in (key, document.root.span, *(span for _, span in document.beside))
    )
    for start, end in shown:
        before = source.text[hidden_from:start].rstrip(" ")  # indentation may be seen
        source.hide(Span(source, hidden_from, hidden_from + len(before)))
        colon = _COLON.match(source.text, end)
        hidden_from = colon.end() if colon else end
    source.hide(Span(source, hidden_from, len(source.text)))


_COLON = re.compile(r"[ \t]*:")


def _open(providers: Piece) -> Iterator[Piece]:
    """Yield what of endpoints may be shown: addresses, and the words of dialects."""
    for _, provider in providers.pairs():
        yield from (value for key, value in provider.pairs() if key.text == "base_url")
        dialect = provider.get("dialect")
        for key, value in dialect.pairs() if dialect else ():
            if key.text in _OPEN_WORDS:
                yield from (value, *value.items())


def scalars(piece: Piece) -> Iterator[Piece]:
    """Yield every scalar in a value, keys apart."""
    if isinstance(piece.node, ScalarNode):
        yield piece
    for child in [value for _, value in piece.pairs()] + piece.items():
        yield from scalars(child)


class Sections:
    """The root mappings of all documents of a policy, seen as one."""

    def __init__(self, documents: Iterable[Document]) -> None:
        """Look at documents in their order."""
        self.roots = tuple(Piece(document.root, document.path) for document in documents)
        self._values: dict[str, list[Piece]] = {}
        for root in self.roots:
            for key, value in root.pairs():
                self._values.setdefault(key.text, []).append(value)

    def all(self, key: str) -> Sequence[Piece]:
        """Return every value of a root key, in the order of the files."""
        return self._values.get(key, ())

    def one(self, key: str) -> Piece | None:
        """Return the first value of a root key."""
        return next(iter(self.all(key)), None)

    def joined(self, key: str) -> list[Piece] | None:
        """Return the items of a list that may stand in several files; None where none has it."""
        lists = self.all(key)
        return [item for piece in lists for item in piece.items()] if lists else None

    def united(self, key: str) -> list[tuple[ScalarNode, Piece]]:
        """Return the pairs of a mapping that may stand in several files, first ones only."""
        seen: dict[str, tuple[ScalarNode, Piece]] = {}
        for piece in self.all(key):
            for name, value in piece.pairs():
                seen.setdefault(name.text, (name, value))
        return list(seen.values())

    def repeats(self) -> Iterator[Diagnostic]:
        """Yield an error for everything that is given twice in different files."""
        for key in _SINGLE:
            given = self.all(key)
            for other in given[1:]:
                message = f"`{key}` is given twice, and a folder is one policy"
                yield other.error(Code.GIVEN_TWICE, message, f"first given at {given[0].span}")
        for key in ("providers", "facts", "variables", "parameters", "tables"):
            yield from self._repeated_names(key)

    def _repeated_names(self, key: str) -> Iterator[Diagnostic]:
        seen: dict[str, ScalarNode] = {}
        for piece in self.all(key):
            for name, value in piece.pairs():
                first = seen.setdefault(name.text, name)
                if first is not name:
                    message = f"{quote(name.text)} is given twice under `{key}`"
                    remedy = f"first given at {first.span}"
                    yield Diagnostic(
                        Code.DUPLICATE_NAME, Severity.ERROR, message, name.span, value.path, remedy
                    )
