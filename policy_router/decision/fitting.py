"""A request under a policy: what the policy requires of it, and the values that it then has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from policy_router.decision.request import Request
from policy_router.decision.shape import WISHING, value_of_type
from policy_router.diagnostics.model import did_you_mean, json_path, quote
from policy_router.domain import NOTHING, Policy
from policy_router.errors import RequestError
from policy_router.parameters import KNOWN, named


def checked(policy: Policy, request: Request | Mapping[str, Any]) -> Request:
    """Return a request that fits a policy; whole numbers given for doubles become doubles.

    Raises:
        RequestError: it is malformed, gives a fact that the policy does not declare or one of the
            wrong type, lacks what the policy requires, wishes for a parameter that no policy or
            entry knows, or has a value outside one of the policy's closed sets.
    """
    if not isinstance(request, Request):
        request = Request.from_mapping(request)
    for path, closed in policy.closed.items():
        if not closed.drops:
            _refuse_unknown(request, path, closed.values)
    _refuse_unknown_parameters(policy, request)
    request = _fitting(policy, request)
    if policy.required:
        _refuse_incomplete(policy, request)
    return request


def _refuse_unknown(request: Request, path: str, values: tuple[str, ...]) -> None:
    for place, value in _given_at(request, path):
        if value not in values:
            known = f"one of {', '.join(values[:8])}" if values else "the set is empty"
            remedy = did_you_mean(value, values) or known
            what = path.partition(".")[2].removesuffix("s")
            raise RequestError(place, f"the {what} is not one that the policy knows", remedy)


def _given_at(request: Request, path: str) -> Iterator[tuple[str, str]]:
    """Yield what a request gives for a name, with its place; what is empty is not given."""
    section, _, key = path.partition(".")
    given = request.given.get(section, NOTHING).get(key, "")
    if isinstance(given, str):
        if given:
            yield json_path(section, key), given
    else:
        yield from ((json_path(section, key, it), value) for it, value in enumerate(given))


def _refuse_unknown_parameters(policy: Policy, request: Request) -> None:
    limited = policy.prepared(limited_parameters)
    for section in WISHING:
        for name in request.given.get(section, NOTHING).get("parameters", NOTHING):
            if named(name) not in KNOWN and name not in limited:
                known = sorted({*KNOWN, *limited})
                remedy = did_you_mean(name, known) or f"known: {', '.join(known[:16])}"
                path = json_path(section, "parameters", name)
                raise RequestError(path, f"no parameter {quote(name)} may be asked for", remedy)


def limited_parameters(policy: Policy) -> frozenset[str]:
    """Return the parameters that the limits of any entry are about."""
    return frozenset(name for entry in policy.pool or () for name in entry.limits)


def _refuse_incomplete(policy: Policy, request: Request) -> None:
    values = values_of(policy, request)
    for path in policy.required:
        section, _, key = path.partition(".")
        value, given = values[section].get(key), request.given.get(section, NOTHING)
        # The language has a number for what is not given, such as `parent.depth`.
        if value in (None, "", ()) or (isinstance(value, int) and key not in given):
            raise RequestError(json_path(section, key), "the policy requires this to be given")


def _fitting(policy: Policy, request: Request) -> Request:
    """Check the facts against how the policy declares them."""
    facts = request.given.get("facts")
    if not facts:
        return request
    fitting = {name: _fact(policy, name, value) for name, value in facts.items()}
    if all(type(fitting[name]) is type(value) for name, value in facts.items()):
        return request
    return Request(**{**request.given, "facts": fitting})


def _fact(policy: Policy, name: str, value: Any) -> Any:
    declared = policy.facts.get(name)
    if declared is None:
        remedy = did_you_mean(name, policy.facts) or "declare it in the policy under `facts`"
        path = json_path("facts", name)
        raise RequestError(path, f"the policy declares no fact {quote(name)}", remedy)
    return value_of_type(value, declared.type, "facts", name)


def values_of(policy: Policy, request: Request) -> Mapping[str, Mapping[str, Any]]:
    """Return the values of all names of a checked request, with defaults for what is absent.

    A value that a closed set drops counts as absent.
    """
    values = request.values
    defaults = policy.prepared(_defaults_of_facts)
    if defaults:
        values = {**values, "facts": {**defaults, **values["facts"]}}
    for path, closed in policy.closed.items():
        if closed.drops:
            section, _, key = path.partition(".")
            kept = _kept(values[section][key], closed.values)
            values = {**values, section: {**values[section], key: kept}}
    return values


def _kept(value: str | tuple[str, ...], known: tuple[str, ...]) -> str | tuple[str, ...]:
    if isinstance(value, str):
        return value if value in known else ""
    return tuple(item for item in value if item in known)


def dropped(policy: Policy, request: Request) -> tuple[str, ...]:
    """Return the places of the values of a request that count as not given."""
    return tuple(
        place
        for path, closed in policy.closed.items()
        if closed.drops
        for place, value in _given_at(request, path)
        if value not in closed.values
    )


def _defaults_of_facts(policy: Policy) -> dict[str, Any]:
    return {name: fact.default for name, fact in policy.facts.items() if fact.default is not None}
