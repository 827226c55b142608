"""What another policy would have decided: names of outcomes, and what tells them apart.

A walk through the precedence rules ends at one of them, or falls off their end. Where two walks
come to different targets, what matters is how each ended, and what the other did there; what
differs besides is no cause. What many decisions come to is counted by
:mod:`policy_router.log.replay.what_if`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from msgspec import UNSET, Struct, UnsetType

from policy_router.cel.condition import Condition
from policy_router.decision.record import (
    Candidate,
    Decision,
    DecisionRecord,
    ReasonCode,
    Result,
    Step,
    Target,
    Verdict,
)
from policy_router.domain import Policy

REFUSED = "(refused)"
"""How a refusal is named where targets are."""
UNFIT = "(request does not fit)"
"""How a request is named that does not fit the other policy."""
_CONDITIONAL = frozenset({Result.SKIPPED, Result.ERROR})
_PLAIN = re.compile(r'[^\s()"]+')


class Flip(Struct, frozen=True):
    """A decision that would have been another.

    Attributes:
        before: the target that was decided, or :data:`REFUSED`.
        after: the target that would have been, :data:`REFUSED` or :data:`UNFIT`.
        rule: what it is due to: a rule of either policy, or an entry.
    """

    before: str
    after: str
    rule: str


def reads_of(policy: Policy) -> frozenset[str]:
    """Return the names that any condition of a policy reads."""
    conditions: list[Condition | None] = [rule.when for rule in policy.forbid]
    for rule in policy.precedence:
        conditions += [rule.when, rule.order_by]
    for entry in policy.pool or ():
        conditions += [entry.allow, entry.pick]
    return frozenset[str]().union(*(it.reads for it in conditions if it is not None))


def reads_now(policy: Policy) -> bool:
    """Tell whether any condition of a policy looks at the time.

    Where none does, equal requests are decided alike at any time.
    """
    return "now" in reads_of(policy)


def named(decision: Decision) -> str:
    """Return how the outcome of a decision is called: its target, or :data:`REFUSED`."""
    target = decision.target
    return REFUSED if isinstance(target, UnsetType) else target_name(target)


def target_name(target: Target) -> str:
    """Return how a target is called: its entry where it has one, else model and provider.

    Two targets have two names: what could be taken for something else is in quotation marks.
    """
    model, provider = _quoted(target.model), _quoted(target.provider)
    where = f"{model} at {provider}" if target.provider else model
    if isinstance(target.entry, UnsetType) or target.entry == target.model:
        return where
    return f"{_quoted(target.entry)} ({where})"


def _quoted(name: str) -> str:
    return name if _PLAIN.fullmatch(name) else json.dumps(name, ensure_ascii=False)


# --- Which rule, guard or entry a difference is due to --------------------------------------------


def cause(before: DecisionRecord, after: DecisionRecord) -> str:
    """Return what a flip is due to.

    Args:
        before: the recorded decision.
        after: what another policy decides of the same request, with another target or none.
    """
    old, new = _Walk.of(before), _Walk.of(after)
    if old.end == new.end:
        return _difference(old, new, old.end) if old.end is not None else "the precedence"
    if old.end is not None and new.has_passed(old.end):
        return _difference(old, new, old.end)
    if new.end is not None and old.has_passed(new.end):
        return _difference(old, new, new.end)
    if new.end is None or (new.end in old.rules and old.end not in new.rules):
        return f"no longer rule `{old.end}`"
    if new.end not in old.rules:
        return f"rule `{new.end}`"
    return f"the order of rules, at `{new.end}`"


class _Walk(Struct, frozen=True):
    """A walk through the precedence rules.

    Attributes:
        steps: its steps, by the ids of their rules.
        rules: the ids, in order.
        end: the rule that selected or refused; None where none did.
        target: what was selected.
    """

    steps: dict[str, Step]
    rules: tuple[str, ...]
    end: str | None
    target: Target | None

    @classmethod
    def of(cls, record: DecisionRecord) -> _Walk:
        decision = record.decision
        refusal = None if isinstance(decision.refusal, UnsetType) else decision.refusal.rule
        end = refusal if isinstance(decision.rule, UnsetType) else decision.rule
        target = None if isinstance(decision.target, UnsetType) else decision.target
        steps = {step.rule: step for step in record.steps}
        return cls(steps, tuple(steps), end if end in steps else None, target)

    def has_passed(self, rule: str) -> bool:
        """Tell whether the walk came to a rule and went on."""
        step = self.steps.get(rule)
        return rule != self.end and step is not None and step.result is not Result.NOT_REACHED


def _difference(old: _Walk, new: _Walk, rule: str) -> str:
    """Return why two walks that both came to a rule did not end there alike."""
    was, now = old.steps[rule], new.steps[rule]
    if (was.result in _CONDITIONAL) != (now.result in _CONDITIONAL):
        return f"`when` of rule `{rule}`"
    if old.end == rule and old.target is not None:
        rejected = _rejection(now, old.target)
        if rejected is not None:
            return _spelt(rejected)
    if new.end == rule and new.target is not None:
        rejected = _rejection(was, new.target)
        if rejected is not None:
            return f"no longer {_spelt(rejected)}"
    if was.result is now.result is Result.VIOLATED:
        return f"`on_violation` of rule `{rule}`"
    if was.result is now.result is Result.SELECTED and _chosen(was) == _chosen(now):
        return "the entry itself"
    return f"rule `{rule}`"


def _rejection(step: Step, target: Target) -> Candidate | None:
    """Return how a target was rejected at a step; None where it was not."""
    for it in _candidates(step):
        if it.verdict is Verdict.REJECTED and _is_of(it, target):
            return it
    return None


def _is_of(candidate: Candidate, target: Target) -> bool:
    """Tell whether a candidate, which has only what tells it from others, is a target."""
    if candidate.provider not in {UNSET, target.provider}:
        return False
    if isinstance(candidate.entry, UnsetType):
        return candidate.model == target.model
    return candidate.entry == target.entry


def _chosen(step: Step) -> list[tuple[object, ...]]:
    chosen = [it for it in _candidates(step) if it.verdict is Verdict.SELECTED]
    return [(it.entry, it.model, it.provider) for it in chosen]


def _candidates(step: Step) -> Sequence[Candidate]:
    return () if isinstance(step.candidates, UnsetType) else step.candidates


def _spelt(candidate: Candidate) -> str:
    name = candidate.model if isinstance(candidate.entry, UnsetType) else candidate.entry
    return spelt_guard(candidate.code or "", name or "", candidate.forbid or None)


def spelt_guard(code: str, name: str, forbid: str | None) -> str:
    """Return how a guard is called that rejects a target.

    Args:
        code: why the target is rejected.
        name: the name of its entry, or its model.
        forbid: the id of the forbid rule; None for another guard.
    """
    if forbid:
        return f"forbid rule `{forbid}`"
    return f"`allow` of `{name}`" if code == ReasonCode.NOT_ALLOWED else f"{code} of `{name}`"
