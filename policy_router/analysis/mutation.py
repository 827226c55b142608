"""Do the tests of a policy notice a mistake? Small changes are made to it, one at a time.

A changed policy is a *mutant*. It is *killed* where a test fails, and *survives* where all pass:
then no test looks at what was changed, or the change makes no difference to any request. Mutants
are made of the compiled policy, so nothing is read or checked again.

Source: R. A. DeMillo, R. J. Lipton, F. G. Sayward, "Hints on Test Data Selection", 1978.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from policy_router.analysis.leaves import place_in
from policy_router.analysis.running import PolicyTestStatus, run_suite
from policy_router.analysis.suites import Suite
from policy_router.cel.ast import (
    BOOL,
    Apply,
    Bind,
    ListOf,
    Literal,
    Loop,
    Node,
)
from policy_router.cel.condition import Condition
from policy_router.cel.evaluate import Program
from policy_router.diagnostics.model import Span
from policy_router.domain import WISHES, Policy, PoolEntry, PrecedenceRule

_TURNED: Final = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A policy with one small change.

    Attributes:
        name: the part that is changed, such as ``allow of large``.
        change: the change in words.
        span: where the part is written.
        policy: the changed policy.
    """

    name: str
    change: str
    span: Span | None
    policy: Policy = field(compare=False, repr=False)


def mutants(policy: Policy) -> Iterator[Mutant]:
    """Yield every mutant of a policy; what a precedence profile brings is left as it is."""
    yield from _of_variables(policy)
    yield from _of_entries(policy)
    yield from _of_forbids(policy)
    yield from _of_rules(policy)


def chosen(policy: Policy, most: int | None, seed: int) -> list[Mutant]:
    """Return the mutants of a policy, or some of them, the same for the same seed.

    Args:
        policy: the policy.
        most: how many; None for all.
        seed: of the choice.
    """
    found = list(mutants(policy))
    if most is None or most >= len(found):
        return found
    places = random.Random(seed).sample(range(len(found)), most)  # noqa: S311 - no secret
    return [found[place] for place in sorted(places)]


def survivors(
    suites: Sequence[Suite],
    tried: Sequence[Mutant],
    progress: Callable[[int, int], object] = lambda _done, _total: None,
) -> list[Mutant]:
    """Return the mutants that no test of some suites notices.

    Args:
        suites: the suites of the policy; all their tests pass.
        tried: mutants of the policy.
        progress: is told how many of how many were tried.
    """
    found = []
    for number, mutant in enumerate(tried, start=1):
        if not is_noticed(suites, mutant):
            found.append(mutant)
        progress(number, len(tried))
    return found


def is_noticed(suites: Iterable[Suite], mutant: Mutant) -> bool:
    """Tell whether a test of some suites notices a mutant of their policy."""
    return any(_notices(suite, mutant) for suite in suites)


def _notices(suite: Suite, mutant: Mutant) -> bool:
    result = run_suite(replace(suite, policy=mutant.policy), fail_fast=True)
    return result.count(PolicyTestStatus.FAILED) > 0


# Parts of a policy.


def _of_variables(policy: Policy) -> Iterator[Mutant]:
    for place, variable in enumerate(policy.variables):
        for change, span, condition in _changed(variable.condition):
            other = replace(variable, condition=condition)
            variables = _with(policy.variables, place, other)
            yield Mutant(
                f"variable {variable.name}", change, span, replace(policy, variables=variables)
            )


def _of_entries(policy: Policy) -> Iterator[Mutant]:
    pool = policy.pool or ()
    for place, entry in enumerate(pool):
        without = replace(policy, pool=(*pool[:place], *pool[place + 1 :]))
        yield Mutant(f"entry {entry.name}", "removed", entry.span, without)
        for name, change, span, other in _of_entry(entry):
            yield Mutant(name, change, span, replace(policy, pool=_with(pool, place, other)))


def _of_entry(entry: PoolEntry) -> Iterator[tuple[str, str, Span | None, PoolEntry]]:
    if entry.fallback:
        yield f"fallback of {entry.name}", "removed", entry.span, replace(entry, fallback=())
    if entry.allow is not None:
        name = f"allow of {entry.name}"
        yield name, "removed", entry.allow.span, replace(entry, allow=None)
        for change, span, other in _changed(entry.allow):
            yield name, change, span, replace(entry, allow=other)
    if entry.pick is not None:
        name = f"pick of {entry.name}"
        yield name, "removed", entry.pick.span, replace(entry, pick=None)
        for change, span, other in _changed(entry.pick):
            yield name, change, span, replace(entry, pick=other)


