"""Turns a decision into a test, for a person to confirm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, count, repeat
from typing import Any

import msgspec

from policy_router.analysis.expectations import forbid_of, name_of
from policy_router.decision.record import DecisionRecord
from policy_router.policy.yaml import flow

_LONGEST = 96


def expectation_of(record: DecisionRecord) -> dict[str, Any]:
    """Return all that a test could expect of a decision, but for messages."""
    decision = record.decision
    found: dict[str, Any]
    if decision.target:
        target = decision.target
        found = {"entry": target.entry} if target.entry else {"model": target.model}
        found |= {"provider": target.provider, "level": decision.level.value}
        found |= {"rule": decision.rule, "fallbacks": [*map(name_of, decision.fallbacks or ())]}
        found |= {"parameters": dict(target.parameters)} if target.parameters else {}
    else:
        refusal = decision.refusal
        assert refusal  # noqa: S101 - a decision without a target has one
        found = {"refused": refusal.code.value}
        found |= {"rule": refusal.rule} if refusal.rule else {}
        found |= {"forbid": it} if (it := forbid_of(record)) else {}
        found |= {"permitted": [*refusal.permitted]} if refusal.permitted else {}
    return {**found, "warnings": [warning.code.value for warning in decision.warnings]}


def suite_of(
    records: Iterable[DecisionRecord],
    *,
    policy: str | None = None,
    taken: Iterable[str] = (),
    notes: Iterable[Sequence[str]] = (),
) -> str:
    """Return a suite with a test for each of some decisions, as YAML.

    Args:
        records: the decisions.
        policy: where the policy is, as seen from the suite; None to leave it open.
        taken: names that other tests have.
        notes: for each decision, lines of comment before its test.
    """
    head = ["# Confirm what is expected, and give each test a name that says why."]
    head += [f"policy: {flow(policy)}"] if policy is not None else []
    records = [*records]
    pairs = zip(records, names_of(records, taken), chain(notes, repeat(())), strict=False)
    tests = [
        line
        for record, name, lines in pairs
        for line in (*(f"  # {it}" for it in lines), *_test(record, name))
    ]
    return "\n".join([*head, "tests:", *tests])


def names_of(records: Iterable[DecisionRecord], taken: Iterable[str] = ()) -> list[str]:
    """Return a first name for the test of each decision: what is asked for, and what comes of it.

    Args:
        records: the decisions.
        taken: names that other tests have.
    """
    used, found = {*taken}, list[str]()
    for record in records:
        first = _name(record)
        names = (first if number == 1 else f"{first} ({number})" for number in count(1))
        found.append(next(it for it in names if it not in used))
        used.add(found[-1])
    return found


def _test(record: DecisionRecord, name: str) -> Iterator[str]:
    yield f"  - name: {flow(name)}"
    yield f"    now: {record.now}"
    request = msgspec.to_builtins(record.request)
    if request:
        yield from _pairs("request", request)
    yield from _pairs("expect", expectation_of(record))


def _name(record: DecisionRecord) -> str:
    task = record.request.get("task", {})
    words = [f"kind {task['kind']}"] if task.get("kind") else []
    words += [f"labels {', '.join(task['labels'])}"] if task.get("labels") else []
    for level in ("call", "task"):
        asked = record.request.get(level, {}).get("model")
        words += [f"{level} asks for {asked}"] if asked else []
    decision = record.decision
    if decision.target:
        result = f"runs on {name_of(decision.target)}"
    else:
        result = f"refused, {decision.refusal.code}" if decision.refusal else "refused"
    return f"{', '.join(words) or 'a request'}: {result}"


def _pairs(key: str, content: Mapping[str, Any]) -> Iterator[str]:
    """Yield a mapping on one line, or a line for each of its keys where that is too long."""
    line = f"    {key}: {flow(content)}"
    if len(line) <= _LONGEST:
        yield line
        return
    yield f"    {key}:"
    for inner, value in content.items():
        yield f"      {flow(inner)}: {flow(value)}"
