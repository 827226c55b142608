"""Who may use what: the permitted names by each value that a policy knows."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from typing import Any, Final

from policy_router.cel.ast import Apply, Attribute, ListOf, Literal, Node, walk
from policy_router.cel.condition import Condition
from policy_router.decision.evaluator import permitted
from policy_router.decision.request import Request
from policy_router.domain import Policy
from policy_router.errors import RequestError

_NAMES: Final[Mapping[str, tuple[str, bool]]] = {
    "team": ("caller.team", False),
    "role": ("caller.roles", True),
    "kind": ("task.kind", False),
    "label": ("task.labels", True),
}
"""What is asked by: the name of the request, and whether it is a list."""


def permitted_by_value(
    policy: Policy, request: Request, now: datetime.datetime
) -> list[tuple[str, tuple[str, ...] | None]]:
    """Return the names that may be asked for, by team, role, kind and label, one at a time.

    The values are those of closed sets; where a set is open, those that conditions compare with.

    Args:
        policy: the policy.
        request: what all requests have.
        now: the time.

    Returns:
        The names for the request as it is, and for each value such as ``team research``; None
        where any model may be asked for.

    Raises:
        RequestError: the request does not fit the policy, even with every value.
    """
    found: list[tuple[str, tuple[str, ...] | None]] = []
    last: RequestError | None = None
    for name, given in (("the request", request), *_variants(policy, request)):
        try:
            found.append((name, permitted(policy, given, now=now)))
        except RequestError as problem:
            last = problem
    if last is not None and len(found) == 0:
        raise last
    return found


def _variants(policy: Policy, request: Request) -> Iterator[tuple[str, Request]]:
    for word, (path, is_list) in _NAMES.items():
        section, _, key = path.partition(".")
        for value in _values(policy, path):
            given: dict[str, Any] = {name: dict(it) for name, it in request.given.items()}
            given.setdefault(section, {})[key] = [value] if is_list else value
            yield f"{word} {value}", Request.from_mapping(given)


def _values(policy: Policy, path: str) -> tuple[str, ...]:
    closed = policy.closed.get(path)
    if closed is not None:
        return closed.values
    found: dict[str, None] = {}
    for condition in _conditions(policy):
        for node in walk(condition.tree):
            found |= dict.fromkeys(_compared(node, path))
    return tuple(sorted(found))


def _conditions(policy: Policy) -> Iterator[Condition]:
    pool, rules = policy.pool or (), policy.precedence
    yield from (it.condition for it in policy.variables)
    yield from (it for entry in pool for it in (entry.allow, entry.pick) if it)
    yield from (rule.when for rule in policy.forbid)
    yield from (it for rule in rules for it in (rule.when, rule.order_by) if it)


def _compared(node: Node, path: str) -> Iterator[str]:
    """Yield the texts that a comparison holds a name against."""
    if not isinstance(node, Apply) or node.function not in {"==", "!=", "in"}:
        return
    parts = [it for side in node.arguments for it in _parts(side)]
    if any(isinstance(it, Attribute) and it.path == path for it in parts):
        values = (it.value for it in parts if isinstance(it, Literal))
        yield from (value for value in values if isinstance(value, str) and value)


def _parts(side: Node) -> tuple[Node, ...]:
    return side.items if isinstance(side, ListOf) else (side,)
