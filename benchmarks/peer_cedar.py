"""cedarpy on the equivalent rules: a permit for each entry, and the forbid rules."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import cedarpy

from benchmarks.peer_worker import Deciders, serve
from benchmarks.workload import Entry, Forbid, entries, forbids, selecting

_SCALE = 10_000  # Cedar has no floating point: money is counted in units of 0.0001 dollars


def _permit(entry: Entry) -> str:
    return (
        f'permit(principal, action, resource == Model::"{entry.name}") when {{'
        f" context.depth < {entry.depth} &&"
        ' (!context.labels.contains("pii") || resource.provider != "west") &&'
        f" (!(context has tokens) || context.tokens <= {entry.largest}) &&"
        f' (action == Action::"ask" || context.kind == "{entry.kind}") }};'
    )


def _forbid(rule: Forbid) -> str:
    amount = round(rule.amount * _SCALE)
    match rule.form:
        case "label":
            when = f'context.labels.contains("{rule.word}") && resource.provider == "west"'
        case "team":
            when = f'context.team == "{rule.word}" && resource.output > {amount}'
        case "budget":
            low = f"context has remaining && context.remaining < {amount}"
            when = f"{low} && resource.input > {2 * _SCALE}"
        case _:
            when = f'context.roles.contains("{rule.word}") && resource.supports.contains("vision")'
    return f"forbid(principal, action, resource) when {{ {when} }};"


def _entity(entry: Entry) -> dict[str, Any]:
    return {
        "uid": {"type": "Model", "id": entry.name},
        "attrs": {
            "provider": entry.provider,
            "input": round(entry.price[0] * _SCALE),
            "output": round(entry.price[1] * _SCALE),
            "supports": list(entry.supports),
        },
        "parents": [],
    }


def _context(request: dict[str, Any]) -> dict[str, Any]:
    task, caller = request["task"], request["caller"]
    return {
        "depth": request["parent"]["depth"],
        "labels": task["labels"],
        "tokens": task["input_tokens"],
        "kind": task["kind"],
        "team": caller["team"],
        "roles": caller["roles"],
        "remaining": round(request["budget"]["remaining_usd"] * _SCALE),
    }


def build(size: int) -> Deciders:
    """Parse policies and entities once; the levels and the order by price are in Python."""
    pool = entries(size)
    texts = [*(_permit(entry) for entry in pool), *(_forbid(rule) for rule in forbids())]
    policies = cedarpy.PolicySet.from_str("\n".join(texts))
    known = cedarpy.Entities.from_json_str(json.dumps([_entity(entry) for entry in pool]))
    prices = {entry.name: entry.price[1] for entry in pool}

    def allowed(request: dict[str, Any], action: str, names: list[str]) -> list[str]:
        base = {
            "principal": 'User::"alice"',
            "action": f'Action::"{action}"',
            "context": json.dumps(_context(request)),
        }
        asked = [{**base, "resource": f'Model::"{name}"'} for name in names]
        found = cedarpy.is_authorized_batch(asked, policies, known)
        return [name for name, result in zip(names, found, strict=True) if result.allowed]

    def decide(request: dict[str, Any]) -> str:
        asked = request["task"].get("model")
        if asked:
            return allowed(request, "ask", [asked])[0]
        picked = allowed(request, "pick", list(prices))
        if picked:
            return min(picked, key=prices.__getitem__)
        return allowed(request, "ask", ["entry-0"])[0]

    return {kind: partial(decide, request) for kind, request in selecting(size).items()}


if __name__ == "__main__":
    serve(build)
