"""Whole policies and requests as in ``rich_policies``, made quickly, to compare by the thousand."""

from __future__ import annotations

import random
import re
from typing import Any

from tests.property import rich_policies as rich
from tests.property.conditions import FACTS
from tests.property.reference_input import name_of
from tests.property.strategies import CAPABILITIES, MODELS, NAMES, PROVIDERS, without_repeats

Plain = dict[str, Any]

_PLACEHOLDER = re.compile(r"\b[A-Z]{3,}\b")
_WORDS = tuple(f'"{word}"' for word in (*rich.WORDS, ""))
_NUMBERS = ("facts.rank", "parent.depth", "task.index", "task.batch_size")
_CHOICES: dict[str, tuple[str, ...]] = {
    "WORD": _WORDS,
    "INT": ("0", "1", "2", "3", "-1", "10"),
    "DOUBLE": ("0.0", "0.5", "2.0", "-1.0", "-0.0", "0.0 / 0.0", "1.0 / 0.0", '-double("inf")'),
    "BOOL": ("true", "false"),
    "SIGN": ("<", "<=", ">", ">=", "==", "!="),
    "MACRO": ("all", "exists", "exists_one"),
    "NAME": tuple(f'"{name}"' for name in "abcd"),
    "PROVIDER": tuple(f'"{name}"' for name in PROVIDERS),
    "LEVEL": tuple(f'"{level}"' for level in ("call", "task", "pool", "config", "parent")),
    "PRICES": ("has(target.price.input) && has(target.price.output)",),
    "SIZES": ("has(target.context_window) && has(task.input_tokens)",),
    "NUMBER": _NUMBERS,
}
_TEXTS = ("task.kind", "facts.region", "caller.team", "parent.model", "task.model")
_LISTS = ("task.labels", "facts.zones", "caller.roles", "task.needs")
_SPECIAL = {
    "KEY": rich.KEYED,
    "BOUND": rich.BOUNDED,
    "FAIL": rich.FAILING,
    "WISH": rich.WISHING,
    "AIM": (*rich.AIMED, *rich.PRICED),
}
_FREE: tuple[tuple[str, ...], ...] = (
    *(rich.KEYED, rich.KEYED, rich.BOUNDED, rich.GUARDED, rich.WISHING),
    *(rich.FAILING, rich.WALKING, rich.READING_VARIABLES, ("BOOL",)),
)
_AIMED = (*_FREE, rich.AIMED, rich.PRICED, rich.AIMED_FAILING)
_PICKS = ("KEY", "KEY || BOUND", "KEY || (ANY)", "BOUND", "AIM", "BOUND || AIM", "FAIL", "ANY")
_FORBIDS = ("(ANY) && AIM", "KEY && AIM && AIM", "KEY && (ANY) && (ANY)", "KEY && BOUND", "ANY")
_VARIABLES: dict[str, tuple[str, ...]] = {
    "has_risk": ("has(facts.risk)", "has(facts.risk) && facts.urgent"),
    "yes": ("ANY",),
    "shaky": (*rich.FAILING, "FAIL || (ANY)"),
    "number": ("1 / parent.depth", "size(task.labels)", "int(task.kind)", "facts.rank", "2"),
    "word": ("task.kind", "task.labels[0]", '"a"', 'variables.yes ? "a" : "b"'),
    "words": ("task.labels + caller.roles", 'task.labels.filter(x, x != "a")', "facts.zones"),
}


