"""Why a name was not selected: what every rule did with it, and the conditions in its way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec import UNSET, UnsetType

from policy_router.cel.evaluate import Truth
from policy_router.decision.candidate import Candidate
from policy_router.decision.evaluation import Evaluation
from policy_router.decision.evaluator import (
    admission,
    meant,
    wishes_of,
)
from policy_router.decision.explain.trace import ConditionTrace, trace
from policy_router.decision.explain.wording import REASONS, aligned, named, reason
from policy_router.decision.record import Candidate as RecordedCandidate
from policy_router.decision.record import (
    DecisionRecord,
    ReasonCode,
    Result,
    Step,
)
from policy_router.diagnostics.model import did_you_mean, printable, quote
from policy_router.domain import WISHES, Level, PoolEntry, PrecedenceRule


@dataclass(frozen=True)
class WhyNot:
    """Why a name was not selected.

    Attributes:
        name: the name.
        lines: the answer in one or a few lines.
        traces: the conditions that stood in the way, or that decided.
    """

    name: str
    lines: tuple[str, ...]
    traces: tuple[ConditionTrace, ...] = ()


def why_not_selected(evaluation: Evaluation, record: DecisionRecord, name: str) -> WhyNot:
    """Return why a name was not selected; of one model at two providers, for each of them."""
    policy, selected = evaluation.policy, record.decision.target
    entries = meant(evaluation, name, "") if name and policy.pool is not None else []
    if not entries and (outside := _outside(evaluation, record, name)) is not None:
        return outside
    if not entries:
        answer = f"{quote(name)} is not an entry of the pool"
        if policy.pool is None:
            answer = "there is no pool: it is selected where it is asked for and not forbidden"
        remedy = did_you_mean(name, [entry.name for entry in policy.pool or ()])
        return WhyNot(name, (answer, remedy) if remedy else (answer,))
    lines: list[str] = []
    traces: list[ConditionTrace] = []
    for entry in entries:
        provider = evaluation.provider_of(entry)
        lines.append(f"{printable(entry.model)} at {printable(provider) or '-'}   {entry.span}")
        if not isinstance(selected, UnsetType) and (
            (selected.entry, selected.model, selected.provider)
            == (entry.name, entry.model, provider)
        ):
            lines.append("  it is selected")
            continue
        lines.extend(aligned(_why_not_at_each_rule(evaluation, record, entry)))
        lines.append(_if_asked_for(evaluation, record, entry))
        traces.extend(_blocking_traces(evaluation, record, entry))
    return WhyNot(name, tuple(lines), tuple(traces))


def _outside(evaluation: Evaluation, record: DecisionRecord, name: str) -> WhyNot | None:
    """Return why a model that is no entry was not selected, if a forbid rule was in its way."""
    traces = tuple(
        item
        for candidate, found in forbidden_outside(evaluation, record)
        if candidate.model == name
        for item in found
    )
    rows = [
        (named(step), f"proposed, and {reason(it)}")
        for step in record.steps
        for it in step.candidates or ()
        if it.model == name
    ]
    head = f"{printable(name)}   not in the pool"
    return WhyNot(name, (head, *aligned(rows)), traces) if traces else None


def forbidden_outside(
    evaluation: Evaluation, record: DecisionRecord
) -> Iterator[tuple[Candidate, tuple[ConditionTrace, ...]]]:
    """Yield what forbid rules rejected that is no pool entry, with the traces of these rules."""
    rules = {rule.id: rule for rule in evaluation.policy.forbid}
    proposed = (
        (Candidate(it.model, _provider_of(evaluation, step, it), step.level), it.forbid)
        for step in record.steps
        for it in step.candidates or ()
        if isinstance(it.model, str) and isinstance(it.forbid, str)
    )
    for candidate, id_ in proposed:
        if isinstance(id_, str):
            title = f"forbid {id_}"
            yield candidate, (trace(evaluation, title, rules[id_].when, candidate),)


def _provider_of(evaluation: Evaluation, step: Step, candidate: RecordedCandidate) -> str:
    """Return the provider of a candidate: recorded, or the only one that it can be."""
    if isinstance(candidate.provider, str):
        return candidate.provider
    own = "" if step.level is Level.PARENT else evaluation.policy.provider
    return own or str(evaluation.values["parent"]["provider"])


def _if_asked_for(evaluation: Evaluation, record: DecisionRecord, entry: PoolEntry) -> str:
    """Say what would become of an entry if an agent asked for it."""
    level = asking_level(record)
    asking = f"asked for at level {level}, it would be"
    seen = evaluation.asking(level, {"model": entry.name, "provider": ""})
    rejection = admission(seen, seen.candidate(entry, level), wishes_of(seen), in_pool=True)
    if rejection is None:
        return f"{asking} admitted"
    if rejection.wish is not None:
        wish = f"{rejection.wish.name} {quote(str(rejection.wish.value))}"
        return f"{asking} rejected: its limits do not allow {wish}"
    task, detail = evaluation.values["task"], ""
    if rejection.code is ReasonCode.LACKS_CAPABILITY:
        lacking = [need for need in task["needs"] if need not in (entry.supports or ())]
        detail = f" ({printable(', '.join(lacking))})"
    if rejection.code is ReasonCode.CONTEXT_TOO_SMALL:
        answer = evaluation.prepared.offer(entry).own_tokens or 1
        sizes = f"{task.get('input_tokens', 0):,} and {answer:,} for the answer"
        detail = f" ({entry.context_window:,} tokens for {sizes})"
    return f"{asking} rejected: {REASONS[rejection.code]}{detail}"


def _why_not_at_each_rule(
    evaluation: Evaluation, record: DecisionRecord, entry: PoolEntry
) -> list[tuple[str, str]]:
    pairs = zip(record.steps, evaluation.policy.precedence, strict=True)
    return [(named(step), _why_not_at(evaluation, step, rule, entry)) for step, rule in pairs]


def _why_not_at(evaluation: Evaluation, step: Step, rule: PrecedenceRule, entry: PoolEntry) -> str:
    verdict = _verdict_on(evaluation, step, entry)
    if verdict is not None:
        return f"proposed, and {verdict}"
    if step.result in _SHORT:
        return _SHORT[step.result]
    if step.level in WISHES:
        wish = evaluation.values[step.level]
        asked = step.result is Result.SELECTED and entry in meant(
            evaluation, wish["model"], wish["provider"]
        )
        return "asked for too, but after the one selected" if asked else "not asked for"
    if step.level is not Level.POOL:
        return "another model"
    if rule.entry is not None:
        return f"the rule proposes {quote(rule.entry)} alone"
    if entry.pick is None:
        return "never picked unasked, since it has no `pick`"
    candidate = evaluation.candidate(entry, Level.POOL)
    picked = evaluation.truth_for(entry.pick, candidate) is Truth.TRUE
    return "picked too, but after the one selected" if picked else "not picked"


_SHORT = {
    Result.SKIPPED: "the rule is skipped",
    Result.ERROR: "the rule's condition cannot be evaluated",
    Result.NOT_REACHED: "not reached",
}


def _verdict_on(evaluation: Evaluation, step: Step, entry: PoolEntry) -> str | None:
    for candidate in step.candidates or ():
        provider = evaluation.provider_of(entry) if candidate.provider else UNSET
        if (candidate.entry, candidate.provider) == (entry.name, provider):
            return reason(candidate)
    return None


def _blocking_traces(
    evaluation: Evaluation, record: DecisionRecord, entry: PoolEntry
) -> Iterator[ConditionTrace]:
    """Yield the traces of the conditions that keep an entry from being used or picked."""
    rejecting = (
        step.level for step in record.steps if _verdict_on(evaluation, step, entry) is not None
    )
    level = next(rejecting, asking_level(record))
    advisory = {f"forbid {rule.id}" for rule in evaluation.policy.forbid if not rule.enforce}
    for item in traces_of(evaluation, entry, level):
        if item.title in advisory:
            continue
        passes = "false" if item.title.startswith("forbid ") else "true"
        if item.value != passes:
            yield item


def traces_of(evaluation: Evaluation, entry: PoolEntry, level: Level) -> Iterator[ConditionTrace]:
    """Yield the traces of every condition about an entry."""
    candidate = evaluation.candidate(entry, level)
    if entry.allow is not None:
        yield trace(evaluation, "allow", entry.allow, candidate)
    for rule in evaluation.policy.forbid:
        yield trace(evaluation, f"forbid {rule.id}", rule.when, candidate)
    if entry.pick is not None:
        yield trace(evaluation, "pick", entry.pick, evaluation.candidate(entry, Level.POOL))


def asking_level(record: DecisionRecord) -> Level:
    """Return the level of the wish that was refused, or ``task``: where an agent would ask."""
    refusal = record.decision.refusal
    refused_by = None if isinstance(refusal, UnsetType) else refusal.rule
    asking = (step.level for step in record.steps if step.rule == refused_by)
    level = next(asking, Level.TASK)
    return level if level in WISHES else Level.TASK
