"""The words of an unfinished policy: names in conditions, entries, providers.

Whatever of the file can be read is taken; what is wrong with it is not asked here. The shape of a
file, with the meaning of each key, is its JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from policy_router.cel.vocabulary import REQUEST_NAMES, Vocabulary
from policy_router.diagnostics.model import Span
from policy_router.files.loader import profiles, schema
from policy_router.files.rule_files import ENDINGS, SUITE_SUFFIX
from policy_router.policy.conditions import ConditionReader, Sees, Vocabularies
from policy_router.policy.known_providers import KNOWN_PROVIDERS
from policy_router.policy.request_sections import RequestSections
from policy_router.policy.sections import Piece, Sections
from policy_router.policy.yaml import EMBEDDED_KEY, Document, read

Path: TypeAlias = tuple[str | int, ...]
Shape: TypeAlias = Mapping[str, Any]

_CONDITIONS: Final[Mapping[str, Sees]] = {
    "allow": Sees.CANDIDATE,
    "pick": Sees.CANDIDATE,
    "order_by": Sees.CANDIDATE,
    "never": Sees.OUTCOME,
    "always": Sees.OUTCOME,
}
_EMBEDDED = re.compile(rf"^[\"']?{EMBEDDED_KEY}[\"']?[ \t]*:", re.MULTILINE)


class Words:
    """What a file says, as far as it can be read.

    Attributes:
        is_suite: whether it is a suite of policy tests.
        root: the keys to the mapping of the policy: none, or ``delegation``.
        document: the file; None where it cannot be read.
    """

    def __init__(self, text: str, name: str, line: int | None = None) -> None:
        """Read a file.

        Args:
            text: its content.
            name: how it is called: ``*_test.yaml`` is a suite of policy tests.
            line: the line that is being written, from 1: it may be left out.
        """
        self.is_suite = name.endswith(tuple(SUITE_SUFFIX + it for it in ENDINGS))
        is_embedded = not self.is_suite and _EMBEDDED.search(text) is not None
        self.root: Path = (EMBEDDED_KEY,) if is_embedded else ()
        self.document = _read(text, name, line)
        self._sections = Sections([self.document] if self.document else [])

    def shapes(self, path: Path) -> list[Shape]:
        """Return the parts of the schema that a value may have the shape of, references followed.

        Args:
            path: the keys and indexes to the value from the root of the file.
        """
        whole = schema("policy-test" if self.is_suite else "policy")
        start: Shape = whole
        if not self.is_suite:
            start = whole["definitions"]["embedded" if self.root else "native"]
        if path[: len(self.root)] != self.root:
            return []
        found = list(_resolved(whole, start))
        for part in path[len(self.root) :]:
            found = [
                it
                for shape in found
                for inner in _under(shape, part)
                for it in _resolved(whole, inner)
            ]
        return found

    def sees(self, path: Path) -> Sees | None:
        """Return what the condition at a path looks at; None where no condition stands there."""
        inner = path[len(self.root) :]
        match inner:
            case ("variables", str()) | ("assume", int()) | ("precedence", int(), "when"):
                return Sees.REQUEST
            case ("forbid", int(), "when"):
                return Sees.CANDIDATE
            case (("pool" | "precedence" | "assert"), int(), str(key)):
                return _CONDITIONS.get(key)
        return None

    def vocabulary(self, path: Path) -> Vocabulary | None:
        """Return the names that the condition at a path may use; None where there is none."""
        if (sees := self.sees(path)) is None:
            return None
        requests = RequestSections(self._sections)
        facts = requests.facts()
        required = requests.required(facts)
        reader = ConditionReader(
            Vocabularies.of(facts.values(), requests.closed(), required, requests.tables())
        )
        for key, piece in self._sections.united("variables"):
            if path[len(self.root) :] == ("variables", key.text):
                break  # a variable uses the ones above it
            reader.variable(key.text, piece)
        vocabulary: Vocabulary = getattr(reader.vocabularies, sees.value)
        return vocabulary

    def entries(self) -> dict[str, Span]:
        """Return the names of the pool's entries, with the places that give them."""
        return dict(self._entries("name", "model"))

    def models(self) -> dict[str, Span]:
        """Return the models of the pool and of the default, with the first place of each."""
        found = dict(self._entries("model"))
        default = self._sections.one("model")
        return found | (dict([_text(default)]) if default else {})

    def _entries(self, *keys: str) -> Iterator[tuple[str, Span]]:
        for entry in self._sections.joined("pool") or ():
            given = [piece for key in keys if (piece := entry.get(key)) is not None]
            if given:
                yield _text(given[0])

    def providers(self) -> dict[str, Span | None]:
        """Return the providers that can be named; those of the policy with their places."""
        own: dict[str, Span | None] = {
            key.text: key.span for key, _ in self._sections.united("providers")
        }
        return own or dict.fromkeys(KNOWN_PROVIDERS)

    def declared(self, section: str) -> dict[str, Span]:
        """Return the keys of a section, such as ``variables``, with their places."""
        return {key.text: key.span for key, _ in self._sections.united(section)}

    def known_at(self, path: Path) -> Mapping[str, Span | None]:
        """Return the names that a value that is no condition may have, with their places."""
        if self.is_suite:
            return self.declared("requests") if path[-2:] == ("request", "use") else {}
        match path[len(self.root) :]:
            case ("provider",) | ("pool", int(), "provider"):
                return self.providers()
            case ("pool", int(), "fallback", int()) | ("precedence", int(), "entry"):
                return self.entries()
            case ("precedence",):
                return dict.fromkeys(profiles())
            case ("require", int()):
                names = Vocabularies.of(
                    RequestSections(self._sections).facts().values(), {}, (), {}
                )
                return dict.fromkeys(it for it in names.rule.names if it != "now")
        return {}

    def names_at(self, path: Path) -> tuple[str, ...]:
        """Return the names of a request that can be keys of a mapping: of a matrix."""
        is_matrix = self.is_suite and path[:1] == ("tests",) and path[2:] == ("matrix",)
        return tuple(name.path for name in REQUEST_NAMES) if is_matrix else ()

    def values_of(self, name: str, vocabulary: Vocabulary) -> Mapping[str, Span | None]:
        """Return the texts that the value of a name can be, as far as they are known."""
        found = vocabulary.names.get(name)
        if found is not None and found.values is not None:
            return dict.fromkeys(sorted(found.values))
        match name.rpartition("."):
            case ("target", _, "name"):
                return self.entries()
            case (_, _, "provider"):
                return self.providers()
            case ("target" | "parent", _, "model"):
                return self.models()
            case ("call" | "task", _, "model"):
                return self.entries() | self.models()
        return {}


