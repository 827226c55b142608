"""The check of a log's meaning in plain Python, to hold the package against.

It reads all lines at once, and knows the rules and prices of the generated log by heart: nothing of
the package is used.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

Plain: TypeAlias = dict[str, Any]
Wrong: TypeAlias = dict[str, dict[str, list[str]]]

PRICES = {
    ("chat-4", "cloud-us"): (1.0, 4.0),
    ("chat-4", "cloud-eu"): (1.1, 4.4),
    ("code-4", "cloud-us"): (2.0, 8.0),
    ("frontier-1", "cloud-us"): (10.0, 40.0),
    ("chat-5", "cloud-us"): (1.2, 5.0),
}
"""US dollars per million tokens; what is not here has no price."""


def lines_of(folder: Path) -> Iterator[Plain]:
    """Yield every line of a log, writer by writer."""
    for path in sorted(folder.glob("*/*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def forbidding(request: Plain, target: tuple[str, str, str | None]) -> Iterator[str]:
    """Yield the rules of the generated log that are against a target."""
    model, provider, _ = target
    labels = request.get("task", {}).get("labels", [])
    money = request.get("budget", {}).get("remaining_usd")
    if "pii" in labels and provider == "cloud-us":
        yield "personal-data-stays"
    if request["caller"]["team"] == "legal" and provider == "on-site":
        yield "legal-stays-in-the-eu"
    if money is not None and money < 5.0 and model == "frontier-1":
        yield "budget-spent"


def plain_check(folder: Path, *, ended_by: int, since: int = 0, until: int = 2**63) -> Wrong:
    """Return the ids by the kind of fault, and by what it is about."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    decisions: dict[str, Plain] = {}
    events: dict[str, list[Plain]] = defaultdict(list)
    for line in lines_of(folder):
        if line["kind"] == "decision":
            decisions[line["id"]] = line
        elif line["kind"] == "execution":
            events[line["id"]].append(line)
    for id_, lines in events.items():
        if id_ not in decisions and since <= lines[0]["time"] < until:
            found["no_decision"]["id"].add(id_)
    for id_, line in decisions.items():
        if not since <= line["time"] < until:
            continue
        if line.get("parent", id_) not in decisions:
            found["no_parent"]["parent"].add(id_)
        for kind, detail in _of(line, events[id_], ended_by):
            found[kind][detail].add(id_)
    return {
        kind: {detail: sorted(ids) for detail, ids in each.items()} for kind, each in found.items()
    }


def _of(decision: Plain, events: list[Plain], ended_by: int) -> Iterator[tuple[str, str]]:
    record = decision["record"]
    target = record["decision"].get("target")
    plan = [_named(it) for it in [target, *record["decision"].get("fallbacks", [])] if it]
    ends = [it for it in events if "status" in it["execution"]]
    is_due = plan and decision["time"] <= ended_by and decision.get("purpose") != "access"
    if is_due and not ends:
        yield "never_ended", "no end" if events else "no event"
    if len(ends) > 1:
        yield "ended_twice", "finished"
    for event in events:
        if event["time"] < decision["time"]:
            yield "before_decision", "time"
        execution = event["execution"]
        for ran in _ran(execution):
            if all(ran[:2] != it[:2] or ran[2] not in {None, it[2]} for it in plan):
                yield "outside_plan", _spelt(ran)
            yield from (("forbidden", it) for it in forbidding(record["request"], ran))
        served = execution.get("served_model")
        if served not in {None, execution.get("model")}:
            yield "other_model", f"{served} for {execution['model']}"
        if "cost_usd" in execution and not _is_explained(execution):
            yield "unexplained_cost", _spelt(_named(execution))


def _named(target: Plain) -> tuple[str, str, str | None]:
    return target["model"], target["provider"], target.get("entry")


def _ran(execution: Plain) -> Iterator[tuple[str, str, str | None]]:
    yield from map(_named, execution.get("calls", []))
    if "model" in execution:
        yield _named(execution)


def _is_explained(execution: Plain) -> bool:
    price = PRICES.get((execution["model"], execution["provider"]))
    if price is None or "input_tokens" not in execution:
        return False
    usd = (execution["input_tokens"] * price[0] + execution["output_tokens"] * price[1]) / 1e6
    return bool(round(usd * 1e9) == round(execution["cost_usd"] * 1e9))


def _spelt(target: tuple[str, str, str | None]) -> str:
    model, provider, entry = target
    where = f"{model} at {provider}"
    return where if entry in {None, model} else f"{entry} ({where})"
