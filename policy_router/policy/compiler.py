"""Documents to a policy: what the sections say, as nouns, with everything wrong with them.

All problems are found in one run: a piece that is wrong is reported and left out, and the rest is
read on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from policy_router.diagnostics import (
    Code,
    Diagnostic,
    Diagnostics,
    Severity,
    did_you_mean,
    quote,
)
from policy_router.domain import (
    NOTHING,
    WISHES,
    Fact,
    ForbidRule,
    FrozenDict,
    Level,
    Limit,
    Policy,
    PoolEntry,
    PrecedenceRule,
    Price,
    Variable,
    frozen,
)
from policy_router.expressions.tree import BROKEN
from policy_router.expressions.vocabulary import FACT_TYPES, Name
from policy_router.policy import lint
from policy_router.policy.canonical import default_forbid_id, with_revision
from policy_router.policy.conditions import ConditionReader, Vocabularies
from policy_router.policy.endpoints import dialect, providers, statuses
from policy_router.policy.schema import PolicySchema
from policy_router.policy.sections import Piece, Sections, hide_secrets
from policy_router.policy.source import Document, MappingNode, plain, read

DEFAULT_PROFILE = "delegation"
"""The precedence of a policy that writes none: the original order of resolution."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What a policy is made from; texts, since reading files is the caller's business.

    Attributes:
        name: the policy's name where it writes none.
        files: name and content of each rule file, in order.
        profiles: name of each shipped precedence profile to the name and text of its file.
        schema: the decoded ``policy.schema.json``.
    """

    name: str
    files: Sequence[tuple[str, str | bytes]]
    profiles: Mapping[str, tuple[str, str]]
    schema: Mapping[str, Any]


def examine(sources: Sources) -> tuple[Policy | None, Diagnostics]:
    """Compile a policy as far as possible, and return it (None where there are errors)."""
    found: list[Diagnostic] = []
    documents = _documents(sources, found)
    unread = len(documents) < len(sources.files)
    reader = _Reader(Sections(documents), sources, found)
    policy = reader.policy() if documents else None
    diagnostics = Diagnostics.of(_without_sequels(found))
    if policy is None or diagnostics.errors or unread:
        return None, diagnostics
    files = tuple(document.source for document in documents)
    return with_revision(replace(policy, warnings=diagnostics, sources=files)), diagnostics


def _documents(sources: Sources, found: list[Diagnostic]) -> list[Document]:
    schema = PolicySchema(sources.schema)
    documents = []
    for name, content in sources.files:
        document, problems = read(name, content)
        found.extend(problems)
        if document is not None:
            hide_secrets(document)
            found.extend(schema.violations(document))
            documents.append(document)
    return documents


def _without_sequels(found: list[Diagnostic]) -> list[Diagnostic]:
    """Leave out what only follows from an earlier problem at the same value.

    A value that cannot be read or has the wrong shape is reported as that, not once more as a bad
    condition or reference. A secret is always reported.
    """
    first: dict[tuple[str, str], str] = {}
    for item in found:
        if item.severity is Severity.ERROR and item.code is not Code.DUPLICATE_KEY:
            place = (item.span.source.name, item.path)
            first[place] = min(first.get(place, item.code), item.code)

    def follows(item: Diagnostic) -> bool:
        cause = first.get((item.span.source.name, item.path), item.code)
        own = {item.code, cause} & {Code.DUPLICATE_KEY, Code.INLINE_SECRET}
        return item.code[:3] > cause[:3] and not own

    return [item for item in found if not follows(item)]


class _Reader:
    """Reads the sections of one policy."""

    def __init__(self, sections: Sections, sources: Sources, found: list[Diagnostic]) -> None:
        self.sections, self.sources, self.found = sections, sources, found

    def policy(self) -> Policy:
        """Read everything; the result counts only where nothing is wrong."""
        self.found.extend(self.sections.repeats())
        facts = self.facts()
        kinds = self.kinds()
        names = [
            Name(f"facts.{fact.name}", fact.type, optional=fact.default is None)
            for fact in facts.values()
        ]
        self.reader = ConditionReader(Vocabularies.of(names, kinds, tuple(Level)))
        variables = self.variables()
        pool = self.pool()
        policy = Policy(
            name=self.text("name") or self.sources.name,
            revision="",
            canonical=b"",
            model=self.text("model"),
            provider=self.text("provider"),
            parameters=self.parameters(),
            providers=providers(self.sections),
            facts=FrozenDict(facts),
            kinds=kinds,
            variables=variables,
            pool=pool,
            forbid=self.forbid(),
            precedence=self.precedence(),
        )
        self.found.extend(self.reader.found)
        self.found.extend(lint.findings(policy, self.sections, self.own_precedence))
        return policy

    def text(self, key: str) -> str | None:
        piece = self.sections.one(key)
        return piece.text() if piece else None

    # Sections without conditions.

    def facts(self) -> dict[str, Fact]:
        facts: dict[str, Fact] = {}
        for name, piece in self.sections.united("facts"):
            kind = piece.get("type")
            type_ = FACT_TYPES.get(kind.text() or "") if kind else None
            if type_ is None:
                facts[name.text] = Fact(name.text, BROKEN)
            else:
                default = self.default_of(piece, type_.name)
                facts[name.text] = Fact(name.text, type_, default)
        return facts

    def default_of(self, fact: Piece, wanted: str) -> Any:
        """Return the default of a fact, and report one that is not of its type."""
        piece = fact.get("default")
        if piece is None:
            return None
        value = plain(piece.node)
        if value is None:
            return NOTHING  # the schema says so
        kinds: dict[str, tuple[type, ...]] = {
            "string": (str,),
            "int": (int,),
            "double": (int, float),
            "bool": (bool,),
            "list": (list,),
        }
        if not isinstance(value, kinds[wanted]) or (isinstance(value, bool) != (wanted == "bool")):
            message = f"the default is not of the fact's type, {wanted}"
            self.found.append(piece.error(Code.WRONG_TYPE, message))
            return NOTHING
        return frozen(float(value) if isinstance(value, int) and wanted == "double" else value)

    def kinds(self) -> tuple[str, ...] | None:
        pieces = self.sections.joined("kinds")
        if pieces is None:
            return None
        return tuple(text for piece in pieces if (text := piece.text()) is not None)

    def parameters(self) -> Mapping[str, Any]:
        found = {name.text: plain(piece.node) for name, piece in self.sections.united("parameters")}
        short = self.sections.one("reasoning_effort")
        if short is None:
            return frozen(found) or NOTHING
        if "reasoning_effort" in found:
            message = "`reasoning_effort` is given here and under `parameters`"
            self.found.append(short.error(Code.GIVEN_TWICE, message, "leave one of them out"))
        return FrozenDict({**frozen(found), "reasoning_effort": short.text()})

    # Sections with conditions.

    def variables(self) -> tuple[Variable, ...]:
        pairs = [
            (name.text, self.reader.variable(name.text, piece))
            for name, piece in self.sections.united("variables")
        ]
        return tuple(Variable(name, condition) for name, condition in pairs if condition)

    def pool(self) -> tuple[PoolEntry, ...] | None:
        pieces = self.sections.joined("pool")
        if pieces is None:
            return None
        entries = [self.entry(piece) for piece in pieces]
        return _marked([entry for entry in entries if entry is not None])

    def entry(self, piece: Piece) -> PoolEntry | None:
        model = piece.text_at("model")
        allow = self.reader.condition(piece.get("allow"), candidate=True)
        pick = self.reader.condition(piece.get("pick"), candidate=True)
        if model is None:
            return None
        supports = piece.get("supports")
        price, window = piece.get("price"), piece.number_at("context_window")
        return PoolEntry(
            name=piece.text_at("name") or model,
            model=model,
            provider=piece.text_at("provider") or self.text("provider") or "",
            aliases=piece.texts_at("aliases"),
            strengths=_strengths(piece.get("strengths")),
            supports=supports.texts() if supports else None,
            price=Price(_price(price, "input"), _price(price, "output")),
            context_window=None if window is None else int(window),
            parameters=_parameters(piece.get("parameters")),
            limits=_limits(piece.get("limits")),
            fallback=piece.texts_at("fallback"),
            fallback_on=statuses(piece.get("fallback_on")),
            dialect=dialect(piece.get("dialect")),
            allow=allow,
            pick=pick,
            span=piece.span,
        )

    def forbid(self) -> tuple[ForbidRule, ...]:
        rules = []
        for number, piece in enumerate(self.sections.joined("forbid") or (), start=1):
            when = self.reader.condition(piece.get("when"), candidate=True)
            if when is not None:
                id_ = piece.text_at("id") or default_forbid_id(number)
                rules.append(ForbidRule(id_, when, piece.text_at("message"), piece.span))
        return tuple(rules)

    def precedence(self) -> tuple[PrecedenceRule, ...]:
        piece = self.sections.one("precedence")
        self.own_precedence = piece is not None and piece.text() is None
        if not self.own_precedence:
            piece = self.profile(piece)
        rules = [self.rule(item) for item in piece.items()] if piece else []
        return tuple(rule for rule in rules if rule is not None)

    def profile(self, piece: Piece | None) -> Piece | None:
        """Return the rules of a shipped profile."""
        name = (piece.text() if piece else None) or DEFAULT_PROFILE
        shipped = self.sources.profiles.get(name)
        if shipped is None:
            if piece is not None:
                known = sorted(self.sources.profiles)
                remedy = did_you_mean(name, known) or f"shipped: {', '.join(known)}"
                message = f"there is no precedence profile {quote(name)}"
                self.found.append(piece.error(Code.UNKNOWN_PROFILE, message, remedy))
            return None
        document, _ = read(*shipped)
        return Sections([document]).one("precedence") if document else None

    def rule(self, piece: Piece) -> PrecedenceRule | None:
        when = piece.get("when")
        condition = self.reader.condition(when, candidate=False)
        order_by = self.reader.number(piece.get("order_by"))
        word = piece.text_at("use")
        if word not in set(Level) or (when is not None and condition is None):
            return None
        use = Level(word)
        return PrecedenceRule(
            id=piece.text_at("id") or use.value,
            use=use,
            when=condition,
            entry=piece.text_at("entry") if use is Level.POOL else None,
            order_by=order_by if use is Level.POOL else None,
            reject=piece.text_at("on_violation") == "reject",
            in_pool=piece.flag_at("in_pool", default=use in WISHES),
            fallback=piece.flag_at("fallback", default=use not in WISHES),
            span=piece.span,
        )


def _marked(entries: list[PoolEntry]) -> tuple[PoolEntry, ...]:
    """Mark the entries that records cannot tell apart by name alone."""
    counts = Counter(entry.name for entry in entries)
    return tuple(
        replace(entry, shares_name=True) if counts[entry.name] > 1 else entry for entry in entries
    )


def _price(piece: Piece | None, key: str) -> float | None:
    number = piece.number_at(key) if piece else None
    return None if number is None else float(number)


def _parameters(piece: Piece | None) -> Mapping[str, Any]:
    return frozen(plain(piece.node)) if piece and piece.pairs() else NOTHING


def _strengths(piece: Piece | None) -> tuple[str, ...]:
    """Return strengths, which may be a list or one string with commas."""
    if piece is None:
        return ()
    words = piece.texts() or (piece.text() or "").split(",")
    return tuple(word.strip() for word in words if word.strip())


def _limits(piece: Piece | None) -> Mapping[str, Limit]:
    limits: dict[str, Limit] = {}
    for name, inner in piece.pairs() if piece else []:
        if isinstance(inner.node, MappingNode):
            limits[name.text] = Limit(None, inner.number_at("min"), inner.number_at("max"))
        else:
            limits[name.text] = Limit(tuple(plain(item.node) for item in inner.items()))
    return FrozenDict(limits)
