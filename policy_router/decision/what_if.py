"""What another policy would have decided: names of outcomes, and what tells them apart.

Pure, as all of this floor. What many decisions come to is counted by
:mod:`policy_router.runtime.log.replay.what_if`; why one differs is said by
:mod:`policy_router.decision.flip_cause`.
"""

from __future__ import annotations

import json
import re

from msgspec import Struct, UnsetType

from policy_router.decision.record import Decision, Target
from policy_router.domain import Policy
from policy_router.expressions.condition import Condition

REFUSED = "(refused)"
"""How a refusal is named where targets are."""
UNFIT = "(request does not fit)"
"""How a request is named that does not fit the other policy."""
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
