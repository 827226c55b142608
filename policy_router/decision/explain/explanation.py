"""The full trace of a decision, made again from its record: what decided, and why not another.

A record is small, since ``decide`` is pure: everything that it leaves out can be evaluated again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from msgspec import Raw, UnsetType

from policy_router.decision.evaluation import Evaluation
from policy_router.decision.evaluator import decide
from policy_router.decision.explain.ladder import ladder
from policy_router.decision.explain.trace import ConditionTrace, trace, trace_as_json
from policy_router.decision.explain.why_not import (
    WhyNot,
    asking_level,
    forbidden_outside,
    traces_of,
    why_not_selected,
)
from policy_router.decision.explain.wording import (
    REASONS,
    aligned,
    asked,
    details,
    is_pinned,
    named,
    reason,
    spelt_parameters,
    spelt_target,
)
from policy_router.decision.fitting import values_of
from policy_router.decision.record import (
    Decision,
    DecisionRecord,
    ReasonCode,
    Refusal,
    Result,
    Step,
    Target,
)
from policy_router.decision.request import Request, moment
from policy_router.diagnostics.model import Paint, printable, quote
from policy_router.domain import Level, Policy, PoolEntry, PrecedenceRule
from policy_router.errors import RecordError, RequestError
from policy_router.parameters import EFFORT


def explain(policy: Policy, record: DecisionRecord, *, why_not: str | None = None) -> Explanation:
    """Explain a decision.

    Args:
        policy: the policy that decided.
        record: the decision.
        why_not: a name; the explanation says why it was not selected.

    Returns:
        The explanation; ``str()`` of it is a page for a person.

    Raises:
        RecordError: the record is not of this revision of this policy.
    """
    if record.policy.revision != policy.revision:
        raise RecordError(
            f"the record is of the policy {quote(record.policy.name)} in revision "
            f"{quote(record.policy.revision[:19])}, and this one is `{policy.revision[:19]}`"
        )
    try:
        again = decide(policy, record.request, now=record.now)
    except RequestError as problem:
        raise RecordError(f"the request of the record does not fit its policy: {problem}") from None
    if (again.decision, again.steps) != (record.decision, record.steps):
        raise RecordError(
            "deciding again gives another record: it was changed, or made by another version"
        )
    values = values_of(policy, Request.from_mapping(again.request))
    evaluation = Evaluation(policy, values, moment(record.now))
    question = None if why_not is None else why_not_selected(evaluation, record, why_not)
    return Explanation(policy, record, evaluation, question)


@dataclass(frozen=True)
class Explanation:
    """A decision explained; ``str()`` gives the page.

    Attributes:
        policy: the policy that decided.
        record: the decision.
        evaluation: evaluates the conditions again.
        why_not: the reasons why a name was not selected, or None.
    """

    policy: Policy
    record: DecisionRecord
    evaluation: Evaluation = field(repr=False)
    why_not: WhyNot | None = None

    def entries(self) -> tuple[tuple[PoolEntry, tuple[ConditionTrace, ...]], ...]:
        """Return each pool entry with the traces of every condition about it."""
        return tuple(
            (entry, tuple(traces_of(self.evaluation, entry, asking_level(self.record))))
            for entry in self.policy.pool or ()
        )

    def to_text(self, paint: Paint | None = None, *, full: bool = False) -> str:
        """Return the page for a person.

        Args:
            paint: colours a text for a role; None for plain text.
            full: add the trace of every pool entry.
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
            for item in question.traces:
                yield from (f"  {line}" for line in item.lines())
        for item in self.rules(full=full):
            yield ""
            yield from item.lines()
        for entry, traces in self.explanation.entries() if full else ():
            yield ""
            yield f"{self.paint(entry.name, 'strong')}   {entry.span}"
            for item in traces:
                yield from (f"  {line}" for line in item.lines())
        yield from self.outside() if full else ()

    def outside(self) -> Iterator[str]:
        """Yield the forbid rules that rejected a target which is no pool entry."""
        explanation = self.explanation
        for candidate, traces in forbidden_outside(explanation.evaluation, explanation.record):
            yield ""
            yield f"{self.paint(printable(candidate.model), 'strong')}   not in the pool"
            for item in traces:
                yield from (f"  {line}" for line in item.lines())

    def rules(self, *, full: bool) -> Iterator[ConditionTrace]:
        """Yield the traces of the rules' conditions: of all, or of the one that failed."""
        explanation = self.explanation
        pairs = zip(explanation.record.steps, explanation.policy.precedence, strict=True)
        for step, rule in pairs:
            if rule.when is not None and (full or step.result is Result.ERROR):
                yield trace(explanation.evaluation, f"{named(step)}: when", rule.when)

    def outcome(self) -> Iterator[str]:
        record, decision = self.explanation.record, self.explanation.record.decision
        if not isinstance(decision.refusal, UnsetType):
            yield from self.refusal(decision.refusal)
        if not isinstance(decision.target, UnsetType):
            yield from self.selection(decision, decision.target)
        for warning in decision.warnings:
            about = asked(warning.requested) or (quote(warning.entry) if warning.entry else "")
            where = f"rule `{warning.rule}`" if warning.rule else warning.path or warning.level
            about = about or self.first_rejected(str(warning.rule or ""))
            text = f"{about}: {REASONS[warning.code]}" if about else REASONS[warning.code]
            head = self.paint("warning", "warning")
            yield f"  {head}     {warning.code} at {where}: {text}{details(warning)}"
        yield f"  policy {record.policy.name}, {record.policy.revision[:19]}, at {record.now}"

    def selection(self, decision: Decision, target: Target) -> Iterator[str]:
        yield f"{self.paint('selected', 'good')}  {spelt_target(target)}"
        rows = [("rule", f"{decision.rule}   {self.place(str(decision.rule))}")]
        if not isinstance(target.entry, UnsetType):
            rows.append(("entry", self.entry_place(target)))
        rows.append(("parameters", spelt_parameters(target)))
        names = [spelt_target(fallback) for fallback in decision.fallbacks or ()]
        pinned = is_pinned(self.explanation.policy, self.explanation.record)
        none = "none, since it was asked for by name" if pinned else "none"
        rows.append(("fallbacks", ", ".join(names) or none))
        if (effort := self.left_out(target)) is not None:
            rows.append(("left out", effort))
        yield from aligned(rows)

    def left_out(self, target: Target) -> str | None:
        """Say that the parent's reasoning effort is not taken over, where it is not."""
        effort = self.explanation.evaluation.values["parent"][EFFORT]
        if not effort or EFFORT in target.parameters:
            return None
        return (
            f"the parent's reasoning effort {quote(effort)}, which this target does not take over"
        )

    def refusal(self, refusal: Refusal) -> Iterator[str]:
        yield f"{self.paint('refused', 'error')}  {refusal.code}: {refusal.message}"
        rows = []
        if refusal.rule is not None:
            rows.append(("rule", f"{refusal.rule}   {self.place(refusal.rule)}"))
        if not isinstance(refusal.permitted, UnsetType):
            rows.append(("permitted", ", ".join(refusal.permitted) or "nothing"))
        yield from aligned(rows)

    def steps(self, record: DecisionRecord) -> Iterator[str]:
        yield self.paint("step by step", "strong")
        rules = self.explanation.policy.precedence
        pairs = list(zip(record.steps, rules, strict=True))
        yield from aligned([(named(step), self.step(step, rule)) for step, rule in pairs])

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
        result = "the request is refused" if rule.reject else "the next rule is tried"
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
        """Return where a rule was written: the one the walk ended at, if it has that id."""
        record, rules = self.explanation.record, self.explanation.policy.precedence
        walked = [step.result is not Result.NOT_REACHED for step in record.steps]
        last = rules[max(walked.count(True) - 1, 0)]
        found = [rule for rule in (last, *rules) if rule.id == rule_id]
        return str(found[0].span)

    def entry_place(self, target: Target) -> str:
        """Return where the entry of a target was written."""
        wanted = (target.entry, target.model, target.provider)
        evaluation = self.explanation.evaluation
        return next(
            str(entry.span)
            for entry in self.explanation.policy.pool or ()
            if (entry.name, entry.model, evaluation.provider_of(entry)) == wanted
        )

    def first_rejected(self, rule_id: str) -> str:
        """Return the first candidate that a rule proposed, in backticks."""
        proposed = [
            step.candidates[0]
            for step in self.explanation.record.steps
            if step.rule == rule_id and step.candidates
        ]
        return quote(str(proposed[0].entry or proposed[0].model)) if proposed else ""


def _verdicts(step: Step) -> list[str]:
    found = []
    for candidate in step.candidates or ():
        where = f" at {candidate.provider}" if candidate.entry and candidate.provider else ""
        name = printable(f"{candidate.entry or candidate.model}{where}")
        found.append(f"{name} {reason(candidate)}")
    return found


def explanation_as_json(explanation: Explanation, *, full: bool = False) -> dict[str, Any]:
    """Return an explanation as plain data, with the text that a person reads.

    Args:
        explanation: of a decision.
        full: add every pool entry with its conditions, and the steps with the lines of their rules.
    """
    question = explanation.why_not
    answer: dict[str, Any] = {
        "record": Raw(explanation.record.to_json()),
        "text": explanation.to_text(full=full),
    }
    if question is not None:
        answer["why_not"] = {
            "name": question.name,
            "lines": question.lines,
            "conditions": [trace_as_json(it) for it in question.traces],
        }
    if full:
        answer["entries"] = [
            {
                "entry": entry.name,
                "place": str(entry.span),
                "conditions": [trace_as_json(it) for it in traces],
            }
            for entry, traces in explanation.entries()
        ]
        answer["steps"] = ladder(explanation.evaluation, explanation.record)
    return answer
