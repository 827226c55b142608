"""Finds guards that do less than they seem to: ways around them, and what they let through."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from policy_router.cel.ast import BOOL, Attribute, ListOf, Literal, Loop, Node
from policy_router.cel.simplify import Known, conjuncts, literal, simplified, strings
from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import Diagnostic, quote
from policy_router.domain import WISHES, ForbidRule, Policy, PoolEntry
from policy_router.policy.guards import Guards
from policy_router.policy.written import Written

_WISHED: Final = ("call.model", "task.model", "call.provider", "task.provider")
_MOST_PAIRS: Final = 5_000
"""With more pairs of forbid rules and entries, each entry is taken to be guarded."""
_ROLES: Final = "caller.roles"
_IDENTITY: Final = frozenset({"caller.team", _ROLES})


def findings(guards: Guards, written: list[Written]) -> Iterator[Diagnostic]:
    """Yield the conditions that guard less than they seem to.

    Args:
        guards: the guards of a policy without errors.
        written: its conditions.
    """
    twins = _twins(guards.policy)
    for each in written:
        if isinstance(each.of, ForbidRule) and each.of.enforce:
            yield from _of_wish(guards, each, each.of)
            yield from _of_twin(guards, each, each.of, twins)
            yield from _without_fact(guards, each, each.of)
        elif isinstance(each.of, PoolEntry) and each.key == "allow":
            yield from _without_value(guards, each, each.of)
    yield from _only_picked(guards, written)


# What forbid rules leave open.


def _compared(guards: Guards, tree: Node) -> Iterator[tuple[str, frozenset[Any]]]:
    """Yield the names that have to be one of some values where a condition is true."""
    for part in conjuncts(tree):
        match guards.reasoner.comparison(part):
            case Attribute(path=path), "==", value:
                yield path, frozenset((value,))
            case Attribute(path=path), "in", values:
                yield path, values


def _of_wish(guards: Guards, each: Written, rule: ForbidRule) -> Iterator[Diagnostic]:
    """Yield a rule that looks at the wish for a model, and not at the target."""
    if any(path.startswith("target.") for path in rule.when.reads):
        return
    if any(path in _WISHED for path, _ in _compared(guards, rule.when.tree)):
        message = "this forbids a wish: other rules may still select the same target"
        remedy = "to forbid the target, write `target.name`, `target.model` or `target.provider`"
        yield each.finding(Code.WEAKER_GUARD, message, remedy, hint=True)


def _of_twin(
    guards: Guards,
    each: Written,
    rule: ForbidRule,
    twins: Mapping[str, list[PoolEntry]],
) -> Iterator[Diagnostic]:
    """Yield a rule that forbids an entry by its name, and not another one of the same model."""
    named = [values for path, values in _compared(guards, rule.when.tree) if path == "target.name"]
    if not named:
        return
    for name in sorted(named[0] & twins.keys()):
        meant = next(it for it in twins[name] if it.name == name)
        others = (it for it in twins[name] if it.name not in named[0])
        other = next((it for it in others if not _is_guarded(guards, it)), None)
        if other is not None:
            message = f"{quote(other.name)} is the same model, and this does not forbid it"
            remedy = "forbid by `target.model`, or name both"
            same = (other.parameters, other.limits) == (meant.parameters, meant.limits)
            yield each.finding(Code.WEAKER_GUARD, message, remedy, hint=not same)
            return


def _twins(policy: Policy) -> Mapping[str, list[PoolEntry]]:
    """Return the entries of one target, by the name of each, where there are several."""
    targets: defaultdict[tuple[str, str], list[PoolEntry]] = defaultdict(list)
    for entry in policy.pool or ():
        targets[entry.model, entry.provider].append(entry)
    return {it.name: them for them in targets.values() if len(them) > 1 for it in them}


def _is_guarded(guards: Guards, entry: PoolEntry) -> bool:
    """Tell whether some rule, or its own `allow`, may reject an entry."""
    at, rules = guards.attributes(entry), [it for it in guards.policy.forbid if it.enforce]
    if entry.allow is not None or len(rules) * len(guards.policy.pool or ()) > _MOST_PAIRS:
        return True
    return any(guards.decided(guards.about(it.when, at)) is not False for it in rules)


# What is not given.


def _where(policy: Policy, tree: Node, known: Known) -> Node:
    """Write what is known into a condition, and into the variables that it uses."""
    known = dict(known)
    for variable in policy.variables:
        value = simplified(variable.condition.tree, known)
        if isinstance(value, Literal | ListOf):
            known[f"variables.{variable.name}"] = value
    return simplified(tree, known)


def _without_fact(guards: Guards, each: Written, rule: ForbidRule) -> Iterator[Diagnostic]:
    """Yield a rule that forbids nothing where an optional fact is not given."""
    for fact in guards.policy.facts.values():
        path = f"facts.{fact.name}"
        is_optional = fact.default is None and not fact.required and fact.type != BOOL
        if is_optional and path in rule.when.reads:
            tree = _where(guards.policy, rule.when.tree, {path: None})
            if guards.decided(tree) is False:
                message = f"the rule {quote(rule.id)} forbids nothing without `{path}`"
                remedy = f"write `!has({path}) || ...`, or declare the fact `required: true`"
                yield each.finding(Code.LETS_THROUGH, message, remedy, hint=True)


def _without_value(guards: Guards, each: Written, entry: PoolEntry) -> Iterator[Diagnostic]:
    """Yield an `allow` that is true of a value which is dropped, or of an empty list."""
    tree, policy = guards.allowed(entry), guards.policy
    reads = guards.reads(tree)
    for path, closed in policy.closed.items():
        if closed.drops and path in reads and _is_met(guards, tree, path):
            message = f"an unknown `{path}` counts as not given, and this is true of it"
            remedy = "name the values that are allowed, or write `unknown: refuse`"
            yield each.finding(Code.LETS_THROUGH, message, remedy, hint=True)
            return
    if any(map(_is_about_all, conjuncts(tree))) and _is_met(guards, tree, _ROLES):
        message = "`all` is true of an empty list: a caller without roles is allowed"
        remedy = "write `caller.roles != [] && ...` before it"
        yield each.finding(Code.LETS_THROUGH, message, remedy, hint=True)


def _is_met(guards: Guards, tree: Node, path: str) -> bool:
    """Tell whether what a condition asks of a name is true where the name has no value."""
    nothing: Node = strings(()) if path == _ROLES else literal("")
    asked = [part for part in conjuncts(tree) if path in guards.reads(part)]
    return path not in guards.policy.required and all(
        _is_about_all(part) or guards.decided(_where(guards.policy, part, {path: nothing}))
        for part in asked
    )


def _is_about_all(part: Node) -> bool:
    """Tell whether a condition says something about each role of the caller."""
    match part:
        case Loop(macro="all", source=Attribute(path=path)):
            return path == _ROLES
    return False


def _only_picked(guards: Guards, written: list[Written]) -> Iterator[Diagnostic]:
    """Yield the first `pick` by the caller's identity where everybody may ask for the entry."""
    if not any(rule.use in WISHES for rule in guards.policy.precedence):
        return
    open_ones = [each for each in written if each.key == "pick" and _is_open(guards, each)]
    for each in open_ones[:1]:
        more = f" (and {len(open_ones) - 1} more)" if len(open_ones) > 1 else ""
        name = each.of.name if isinstance(each.of, PoolEntry) else ""
        message = f"a `pick` does not restrict: every caller may ask for {quote(name)}{more}"
        remedy = "if only these callers may use it, write an `allow`"
        yield each.finding(Code.ONLY_PICKED, message, remedy, hint=True)


def _is_open(guards: Guards, each: Written) -> bool:
    """Tell whether a `pick` depends on the caller, and nothing else of the entry does."""
    policy, entry = guards.policy, each.of
    if not isinstance(entry, PoolEntry) or entry.pick is None or entry.model == policy.model:
        return False
    tree = guards.about(entry.pick, guards.attributes(entry))
    by_caller = not _IDENTITY.isdisjoint(guards.reads(tree))
    return by_caller and guards.decided(tree) is None and not _is_guarded(guards, entry)
