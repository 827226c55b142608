"""Documents to a policy: what the sections say, as nouns, with everything wrong with them.

All problems are found in one run: a piece that is wrong is reported and left out, and the rest is
read on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic, Diagnostics, did_you_mean, quote
from policy_router.domain import (
    WISHES,
    ForbidRule,
    FrozenDict,
    Level,
    Limit,
    Note,
    Policy,
    PoolEntry,
    PrecedenceRule,
    Price,
    Variable,
)
from policy_router.parameters import EFFORT
from policy_router.policy import lint, parameters, review
from policy_router.policy.assertions import assertions, assumptions
from policy_router.policy.canonical import default_forbid_id, with_revision
from policy_router.policy.conditions import ConditionReader, Sees, Vocabularies
from policy_router.policy.embedded import native_form
from policy_router.policy.endpoints import (
    bad_fallback_rules,
    dialect,
    fallback_rules,
    providers,
    timeouts,
)
from policy_router.policy.findings import settled
from policy_router.policy.request_sections import RequestSections
from policy_router.policy.review import Surroundings
from policy_router.policy.schema import policy_schema
from policy_router.policy.sections import Piece, Sections, hide_secrets
from policy_router.policy.yaml import Document, read

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
        stored: whether this is a canonical form, which was good when it was written.
        found: what is wrong with the files before one is read.
        surroundings: what a review of the policy knows besides.
    """

    name: str
    files: Sequence[tuple[str, str | bytes]]
    profiles: Mapping[str, tuple[str, str]]
    schema: Mapping[str, Any]
    stored: bool = False
    found: Sequence[Diagnostic] = ()
    surroundings: Surroundings = field(default_factory=Surroundings)


def examine(sources: Sources) -> tuple[Policy | None, Diagnostics]:
    """Compile a policy as far as possible, and return it (None where there are errors)."""
    found = list(sources.found)
    documents = _documents(sources, found)
    unread = len(documents) < len(sources.files)
    reader = _Reader(Sections(documents), sources, found)
    policy = reader.policy() if documents else None
    diagnostics = Diagnostics.of(settled(found, documents, stored=sources.stored))
    if policy is None or diagnostics.errors or unread:
        return None, diagnostics
    files = tuple(document.source for document in documents)
    warnings = diagnostics.without_hints()
    return with_revision(replace(policy, warnings=warnings, sources=files)), diagnostics


def _documents(sources: Sources, found: list[Diagnostic]) -> list[Document]:
    schema = policy_schema(sources.schema)
    documents = []
    for name, content in sources.files:
        document, problems = read(name, content)
        found.extend(problems)
        if document is not None:
            document, problems = native_form(document, schema.keys)
            found.extend(problems)
            hide_secrets(document)
            found.extend(schema.violations(document))
            documents.append(document)
    return documents