class PolicyMaker:
    """Makes policies and requests from a source of chance."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.pick = chance, chance.choice

    def some(self, values: tuple[Any, ...], most: int) -> list[Any]:
        """Return a few of some values, which may repeat."""
        return [self.pick(values) for _ in range(self.chance.randrange(most + 1))]

    def maybe(self, **values: Any) -> Plain:
        """Return some of the values."""
        return {key: value for key, value in values.items() if self.chance.random() < 0.5}

    def condition(self, templates: tuple[str, ...], depth: int, *, aimed: bool) -> str:
        """Return one of some templates, filled."""

        def stand_in(match: re.Match[str]) -> str:
            word = match[0]
            if word == "ANY":
                compound = depth > 1 and self.chance.random() < 0.6
                inner = rich.COMPOUND if compound else self.pick(_AIMED if aimed else _FREE)
                return self.condition(inner, depth - 1, aimed=aimed)
            if word in _SPECIAL:
                return f"({self.condition(_SPECIAL[word], 0, aimed=aimed)})"
            if word == "WORDS":
                return f"[{', '.join(self.some(_WORDS, 6))}]"
            if word == "TEXT":
                return self.pick((*_TEXTS, "target.name") if aimed else _TEXTS)
            if word == "LIST":
                return self.pick((*_LISTS, "target.strengths") if aimed else _LISTS)
            return self.pick(_CHOICES[word])

        return _PLACEHOLDER.sub(stand_in, self.pick(templates))

    def variables(self) -> Plain:
        """Return variables; those that come before another are all that it may use."""
        made: Plain = {}
        for name, templates in _VARIABLES.items():
            text = self.condition(templates, 1, aimed=False)
            while "variables." in text and text not in templates:
                text = self.condition(templates, 1, aimed=False)
            made[name] = text
        return made

    def policy(self) -> Plain:
        """Return a policy."""
        forbid = [
            {"when": self.condition(_FORBIDS, 2, aimed=True)}
            for _ in range(self.chance.randrange(5))
        ]
        policy: Plain = {"facts": FACTS, "variables": self.variables(), "forbid": forbid}
        policy |= self.maybe(model=self.pick(MODELS), provider=self.pick(PROVIDERS))
        if self.chance.random() < 0.9:
            pool = policy["pool"] = self.pool(policy.get("provider"))
            provider = policy.get("provider")
            models = [it["model"] for it in pool if it.get("provider", provider) == provider]
            if policy.pop("model", None) and models:  # the default has to be in the pool
                policy["model"] = self.pick(models)
        if self.chance.random() < 0.2:
            policy["precedence"] = self.pick(("delegation", "strict", "task-first"))
        else:
            levels = ["pool", "task", "pool", "call", "config", "parent"]
            self.chance.shuffle(levels)
            policy["precedence"] = [
                {"id": f"rule-{number}", **self.rule(level)} for number, level in enumerate(levels)
            ]
        return policy

    def pool(self, provider: str | None) -> list[Plain]:
        """Return a pool."""
        made = [self.entry() for _ in range(self.pick((1, 2, 3, 4, 5, 8)))]
        pool = without_repeats(made, provider)
        names = tuple(sorted({name_of(entry) for entry in pool}))
        for entry in pool:
            if self.chance.random() < 0.4:
                entry["fallback"] = [self.pick(names)]
        return pool

    def entry(self) -> Plain:
        """Return an entry."""
        dollars = (0, 0.5, 1, 2.0)
        return {
            "model": self.pick(MODELS),
            "pick": self.condition(_PICKS, 2, aimed=True),
            **self.maybe(
                name=self.pick(NAMES),
                provider=self.pick(PROVIDERS),
                allow=self.condition(("ANY",), 2, aimed=True),
                price=self.maybe(input=self.pick(dollars), output=self.pick(dollars)),
                context_window=self.pick((10, 20, 100)),
                strengths=self.some(rich.WORDS, 3),
                supports=sorted(set(self.some(CAPABILITIES, 3))),
            ),
        }

    def rule(self, level: str) -> Plain:
        """Return a precedence rule."""
        rule: Plain = {"use": level}
        rule |= self.maybe(
            on_violation=self.pick(("next", "reject")), in_pool=self.pick((0, 1)) > 0
        )
        if self.chance.random() < 0.3:
            rule["when"] = self.condition(("ANY",), 2, aimed=False)
        if level == "pool" and self.chance.random() < 0.5:
            rule["order_by"] = self.condition(rich.ORDERS, 1, aimed=True)
        return rule

    def request(self) -> Plain:
        """Return a request."""
        word = (*rich.WORDS, "")
        numbers, shares = (0, 1, 2, 3, -1, 10, 2**62), (0.0, 0.5, 2, -1.0, 1e300)
        wishes = [
            self.maybe(model=self.pick((*NAMES, "unknown", "")), provider=self.pick(PROVIDERS))
            for _ in range(2)
        ]
        task = {"kind": self.pick(word), "labels": self.some(rich.WORDS, 4), **wishes[0]}
        task |= self.maybe(
            needs=sorted(set(self.some(CAPABILITIES, 2))),
            index=self.pick((0, 1, 2)),
            input_tokens=self.pick((0, 10, 11, 101)),
        )
        return {
            "task": task,
            "call": wishes[1] if self.chance.random() < 0.3 else {},
            "parent": self.maybe(
                model=self.pick(MODELS), provider=self.pick(PROVIDERS), depth=self.pick((0, 1, 2))
            ),
            "caller": self.maybe(
                id=self.pick(word), team=self.pick(word), roles=self.some(rich.WORDS, 4)
            ),
            "budget": self.maybe(remaining_usd=self.pick(shares)),
            "facts": self.maybe(
                region=self.pick(word),
                rank=self.pick(numbers),
                share=self.pick(shares),
                urgent=self.pick((True, False)),
                zones=self.some(rich.WORDS, 3),
                colour=self.pick(word),
                risk=self.pick(numbers),
                rate=self.pick(shares),
                audited=self.pick((True, False)),
                tags=self.some(rich.WORDS, 3),
            ),
        }