def _of_forbids(policy: Policy) -> Iterator[Mutant]:
    forbids = policy.forbid
    for place, rule in enumerate(forbids):
        name = f"forbid rule {rule.id}"
        rest = (*forbids[:place], *forbids[place + 1 :])
        yield Mutant(name, "removed", rule.span, replace(policy, forbid=rest))
        flipped = _with(forbids, place, replace(rule, enforce=not rule.enforce))
        change = "not enforced" if rule.enforce else "enforced"
        yield Mutant(name, change, rule.span, replace(policy, forbid=flipped))
        for change, span, condition in _changed(rule.when):
            other = _with(forbids, place, replace(rule, when=condition))
            yield Mutant(name, change, span, replace(policy, forbid=other))


def _of_rules(policy: Policy) -> Iterator[Mutant]:
    own = {source.name for source in policy.sources}
    rules = policy.precedence
    for place, rule in enumerate(rules):
        if rule.span is None or rule.span.source.name not in own:
            continue
        name = f"rule {rule.id}"
        rest = (*rules[:place], *rules[place + 1 :])
        yield Mutant(name, "removed", rule.span, replace(policy, precedence=rest))
        if place + 1 < len(rules):
            other = (*rules[:place], rules[place + 1], rule, *rules[place + 2 :])
            change = f"swapped with rule {rules[place + 1].id}"
            yield Mutant(name, change, rule.span, replace(policy, precedence=other))
        for change, span, changed in _of_rule(rule):
            precedence = _with(rules, place, changed)
            yield Mutant(name, change, span, replace(policy, precedence=precedence))


def _of_rule(rule: PrecedenceRule) -> Iterator[tuple[str, Span | None, PrecedenceRule]]:
    if rule.use in WISHES:
        word = "next" if rule.reject else "reject"
        yield f"on_violation is {word}", rule.span, replace(rule, reject=not rule.reject)
    if rule.when is not None:
        yield "when removed", rule.when.span, replace(rule, when=None)
        for change, span, other in _changed(rule.when):
            yield change, span, replace(rule, when=other)
    if rule.order_by is not None:
        yield "order_by removed", rule.order_by.span, replace(rule, order_by=None)
        for change, span, other in _changed(rule.order_by):
            yield change, span, replace(rule, order_by=other)


def _with(items: tuple[Any, ...], place: int, item: Any) -> tuple[Any, ...]:
    return (*items[:place], item, *items[place + 1 :])


# Conditions.


def _changed(condition: Condition) -> Iterator[tuple[str, Span, Condition]]:
    """Yield a condition with one small change, in words and with its place."""
    for change, node, tree in _trees(condition, condition.tree):
        other = replace(condition, tree=tree, program=Program(tree))
        yield " ".join(change.split()), place_in(condition, node), other


def _trees(condition: Condition, node: Node) -> Iterator[tuple[str, Node, Node]]:
    """Yield what a tree is changed to: the change, the part that is changed, the whole."""
    yield from _at(condition, node)
    for place, child in enumerate(node.children()):
        for change, part, other in _trees(condition, child):
            yield change, part, _with_child(node, place, other)


def _at(condition: Condition, node: Node) -> Iterator[tuple[str, Node, Node]]:
    """Yield what a part itself is changed to."""
    if isinstance(node, Literal) and not isinstance(node.value, bool | str):
        more = node.value + 1
        yield f"{node.value} is {more}", node, replace(node, value=more)
    if not isinstance(node, Apply):
        return
    text = condition.text_of(node)
    if node.function in _TURNED:
        turned = _TURNED[node.function]
        change = f"`{node.function}` is `{turned}` in {text}"
        yield change, node, replace(node, function=turned)
    elif node.function == "in":
        yield f"not {text}", node, Apply(BOOL, node.start, node.end, "!", (node,))
    elif node.function == "!":
        yield f"without `!` in {text}", node, node.arguments[0]
    elif node.function in {"&&", "||"}:
        for place, clause in enumerate(node.arguments):
            rest = (*node.arguments[:place], *node.arguments[place + 1 :])
            other = rest[0] if len(rest) == 1 else replace(node, arguments=rest)
            yield f"without {condition.text_of(clause)}", clause, other


def _with_child(node: Node, place: int, child: Node) -> Node:
    """Return a part with another child in a place, in the order of its children."""
    if isinstance(node, Apply):
        return replace(node, arguments=_with(node.arguments, place, child))
    if isinstance(node, ListOf):
        return replace(node, items=_with(node.items, place, child))
    if isinstance(node, Loop):
        return replace(node, source=child) if place == 0 else replace(node, body=child)
    assert isinstance(node, Bind)  # noqa: S101 - nothing else has children
    return replace(node, value=child) if place == 0 else replace(node, body=child)
