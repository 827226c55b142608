"""The same policy decided by a Python function, as one would write it by hand.

The policy is plain data (``workload.Entry`` and ``workload.Forbid``), its conditions are Python,
and the result is the record that ``decide`` makes, byte for byte. There are two versions:

- :class:`Plain` transcribes the policy: a loop over the entries, a loop over the rules.
- :class:`Tuned` knows more about the policy than its text says outright: that names are unique,
  that ``pick`` compares one fact with a constant, that ``order_by`` is a constant for each entry,
  and which forbid rules can be true of a request before it looks at any candidate.

What neither can do is what a policy language is for: take another policy without another program.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

from benchmarks.workload import (
    DEFAULT_MODEL,
    DEFAULT_PROVIDER,
    MAX_TOKENS,
    Entry,
    Forbid,
)
from policy_router.decision import record as rec
from policy_router.decision.record import DecisionRecord, ReasonCode, Result, Verdict
from policy_router.diagnostics.model import did_you_mean, quote
from policy_router.domain import Level

_EFFORT = "reasoning_effort"
_NONE: Mapping[str, Any] = {}
_LEVELS = (Level.CALL, Level.TASK, Level.POOL, Level.CONFIG, Level.PARENT)
_NOT_REACHED = tuple(rec.Step(level.value, level, Result.NOT_REACHED) for level in _LEVELS)
_NO_PROPOSAL = tuple(rec.Step(level.value, level, Result.NO_PROPOSAL) for level in _LEVELS)
_ASKS = {Level.CALL: "the call asks for", Level.TASK: "the task asks for"}
_FORBIDDEN = ReasonCode.FORBIDDEN
_Against: TypeAlias = tuple[ReasonCode, str | UnsetType]
"""Why a candidate is not admitted, and the rule that forbids it."""
_NOT_GRANTED: _Against = (ReasonCode.PARAMETER_NOT_ALLOWED, UNSET)


class _Wish(Struct, forbid_unknown_fields=True):
    """The wishes of a level; ``parameters`` has no place here, since no request gives any."""

    model: str = ""
    provider: str = ""
    reasoning_effort: str = ""


class _Task(_Wish, forbid_unknown_fields=True):
    kind: str = ""
    labels: list[str] = []
    needs: list[str] = []
    index: int = 0
    batch_size: int = 1
    input_tokens: int | None = None


class _Parent(_Wish, forbid_unknown_fields=True):
    depth: int = 0


class _Caller(Struct, forbid_unknown_fields=True):
    id: str = ""
    team: str = ""
    roles: list[str] = []


class _Budget(Struct, forbid_unknown_fields=True):
    spent_usd: float | None = None
    remaining_usd: float | None = None


class _Shape(Struct, forbid_unknown_fields=True):
    """What a request may be; decoding into it is the check."""

    call: _Wish | None = None
    task: _Task | None = None
    parent: _Parent | None = None
    caller: _Caller | None = None
    budget: _Budget | None = None


_CHECK = msgspec.json.Decoder(_Shape).decode
_DECODE = msgspec.json.Decoder(dict[str, Any]).decode


class _Facts:
    """The facts of one request that the policy reads, and what its record says so far."""

    __slots__ = (
        "call",
        "depth",
        "labels",
        "needs",
        "parent",
        "possible",
        "remaining",
        "roles",
        "steps",
        "task",
        "team",
        "tokens",
        "violations",
        "warnings",
        "wish",
    )

    def __init__(self, given: Mapping[str, Any]) -> None:
        """Look the facts up, once."""
        get = given.get
        self.call = call = get("call", _NONE)
        self.task = task = get("task", _NONE)
        self.parent = parent = get("parent", _NONE)
        caller = get("caller", _NONE)
        self.depth: int = parent.get("depth", 0)
        self.labels: Sequence[str] = task.get("labels", ())
        self.needs: Sequence[str] = task.get("needs", ())
        self.tokens: int | None = task.get("input_tokens")
        self.team: str = caller.get("team", "")
        self.roles: Sequence[str] = caller.get("roles", ())
        self.remaining: float | None = get("budget", _NONE).get("remaining_usd")
        self.possible: Sequence[Forbid] = ()
        self.steps: list[rec.Step] = []
        self.warnings: list[rec.DecisionWarning] = []
        self.violations: list[tuple[str, Entry | None, _Against]] = []
        self.wish: str = call.get(_EFFORT) or task.get(_EFFORT, "")


class Plain:
    """The policy transcribed: loops over entries and rules, nothing prepared but the rules."""

    def __init__(
        self,
        entries: Sequence[Entry],
        forbids: Sequence[Forbid],
        policy: rec.PolicyName,
        engine: rec.EngineName,
    ) -> None:
        """Keep the policy, and what its records say of themselves."""
        self.entries, self.forbids, self.policy, self.engine = entries, forbids, policy, engine
        self.tests = [(rule.id, _test(rule)) for rule in forbids]
        default = (DEFAULT_MODEL, DEFAULT_PROVIDER)
        self.default = [entry for entry in entries if (entry.model, entry.provider) == default]

    def decide_json(self, content: bytes, now: datetime.datetime) -> bytes:
        """Decide from JSON to JSON, with the shape of the request checked."""
        _CHECK(content)
        return self.decide(_DECODE(content), now).to_json()

    def decide(self, given: Mapping[str, Any], now: datetime.datetime) -> DecisionRecord:
        """Decide; the request is one that ``decide`` accepts, the time is in UTC."""
        facts = _Facts(given)
        decision = self.walk(facts)
        steps = facts.steps
        steps.extend(_NOT_REACHED[len(steps) :])
        time = now.replace(tzinfo=None).isoformat() + "Z"
        return DecisionRecord(self.policy, self.engine, time, dict(given), decision, tuple(steps))

    # What the two versions do differently.

    def meant(self, model: str, provider: str) -> Sequence[Entry]:
        """Return the entries that a wish means."""
        if model:
            found = [entry for entry in self.entries if entry.name == model]
            found = found or [entry for entry in self.entries if entry.model == model]
        else:
            found = list(self.entries)
        return [entry for entry in found if entry.provider == provider] if provider else found

    def picked(self, kind: str) -> Sequence[Entry]:
        """Return the entries for a kind of task, the cheapest first."""
        found = [entry for entry in self.entries if entry.kind == kind]
        found.sort(key=lambda entry: entry.price[1])
        return found

    def equal(self, model: str, provider: str) -> Entry | None:
        """Return the entry of a model at a provider."""
        for entry in self.entries:
            if entry.model == model and entry.provider == provider:
                return entry
        return None

    def named(self, name: str) -> Entry:
        """Return an entry by its name."""
        return next(entry for entry in self.entries if entry.name == name)

    def prepare(self, facts: _Facts) -> None:
        """Prepare what the guards need of a request."""

    def forbidden(self, facts: _Facts, provider: str, entry: Entry | None) -> str | None:
        """Return the id of the first rule that forbids a candidate."""
        for id_, test in self.tests:
            if test(facts, provider, entry):
                return id_
        return None

    # What they share.

    def walk(self, facts: _Facts) -> rec.Decision:
        """Go through the levels."""
        self.prepare(facts)
        for position, wish in ((0, facts.call), (1, facts.task)):
            model, provider = wish.get("model", ""), wish.get("provider", "")
            if model or provider:
                return self.wished(facts, _LEVELS[position], model, provider)
            facts.steps.append(_NO_PROPOSAL[position])
        entries = self.picked(facts.task.get("kind", ""))
        decision = self.proposed(facts, Level.POOL, entries)
        if decision is None:
            decision = self.proposed(facts, Level.CONFIG, self.default)
        if decision is None:
            decision = self.inherited(facts)
        if decision is None:
            decision = self.without_target(facts, (entries or self.default)[0])
        return decision

    def wished(self, facts: _Facts, level: Level, model: str, provider: str) -> rec.Decision:
        """Grant a wish, or refuse it."""
        requested = _requested(model, provider)
        entries = self.meant(model, provider)
        if not entries:
            return self.outside(facts, level, requested)
        found: list[_Against] = []
        for entry in entries:
            against = self.rejection(facts, entry)
            if against is None:
                return self.selected(facts, level, entry, _rejected(entries, found), requested)
            found.append(against)
        code, seen = found[0][0], tuple(_rejected(entries, found))
        facts.steps.append(rec.Step(level.value, level, Result.VIOLATED, code, requested, seen))
        return self.refused(facts, code, _message(entries[0], *found[0]), level.value)

    def outside(self, facts: _Facts, level: Level, requested: rec.Requested) -> rec.Decision:
        """Refuse a wish outside the pool, and say what was probably meant."""
        code, message = ReasonCode.OUTSIDE_POOL, f"{_ASKS[level]} a model outside the pool"
        facts.steps.append(rec.Step(level.value, level, Result.VIOLATED, code, requested))
        permitted = self.permitted(facts)
        model, provider = requested.get("model", ""), requested.get("provider", "")
        hint = None
        if model and provider and (known := self.meant(model, "")):
            places = dict.fromkeys(quote(entry.provider) for entry in known)
            hint = f"{quote(model)} is not at {quote(provider)} but at {', '.join(places)}"
        elif model:
            hint = did_you_mean(model, permitted)
        message = f"{message}; {hint}" if hint else message
        refusal = rec.Refusal(code, message, level.value, permitted)
        return rec.Decision("refused", tuple(facts.warnings), refusal=refusal)

    def proposed(
        self, facts: _Facts, level: Level, entries: Sequence[Entry]
    ) -> rec.Decision | None:
        """Take the first admitted entry; None where there is none."""
        if not entries:
            facts.steps.append(_NO_PROPOSAL[_LEVELS.index(level)])
            return None
        found: list[_Against] = []
        for entry in entries:
            against = self.rejection(facts, entry)
            if against is None:
                return self.selected(facts, level, entry, _rejected(entries, found), UNSET)
            found.append(against)
        self.violated(facts, level, _rejected(entries, found), entries[0], found[0])
        return None

    def violated(
        self,
        facts: _Facts,
        level: Level,
        seen: list[rec.Candidate],
        entry: Entry | None,
        against: _Against,
    ) -> None:
        """Note that a level proposed candidates, and what stood against the first."""
        (code, forbid), rule = against, level.value
        step = rec.Step(rule, level, Result.VIOLATED, code, candidates=tuple(seen))
        facts.steps.append(step)
        facts.violations.append((rule, entry, against))
        parameter = _EFFORT if code is ReasonCode.PARAMETER_NOT_ALLOWED else UNSET
        facts.warnings.append(
            rec.DecisionWarning(
                code, rule, entry=_named(entry, code), parameter=parameter, forbid=forbid
            )
        )

    def inherited(self, facts: _Facts) -> rec.Decision | None:
        """Take the parent's model; None where it is not admitted."""
        model, provider = facts.parent.get("model", ""), facts.parent.get("provider", "")
        if not model:
            facts.steps.append(_NO_PROPOSAL[4])
            return None
        entry = self.equal(model, provider)
        if entry is not None:
            return self.proposed(facts, Level.PARENT, (entry,))
        against = self.objection(facts, provider)
        if against is not None:
            seen = rec.Candidate(Verdict.REJECTED, UNSET, model, provider, *against)
            self.violated(facts, Level.PARENT, [seen], None, against)
            return None
        seen = rec.Candidate(Verdict.SELECTED, UNSET, model, provider)
        facts.steps.append(rec.Step("parent", Level.PARENT, Result.SELECTED, candidates=(seen,)))
        target = rec.Target(model, provider, self.parameters(facts, None))
        return rec.Decision("selected", tuple(facts.warnings), Level.PARENT, "parent", target, ())

    def objection(self, facts: _Facts, provider: str) -> _Against | None:
        """Return what is against a parent's model outside the pool; None where it is admitted."""
        if not provider:
            return ReasonCode.INCOMPLETE, UNSET
        forbid = self.forbidden(facts, provider, None)
        if forbid is not None:
            return _FORBIDDEN, forbid
        return _NOT_GRANTED if facts.wish else None

    def rejection(self, facts: _Facts, entry: Entry) -> _Against | None:
        """Return what is against an entry; None where it is admitted."""
        provider, tokens = entry.provider, facts.tokens
        if (
            facts.depth >= entry.depth
            or (provider == "west" and "pii" in facts.labels)
            or (tokens is not None and tokens > entry.largest)
        ):
            return ReasonCode.NOT_ALLOWED, UNSET
        forbid = self.forbidden(facts, provider, entry)
        if forbid is not None:
            return _FORBIDDEN, forbid
        for need in facts.needs:
            if need not in entry.supports:
                return ReasonCode.LACKS_CAPABILITY, UNSET
        if tokens is not None and tokens + MAX_TOKENS > entry.window:
            return ReasonCode.CONTEXT_TOO_SMALL, UNSET
        return _NOT_GRANTED if facts.wish and facts.wish not in entry.efforts else None

    def permitted(self, facts: _Facts) -> tuple[str, ...]:
        """Return the names that may be asked for."""
        return tuple([entry.name for entry in self.entries if self.rejection(facts, entry) is None])

    def selected(
        self,
        facts: _Facts,
        level: Level,
        entry: Entry,
        seen: list[rec.Candidate],
        requested: rec.Requested | UnsetType,
    ) -> rec.Decision:
        """Select an entry."""
        seen.append(rec.Candidate(Verdict.SELECTED, entry.name))
        facts.steps.append(
            rec.Step(level.value, level, Result.SELECTED, UNSET, requested, tuple(seen))
        )
        planned: list[rec.Target] = []
        if level is not Level.CALL and level is not Level.TASK:
            for name in entry.fallback:
                other = self.named(name)
                if self.rejection(facts, other) is None:
                    planned.append(self.target(facts, other))
        self.lost(facts, level, entry)
        target, warnings = self.target(facts, entry), tuple(facts.warnings)
        return rec.Decision("selected", warnings, level, level.value, target, tuple(planned))

    def lost(self, facts: _Facts, level: Level, entry: Entry) -> None:
        """Warn of what the parent or the task wanted and does not get."""
        warn = facts.warnings.append
        inherited = "" if facts.wish else facts.parent.get(_EFFORT, "")
        if inherited and inherited not in entry.efforts:
            code = ReasonCode.PARAMETER_LIMITED
            warn(rec.DecisionWarning(code, level.value, parameter=_EFFORT))
        code, task = ReasonCode.OUTRANKED, facts.task
        if level is Level.CALL:
            model, provider = task.get("model", ""), task.get("provider", "")
            if (model or provider) and entry not in self.meant(model, provider):
                asked = _requested(model, provider)
                warn(rec.DecisionWarning(code, "task", asked, by="call"))
        effort = task.get(_EFFORT)
        if effort and effort != facts.wish:
            asked = {_EFFORT: effort}
            warn(rec.DecisionWarning(code, "task", asked, parameter=_EFFORT, by="call"))

    def target(self, facts: _Facts, entry: Entry) -> rec.Target:
        """Return what a task runs on."""
        return rec.Target(entry.model, entry.provider, self.parameters(facts, entry), entry.name)

    def parameters(self, facts: _Facts, entry: Entry | None) -> dict[str, Any]:
        """Return the parameters of a target; None is the parent's own, outside the pool."""
        found: dict[str, Any] = {"max_tokens": MAX_TOKENS}
        effort = facts.wish or facts.parent.get(_EFFORT)
        if entry is not None:
            found["temperature"] = entry.temperature
        if effort and (entry is None or effort in entry.efforts):
            found[_EFFORT] = effort
        return found

    def without_target(self, facts: _Facts, first: Entry) -> rec.Decision:
        """Refuse where no level selects; the default at least has proposed an entry."""
        message = f"no rule selects a target: {_message(first, *facts.violations[0][2])}"
        reasons = tuple(
            rec.Reason(rule, code, forbid, entry=_named(entry, code))
            for rule, entry, (code, forbid) in facts.violations
        )
        return self.refused(facts, ReasonCode.NO_TARGET, message, None, reasons)

    def refused(
        self,
        facts: _Facts,
        code: ReasonCode,
        message: str,
        rule: str | None,
        reasons: tuple[rec.Reason, ...] | UnsetType = UNSET,
    ) -> rec.Decision:
        """Refuse, and say what may be asked for."""
        refusal = rec.Refusal(code, message, rule, self.permitted(facts), reasons)
        return rec.Decision("refused", tuple(facts.warnings), refusal=refusal)


