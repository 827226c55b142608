"""What an entry brings with it when it is selected, before any request is known."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from policy_router.decision import record as rec
from policy_router.domain import FrozenDict, Limit, Policy, PoolEntry
from policy_router.parameters import EFFORT, MAX_TOKENS


class Offer(Struct, frozen=True):
    """What is selected when an entry is, or a target that is none, as far as no request changes it.

    Attributes:
        parameters: its own parameters and the policy's, within its limits.
        cap: what is sent as ``max_tokens`` only since its limits say so; None where nothing is.
        own_tokens: the ``max_tokens`` that it or the policy sets; None where nothing does.
        inherits: whether the parent's reasoning effort may be taken over.
        selected: its verdict; None where that depends on the parent's provider.
        target: the target; None where it depends on the parent's provider.
        fallback: the entries to go on with, in order.
    """

    parameters: FrozenDict
    cap: int | None
    own_tokens: int | None
    inherits: bool
    selected: rec.Candidate | None = None
    target: rec.Target | None = None
    fallback: tuple[PoolEntry, ...] = ()


def own_parameters(policy: Policy, entry: PoolEntry | None) -> Offer:
    """Return what of an offer is about parameters."""
    limits: Mapping[str, Limit] = entry.limits if entry else {}
    found = {**policy.parameters, **(entry.parameters if entry else {})}
    inherits = EFFORT not in found
    for name, limit in limits.items():
        if name in found and found[name] is not False:
            value = limit.within(found.pop(name))
            if value is not None:
                found[name] = value
    if found.get(EFFORT) is False:
        del found[EFFORT]
    own = found.get(MAX_TOKENS)
    bound = limits[MAX_TOKENS].greatest if MAX_TOKENS in limits else None
    cap = int(bound) if bound is not None and own is None else None
    if cap is not None:
        found[MAX_TOKENS] = cap
    return Offer(FrozenDict(found), cap, own if isinstance(own, int) else None, inherits)
