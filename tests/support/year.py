"""The log of a year: agents of four teams, two revisions, refusals, fallbacks, and odd names."""

from __future__ import annotations

import datetime
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from policy_router import DecisionLog, Policy, decide, load
from policy_router.decision.record import DecisionRecord
from policy_router.files.ids import uuid7
from policy_router.log import Decided, Execution

POLICY: Final = """\
version: 1
model: haiku-5
provider: west
providers:
  west: {base_url: https://west.example.com/v1, api_key: env:WEST_API_KEY}
  home: {base_url: https://home.example.com/v1, api_key: env:HOME_API_KEY}
  lab: {base_url: https://lab.example.com/v1, api_key: env:LAB_API_KEY}
kinds: [coding, writing, research, triage]
labels: [pii]
pool:
  - name: quick
    model: haiku-5
    provider: west
    strengths: quick tasks, triage
    price: {input: 0.8, output: 4}
    pick: task.kind == "triage"
  - name: local
    model: oss-120b
    provider: home
    strengths: personal data, drafts
    price: {input: 0.1, output: 0.4}
    pick: '"pii" in task.labels'
    fallback: [quick]
  - name: coder
    model: sonnet-6
    provider: west
    strengths: coding, refactoring
    price: {input: 3, output: 15}
    pick: task.kind == "coding"
    fallback: [quick]
  - name: deep
    model: opus-6
    provider: west
    strengths: hard problems, research
    price: {input: 15, output: 75}
    pick: task.kind == "research" && has(budget.remaining_usd) && budget.remaining_usd > 5.0
    allow: parent.depth < 2
    fallback: [coder]
  - name: trial
    model: new-model
    provider: lab
    strengths: experiments
    allow: caller.team == "research"
forbid:
  - id: personal-data-stays-home
    description: Personal data does not leave the house.
    when: '"pii" in task.labels && target.provider != "home"'
    message: A task with personal data runs at home only.
  - id: nothing-dear-when-low
    when: >-
      has(budget.remaining_usd) && budget.remaining_usd < 1.0
      && has(target.price.output) && target.price.output > 20.0
    message: The budget is nearly spent.
precedence: {strict}
"""
"""The rules of the second half of the year; the first half warns where these refuse."""
_KINDS: Final = ("coding", "coding", "triage", "triage", "triage", "writing", "research")
_CALLERS: Final = (
    *(("ada", "research"), ("brook", "support"), ("ci-bot", "platform"), ("dana", "support")),
    *(("emil", "research"), ("שרה", "platform"), ("<b>fay</b>", "growth")),
)
_PRICES: Final = {"quick": (0.8, 4), "local": (0.1, 0.4), "coder": (3, 15), "deep": (15, 75)}
_MOST_AT_ONCE: Final = 5_000
YEAR: Final = datetime.timedelta(days=364)
END: Final = datetime.datetime(2026, 11, 30, 9, tzinfo=datetime.UTC)


def write_policy(folder: Path) -> Policy:
    """Write the rule file that decides now, and return what it compiles to."""
    path = folder / "policy.yaml"
    path.write_text(POLICY.replace("{strict}", "strict"))
    return load(path)


def write_year(folder: Path, count: int, *, end: datetime.datetime = END, **odd: Any) -> list[str]:
    """Write a log of so many decisions, and return their ids, the oldest first.

    Args:
        folder: where the rule file and the log ``log`` will be.
        count: how many decisions.
        end: when the last one was made.
        odd: a request that is decided last.
    """
    before = folder / "before" / "policy.yaml"
    before.parent.mkdir(parents=True, exist_ok=True)
    before.write_text(POLICY.replace("{strict}", "delegation"))
    policies = (load(before), write_policy(folder))
    clock = _Clock(end - YEAR)
    ids: list[str] = []
    with DecisionLog(folder / "log", durability="async", clock=clock, writer="api-1") as log:
        for number in range(count):
            clock.now = end - YEAR * (1 - (number + 1) / count)
            policy = policies[number * 2 >= count]
            request = odd if odd and number == count - 1 else _request(number, ids)
            ids.append(_logged(log, policy, request, clock, _parent(number, ids)))
            if number % _MOST_AT_ONCE == 0:
                log.flush()
    return ids


class _Clock:
    """A clock that stands where it is put."""

    def __init__(self, now: datetime.datetime) -> None:
        self.now = now

    def __call__(self) -> datetime.datetime:
        return self.now


def _logged(
    log: DecisionLog, policy: Policy, request: Mapping[str, Any], clock: _Clock, parent: str | None
) -> str:
    record = decide(policy, request, now=clock.now)
    decision_id = uuid7(clock.now)
    log.decisions(policy, [Decided(record, decision_id, parent)])
    for event in _events(record, decision_id):
        clock.now += datetime.timedelta(seconds=2)
        log.execution(decision_id, event)
    return decision_id


def _parent(number: int, ids: list[str]) -> str | None:
    return ids[-1] if number % 9 == 4 and ids else None


def _request(number: int, ids: list[str]) -> dict[str, Any]:
    chance = random.Random(number)  # noqa: S311 - for variety, not for secrets
    caller, team = chance.choice(_CALLERS)
    depth = int(_parent(number, ids) is not None)
    task: dict[str, Any] = {
        "kind": chance.choice(_KINDS),
        "input_tokens": chance.randrange(500, 40_000),
    }
    if chance.random() < 0.1:
        task["labels"] = ["pii"]
    if chance.random() < 0.2:
        task["model"] = chance.choice(("deep", "coder", "trial", "gpt-9", "local"))
    return {
        "task": task,
        "caller": {"id": caller, "team": team},
        "budget": {"remaining_usd": round(chance.uniform(0, 40), 2)},
        "parent": {
            "model": "opus-6",
            "provider": "west",
            "depth": depth,
        },
    }


def _events(record: DecisionRecord, decision_id: str) -> Iterator[Execution]:
    target = record.decision.target
    chance = random.Random(decision_id)  # noqa: S311 - the same
    if not target or chance.random() < 0.05:
        return
    entry = target.entry if isinstance(target.entry, str) else None
    place: dict[str, Any] = {"model": target.model, "provider": target.provider, "entry": entry}
    yield Execution("started", attempt=1, **place)
    if chance.random() < 0.03:
        yield Execution(
            "finished", status="failed", error="timeout", duration_seconds=60.0, **place
        )
        return
    read, written = chance.randrange(500, 40_000), chance.randrange(100, 4_000)
    price = _PRICES.get(entry or "")
    cost = None if price is None else round((read * price[0] + written * price[1]) / 1e6, 9)
    yield Execution(
        "finished",
        status="completed",
        served_model="haiku-5-fast" if chance.random() < 0.01 else target.model,
        finish_reason="stop",
        input_tokens=read,
        output_tokens=written,
        cost_usd=cost,
        duration_seconds=round(chance.uniform(1, 30), 2),
        **place,
    )
