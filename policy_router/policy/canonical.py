"""The canonical form of a policy: the same policy, without places, comments and ways of writing.

It is itself a policy in JSON, so it can be stored beside decision records and loaded again. Its
SHA-256 digest is the policy's revision.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from policy_router.cel.ast import Type
from policy_router.cel.condition import Condition
from policy_router.cel.vocabulary import FACT_TYPES
from policy_router.domain import (
    PRICES,
    TIMEOUTS,
    ClosedSet,
    Dialect,
    Fact,
    ForbidRule,
    Level,
    Limit,
    Policy,
    PoolEntry,
    PrecedenceRule,
    Provider,
)
from policy_router.policy.request_sections import CLOSED


def default_forbid_id(number: int) -> str:
    """Return the id of a forbid rule that writes none, by its place from 1."""
    return f"forbid-{number}"


_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What JSON may hold as it is and YAML may not."""


def with_revision(policy: Policy) -> Policy:
    """Return a policy with its canonical form and its revision."""
    text = msgspec.json.encode(_policy(policy)).decode()
    canonical = _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match.group()):04x}", text).encode()
    revision = f"sha256:{hashlib.sha256(canonical).hexdigest()}"
    return replace(policy, canonical=canonical, revision=revision)


def form_but_for_name(policy: Policy, entry: PoolEntry) -> bytes:
    """Return what an entry is apart from its name, to find entries that are alike."""
    form = {key: value for key, value in _entry(policy, entry).items() if key != "name"}
    return msgspec.json.encode(form, order="sorted")


def _policy(policy: Policy) -> dict[str, Any]:
    """Return a policy as plain data: keys sorted, but variables in their order, which counts."""
    sections = {
        "version": 1,
        "name": policy.name,
        "model": policy.model,
        "provider": policy.provider,
        "parameters": policy.parameters or None,
        "providers": _each(policy.providers, _provider),
        "facts": _each(policy.facts, _fact),
        **{key: _closed(policy.closed.get(path)) for key, path in CLOSED.items()},
        "require": [path for path in policy.required if not path.startswith("facts.")] or None,
        "unknown_cost_usd": policy.unknown_cost_usd,
        "tables": {name: table.values for name, table in policy.tables.items()} or None,
        "pool": None if policy.pool is None else [_entry(policy, item) for item in policy.pool],
        "forbid": [_forbid(number, rule) for number, rule in enumerate(policy.forbid, start=1)]
        or None,
        "precedence": [_rule(rule) for rule in policy.precedence],
    }
    variables = {item.name: item.condition.text.strip() for item in policy.variables}
    plain = {key: _sorted(value) for key, value in _given(sections).items()}
    return dict(sorted({**plain, **({"variables": variables} if variables else {})}.items()))


def _entry(policy: Policy, entry: PoolEntry) -> dict[str, Any]:
    return _given(
        {
            "name": entry.name if entry.name != entry.model else None,
            "model": entry.model,
            "provider": entry.provider if entry.provider != (policy.provider or "") else None,
            "aliases": entry.aliases or None,
            "strengths": entry.strengths or None,
            "supports": entry.supports,
            "serves": entry.serves or None,
            "price": _given({key: getattr(entry.price, key) for key in PRICES}) or None,
            "context_window": entry.context_window,
            "parameters": entry.parameters or None,
            "limits": _each(entry.limits, _limit),
            "fallback": entry.fallback or None,
            "fallback_on": entry.fallback_on or None,
            "timeouts": _given({key: getattr(entry.timeouts, key) for key in TIMEOUTS}) or None,
            "dialect": _dialect(entry.dialect),
            "allow": _text(entry.allow),
            "pick": _text(entry.pick),
        }
    )


def _rule(rule: PrecedenceRule) -> dict[str, Any]:
    return _given(
        {
            "use": rule.use.value,
            "id": rule.id if rule.id != rule.use else None,
            "when": _text(rule.when),
            "entry": rule.entry,
            "order_by": _text(rule.order_by),
            "on_violation": "reject" if rule.reject else "next",
            "in_pool": rule.in_pool if rule.use is not Level.POOL else None,
            "fallback": "candidates" if rule.falls_to_candidates else rule.fallback,
        }
    )


def _forbid(number: int, rule: ForbidRule) -> dict[str, Any]:
    id_ = rule.id if rule.id != default_forbid_id(number) else None
    enforce = None if rule.enforce else False
    return _given(
        {"id": id_, "when": _text(rule.when), "message": rule.message, "enforce": enforce}
    )


def _provider(provider: Provider) -> dict[str, Any]:
    return _given(
        {
            "base_url": provider.base_url,
            "api_key": provider.api_key,
            "headers": provider.headers or None,
            "dialect": _dialect(provider.dialect),
            "concurrency": provider.concurrency,
        }
    )


def _dialect(dialect: Dialect) -> dict[str, Any] | None:
    said = {
        "api": dialect.api,
        "system_role": dialect.system_role,
        "max_tokens": dialect.max_tokens,
        "unsupported": dialect.unsupported or None,
    }
    return _given(said) or None


def _fact(fact: Fact) -> dict[str, Any]:
    required = True if fact.required else None
    return _given({"type": _fact_type(fact.type), "default": fact.default, "required": required})


def _closed(closed: ClosedSet | None) -> Any:
    if closed is None or not closed.drops:
        return None if closed is None else closed.values
    return {"values": closed.values, "unknown": "drop"}


def _fact_type(type_: Type) -> str:
    return next(word for word, known in FACT_TYPES.items() if known == type_)


def _limit(limit: Limit) -> Any:
    if limit.allowed is not None:
        return limit.allowed
    return _given({"min": limit.least, "max": limit.greatest})


def _text(condition: Condition | None) -> str | None:
    return condition.text.strip() if condition else None


def _each(items: Mapping[str, Any], plain: Any) -> dict[str, Any] | None:
    return {key: plain(item) for key, item in items.items()} or None


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value
