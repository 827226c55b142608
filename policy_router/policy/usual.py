"""Finds unusual values: parameters and prices that are possible but unlikely."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic, did_you_mean, quote
from policy_router.domain import PRICES, Policy, PoolEntry
from policy_router.parameters import EFFORT, KNOWN, MAX_TOKENS, SPELLINGS, is_number, named, same
from policy_router.policy.addresses import SENTINELS
from policy_router.policy.parameters import Pairs
from policy_router.policy.sections import Piece, Sections
from policy_router.policy.written import entries
from policy_router.policy.yaml import MappingNode, ScalarNode, plain

_OTHERS: Final = frozenset(
    {
        *("stop", "n", "user", "metadata", "store", "logprobs", "top_logprobs", "logit_bias"),
        *("response_format", "service_tier", "parallel_tool_calls", "tool_choice", "min_p"),
        *("top_a", "repetition_penalty", "thinking", "reasoning", "enable_thinking", "verbose"),
        *("max_tool_calls", "prompt_cache_key", "safety_identifier", "stream_options", "provider"),
        *("num_ctx", "keep_alive", "mirostat", "typical_p", "length_penalty", "best_of", "seed"),
        *("max_thinking_tokens", "thinking_budget", "budget_tokens", "text", "truncation"),
    }
)
"""Parameters of some endpoints, which are no misspelt ones of others."""
_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "top_k": (0, 10_000),
    MAX_TOKENS: (1, 10_000_000),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
}
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    EFFORT: ("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    "verbosity": ("low", "medium", "high"),
}
_LOWEST: Final[Mapping[str, float]] = {"input": 0.002, "output": 0.005}
"""The smallest models cost more; so do most others if their prices are taken per 1,000 tokens."""
_PER_MILLION: Final = "a price is in US dollars per million tokens"
_GAP, _FAR_OFF = 30, 900
"""Prices are far off where they are so many times apart, and the ends so many times."""


def findings(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    """Yield the parameters and prices that look wrong."""
    yield from _parameters(sections.united("parameters"))
    if (effort := sections.one(EFFORT)) is not None:
        yield from _value(EFFORT, effort)
    for piece, _ in entries(policy, sections):
        own, limits = piece.get("parameters"), piece.get("limits")
        yield from _parameters(own.pairs() if own else [])
        for name, limit in limits.pairs() if limits else ():
            yield from _name(name, limit)
            for value in _bounds(limit):
                yield from _value(named(name.text), value)
    yield from _beyond_limits(policy, sections)
    yield from _prices(policy, sections)


# Parameters.


def _parameters(pairs: Pairs) -> Iterator[Diagnostic]:
    for name, piece in pairs:
        yield from _name(name, piece)
        yield from _value(named(name.text), piece)


def _name(name: ScalarNode, piece: Piece) -> Iterator[Diagnostic]:
    text = name.text
    known = [*KNOWN, *SPELLINGS]
    if text in known or text in _OTHERS:
        return
    alike = {_letters(other): other for other in known}.get(_letters(text))
    remedy = f"did you mean `{alike}`?" if alike else did_you_mean(text, known, 0.8)
    if remedy:
        message = f"{quote(text)} is close to the name of another parameter"
        yield Diagnostic(
            Code.UNLIKELY_PARAMETER, Severity.WARNING, message, name.span, piece.path, remedy
        )


def _letters(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()


def _bounds(limit: Piece) -> list[Piece]:
    """Return the values that a limit names."""
    if isinstance(limit.node, MappingNode):
        return [piece for key in ("min", "max") if (piece := limit.get(key)) is not None]
    return limit.items()


def _value(parameter: str, piece: Piece) -> Iterator[Diagnostic]:
    value: Any = plain(piece.node)
    low, high = _RANGES.get(parameter, (-math.inf, math.inf))
    words = _WORDS.get(parameter)
    if is_number(value) and not low <= value <= high:
        message = f"`{parameter}` is usually from {low:,} to {high:,}"
        yield piece.warning(Code.UNLIKELY_PARAMETER, message)
    elif words and isinstance(value, str) and value not in {*words, *SENTINELS}:
        message = f"{quote(value)} is not a usual value of `{parameter}`"
        remedy = did_you_mean(value, words) or f"usual: {', '.join(words)}"
        yield piece.warning(Code.UNLIKELY_PARAMETER, message, remedy)


def _beyond_limits(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    """Yield the values for all targets that the limits of some entry do not grant."""
    pieces = {named(name.text): piece for name, piece in sections.united("parameters")}
    if (short := sections.one(EFFORT)) is not None:
        pieces.setdefault(EFFORT, short)
    for parameter, piece in pieces.items():
        cut = [entry for entry in policy.pool or () if _is_cut(policy, entry, parameter)]
        if cut:
            more = f" and {len(cut) - 1} more" if len(cut) > 1 else ""
            message = f"this is beyond the `limits` of {quote(cut[0].name)}{more}"
            remedy = "there a number is lowered or raised to the limit, and another value left out"
            yield piece.hint(Code.BEYOND_LIMITS, message, remedy)


def _is_cut(policy: Policy, entry: PoolEntry, parameter: str) -> bool:
    value, limit = policy.parameters.get(parameter), entry.limits.get(parameter)
    if limit is None or parameter in entry.parameters or value is None or value is False:
        return False
    granted = limit.within(value)
    return granted is None or not same(granted, value)


# Prices.


def _prices(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    """Yield prices that are far from the others of their kind."""
    written = entries(policy, sections)
    for key in PRICES:
        pieces = [(price.get(key)) for piece, _ in written if (price := piece.get("price"))]
        given = [(it.number() or 0.0, it) for it in pieces if it is not None]
        off = _far_off([it for it in given if it[0] > 0])
        for piece in off:
            message = f"this is about a thousand times off the other prices for `{key}`"
            yield piece.warning(Code.UNLIKELY_PRICE, message, _PER_MILLION)
        low = [it for price, it in given if 0 < price < _LOWEST.get(key, 0) and it not in off]
        for piece in low[:1]:
            more = f" (and {len(low) - 1} more)" if len(low) > 1 else ""
            message = f"this is less than any usual price for `{key}`{more}"
            yield piece.warning(Code.UNLIKELY_PRICE, message, _PER_MILLION)


def _far_off(given: list[tuple[float, Piece]]) -> list[Piece]:
    """Return the smaller side of a wide gap between prices."""
    prices = sorted(given, key=lambda it: it[0])
    if not prices or prices[-1][0] < _FAR_OFF * prices[0][0]:
        return []
    steps = [high[0] / low[0] for low, high in pairwise(prices)]
    widest = max(range(len(steps)), key=steps.__getitem__)
    if steps[widest] < _GAP:
        return []
    sides = prices[: widest + 1], prices[widest + 1 :]
    smaller = min(sides, key=lambda side: (len(side), -abs(math.log(side[0][0]))))
    return [piece for _, piece in smaller]
