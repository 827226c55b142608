"""The policies and requests that are measured, as plain data; only the standard library is used.

One policy is described once, as data. From the data come the YAML that the product loads, what
``by_hand`` decides with, and the rule sets of the peers.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

SIZES = (5, 50, 500)
KINDS = ("coding", "math", "writing", "research", "vision")
PROVIDERS = ("main", "east", "west")
NOW = "2026-01-31T09:00:00Z"
FORBIDS = 20
EFFORTS = ("low", "medium", "high")
DEFAULT_PROVIDER = "main"
DEFAULT_MODEL = "model-0"
MAX_TOKENS = 8192
UNKNOWN_PRICE = 1000.0


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the pool, with the constants of its conditions.

    Attributes:
        name: what is asked for.
        model: the model's id.
        provider: the provider's name.
        kind: the kind of task it is picked for.
        depth: it is allowed below this depth.
        largest: the most input tokens it is allowed for.
        price: US dollars per million tokens, for input and output.
        window: the context window.
        supports: capabilities.
        efforts: the reasoning efforts that may be wished.
        temperature: its own parameter.
        fallback: the names of the entries to go on with.
    """

    name: str
    model: str
    provider: str
    kind: str
    depth: int
    largest: int
    price: tuple[float, float]
    window: int
    supports: tuple[str, ...]
    efforts: tuple[str, ...]
    temperature: float
    fallback: tuple[str, ...]

    def allow(self) -> str:
        """Return the guard of three clauses."""
        return (
            f"parent.depth < {self.depth} && "
            '(!("pii" in task.labels) || target.provider != "west") && '
            f"(!has(task.input_tokens) || task.input_tokens <= {self.largest})"
        )

    def pick(self) -> str:
        """Return the condition under which the pool proposes it."""
        return f'task.kind == "{self.kind}"'


@dataclass(frozen=True, slots=True)
class Forbid:
    """A forbid rule: one of four forms, with its constant.

    Attributes:
        id: the rule's id.
        form: ``label``, ``team``, ``budget`` or ``role``.
        word: the label, team or role that it is about.
        amount: the price or budget that it is about.
    """

    id: str
    form: str
    word: str
    amount: float

    def when(self) -> str:
        """Return the condition in CEL."""
        match self.form:
            case "label":
                return f'"{self.word}" in task.labels && target.provider == "west"'
            case "team":
                dear = f"has(target.price.output) && target.price.output > {self.amount}"
                return f'caller.team == "{self.word}" && {dear}'
            case "budget":
                low = f"has(budget.remaining_usd) && budget.remaining_usd < {self.amount}"
                return f"{low} && has(target.price.input) && target.price.input > 2.0"
            case _:
                return f'"{self.word}" in caller.roles && "vision" in target.supports'


def entries(size: int) -> tuple[Entry, ...]:
    """Return a pool of a size; neighbouring entries differ in everything."""
    return tuple(_entry(number, size) for number in range(size))


def _entry(number: int, size: int) -> Entry:
    cost = (number * 37 + 17) % 101
    return Entry(
        name=f"entry-{number}",
        model=f"model-{number}",
        provider=PROVIDERS[number % 3],
        kind=KINDS[number % len(KINDS)],
        depth=2 + number % 3,
        largest=20_000 + 1_000 * (number % 50),
        price=(0.25 + cost / 20, 1.0 + cost / 5),
        window=65_536 * (1 + number % 2),
        supports=("tools", "vision") if number % 2 else ("tools", "reasoning"),
        efforts=EFFORTS if number % 4 else EFFORTS[:2],
        temperature=number % 10 / 10,
        fallback=(f"entry-{(number + 1) % size}", f"entry-{(number + 3) % size}"),
    )


def forbids() -> tuple[Forbid, ...]:
    """Return the forbid rules."""
    forms = ("label", "team", "budget", "role")
    return tuple(
        Forbid(f"forbid-{n}", forms[n % 4], f"{forms[n % 4]}-{n}", 1.0 + n / 2)
        for n in range(FORBIDS)
    )


