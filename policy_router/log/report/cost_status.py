"""What a run of a child cost, and, where that is unknown, why.

Money is in whole billionths of a US dollar (nano-dollars), so that sums are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from math import isfinite
from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct

from policy_router.calls.costs import cost, estimate
from policy_router.calls.results import CostStatus, Status
from policy_router.calls.served import is_same_model, is_served
from policy_router.decision.record import Target
from policy_router.domain import Policy
from policy_router.log.entry import UNREADABLE, Call
from policy_router.log.replay.what_if_money import BILLION

_NEVER_RUN: Final = frozenset({Status.REFUSED, Status.NOT_STARTED, Status.DECIDED})
_FIRST_ERROR: Final = 400
"""The lowest HTTP status of an error."""
_MOST_NANO: Final = 2**63


class CaseCost(StrEnum):
    """How the cost of a decision is known, or why it is not; those of a line are among them."""

    FREE = CostStatus.FREE.value
    """Nothing was called, or every call was answered with an error: it cost nothing."""
    MEASURED = CostStatus.MEASURED.value
    """The log has the cost."""
    UPPER_BOUND = CostStatus.UPPER_BOUND.value
    """The same; tokens from a cache are counted as if they were not."""
    ESTIMATED = "estimated"
    """The provider counted no tokens; the estimate of the task is the most that it cost."""
    NO_PRICE = CostStatus.NO_PRICE.value
    """The policy has no price for what ran."""
    NO_USAGE = CostStatus.NO_USAGE.value
    """The provider counted no tokens, and the task has no estimate."""
    FAILED = CostStatus.FAILED.value
    """It failed or was stopped after a call was sent."""
    MISMATCH = CostStatus.MISMATCH.value
    """Another model answered than the one that was called, and so no price applies."""
    NEVER_ENDED = "never_ended"
    """The log has no end of it."""

    @property
    def is_unknown(self) -> bool:
        """Whether nothing is known of the cost."""
        return self in UNKNOWN


UNKNOWN: Final = tuple(CaseCost)[4:]
"""The causes of an unknown cost."""
_RANKS: Final = {status: rank for rank, status in enumerate(CaseCost)}
_CAUSES: Final = frozenset({CaseCost.NO_PRICE, CaseCost.MISMATCH, CaseCost.FAILED})
"""What a line says, and nothing can add to."""


def worst(statuses: list[CaseCost]) -> CaseCost:
    """Return the status of a decision that ran several times: what is known least."""
    return max(statuses, key=_RANKS.__getitem__)


class Run(Struct, frozen=True, gc=False):
    """The end of a child, or of one attempt that its host reports.

    Attributes:
        time: when, in microseconds since 1970.
        status: what became of it.
        model: what was called at last; empty where nothing was.
        provider: its provider.
        entry: its pool entry; empty where it is none.
        served: the model that the provider says it served; empty where it does not say.
        input_tokens: what the provider counted.
        output_tokens: what the provider counted.
        nano: what it cost, in nano-dollars; None where the log does not say.
        is_free: whether it cost nothing for certain.
        error: the code of its failure; empty where it did not fail.
        cost_status: what the line says of its cost; empty in lines of the first edition.
    """

    time: int
    status: str
    model: str = ""
    provider: str = ""
    entry: str = ""
    served: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    nano: int | None = None
    is_free: bool = False
    error: str = ""
    cost_status: str = ""

    @property
    def is_bound(self) -> bool:
        """Whether the cost is the most that it was."""
        return self.cost_status == CaseCost.UPPER_BOUND


class EndView(Struct, frozen=True, gc=False):
    """What is read of an execution for a report; the fields are those of the execution."""

    event: str
    status: str | None = None
    model: str = ""
    provider: str = ""
    entry: str = ""
    served_model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    error: str = ""
    cost_status: str = ""
    calls: Raw = Raw(b"[]")


def read_run(time: int, content: bytes | Raw) -> Run | None:
    """Return the run that an execution ends; None where it ends none.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        found = _ENDS.decode(content)
        is_free = found.status != Status.COMPLETED and _is_free(found)
    except UNREADABLE as problem:
        raise ValueError("not an execution") from problem
    if found.status is None:
        return None
    return Run(
        time,
        found.status,
        found.model,
        found.provider,
        found.entry,
        found.served_model,
        found.input_tokens,
        found.output_tokens,
        nano_of(found.cost_usd),
        is_free,
        found.error,
        found.cost_status,
    )


