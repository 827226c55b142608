"""Compiles a policy's rules for requests: facts, closed sets, required names, tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policy_router.cel.ast import BOOL, BROKEN, DOUBLE, INT, STRING, STRINGS, Type
from policy_router.cel.vocabulary import FACT_TYPES, REQUEST_NAMES
from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import Diagnostic, did_you_mean, quote
from policy_router.domain import NOTHING, ClosedSet, Fact, FrozenDict, Table, frozen
from policy_router.policy.sections import Piece, Sections
from policy_router.policy.yaml import MappingNode, plain

CLOSED: Mapping[str, str] = {
    "kinds": "task.kind",
    "teams": "caller.team",
    "roles": "caller.roles",
    "labels": "task.labels",
    "needs": "task.needs",
}
"""The root keys of closed sets, each with the name that it is about."""
_RESTRICTING = ("labels", "needs")
"""What restricts is never dropped: a request that cannot be understood is refused."""
_KINDS: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int,),
    "double": (int, float),
    "bool": (bool,),
    "list": (list,),
}


class RequestSections:
    """Reads them, and collects what is wrong with them.

    Attributes:
        found: the problems so far.
    """

    def __init__(self, sections: Sections) -> None:
        """Look at the sections of a policy."""
        self.sections = sections
        self.found: list[Diagnostic] = []

    def facts(self) -> Mapping[str, Fact]:
        """Return the declared facts by name."""
        return FrozenDict(
            {name.text: self._fact(name.text, it) for name, it in self.sections.united("facts")}
        )

    def _fact(self, name: str, piece: Piece) -> Fact:
        kind = piece.get("type")
        type_ = FACT_TYPES.get(kind.text() or "") if kind else None
        required, default = piece.get("required"), piece.get("default")
        if type_ is None:
            return Fact(name, BROKEN)
        is_required = piece.flag_at("required", default=False)
        if is_required and default is not None and required is not None:
            message = "a fact that is required needs no default"
            self.found.append(required.error(Code.NO_EFFECT, message, "leave one of them out"))
        return Fact(name, type_, self._default(default, type_.name), is_required)

    def _default(self, piece: Piece | None, wanted: str) -> Any:
        """Return the default of a fact, and report one that is not of its type."""
        if piece is None:
            return None
        value = plain(piece.node)
        if value is None:
            return NOTHING  # the schema says so
        if not isinstance(value, _KINDS[wanted]) or (isinstance(value, bool) != (wanted == "bool")):
            message = f"the default is not of the fact's type, {wanted}"
            self.found.append(piece.error(Code.WRONG_TYPE, message))
            return NOTHING
        return frozen(float(value) if isinstance(value, int) and wanted == "double" else value)

    def closed(self) -> Mapping[str, ClosedSet]:
        """Return the closed sets, by the name that each is about."""
        given = ((path, self._closed(key)) for key, path in CLOSED.items())
        return FrozenDict({path: closed for path, closed in given if closed is not None})

    def _closed(self, key: str) -> ClosedSet | None:
        pieces = self.sections.all(key)
        if not pieces:
            return None
        values: dict[str, None] = {}
        words: list[Piece] = []
        for piece in pieces:
            inner = piece.get("values") if isinstance(piece.node, MappingNode) else piece
            values.update(dict.fromkeys(inner.texts() if inner else ()))
            if (unknown := piece.get("unknown")) is not None:
                words.append(unknown)
        for word in words:
            if key in _RESTRICTING and word.text() == "drop":
                message = f"an unknown one of `{key}` is always refused, since it may restrict"
                self.found.append(word.error(Code.NOT_ALLOWED, message, "write `unknown: refuse`"))
            elif word.text() != words[0].text():
                message, remedy = "`unknown` is given twice", f"first given at {words[0].span}"
                self.found.append(word.error(Code.GIVEN_TWICE, message, remedy))
        return ClosedSet(tuple(values), bool(words) and words[0].text() == "drop")

    def required(self, facts: Mapping[str, Fact]) -> tuple[str, ...]:
        """Return the names that a request has to give."""
        known = [name.path for name in REQUEST_NAMES]
        found = [f"facts.{fact.name}" for fact in facts.values() if fact.required]
        for piece in self.sections.joined("require") or ():
            path = piece.text()
            if path is None:
                continue
            if path in known:
                found.append(path)
                continue
            remedy = did_you_mean(path, known)
            if path.startswith("facts."):
                remedy = "write `required: true` where the fact is declared"
            message = f"{quote(path)} is not a name of a request"
            self.found.append(piece.error(Code.UNKNOWN_NAME, message, remedy))
        return tuple(dict.fromkeys(found))

    def tables(self) -> Mapping[str, Table]:
        """Return the tables by name."""
        return FrozenDict(
            {name.text: self._table(piece) for name, piece in self.sections.united("tables")}
        )

    def _table(self, piece: Piece) -> Table:
        values = {name.text: plain(value.node) for name, value in piece.pairs()}
        types = {key: type_of(value) for key, value in values.items()}
        numbers = set(types.values()) == {INT, DOUBLE}
        if numbers:
            values = {key: float(value) for key, value in values.items()}
        first = DOUBLE if numbers else next(iter(types.values()), STRING)
        for name, value in piece.pairs():
            if not numbers and types[name.text] != first and types[name.text] is not None:
                message = f"a table of {first} cannot hold {types[name.text]}"
                self.found.append(value.error(Code.TYPE_MISMATCH, message))
        return Table(first or BROKEN, frozen(values))


def type_of(value: object) -> Type | None:
    """Return the type of a value of a table; None for one that no condition can read."""
    for kind, type_ in ((bool, BOOL), (str, STRING), (int, INT), (float, DOUBLE)):
        if isinstance(value, kind):
            return type_
    is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return STRINGS if is_list else None
