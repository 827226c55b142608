"""The prices of targets, and the costs of attempts and answers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from msgspec import Struct, UnsetType
from msgspec.structs import replace

from policy_router.calls.dialects import longest_answer, wire
from policy_router.calls.endpoints import dialect_of, entry_of, merged
from policy_router.calls.results import Estimate, Ran
from policy_router.decision.record import Target
from policy_router.domain import Policy, Price

_MILLION: Final = 1_000_000


def ran_on(target: Target) -> Ran:
    """Return a target as a result names it."""
    entry = None if isinstance(target.entry, UnsetType) else target.entry
    return Ran(target.model, target.provider, entry)


class Cost(Struct, frozen=True):
    """What tokens cost.

    Attributes:
        usd: US dollars.
        is_upper_bound: whether it may be less, since the rate of tokens from a cache is unknown.
    """

    usd: float
    is_upper_bound: bool = False


def priced(
    policy: Policy,
    target: Target,
    input_tokens: int | None,
    output_tokens: int | None,
    cached_tokens: int | None = None,
) -> Cost | None:
    """Return what tokens cost at a target; None where anything is unknown.

    Args:
        policy: has the prices.
        target: what was called.
        input_tokens: all tokens of the input, those from a cache among them.
        output_tokens: the tokens of the answer.
        cached_tokens: how many of the input came from the provider's cache; None is none.
    """
    return priced_at(price_of(policy, target), input_tokens, output_tokens, cached_tokens)


def priced_at(
    price: Price | None,
    input_tokens: int | None,
    output_tokens: int | None,
    cached_tokens: int | None = None,
) -> Cost | None:
    """Return what tokens cost at a price; arguments and result are those of :func:`priced`."""
    if price is None or price.input is None or price.output is None:
        return None
    if input_tokens is None or output_tokens is None:
        return None
    cached = min(cached_tokens or 0, input_tokens)
    rate = price.input if price.cache_read is None else price.cache_read
    dollars = (input_tokens - cached) * price.input + cached * rate + output_tokens * price.output
    return Cost(round(dollars / _MILLION, 12), cached > 0 and price.cache_read is None)


def cost(
    policy: Policy, target: Target, input_tokens: int | None, output_tokens: int | None
) -> float | None:
    """Return what tokens cost at a target, in US dollars; None where anything is unknown."""
    found = priced(policy, target, input_tokens, output_tokens)
    return found.usd if found else None


def estimate(policy: Policy, target: Target, input_tokens: int | None) -> Estimate:
    """Return what a task may take at most.

    Args:
        policy: has the prices.
        target: what the task would run on.
        input_tokens: the size of its input; None is unknown.
    """
    longest = longest_answer(target.parameters) or _sent_length(policy, target)
    input_tokens = None if input_tokens is None else max(0, input_tokens)
    return Estimate(input_tokens, longest, cost(policy, target, input_tokens, longest))


def dearest(policy: Policy, targets: Iterable[Target], input_tokens: int | None) -> float | None:
    """Return the most that a call of one of some targets costs, in US dollars.

    Args:
        policy: has the prices, the dialects, and what an unknown cost counts as.
        targets: the target of a task, and its fallbacks.
        input_tokens: the size of its input; None is unknown.

    Returns:
        The largest cost; None where one is unknown and the policy has no ``unknown_cost_usd``.
    """
    known, highest = policy.prepared(_rates_of), 0.0
    for target in targets:
        key = (target.entry, target.model, target.provider)
        rates = known.get(key)
        if rates is None:
            rates = known[key] = _rates(policy, target)
        given = longest_answer(target.parameters) if rates.takes_length else None
        longest = given or rates.usual_length
        if rates.is_priced and longest is not None and input_tokens is not None:
            usd = (max(0, input_tokens) * rates.input + longest * rates.output) / _MILLION
        elif policy.unknown_cost_usd is None:
            return None
        else:
            usd = policy.unknown_cost_usd
        highest = max(highest, usd)
    return highest


class _Rates(Struct, frozen=True):
    """What bounds the cost of a call.

    Attributes:
        is_priced: whether both prices are known.
        input: US dollars per million tokens.
        output: the same.
        takes_length: whether the most tokens of an answer are sent where they were decided.
        usual_length: the most tokens of an answer that are sent where they were not.
    """

    is_priced: bool = False
    input: float = 0.0
    output: float = 0.0
    takes_length: bool = False
    usual_length: int | None = None


def _rates_of(_: Policy) -> dict[Any, _Rates]:
    """Return the rates of a policy's targets: none at first."""
    return {}


def _rates(policy: Policy, target: Target) -> _Rates:
    """Return the rates of a target; tokens that are put in a cache may be the dearest."""
    price = price_of(policy, target)
    if price is None or price.input is None or price.output is None:
        return _Rates()
    highest = max(price.input, price.cache_write or 0.0)
    return _Rates(
        is_priced=True,
        input=highest,
        output=price.output,
        takes_length=_sent_length(policy, target, max_tokens=1) == 1,
        usual_length=_sent_length(policy, target),
    )


def _sent_length(policy: Policy, target: Target, **parameters: int) -> int | None:
    """Return the most tokens of an answer that are sent with some parameters alone."""
    entry, dialect = entry_of(policy, target), dialect_of(policy, target.provider)
    probe = replace(target, parameters=parameters)
    sent = wire(probe, entry, merged(entry.dialect, dialect) if entry else dialect)
    return longest_answer(sent.parameters)


def price_of(policy: Policy, target: Target) -> Price | None:
    """Return the price of a target; None where its entry has none, or it is in no pool."""
    entry = entry_of(policy, target)
    return entry.price if entry else None
