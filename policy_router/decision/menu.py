"""The entries that a caller may ask for, before the task is known.

A menu is written before the tasks are known. So the facts of the caller are written into each
guard, the task and the time are left open, and an entry is left out only where its guards are
against it in any case. What is on the menu may still be refused for one task or another. What
guards admit at another level alone, such as ``pool``, is not on it: asking for it is no use.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from policy_router.cel.ast import Node
from policy_router.cel.evaluate import Program
from policy_router.cel.frame import FAILURE, Outcome, frame_of
from policy_router.cel.simplify import (
    Known,
    constant_of,
    literal,
    reads_of,
    simplified,
    strings,
)
from policy_router.cel.vocabulary import SECTIONS
from policy_router.decision.candidate import known_of
from policy_router.decision.evaluation import Evaluation
from policy_router.decision.evaluator import admission, permitted, wishes_of
from policy_router.decision.fitting import checked, values_of
from policy_router.decision.request import Request, moment
from policy_router.domain import Level, Policy, PoolEntry

_OPEN: Final = frozenset({"call", "task"})
"""The sections that a later request fills in."""
_NOT_TRUE: Final = (False, FAILURE)
_NOT_FALSE: Final = (True, FAILURE)


def menu_entries(
    policy: Policy, request: Request | Mapping[str, Any], level: Level
) -> tuple[PoolEntry, ...] | None:
    """Return the entries that may be asked for at a level for some task.

    Args:
        policy: a compiled policy.
        request: the facts of parent, caller and budget, and the policy's own; wishes and the task
            are not looked at.
        level: ``call`` or ``task``.

    Returns:
        Entries in file order; None where there is no pool, so that anything may be asked for.

    Raises:
        RequestError: the request does not fit the policy.
    """
    if policy.pool is None:
        return None
    values = values_of(policy, checked(policy, request))
    menu = _Menu(policy, values, level)
    return tuple(entry for entry in policy.pool if menu.may_offer(entry))


def permitted_entries(
    policy: Policy, request: Request | Mapping[str, Any], now: datetime.datetime | str
) -> tuple[PoolEntry, ...]:
    """Return the entries that :func:`permitted` names; of one name, those that are admitted.

    Args:
        policy: a compiled policy.
        request: the wishes and facts.
        now: the time of the decision.

    Raises:
        RequestError: the request does not fit the policy.
    """
    names = permitted(policy, request, now=now) or ()
    values = values_of(policy, checked(policy, request))
    evaluation = Evaluation(policy, values, moment(now))

    def is_admitted(entry: PoolEntry) -> bool:
        seen = evaluation.asking(Level.TASK, {"model": entry.name, "provider": ""})
        candidate = seen.candidate(entry, Level.TASK)
        return admission(seen, candidate, wishes_of(seen), in_pool=True) is None

    named = (entry for entry in policy.pool or () if entry.name in names)
    return tuple(entry for entry in named if not entry.shares_name or is_admitted(entry))


def menu_as_json(policy: Policy, entries: Iterable[PoolEntry]) -> dict[str, Any]:
    """Return what may be asked for as plain data.

    Args:
        policy: a compiled policy.
        entries: what may be asked for of its pool; without a pool that is anything.
    """
    listed = None if policy.pool is None else [_as_json(entry) for entry in entries]
    return {"restricted": policy.pool is not None, "entries": listed}


def _as_json(entry: PoolEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "model": entry.model,
        "provider": entry.provider or None,
        "strengths": entry.strengths,
        "price": {"input": entry.price.input, "output": entry.price.output},
    }


class _Menu:
    """Guards, with the facts of one caller written in."""

    def __init__(
        self, policy: Policy, values: Mapping[str, Mapping[str, Any]], level: Level
    ) -> None:
        self.level = level
        self.facts: dict[str, Node | None] = dict(_facts(policy, values))
        for variable in policy.variables:
            tree = simplified(variable.condition.tree, self.facts)
            # Only what is certain is written in: a chain of others could grow without bound.
            if constant_of(tree) is not None:
                self.facts[f"variables.{variable.name}"] = tree
        enforced = (rule.when.tree for rule in policy.forbid if rule.enforce)
        forbids = (simplified(tree, self.facts) for tree in enforced)
        self.forbids = [tree for tree in forbids if constant_of(tree) is not False]

    def may_offer(self, entry: PoolEntry) -> bool:
        """Tell whether the guards of an entry may let it through."""
        known = {**self.facts, **known_of(entry, self.level)}
        if not entry.provider:
            known["target.provider"] = self.facts["parent.provider"]
        known[f"{self.level}.model"] = literal(entry.name)
        known[f"{self.level}.provider"] = literal("")
        if entry.allow is not None and self._certain(entry.allow.tree, known) in _NOT_TRUE:
            return False
        return not any(self._certain(tree, known) in _NOT_FALSE for tree in self.forbids)

    def _certain(self, tree: Node, known: Known) -> Outcome | None:
        """Return what a condition comes to for every task; None where that depends."""
        rest = simplified(tree, known)
        constant = constant_of(rest)
        if constant is not None or reads_of(rest):
            return constant
        return Program(rest).evaluate(frame_of({}))


def _facts(policy: Policy, values: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Node]]:
    """Yield what stands for each name whose value is known by now.

    What is optional and absent, such as a budget, may be given with the task.
    """
    for section, names in SECTIONS.items():
        if section not in _OPEN:
            for name in names:
                value = values[section].get(name)
                if value is not None:
                    yield f"{section}.{name}", _constant(value)
    for name in policy.facts:
        value = values["facts"].get(name)
        if value is not None:
            yield f"facts.{name}", _constant(value)


def _constant(value: Any) -> Node:
    return strings(tuple(value)) if isinstance(value, list | tuple) else literal(value)
