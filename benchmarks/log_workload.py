"""The policies and requests that are logged."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from typing import Any

from benchmarks.workload import KINDS, NOW, policy_text, requests, varied_requests
from policy_router import DecisionRecord, Policy, decide, loads

Say = Callable[[str], None]
"""Is told what is being measured."""
SIZE = 50
"""How many entries the pool has."""
_ODD = 8
"""One request in so many is of any sort; most of those are refused."""
_LABELS = ("internal", "public", "pii", "draft")


@cache
def log_policy() -> Policy:
    """Return the policy that decides, compiled once in each process."""
    return loads(policy_text(SIZE), name="benchmark.yaml")


def other_policy() -> Policy:
    """Return the policy of the question what if: the same one, with a provider forbidden."""
    policy = json.loads(policy_text(SIZE))
    policy["forbid"].append({"id": "no-west", "when": 'target.provider == "west"'})
    return loads(json.dumps(policy), name="benchmark.yaml")


def one_record(policy: Policy) -> DecisionRecord:
    """Return the decision whose logging is timed."""
    return decide(policy, one_request(), now=NOW)


def one_request() -> dict[str, Any]:
    """Return the request whose decision is logged where one is logged again and again."""
    return requests(SIZE)["picked"]


def many_requests(start: int, stop: int) -> list[dict[str, Any]]:
    """Return different requests, by number; the same ones each time.

    They are those that are timed elsewhere, each with facts of its own, and some of all sorts. No
    two have the same budget left.
    """
    return [_numbered(number) for number in range(start, stop)]


@cache
def _of_any_sort() -> list[dict[str, Any]]:
    return varied_requests(SIZE, 1000)


def _numbered(number: int) -> dict[str, Any]:
    chance = random.Random(number)  # noqa: S311 - for variety, not for secrets
    budget = {"remaining_usd": 10 + number / 100}
    if number % _ODD == 0:
        some = _of_any_sort()
        return some[number // _ODD % len(some)] | {"budget": budget}
    kinds = requests(SIZE)
    request = kinds[chance.choice(("picked", "picked", "by name", "config"))]
    task = request["task"]
    if "model" in task:
        task["model"] = f"entry-{chance.randrange(SIZE)}"
    elif task["kind"] in KINDS:
        task["kind"] = chance.choice(KINDS)
    task["labels"] = sorted(chance.sample(_LABELS, chance.randrange(3)))
    task["input_tokens"] = chance.randrange(200, 20_000)
    request["parent"]["depth"] = chance.choice((0, 0, 1))
    request["caller"]["id"] = f"agent-{chance.randrange(500)}"
    request["budget"] = budget
    return request