class _Reader:
    """Reads the sections of one policy."""

    def __init__(self, sections: Sections, sources: Sources, found: list[Diagnostic]) -> None:
        self.sections, self.sources, self.found = sections, sources, found

    def policy(self) -> Policy:
        """Read everything; the result counts only where nothing is wrong."""
        self.found.extend(self.sections.repeats())
        requests = RequestSections(self.sections)
        facts, closed, tables = requests.facts(), requests.closed(), requests.tables()
        required = requests.required(facts)
        self.found += requests.found
        names = Vocabularies.of(facts.values(), closed, required, tables)
        self.reader = ConditionReader(names)
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
            facts=facts,
            closed=closed,
            required=required,
            unknown_cost_usd=self.number("unknown_cost_usd"),
            tables=tables,
            variables=variables,
            pool=pool,
            forbid=self.forbid(),
            precedence=self.precedence(),
            assertions=assertions(self.sections.joined("assert") or (), self.reader),
            assumptions=assumptions(self.sections.joined("assume") or (), self.reader),
            note=Note(self.text("description"), self.text("owner")),
        )
        self.found.extend(self.reader.found)
        self.found.extend(lint.findings(policy, self.sections, self.own_precedence))
        self.found.extend(self.reviewed(policy))
        return policy

    def reviewed(self, policy: Policy) -> Iterator[Diagnostic]:
        """Yield what is probably not meant, where nothing is wrong."""
        if self.sources.stored or any(it.severity is Severity.ERROR for it in self.found):
            return iter(())
        own, surroundings = self.own_precedence, self.sources.surroundings
        return review.findings(policy, self.sections, surroundings, own_precedence=own)

    def text(self, key: str) -> str | None:
        piece = self.sections.one(key)
        return piece.text() if piece else None

    def number(self, key: str) -> float | None:
        piece = self.sections.one(key)
        found = piece.number() if piece else None
        return None if found is None else float(found)

    # Sections without conditions.

    def parameters(self) -> Mapping[str, Any]:
        pairs = self.sections.united("parameters")
        self.found += [*parameters.misnamed(pairs), *parameters.unfit(pairs)]
        found = parameters.parameters(pairs)
        short = self.sections.one(EFFORT)
        if short is None:
            return found
        if EFFORT in found:
            message = f"`{EFFORT}` is given here and under `parameters`"
            self.found.append(short.error(Code.GIVEN_TWICE, message, "leave one of them out"))
        effort = False if short.flag() is False else short.text()
        return found if effort is None else FrozenDict({**found, EFFORT: effort})

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
        allow = self.reader.condition(piece.get("allow"), Sees.CANDIDATE)
        pick = self.reader.condition(piece.get("pick"), Sees.CANDIDATE)
        if model is None:
            return None
        supports, price = piece.get("supports"), piece.get("price")
        window = piece.number_at("context_window")
        own, bounds = self.own_parameters(piece)
        self.found += bad_fallback_rules(piece.get("fallback_on"))
        return PoolEntry(
            name=piece.text_at("name") or model,
            model=model,
            provider=piece.text_at("provider") or self.text("provider") or "",
            aliases=piece.texts_at("aliases"),
            serves=piece.texts_at("serves"),
            strengths=_strengths(piece.get("strengths")),
            supports=supports.texts() if supports else None,
            price=Price(*(_price(price, key) for key in Price.__dataclass_fields__)),
            context_window=None if window is None else int(window),
            parameters=own,
            limits=bounds,
            fallback=piece.texts_at("fallback"),
            fallback_on=fallback_rules(piece.get("fallback_on")),
            timeouts=timeouts(piece.get("timeouts")),
            dialect=dialect(piece.get("dialect")),
            allow=allow,
            pick=pick,
            note=_note(piece),
            span=piece.span,
        )

    def own_parameters(self, piece: Piece) -> tuple[Mapping[str, Any], Mapping[str, Limit]]:
        """Return the parameters and the limits of an entry."""
        own, bounds = (_pairs(piece.get(key)) for key in ("parameters", "limits"))
        found = parameters.limits(bounds)
        self.found += [
            *parameters.misnamed(own),
            *parameters.misnamed(bounds),
            *parameters.unfit(own),
            *parameters.bad_limits(bounds),
            *parameters.outside(own, found),
        ]
        return parameters.parameters(own), found

    def forbid(self) -> tuple[ForbidRule, ...]:
        rules = []
        for number, piece in enumerate(self.sections.joined("forbid") or (), start=1):
            when = self.reader.prohibition(piece.get("when"))
            if when is not None:
                id_ = piece.text_at("id") or default_forbid_id(number)
                message = piece.text_at("message")
                enforce = piece.flag_at("enforce", default=True)
                rules.append(ForbidRule(id_, when, message, enforce, _note(piece), piece.span))
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
        condition = self.reader.condition(when, Sees.REQUEST)
        order_by = self.reader.number(piece.get("order_by"))
        word = piece.text_at("use")
        if word not in set(Level) or (when is not None and condition is None):
            return None
        use = Level(word)
        fallback = piece.text_at("fallback") == "candidates"
        return PrecedenceRule(
            id=piece.text_at("id") or use.value,
            use=use,
            when=condition,
            entry=piece.text_at("entry") if use is Level.POOL else None,
            order_by=order_by if use in {*WISHES, Level.POOL} else None,
            reject=piece.text_at("on_violation") == "reject",
            in_pool=piece.flag_at("in_pool", default=use in WISHES),
            fallback=fallback or piece.flag_at("fallback", default=use not in WISHES),
            falls_to_candidates=fallback,
            note=_note(piece),
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


def _pairs(piece: Piece | None) -> parameters.Pairs:
    return piece.pairs() if piece else []


def _note(piece: Piece) -> Note:
    return Note(piece.text_at("description"), piece.text_at("owner"))


def _strengths(piece: Piece | None) -> tuple[str, ...]:
    """Return strengths, which may be a list or one string with commas."""
    if piece is None:
        return ()
    words = piece.texts() or (piece.text() or "").split(",")
    return tuple(word.strip() for word in words if word.strip())
