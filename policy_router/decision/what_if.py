"""What another policy would have decided, and which of its rules that is due to.

Pure, as all of this floor: a recorded decision and the one that another policy makes of the same
request are compared. What many of them come to is counted by
:mod:`policy_router.runtime.log.what_if`.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, UnsetType

from policy_router.decision.record import (
    Candidate,
    Decision,
    ReasonCode,
    Result,
    Step,
    Target,
    Verdict,
)
from policy_router.domain import Policy
from policy_router.expressions.condition import Condition

REFUSED = "(refused)"
"""How a refusal is named where targets are."""
UNFIT = "(request does not fit)"
"""How a request is named that does not fit the other policy."""


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


def reads_now(policy: Policy) -> bool:
    """Tell whether any condition of a policy looks at the time.

    Where none does, equal requests are decided alike at any time.
    """
    conditions: list[Condition | None] = [rule.when for rule in policy.forbid]
    for rule in policy.precedence:
        conditions += [rule.when, rule.order_by]
    for entry in policy.pool or ():
        conditions += [entry.allow, entry.pick]
    return any("now" in condition.reads for condition in conditions if condition is not None)


def named(decision: Decision) -> str:
    """Return how the outcome of a decision is called: its target, or :data:`REFUSED`."""
    target = decision.target
    return REFUSED if isinstance(target, UnsetType) else target_name(target)


def target_name(target: Target) -> str:
    """Return how a target is called: its entry where it has one, else model and provider."""
    where = f"{target.model} at {target.provider}" if target.provider else target.model
    if isinstance(target.entry, UnsetType):
        return where
    return where if target.entry == target.model else f"{target.entry} ({where})"


def cause(before: Sequence[Step], after: Sequence[Step]) -> str:
    """Return what a flip is due to: the first thing in which the steps differ.

    Args:
        before: the steps of the recorded decision.
        after: the steps of the other policy.
    """
    different = [(old, new) for old, new in zip(before, after, strict=False) if old != new]
    # What only rejects more or less on the way is no cause where another rule turns out otherwise.
    decisive = [pair for pair in different if _outcome(pair[0]) != _outcome(pair[1])]
    if not decisive and len(before) != len(after):
        longer = max(before, after, key=len)
        return f"rule `{longer[min(len(before), len(after))].rule}`"
    for old, new in decisive or different:
        return _guard(old, new) or _step(old, new)
    return "the entry itself"


def _outcome(step: Step) -> tuple[object, ...]:
    """Return what a rule comes to, whatever it rejects on the way."""
    chosen = [
        (it.entry, it.model, it.provider)
        for it in step.candidates or ()
        if it.verdict is Verdict.SELECTED
    ]
    return step.rule, step.level, step.result, chosen


def _guard(old: Step, new: Step) -> str | None:
    """Return the guard that admits a candidate no more, or does so now."""
    was, now = _rejections(old), _rejections(new)
    for name, candidate in now.items():
        if name not in was or was[name].forbid != candidate.forbid:
            return _spelt(name, candidate)
    for name, candidate in was.items():
        if name not in now:
            return f"no longer {_spelt(name, candidate)}"
    return None


def _rejections(step: Step) -> dict[str, Candidate]:
    return {
        str(it.entry or it.model): it
        for it in step.candidates or ()
        if not isinstance(it.code, UnsetType)
    }


def _spelt(name: str, candidate: Candidate) -> str:
    if candidate.forbid:
        return f"forbid rule `{candidate.forbid}`"
    if candidate.code is ReasonCode.NOT_ALLOWED:
        return f"`allow` of `{name}`"
    return f"{candidate.code} of `{name}`"


def _step(old: Step, new: Step) -> str:
    if old.rule != new.rule or old.level != new.level:
        return f"the order of rules, at `{new.rule}`"
    conditional = {Result.SKIPPED, Result.ERROR}
    if (old.result in conditional) != (new.result in conditional):
        return f"`when` of rule `{new.rule}`"
    return f"rule `{new.rule}`"
