"""What a target costs, and what an attempt or an answer makes of it."""

from __future__ import annotations

from typing import Final

from msgspec import UnsetType

from policy_router.calls.dialects import longest_answer
from policy_router.calls.endpoints import entry_of
from policy_router.calls.results import Estimate, Ran
from policy_router.decision.record import Target
from policy_router.domain import Policy

_MILLION: Final = 1_000_000


def ran_on(target: Target) -> Ran:
    """Return a target as a result names it."""
    entry = None if isinstance(target.entry, UnsetType) else target.entry
    return Ran(target.model, target.provider, entry)


def cost(
    policy: Policy, target: Target, input_tokens: int | None, output_tokens: int | None
) -> float | None:
    """Return what tokens cost at a target, in US dollars; None where anything is unknown."""
    entry = entry_of(policy, target)
    price = entry.price if entry else None
    if price is None or price.input is None or price.output is None:
        return None
    if input_tokens is None or output_tokens is None:
        return None
    return round((input_tokens * price.input + output_tokens * price.output) / _MILLION, 12)


def estimate(policy: Policy, target: Target, input_tokens: int | None) -> Estimate:
    """Return what a task may take at most.

    Args:
        policy: has the prices.
        target: what the task would run on.
        input_tokens: the size of its input; None is unknown.
    """
    longest = longest_answer(target.parameters)
    input_tokens = None if input_tokens is None else max(0, input_tokens)
    return Estimate(input_tokens, longest, cost(policy, target, input_tokens, longest))