def _text(piece: Piece) -> tuple[str, Span]:
    return piece.text() or "", piece.span


def _read(text: str, name: str, line: int | None) -> Document | None:
    """Read a file; where it is no YAML, without the line that is being written."""
    document, _ = read(name, text)
    if document is None and line is not None:
        lines = text.splitlines(keepends=True)
        lines[line - 1 : line] = [re.sub(r"[^\r\n]", " ", it) for it in lines[line - 1 : line]]
        document, _ = read(name, "".join(lines))
    return document


def _resolved(whole: Shape, shape: Shape) -> Iterator[Shape]:
    """Yield a part of the schema and its alternatives, without references."""
    if "$ref" in shape:
        inner: Any = whole
        for step in shape["$ref"].removeprefix("#/").split("/"):
            inner = inner[step]
        about = {key: value for key, value in shape.items() if key != "$ref"}
        yield from _resolved(whole, {**inner, **about})
        return
    choices = [*shape.get("oneOf", ()), *shape.get("anyOf", ())]
    if not choices:
        yield shape
    for choice in choices:
        about = {key: shape[key] for key in ("description",) if key in shape}
        yield from _resolved(whole, {**choice, **about})


def _under(shape: Shape, part: str | int) -> Iterator[Shape]:
    if isinstance(part, int):
        found = shape.get("items")
    else:
        found = shape.get("properties", {}).get(part, shape.get("additionalProperties"))
    if isinstance(found, Mapping):
        yield found
