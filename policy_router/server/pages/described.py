"""A policy as plain data, for its page: files, findings, entries, rules, and who may use what."""

from __future__ import annotations

import datetime
from typing import Any

from policy_router.analysis.differing import changes
from policy_router.analysis.matrix import permitted_by_value
from policy_router.decision.request import Request
from policy_router.diagnostics.model import Span
from policy_router.domain import Policy
from policy_router.errors import RequestError


def described(
    policy: Policy, now: datetime.datetime, against: Policy | None = None
) -> dict[str, Any]:
    """Return what a page shows of a policy.

    Args:
        policy: the policy.
        now: the time at which is asked who may use what.
        against: an earlier one, for what is different.
    """
    return {
        "name": policy.name,
        "revision": policy.revision,
        "description": policy.note.description,
        "owner": policy.note.owner,
        "files": [{"name": it.name, "text": it.blanked()} for it in policy.sources],
        "findings": policy.warnings.to_dict()["diagnostics"],
        "entries": [
            {
                "name": it.name,
                "model": it.model,
                "provider": it.provider or policy.provider or "",
                "aliases": it.aliases,
                "allow": None if it.allow is None else it.allow.text,
                "pick": None if it.pick is None else it.pick.text,
                "price": (it.price.input, it.price.output),
                "fallback": it.fallback,
                "place": _place(it.span),
            }
            for it in policy.pool or ()
        ],
        "forbids": [
            {
                "id": it.id,
                "when": it.when.text,
                "enforce": it.enforce,
                "message": it.message,
                "description": it.note.description,
                "owner": it.note.owner,
                "place": _place(it.span),
            }
            for it in policy.forbid
        ],
        "rules": [it.id for it in policy.precedence],
        "permitted": _permitted(policy, now),
        "changes": None if against is None else _changes(against, policy),
    }


def _place(span: Span | None) -> tuple[str, int] | None:
    return None if span is None else (span.source.name, span.position[0])


def _permitted(policy: Policy, now: datetime.datetime) -> list[tuple[str, Any]]:
    try:
        return list(permitted_by_value(policy, Request(), now))
    except RequestError:  # it requires a fact of every request
        return []


def _changes(before: Policy, after: Policy) -> list[dict[str, str]]:
    return [
        {
            "kind": it.kind,
            "what": it.what,
            "key": it.key,
            "before": it.before,
            "after": it.after,
        }
        for it in changes(before, after)
    ]