def nano_of(cost_usd: float | None) -> int | None:
    """Return an amount in nano-dollars; None where there is none."""
    if cost_usd is None or not isfinite(cost_usd) or abs(cost_usd * BILLION) >= _MOST_NANO:
        return None
    return round(cost_usd * BILLION)


def _is_free(found: EndView) -> bool:
    """Tell whether what did not complete cost nothing for certain, as results do."""
    if found.status in _NEVER_RUN or not found.model:
        return True
    if found.status != Status.FAILED:
        return False
    calls = _CALLS.decode(found.calls)
    return bool(calls) and all(not it.is_sent or (it.status or 0) >= _FIRST_ERROR for it in calls)


def cost_of(
    run: Run, decided: Target | None, tokens: int | None, policy: Callable[[], Policy | None]
) -> tuple[CaseCost, int]:
    """Return how the cost of a run is known, and the cost in nano-dollars; 0 where unknown.

    Args:
        run: the run.
        decided: what was decided.
        tokens: the size of the task's input; None is unknown.
        policy: returns the policy that decided; it is asked for if the line does not say enough.
    """
    if run.nano is not None:
        return (CaseCost.UPPER_BOUND if run.is_bound else CaseCost.MEASURED), run.nano
    if run.is_free or run.cost_status == CaseCost.FREE:
        return CaseCost.FREE, 0
    if run.cost_status in _CAUSES:
        return CaseCost(run.cost_status), 0
    if run.status != Status.COMPLETED:
        return CaseCost.FAILED, 0
    kept = policy()
    ran = _ran(run, decided)
    if ran is None:
        return CaseCost.NO_USAGE, 0
    if run.served and not _is_served(kept, ran, run.served):
        return CaseCost.MISMATCH, 0
    if run.input_tokens is not None and run.output_tokens is not None:
        return CaseCost.NO_PRICE, 0
    most = None if kept is None else nano_of(estimate(kept, ran, tokens).cost_usd)
    return (CaseCost.NO_USAGE, 0) if most is None else (CaseCost.ESTIMATED, most)


def cost_on_default(policy: Policy, runs: Sequence[Run]) -> tuple[Target | None, int | None]:
    """Return the default of a policy, and what the tokens of runs would have cost on it.

    Returns:
        The target, None where the policy has no default; and nano-dollars, None where a price or
        a number of tokens is unknown.
    """
    if policy.model is None:
        return None, None
    provider = policy.provider or ""
    same = (it for it in policy.pool or () if it.model == policy.model)
    entry = next((it for it in same if (it.provider or provider) == provider), None)
    default = Target(policy.model, provider, {}, UNSET if entry is None else entry.name)
    paid = [(it.input_tokens, it.output_tokens) for it in runs if not it.is_free]
    each = [nano_of(cost(policy, default, *tokens)) for tokens in paid]
    known = [nano for nano in each if nano is not None]
    return default, sum(known) if len(known) == len(each) else None


def _ran(run: Run, decided: Target | None) -> Target | None:
    """Return what ran: a target with the parameters that were decided."""
    if not run.model:
        return decided
    if decided is not None and (run.model, run.provider) == (decided.model, decided.provider):
        return decided
    parameters = {} if decided is None else decided.parameters
    return Target(run.model, run.provider, parameters, run.entry or UNSET)


def _is_served(policy: Policy | None, ran: Target, served: str) -> bool:
    if policy is None:
        return is_same_model(ran.model, served)
    return is_served(policy, ran, served)


_ENDS = msgspec.json.Decoder(EndView)
_CALLS = msgspec.json.Decoder(tuple[Call, ...])
