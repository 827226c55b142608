"""The full account of a decision, made again from its record: what decided, and why not another.

A record is small, since ``decide`` is pure: everything that it leaves out can be evaluated again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from msgspec import UnsetType

from policy_router.decision.account import Account, account
from policy_router.decision.evaluator import admission, meant
from policy_router.decision.record import (
    Candidate as RecordedCandidate,
)
from policy_router.decision.record import (
    DecisionRecord,
    ReasonCode,
    Requested,
    Result,
    Step,
    Target,
)
from policy_router.decision.request import Request, moment, values_of
from policy_router.decision.situation import Candidate, Situation
from policy_router.diagnostics import Paint, did_you_mean, printable, quote
from policy_router.domain import WISHES, Level, Policy, PoolEntry, PrecedenceRule
from policy_router.errors import RecordError

REASONS = {
    ReasonCode.OUTSIDE_POOL: "outside the pool",
    ReasonCode.NOT_ALLOWED: "not allowed",
    ReasonCode.FORBIDDEN: "forbidden",
    ReasonCode.LACKS_CAPABILITY: "lacks a capability that the task needs",
    ReasonCode.CONTEXT_TOO_SMALL: "its context window is smaller than the input",
    ReasonCode.INCOMPLETE: "no model is known for that provider",
    ReasonCode.PARAMETER_NOT_ALLOWED: "a parameter asked for is not allowed",
    ReasonCode.EVALUATION_ERROR: "the condition cannot be evaluated",
    ReasonCode.NO_TARGET: "no rule selects a target",
    ReasonCode.PARAMETER_LIMITED: "a parameter asked for was limited",
    ReasonCode.PICK_ERROR: "whether to pick it cannot be evaluated",
}
"""What the codes mean, for a person."""


def explain(policy: Policy, record: DecisionRecord, *, why_not: str | None = None) -> Explanation:
    """Explain a decision.

    Args:
        policy: the policy that decided.
        record: the decision.
        why_not: a name that could have been asked for: why was it not selected?

    Returns:
        The explanation; ``str()`` of it is a page for a person.

    Raises:
        RecordError: the record is not of this revision of this policy.
    """
    if record.policy.revision != policy.revision:
        message = (
            f"the record is of the policy {quote(record.policy.name)} in revision "
            f"{record.policy.revision[:19]}, this one is {policy.revision[:19]}"
        )
        raise RecordError(message)
    if [step.rule for step in record.steps] != [rule.id for rule in policy.precedence]:
        raise RecordError("the steps of the record are not the rules of its policy")
    request = Request.from_mapping(record.request)
    situation = Situation(policy, values_of(policy, request), moment(record.now))
    question = None if why_not is None else _why_not(situation, record, why_not)
    return Explanation(policy, record, situation, question)


@dataclass(frozen=True)
class WhyNot:
    """Why a name was not selected.

    Attributes:
        name: the name.
        lines: the answer in one or a few lines.
        accounts: the conditions that stood in the way, or that decided.
    """

    name: str
    lines: tuple[str, ...]
    accounts: tuple[Account, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """A decision explained; ``str()`` gives the page.

    Attributes:
        policy: the policy that decided.
        record: the decision.
        why_not: the answer to the question why a name was not selected, or None.
    """

    policy: Policy
    record: DecisionRecord
    _situation: Situation = field(repr=False)
    why_not: WhyNot | None = None

    def entries(self) -> tuple[tuple[PoolEntry, tuple[Account, ...]], ...]:
        """Return each pool entry with the accounts of every condition about it."""
        return tuple(
            (entry, tuple(_accounts(self._situation, entry, _level_of(self.record))))
            for entry in self.policy.pool or ()
        )

    def to_text(self, paint: Paint | None = None, *, full: bool = False) -> str:
        """Return the page for a person.

        Args:
            paint: colours a text for a role; None is plain.
            full: add the account of every pool entry.
        """
        page = _Page(self, paint or (lambda text, _role: text))
        return "\n".join(page.lines(full=full))

    def __str__(self) -> str:
        """Return the page, plain."""
        return self.to_text()


@dataclass(frozen=True, slots=True)
class _Page:
    explanation: Explanation
    paint: Paint

    def lines(self, *, full: bool) -> Iterator[str]:
        record = self.explanation.record
        yield from self.outcome()
        yield ""
        yield from self.steps(record)
        if (question := self.explanation.why_not) is not None:
            yield ""
            yield self.paint(f"why not {quote(question.name)}", "strong")
            yield from (f"  {line}" for line in question.lines)
            for item in question.accounts:
                yield from (f"  {line}" for line in item.lines())
        for entry, accounts in self.explanation.entries() if full else ():
            yield ""
            yield f"{self.paint(entry.name, 'strong')}   {entry.span}"
            for item in accounts:
                yield from (f"  {line}" for line in item.lines())

    def outcome(self) -> Iterator[str]:
        record, decision = self.explanation.record, self.explanation.record.decision
        if isinstance(decision.target, UnsetType):
            yield from self.refusal()
        else:
            yield f"{self.paint('selected', 'good')}  {spelt_target(decision.target)}"
            rows = [("rule", f"{decision.rule}   {self.place(str(decision.rule))}")]
            if not isinstance(decision.target.entry, UnsetType):
                rows.append(("entry", self.entry_place(decision.target.entry)))
            rows.append(("parameters", spelt_parameters(decision.target)))
            names = [spelt_target(target) for target in decision.fallbacks or ()]
            rows.append(("fallbacks", ", ".join(names) or "none"))
            yield from _aligned(rows)
        for warning in decision.warnings:
            about = asked(warning.requested) or (quote(warning.entry) if warning.entry else "")
            text = f"{about}: {REASONS[warning.code]}" if about else REASONS[warning.code]
            head = self.paint("warning", "warning")
            yield f"  {head}     {warning.code} at rule `{warning.rule}`: {text}"
        yield f"  policy {record.policy.name}, {record.policy.revision[:19]}, at {record.now}"

    def refusal(self) -> Iterator[str]:
        refusal = self.explanation.record.decision.refusal
        if isinstance(refusal, UnsetType):
            return
        yield f"{self.paint('refused', 'error')}  {refusal.code}: {refusal.message}"
        rows = []
        if refusal.rule is not None:
            rows.append(("rule", f"{refusal.rule}   {self.place(refusal.rule)}"))
        if not isinstance(refusal.permitted, UnsetType):
            rows.append(("permitted", ", ".join(refusal.permitted) or "nothing"))
        yield from _aligned(rows)

    def steps(self, record: DecisionRecord) -> Iterator[str]:
        yield self.paint("step by step", "strong")
        rules = self.explanation.policy.precedence
        pairs = list(zip(record.steps, rules, strict=True))
        names = [
            step.rule if step.rule == step.level else f"{step.rule} ({step.level})"
            for step, _ in pairs
        ]
        yield from _aligned(
            [(name, self.step(step, rule)) for name, (step, rule) in zip(names, pairs, strict=True)]
        )

    def step(self, step: Step, rule: PrecedenceRule) -> str:
        wish = asked(step.requested)
        asking = f"asked for {wish}: " if wish else ""
        match step.result:
            case Result.NOT_REACHED:
                return self.paint("not reached", "dim")
            case Result.SKIPPED:
                return (
                    f"skipped, since its condition is false   {rule.when.span if rule.when else ''}"
                )
            case Result.ERROR:
                return "its condition cannot be evaluated, so the request is refused"
            case Result.NO_PROPOSAL:
                return self.nothing(step.level)
            case Result.SELECTED:
                return f"{asking}{', '.join(_verdicts(step)) or 'selected'}"
        reasons = ", ".join(_verdicts(step)) or REASONS[ReasonCode(step.code or "no_target")]
        refused = rule.reject or step.code == ReasonCode.PARAMETER_NOT_ALLOWED
        result = "the request is refused" if refused else "the next rule is tried"
        return f"{asking}{reasons}; {result}"

    def nothing(self, level: Level) -> str:
        return {
            Level.CALL: "nothing asked",
            Level.TASK: "nothing asked",
            Level.POOL: "there is no pool"
            if self.explanation.policy.pool is None
            else "no entry is picked for this task",
            Level.CONFIG: "the policy has no default model",
            Level.PARENT: "the parent's model is not given",
        }[level]

    def place(self, rule_id: str) -> str:
        rules = self.explanation.policy.precedence
        return next((str(rule.span) for rule in rules if rule.id == rule_id), "")

    def entry_place(self, name: str) -> str:
        target = self.explanation.record.decision.target
        model = "" if isinstance(target, UnsetType) else target.model
        pool = self.explanation.policy.pool or ()
        return next(
            (str(entry.span) for entry in pool if (entry.name, entry.model) == (name, model)), ""
        )


def _why_not(situation: Situation, record: DecisionRecord, name: str) -> WhyNot:
    policy, decision = situation.policy, record.decision
    entries = meant(situation, name, "") if policy.pool is not None else []
    if not entries:
        known = [entry.name for entry in policy.pool or ()]
        answer = f"{quote(name)} is no entry of the pool"
        if policy.pool is None:
            answer = "there is no pool: it is selected where it is asked for and not forbidden"
        remedy = did_you_mean(name, known)
        return WhyNot(name, (answer, remedy) if remedy else (answer,))
    lines: list[str] = []
    accounts: list[Account] = []
    for entry in entries:
        selected = decision.target
        if not isinstance(selected, UnsetType) and selected.entry == entry.name:
            lines.append("it is selected")
            continue
        lines.append(f"{entry.model} at {entry.provider or 'the parent'}   {entry.span}")
        lines.extend(_aligned(_why_not_at_each_rule(record, policy, entry)))
        level = _level_at_which(record, entry)
        lines.append(_if_asked_for(situation, entry, level))
        accounts.extend(_standing_in_the_way(situation, entry, level))
    return WhyNot(name, tuple(lines), tuple(accounts))


def _if_asked_for(situation: Situation, entry: PoolEntry, level: Level) -> str:
    rejection = admission(situation, _as(situation, entry, level), in_pool=True)
    if rejection is None:
        return f"asked for at level {level}, it would be admitted"
    task = situation.values["task"]
    detail = ""
    if rejection.code is ReasonCode.LACKS_CAPABILITY:
        lacking = [need for need in task["needs"] if need not in (entry.supports or ())]
        detail = f" ({', '.join(lacking)})"
    if rejection.code is ReasonCode.CONTEXT_TOO_SMALL:
        detail = f" ({entry.context_window:,} tokens for {task['input_tokens']:,})"
    return f"asked for at level {level}, it would be rejected: {REASONS[rejection.code]}{detail}"


def _why_not_at_each_rule(
    record: DecisionRecord, policy: Policy, entry: PoolEntry
) -> list[tuple[str, str]]:
    pairs = zip(record.steps, policy.precedence, strict=True)
    return [(step.rule, _why_not_at(step, rule, entry)) for step, rule in pairs]


def _why_not_at(step: Step, rule: PrecedenceRule, entry: PoolEntry) -> str:
    verdict = _verdict_on(step, entry)
    if verdict is not None:
        return f"proposed, and {verdict}"
    if step.result in _SHORT:
        return _SHORT[step.result]
    if step.level in WISHES:
        return "not asked for"
    if step.level is not Level.POOL:
        return "another model"
    if rule.entry is not None:
        return f"the rule proposes `{rule.entry}` alone"
    if entry.pick is None:
        return "never picked unasked, since it has no `pick`"
    after = step.result is Result.SELECTED
    return "not picked, or after the one selected" if after else "not picked"


_SHORT = {
    Result.SKIPPED: "the rule is skipped",
    Result.ERROR: "the rule's condition cannot be evaluated",
    Result.NOT_REACHED: "not reached",
}


def _verdict_on(step: Step, entry: PoolEntry) -> str | None:
    for candidate in step.candidates or ():
        if candidate.entry == entry.name:
            return _reason(candidate)
    return None


def _standing_in_the_way(situation: Situation, entry: PoolEntry, level: Level) -> Iterator[Account]:
    """Yield the accounts of the conditions that keep an entry from being used or picked."""
    for item in _accounts(situation, entry, level):
        passes = "false" if item.title.startswith("forbid") else "true"
        if item.value != passes:
            yield item


def _accounts(situation: Situation, entry: PoolEntry, level: Level) -> Iterator[Account]:
    candidate = _as(situation, entry, level)
    if entry.allow is not None:
        yield account(situation, "allow", entry.allow, candidate)
    for rule in situation.policy.forbid:
        yield account(situation, f"forbid {rule.id}", rule.when, candidate)
    if entry.pick is not None:
        yield account(situation, "pick", entry.pick, _as(situation, entry, Level.POOL))


def _as(situation: Situation, entry: PoolEntry, level: Level) -> Candidate:
    provider = entry.provider or situation.values["parent"]["provider"]
    return Candidate(entry.model, provider, level, entry)


def _level_of(record: DecisionRecord) -> Level:
    """Return the level that refused, or ``task``: where an agent would ask."""
    refusal = record.decision.refusal
    if isinstance(refusal, UnsetType) or refusal.rule is None:
        return Level.TASK
    return next((step.level for step in record.steps if step.rule == refusal.rule), Level.TASK)


def _level_at_which(record: DecisionRecord, entry: PoolEntry) -> Level:
    """Return the level at which an entry was rejected; else the one an agent would ask at."""
    rejected = (step.level for step in record.steps if _verdict_on(step, entry) is not None)
    return next(rejected, _level_of(record))


def _verdicts(step: Step) -> list[str]:
    return [
        f"{printable(candidate.entry or candidate.model or '')} {_reason(candidate)}"
        for candidate in step.candidates or ()
    ]


def _reason(candidate: RecordedCandidate) -> str:
    if isinstance(candidate.code, UnsetType):
        return "selected"
    by = f" by `{candidate.forbid}`" if candidate.forbid else ""
    return f"{REASONS[candidate.code]}{by}"


def asked(requested: Requested | UnsetType) -> str:
    """Return a wish for a person, or the empty text where there is none."""
    if isinstance(requested, UnsetType):
        return ""
    model, provider, effort = requested.model, requested.provider, requested.reasoning_effort
    parts = [quote(model)] if model else []
    parts += (
        [f"at {quote(provider)}" if model else f"provider {quote(provider)}"] if provider else []
    )
    parts += [f"reasoning effort {quote(effort)}"] if effort else []
    return " ".join(parts)


def spelt_target(target: Target) -> str:
    """Return a target for a person: its entry's name, or its model, and its provider."""
    where = f" at {target.provider}" if target.provider else ""
    if isinstance(target.entry, UnsetType) or target.entry == target.model:
        return printable(f"{target.model}{where}")
    return printable(f"{target.entry} ({target.model}{where})")


def spelt_parameters(target: Target) -> str:
    """Return the parameters of a target for a person."""
    pairs = [f"{key}={value}" for key, value in sorted(target.parameters.items())]
    return printable(", ".join(pairs)) or "none"


def _aligned(rows: list[tuple[str, str]]) -> Iterator[str]:
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        yield f"  {name:<{width}}  {text}".rstrip()