class Tuned(Plain):
    """The policy with everything prepared that its data allow."""

    def __init__(
        self,
        entries: Sequence[Entry],
        forbids: Sequence[Forbid],
        policy: rec.PolicyName,
        engine: rec.EngineName,
    ) -> None:
        """Index the entries and the rules."""
        super().__init__(entries, forbids, policy, engine)
        self.by_name = {entry.name: entry for entry in entries}
        self.by_wish = {
            **{entry.model: (entry,) for entry in entries},
            **{entry.name: (entry,) for entry in entries},
        }
        self.by_target = {(entry.model, entry.provider): entry for entry in entries}
        kinds = {entry.kind for entry in entries}
        self.by_kind = {kind: tuple(Plain.picked(self, kind)) for kind in kinds}
        self.by_word = {(rule.form, rule.word): n for n, rule in enumerate(forbids)}
        self.by_amount = [(n, rule) for n, rule in enumerate(forbids) if rule.form == "budget"]
        rows = [(it, it.depth, min(it.largest, it.window - MAX_TOKENS)) for it in entries]
        self.rows = rows, [row for row in rows if row[0].provider != "west"]
        self.most = max((rule.amount for _, rule in self.by_amount), default=0.0)

    def meant(self, model: str, provider: str) -> Sequence[Entry]:
        """Look a wish up."""
        found = self.by_wish.get(model, ()) if model else self.entries
        return [entry for entry in found if entry.provider == provider] if provider else found

    def picked(self, kind: str) -> Sequence[Entry]:
        """Look a kind up."""
        return self.by_kind.get(kind, ())

    def equal(self, model: str, provider: str) -> Entry | None:
        """Look a model at a provider up."""
        return self.by_target.get((model, provider))

    def named(self, name: str) -> Entry:
        """Look a name up."""
        return self.by_name[name]

    def prepare(self, facts: _Facts) -> None:
        """Find the rules that this request could violate at all."""
        find = self.by_word.get
        found = [find(("label", label)) for label in facts.labels]
        found += [find(("role", role)) for role in facts.roles]
        found.append(find(("team", facts.team)))
        remaining = facts.remaining
        if remaining is not None and remaining < self.most:
            found += [n for n, rule in self.by_amount if remaining < rule.amount]
        possible = sorted({number for number in found if number is not None})
        facts.possible = [self.forbids[number] for number in possible]

    def forbidden(self, facts: _Facts, provider: str, entry: Entry | None) -> str | None:
        """Look at the candidate's side of the rules."""
        for rule in facts.possible:
            form = rule.form
            if form == "label":
                found = provider == "west"
            elif entry is None:
                found = False
            elif form == "team":
                found = entry.price[1] > rule.amount
            elif form == "budget":
                found = entry.price[0] > 2.0  # noqa: PLR2004 - as the rule says
            else:
                found = "vision" in entry.supports
            if found:
                return rule.id
        return None

    def permitted(self, facts: _Facts) -> tuple[str, ...]:
        """Ask of all entries at once what the request asks for; nobody wants reasons."""
        depth, tokens, wish = facts.depth, facts.tokens or 0, facts.wish
        rows = self.rows["pii" in facts.labels]
        found = [entry for entry, below, most in rows if depth < below and tokens <= most]
        if facts.possible:
            found = [it for it in found if self.forbidden(facts, it.provider, it) is None]
        if facts.needs:
            needs = set(facts.needs)
            found = [entry for entry in found if needs.issubset(entry.supports)]
        if wish:
            found = [entry for entry in found if wish in entry.efforts]
        return tuple([entry.name for entry in found])