def policy_text(size: int) -> str:
    """Return the policy with a pool of a size; the JSON of it, which is YAML."""
    pool = [
        {
            "name": entry.name,
            "model": entry.model,
            "provider": entry.provider,
            "allow": entry.allow(),
            "pick": entry.pick(),
            "price": {"input": entry.price[0], "output": entry.price[1]},
            "context_window": entry.window,
            "supports": list(entry.supports),
            "parameters": {"temperature": entry.temperature},
            "limits": {"reasoning_effort": list(entry.efforts)},
            "fallback": list(entry.fallback),
        }
        for entry in entries(size)
    ]
    order_by = f"has(target.price.output) ? target.price.output : {UNKNOWN_PRICE}"
    policy = {
        "version": 1,
        "name": f"benchmark-{size}",
        "model": DEFAULT_MODEL,
        "provider": DEFAULT_PROVIDER,
        "parameters": {"max_tokens": MAX_TOKENS},
        "pool": pool,
        "forbid": [{"id": rule.id, "when": rule.when()} for rule in forbids()],
        "precedence": [
            {"use": "call", "on_violation": "reject"},
            {"use": "task", "on_violation": "reject"},
            {"use": "pool", "order_by": order_by},
            {"use": "config"},
            {"use": "parent"},
        ],
    }
    return json.dumps(policy, indent=1)


def requests(size: int) -> dict[str, dict[str, Any]]:
    """Return the kinds of request that are timed; the last one is refused, the others are not."""
    host = {
        "parent": {"model": "model-0", "provider": "main", "depth": 1},
        "caller": {"id": "alice", "team": "research", "roles": ["developer"]},
        "budget": {"remaining_usd": 25.0},
    }
    asked = f"entry-{size * 3 // 5}"
    task = {"labels": ["internal"], "input_tokens": 1200}
    return {
        "by name": {"task": {"kind": "coding", "model": asked, **task}, **host},
        "picked": {"task": {"kind": "coding", **task, "labels": ["pii", "internal"]}, **host},
        "config": {"task": {"kind": "chat", **task}, **host},
        "refused": {"task": {"kind": "coding", "model": "unheard-of", **task}, **host},
    }


def selecting(size: int) -> dict[str, dict[str, Any]]:
    """Return those of them for which a target is selected."""
    return {kind: request for kind, request in requests(size).items() if kind != "refused"}


def varied_requests(size: int, count: int) -> list[dict[str, Any]]:
    """Return requests of all sorts, refusals included, the same ones each time."""
    chance = random.Random(size)  # noqa: S311 - for variety, not for secrets
    return [_varied(chance, size) for _ in range(count)]


def _varied(chance: random.Random, size: int) -> dict[str, Any]:
    names = [f"{word}-{chance.randrange(size)}" for word in ("entry", "model", "entity")]
    labels = ["pii", *(f"label-{n}" for n in range(0, 20, 4))]
    some: dict[str, dict[str, Any]] = {
        "call": {
            "model": chance.choice(["", "", "", "", *names[:1]]),
            "reasoning_effort": chance.choice(["", "", *EFFORTS]),
        },
        "task": {
            "model": chance.choice(["", "", "", *names]),
            "provider": chance.choice(["", "", "", "", "", *PROVIDERS, "unheard-of"]),
            "reasoning_effort": chance.choice(["", "", *EFFORTS]),
            "kind": chance.choice(["", "chat", *KINDS]),
            "labels": chance.sample(labels, chance.randrange(3)),
            "needs": chance.choice([[], [], ["tools"], ["vision"], ["tools", "reasoning"]]),
            "input_tokens": chance.choice([100, 30_000, 60_000]),
        },
        "parent": {
            "model": chance.choice(["", names[1], "elsewhere"]),
            "provider": chance.choice(["", *PROVIDERS]),
            "reasoning_effort": chance.choice(["", "high"]),
            "depth": chance.randrange(4),
        },
        "caller": {
            "team": chance.choice(["", "team-5", "team-17"]),
            "roles": chance.choice([[], ["developer"], ["role-7", "role-3"]]),
        },
        "budget": {"remaining_usd": chance.choice([0.5, 3.0, 25.0])},
    }
    given = {
        section: {key: value for key, value in content.items() if chance.random() < 0.7}  # noqa: PLR2004
        for section, content in some.items()
    }
    return {section: content for section, content in given.items() if content}
