"""What decisions cost, and would cost by another policy.

Money is summed as whole billionths of a US dollar, so that the sum is the same however the work was
spread.
"""

from __future__ import annotations

from math import isfinite
from typing import Final, TypeAlias

from msgspec import UNSET, Struct

from policy_router.calls.costs import cost, estimate
from policy_router.decision.record import Target
from policy_router.domain import Policy
from policy_router.log.entry import Execution

BILLION = 1_000_000_000
"""How much of money is a US dollar."""
_MOST_TOKENS: Final = 2**53


class Used(Struct, frozen=True):
    """What a run of a child used, as far as it is known.

    Attributes:
        target: what it ran on at last, maybe a fallback; None where that is not known.
        input_tokens: how many tokens went in.
        output_tokens: how many came out.
        cost_usd: what that cost, in US dollars.
    """

    target: Target | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None


Runs: TypeAlias = tuple[Used, ...]
"""The runs of one child; most have one."""


class Money(Struct):
    """What decisions cost, or would; in billionths of a US dollar.

    Attributes:
        before: what those cost whose cost is known under both policies.
        after: what they would have cost.
        measured: for how many recorded tokens were counted.
        estimated: for how many there is the task's estimate only.
        unknown: for how many nothing is known: they are in no sum.
    """

    before: int = 0
    after: int = 0
    measured: int = 0
    estimated: int = 0
    unknown: int = 0

    @property
    def known(self) -> str:
        """How the money of one decision is known."""
        return "unknown" if self.unknown else "estimated" if self.estimated else "measured"

    @property
    def decisions(self) -> int:
        """How many decisions it is the money of."""
        return self.measured + self.estimated + self.unknown

    def add(self, other: Money, times: int = 1) -> None:
        """Add other money, several times over."""
        self.before += other.before * times
        self.after += other.after * times
        self.measured += other.measured * times
        self.estimated += other.estimated * times
        self.unknown += other.unknown * times


def used(found: Execution) -> Used | None:
    """Return what an event says that a child used; None where it says nothing of that."""
    if found.input_tokens is None and found.cost_usd is None:
        return None
    target = None
    if found.model is not None:
        entry = UNSET if found.entry is None else found.entry
        target = Target(found.model, found.provider or "", {}, entry)
    tokens = _count_of(found.input_tokens), _count_of(found.output_tokens)
    return Used(target, *tokens, found.cost_usd)


class Pricing(Struct, frozen=True):
    """The prices of equal decisions.

    Attributes:
        before: the policy that decided; None where it is not kept.
        after: the other policy.
        was: what they ran on; None where refused.
        would: what they would run on; None where refused.
        is_fit: whether the request fits the other policy.
    """

    before: Policy | None
    after: Policy
    was: Target | None
    would: Target | None
    is_fit: bool

    def estimated(self, tokens: int | None) -> Money:
        """Return what one of them costs by the estimate of its task."""

        def guess(policy: Policy | None, target: Target | None) -> float | None:
            if target is None:
                return 0.0
            return None if policy is None else estimate(policy, target, tokens).cost_usd

        after = guess(self.after, self.would) if self.is_fit else None
        return _money(guess(self.before, self.was), after, is_measured=False)

    def measured(self, runs: Runs) -> Money:
        """Return what the runs of a child cost, and would have with as many tokens."""
        each = [self._measured(it) for it in runs]
        if any(it.unknown for it in each):
            return Money(unknown=1)
        return Money(sum(it.before for it in each), sum(it.after for it in each), measured=1)

    def _measured(self, run: Used) -> Money:
        tokens = run.input_tokens, run.output_tokens
        ran = run.target or self.was
        price = None if ran is None or self.before is None else cost(self.before, ran, *tokens)
        paid = price if run.cost_usd is None else run.cost_usd
        if not self.is_fit:
            return Money(unknown=1)
        if self.would is None:
            return _money(paid, 0.0, is_measured=True)
        # The same target would have been left for the same fallback.
        runs_on = ran if ran is not None and _is_same(self.was, self.would) else self.would
        after = cost(self.after, runs_on, *tokens)
        if runs_on is ran and after == price:
            after = paid
        return _money(paid, after, is_measured=True)


def _is_same(was: Target | None, would: Target) -> bool:
    return was is not None and (was.model, was.provider, was.entry) == (
        would.model,
        would.provider,
        would.entry,
    )


def _count_of(tokens: int | None) -> int | None:
    """Return a number of tokens, if there can be so many."""
    return tokens if tokens is not None and 0 <= tokens <= _MOST_TOKENS else None


def _money(before: float | None, after: float | None, *, is_measured: bool) -> Money:
    if before is None or after is None or not isfinite(before * BILLION + after * BILLION):
        return Money(unknown=1)
    sums = (round(before * BILLION), round(after * BILLION))
    return Money(*sums, measured=int(is_measured), estimated=int(not is_measured))
