"""The parameters of the reference model: wishes, limits, what is inherited, the window.

As ``reference.py``, which it is a part of: from the words of the pages, with its readings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.property.reference_input import (
    KNOWN,
    WISHES,
    Candidate,
    Plain,
    Policy,
    Request,
    Rule,
    bounded_names,
    general_parameters,
    id_of,
    is_number,
    limits_of,
    own_parameters,
    parameter_wishes,
    rejects,
    rules_of,
    said,
    same,
    truth,
)

# Wishes for parameters.


@dataclass(frozen=True)
class Wish:
    """A parameter that was asked for, and the rule of the wish.

    Attributes:
        name: the parameter's name.
        value: what was asked for.
        rule: the rule of the wish.
        place: where that rule stands.
        is_guard: whether a candidate that does not grant it is rejected.
    """

    name: str
    value: Any
    rule: Rule
    place: int
    is_guard: bool

    def about(self) -> Plain:
        return {
            "rule": id_of(self.rule),
            "parameter": self.name,
            "requested": {self.name: self.value},
        }


def rule_of_wish(policy: Policy, request: Request, level: str) -> tuple[int, Rule] | None:
    """Return the first rule of a level whose ``when`` is true or fails, and its place."""
    for place, rule in enumerate(rules_of(policy)):
        if rule["use"] == level and truth(rule.get("when"), request) is not False:
            return place, rule
    return None


def competing(policy: Policy, request: Request) -> dict[str, list[Wish]]:
    """Return the wishes for each parameter, the one that wins first."""
    wishes: dict[str, list[Wish]] = {}
    for level in WISHES:
        found = rule_of_wish(policy, request, level)
        if found is None:
            continue
        place, rule = found
        failed = truth(rule.get("when"), request) is None
        for name, value in parameter_wishes(request, level).items():
            wish = Wish(name, value, rule, place, failed or rejects(rule))
            wishes.setdefault(name, []).append(wish)
    return {name: sorted(found, key=lambda it: it.place) for name, found in wishes.items()}


def winning(policy: Policy, request: Request) -> list[Wish]:
    """Return the wish that wins for each parameter, sorted by name."""
    return [found[0] for _, found in sorted(competing(policy, request).items())]


def within(limit: Any, value: Any) -> bool:
    """Tell whether a limit has a value; one of another type it has not."""
    if isinstance(limit, Mapping):
        least, most = limit.get("min", -math.inf), limit.get("max", math.inf)
        return is_number(value) and bool(least <= value <= most)
    return any(same(value, it) for it in limit)


def held(limit: Any, value: Any) -> Any:
    """Return a value within a limit: a number clamped, another left out, which is None."""
    if limit is None or within(limit, value):
        return value
    if isinstance(limit, Mapping) and is_number(value):
        return max(limit.get("min", -math.inf), min(limit.get("max", math.inf), value))
    return None


def grants(policy: Policy, it: Candidate, wish: Wish) -> bool:
    limits = limits_of(it)
    if wish.name in limits:
        return within(limits[wish.name], wish.value)
    if wish.name not in KNOWN:
        return False
    # Reading: "such a wish" is one whose rule rejects. Under another rule, a candidate that is
    # no entry has no limits, and takes a known parameter as it was asked.
    return it.entry is not None or not wish.is_guard or wish.name not in bounded_names(policy)


# What a target is sent.


def room(request: Request, it: Candidate) -> int | None:
    """Return the tokens that the window leaves for the answer; None where none is known.

    Reading: an input of unknown size has at least 0 tokens.
    """
    window: int | None = it.says("context_window")
    tokens: int = request.get("task", {}).get("input_tokens", 0)
    return None if window is None else window - tokens


def administered(policy: Policy, it: Candidate) -> Plain:
    """Return the policy's and the entry's own parameters, after limits."""
    limits = limits_of(it)
    general = {name: held(limits.get(name), v) for name, v in general_parameters(policy).items()}
    values = {**general, **own_parameters(it)}
    return {
        name: value
        for name, value in values.items()
        if value is not None and (name, value) != ("reasoning_effort", False)
    }


def inherited(policy: Policy, request: Request, it: Candidate) -> tuple[str | None, bool]:
    """Return the parent's effort, where it goes to a candidate, and whether limits cut it."""
    effort = said(request, "parent", "reasoning_effort")
    # Reading: an own value that limits leave out still goes before the parent's.
    if not effort or "reasoning_effort" in {**general_parameters(policy), **own_parameters(it)}:
        return None, False
    parent = (said(request, "parent", "model"), said(request, "parent", "provider"))
    limit = limits_of(it).get("reasoning_effort")
    takes_efforts = limit is not None or "reasoning" in (it.says("supports") or ())
    if (it.model, it.provider) != parent and not takes_efforts:
        return None, False
    fits = limit is None or within(limit, effort)
    return (effort, False) if fits else (None, True)


def cap(request: Request, it: Candidate) -> int | None:
    """Return the N of ``max_tokens: {max: N}``, lowered to what the window leaves."""
    limit, left = limits_of(it).get("max_tokens"), room(request, it)
    if not isinstance(limit, Mapping) or "max" not in limit:
        return None
    most: int = limit["max"]
    return most if left is None else min(most, left)


def granted(policy: Policy, request: Request, it: Candidate, wish: Wish) -> Any:
    """Return what a target takes of a wish; None where it takes nothing."""
    value, left = wish.value, room(request, it)
    if not grants(policy, it, wish):
        limit = limits_of(it).get(wish.name)
        value = None if limit is None else held(limit, value)
    # Reading: the window goes before a limit's `min` and a limit's list.
    if wish.name == "max_tokens" and value is not None and left is not None:
        value = min(value, left)
    return value


def parameters(
    policy: Policy, request: Request, rule: Rule, it: Candidate
) -> tuple[Plain, list[Plain]]:
    """Return the parameters of an admitted candidate, and what is warned of them."""
    values, warnings = administered(policy, it), []
    for wish in winning(policy, request):
        value = granted(policy, request, it, wish)
        if value is not None:
            values[wish.name] = value
        if value is None or not same(value, wish.value):
            warnings.append({"code": "parameter_limited", **wish.about()})
    if "reasoning_effort" not in values:
        effort, is_cut = inherited(policy, request, it)
        if effort is not None:
            values["reasoning_effort"] = effort
        if is_cut:
            # Reading: nobody asked, so there is no `requested`; the rule is the one that selects.
            about = {"rule": id_of(rule), "parameter": "reasoning_effort"}
            warnings.append({"code": "parameter_limited", **about})
    most = cap(request, it)
    if "max_tokens" not in values and most is not None:
        values["max_tokens"] = most
    return values, warnings
