"""zen-engine on the equivalent rules: decision tables, and an expression for the forbid rules."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import zen

from benchmarks.peer_worker import Deciders, serve
from benchmarks.workload import Entry, Forbid, entries, forbids, selecting


def _allow(entry: Entry) -> str:
    private = "true" if entry.provider != "west" else 'not("pii" in task.labels)'
    return (
        f"parent.depth < {entry.depth} and {private} and "
        f"(task.input_tokens == null or task.input_tokens <= {entry.largest})"
    )


def _forbid(rule: Forbid, entry: Entry) -> str | None:
    """Return a rule for an entry, or None where the entry's constants make it false."""
    if rule.form == "label" and entry.provider == "west":
        return f'"{rule.word}" in task.labels'
    if rule.form == "team" and entry.price[1] > rule.amount:
        return f'caller.team == "{rule.word}"'
    if rule.form == "budget" and entry.price[0] > 2.0:  # noqa: PLR2004 - as the rule says
        return f"(budget.remaining_usd != null and budget.remaining_usd < {rule.amount})"
    if rule.form == "role" and "vision" in entry.supports:
        return f'"{rule.word}" in caller.roles'
    return None


def _graph(size: int, field: str) -> str:
    """Return a graph whose table has a row for each entry: its key, its guard, its forbid rules."""
    rules = []
    for number, entry in enumerate(entries(size)):
        against = [text for rule in forbids() if (text := _forbid(rule, entry))]
        key = entry.kind if field == "task.kind" else entry.name
        row = {
            "_id": f"r{number}",
            "key": json.dumps(key),
            "allow": _allow(entry),
            "forbid": f"not({' or '.join(against)})" if against else "",
            "name": json.dumps(entry.name),
            "price": str(entry.price[1]),
        }
        rules.append(row)
    table = {
        "hitPolicy": "collect",
        "inputs": [
            {"id": "key", "name": "key", "field": field},
            {"id": "allow", "name": "allow"},
            {"id": "forbid", "name": "forbid"},
        ],
        "outputs": [
            {"id": "name", "name": "name", "field": "name"},
            {"id": "price", "name": "price", "field": "price"},
        ],
        "rules": rules,
    }
    place = {"position": {"x": 0, "y": 0}}
    nodes = [
        {"id": "in", "type": "inputNode", "name": "in", **place},
        {"id": "table", "type": "decisionTableNode", "name": "table", "content": table, **place},
        {"id": "out", "type": "outputNode", "name": "out", **place},
    ]
    edges = [
        {"id": "1", "sourceId": "in", "targetId": "table", "type": "edge"},
        {"id": "2", "sourceId": "table", "targetId": "out", "type": "edge"},
    ]
    return json.dumps({"nodes": nodes, "edges": edges})


def build(size: int) -> Deciders:
    """Compile one graph by name and one by kind; the levels are walked in Python."""
    engine = zen.ZenEngine()
    named = engine.create_decision(_graph(size, "asked"))
    picked = engine.create_decision(_graph(size, "task.kind"))

    def decide(request: dict[str, Any]) -> str:
        asked = request["task"].get("model")
        if asked:
            found = named.evaluate({**request, "asked": asked})["result"]
        else:
            found = picked.evaluate(request)["result"]
            if not found:
                found = named.evaluate({**request, "asked": "entry-0"})["result"]
        best: str = min(found, key=lambda row: row["price"])["name"]
        return best

    return {kind: partial(decide, request) for kind, request in selecting(size).items()}


if __name__ == "__main__":
    serve(build)