def _test(rule: Forbid) -> Callable[[_Facts, str, Entry | None], bool]:
    """Return a forbid rule as a Python function."""
    word, amount = rule.word, rule.amount
    match rule.form:
        case "label":
            return lambda facts, provider, _: word in facts.labels and provider == "west"
        case "team":
            return lambda facts, _, entry: (
                facts.team == word and entry is not None and entry.price[1] > amount
            )
        case "budget":
            return lambda facts, _, entry: (
                facts.remaining is not None
                and facts.remaining < amount
                and entry is not None
                and entry.price[0] > 2.0  # noqa: PLR2004 - as the rule says
            )
        case _:
            return lambda facts, _, entry: (
                word in facts.roles and entry is not None and "vision" in entry.supports
            )


def _requested(model: str, provider: str) -> rec.Requested:
    if model and provider:
        return {"model": model, "provider": provider}
    return {"model": model} if model else {"provider": provider}


def _rejected(entries: Sequence[Entry], found: Sequence[_Against]) -> list[rec.Candidate]:
    """Return the verdicts on the first of some entries, one for each objection."""
    return [
        rec.Candidate(Verdict.REJECTED, entry.name, UNSET, UNSET, code, forbid)
        for entry, (code, forbid) in zip(entries, found, strict=False)
    ]


def _named(entry: Entry | None, code: ReasonCode) -> str | UnsetType:
    """Return the name to give beside a code; a forbid rule is named in its place."""
    return UNSET if entry is None or code is _FORBIDDEN else entry.name


def _message(entry: Entry, code: ReasonCode, forbid: str | UnsetType) -> str:
    name = f"`{entry.name}`"
    match code:
        case ReasonCode.FORBIDDEN:
            return f"{name} is forbidden by the rule `{forbid}`"
        case ReasonCode.NOT_ALLOWED:
            return f"{name} is not allowed for this request"
        case ReasonCode.LACKS_CAPABILITY:
            return f"{name} lacks a capability that the task needs"
        case ReasonCode.CONTEXT_TOO_SMALL:
            return f"input and answer are larger than the context window of {name}"
        case _:
            allowed = ", ".join(entry.efforts)
            return f"{name} does not allow {_EFFORT} as asked; it allows {allowed}"
