"""Finds entries and rules that never matter, and guards that do not guard."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from policy_router.cel.ast import BOOL, Apply, ListOf, Literal, Node
from policy_router.cel.simplify import (
    FALSE,
    TRUE,
    Known,
    conjuncts,
    literal,
    simplified,
    strings,
)
from policy_router.cel.vocabulary import REQUEST_NAMES, Name, default_of
from policy_router.diagnostics.codes import Code
from policy_router.diagnostics.model import Diagnostic, quote
from policy_router.domain import ForbidRule, Level, Policy, PoolEntry, PrecedenceRule
from policy_router.policy.guards import Guards
from policy_router.policy.sections import Piece, Sections
from policy_router.policy.written import Written, entries

_ASSERTED: Final = ("call.", "task.")
_MOST_PICKS: Final = 50
"""With so many different conditions a later one is compared."""


def about_conditions(
    guards: Guards, written: Iterable[Written], explained: set[str]
) -> Iterator[Diagnostic]:
    """Yield what is wrong with conditions as wholes.

    Args:
        guards: the guards of the policy.
        written: its conditions.
        explained: the paths of those of which a part is known to be constant.
    """
    for each in written:
        found: Iterable[Diagnostic] = ()
        if isinstance(each.of, PoolEntry):
            found = _of_entry(guards, each, each.of)
        elif isinstance(each.of, ForbidRule):
            found = _of_forbid(guards, each, each.of)
        elif isinstance(each.of, PrecedenceRule) and each.key == "when":
            found = _of_rule(guards, each)
        for item in found:
            if item.code is Code.ONLY_ASSERTED or each.piece.path not in explained:
                yield item


def _of_entry(guards: Guards, each: Written, entry: PoolEntry) -> Iterator[Diagnostic]:
    name, tree = quote(entry.name), guards.about(each.condition, guards.attributes(entry))
    truth = guards.decided(tree)
    if each.key == "allow":
        if truth is False:
            message = f"the entry {name} can never be used: its `allow` is never true"
            yield each.finding(Code.NEVER_ADMITTED, message)
        elif truth is None and _only_asserted(guards, tree):
            message = "this permission depends only on what the agent claims"
            remedy = "add facts of the host, such as `caller.team` or `caller.roles`"
            yield each.finding(Code.ONLY_ASSERTED, message, remedy, hint=True)
    elif truth is False:
        message = f"the pool never picks {name}: its `pick` is never true"
        is_plain = isinstance(each.condition.tree, Literal)
        help_ = "leave it out: an entry without `pick` is never picked" if is_plain else None
        yield each.finding(Code.NEVER_DECIDES, message, help_, hint=is_plain)
    elif guards.decided(allowed := guards.allowed(entry)) is None and guards.never_both(
        allowed, tree
    ):
        message = f"the pool never picks {name}: `pick` and `allow` are never true together"
        yield each.finding(Code.NEVER_DECIDES, message)


def _of_forbid(guards: Guards, each: Written, rule: ForbidRule) -> Iterator[Diagnostic]:
    if guards.forbids_nothing(rule):
        message = f"the rule {quote(rule.id)} never forbids anything: its `when` is never true"
        yield each.finding(Code.NEVER_DECIDES, message)
    elif guards.forbids_all(rule):
        message = f"the rule {quote(rule.id)} forbids every target: its `when` is always true"
        yield each.finding(Code.NEVER_DECIDES, message)


def _of_rule(guards: Guards, each: Written) -> Iterator[Diagnostic]:
    if guards.decided(each.condition.tree) is False:
        yield each.finding(Code.NEVER_DECIDES, "this rule is never used: its `when` is never true")


def _nothing(name: Name) -> Node | None:
    value = None if name.optional else default_of(name)
    return strings(value) if isinstance(value, tuple) else None if value is None else literal(value)


def _nothing_asserted(policy: Policy) -> Known:
    """Return what is known, variables included, where an agent says nothing."""
    asserted = [name for name in REQUEST_NAMES if name.path.startswith(_ASSERTED)]
    known: dict[str, Node | None] = {name.path: _nothing(name) for name in asserted}
    for variable in policy.variables:
        tree = simplified(variable.condition.tree, known)
        if isinstance(tree, Literal | ListOf):
            known[f"variables.{variable.name}"] = tree
    return known


def _only_asserted(guards: Guards, allowed: Node) -> bool:
    """Tell whether a condition reads only what an agent asserts, and is false where it does not.

    What is true where nothing is asserted only restricts.
    """
    reads = guards.reads(allowed) - guards.reasoner.variables.keys()
    if not reads or not all(path.startswith(_ASSERTED) for path in reads):
        return False
    known = guards.policy.prepared(_nothing_asserted)
    return guards.decided(simplified(allowed, known)) is not True


def about_the_whole(guards: Guards, sections: Sections) -> Iterator[Diagnostic]:
    """Yield what is wrong with the default, fallbacks, guards of one model, and rules."""
    policy = guards.policy
    written = entries(policy, sections)
    yield from _default(guards, sections)
    yield from _fallbacks(guards, written)
    yield from _weaker(guards, written)
    yield from _unpicked(policy, sections)
    yield from _picked_before(guards, written)


def _default(guards: Guards, sections: Sections) -> Iterator[Diagnostic]:
    policy, piece = guards.policy, sections.one("model")
    if piece is None or not any(rule.use is Level.CONFIG for rule in policy.precedence):
        return
    candidates: list[PoolEntry | None] = [it for it in policy.pool or () if _is_default(policy, it)]
    reasons = [_against_default(guards, entry) for entry in candidates or [None]]
    if all(reasons):
        message = f"the default {quote(policy.model or '')} is never admitted: {reasons[0]}"
        yield piece.warning(Code.NEVER_ADMITTED, message, "choose another default")


def _is_default(policy: Policy, entry: PoolEntry) -> bool:
    provider = policy.provider or ""
    return entry.model == policy.model and entry.provider in {provider, ""}


def _against_default(guards: Guards, entry: PoolEntry | None) -> str | None:
    """Return why a default is never admitted, or None."""
    target = guards.default() if entry is None else guards.attributes(entry)
    at = {**target, "target.level": literal(Level.CONFIG.value)}
    if entry is not None and guards.decided(guards.about(entry.allow, at)) is False:
        return "its `allow` is never true"
    rules = (rule.id for rule in guards.policy.forbid if guards.forbids_default(rule, target))
    found = next(rules, None)
    return None if found is None else f"the rule {quote(found)} forbids it"


def _fallbacks(guards: Guards, written: list[tuple[Piece, PoolEntry]]) -> Iterator[Diagnostic]:
    named: defaultdict[str, list[PoolEntry]] = defaultdict(list)
    for _, entry in written:
        named[entry.name].append(entry)
    for piece, entry in written:
        fallback = piece.get("fallback")
        if fallback is None or guards.decided(guards.allowed(entry)) is False:
            continue
        for item in fallback.items():
            others = named.get(item.text() or "", [])
            reasons = [_against_fallback(guards, entry, other) for other in others]
            if reasons and all(reasons):
                message = f"the fallback {quote(item.text() or '')} is never admitted: {reasons[0]}"
                yield item.warning(Code.NEVER_ADMITTED, message)


def _against_fallback(guards: Guards, entry: PoolEntry, other: PoolEntry) -> str | None:
    if rule := guards.forbidden.get(other.position):
        return f"the rule {quote(rule.id)} always forbids it"
    allowed = guards.allowed(other)
    if allowed is TRUE or other is entry:
        return None
    if guards.decided(allowed) is False:
        return "its `allow` is never true"
    if guards.never_both(guards.allowed(entry), allowed):
        return "its `allow` is never true where this entry's is"
    return None


def _weaker(guards: Guards, written: list[tuple[Piece, PoolEntry]]) -> Iterator[Diagnostic]:
    """Yield guarded entries whose target can be had through another entry, with less of a guard."""
    targets: defaultdict[tuple[str, str], list[tuple[Piece, PoolEntry]]] = defaultdict(list)
    for piece, entry in written:
        targets[entry.model, entry.provider].append((piece, entry))
    for them in targets.values():
        if len(them) > 1:
            parts = [set(conjuncts(guards.allowed(entry))) - {TRUE} for _, entry in them]
            least = min(range(len(them)), key=lambda place: len(parts[place]))
            for (piece, entry), own in zip(them, parts, strict=True):
                if own > parts[least] and FALSE not in own:
                    yield _circumvented(piece, entry, them[least][1])


def _circumvented(piece: Piece, entry: PoolEntry, other: PoolEntry) -> Diagnostic:
    name = quote(other.name)
    message = f"{name} is the same model with a weaker `allow`"
    remedy = f"give {name}, at {other.span}, the same guard, or forbid by `target.model`"
    place = piece.get("allow") or piece
    is_same = (entry.parameters, entry.limits) == (other.parameters, other.limits)
    report = place.warning if is_same else place.hint
    return report(Code.WEAKER_GUARD, message, remedy)


def _unpicked(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    if policy.pool is None or any(entry.pick is not None for entry in policy.pool):
        return
    for piece in sections.joined("precedence") or ():
        use = piece.get("use")
        if use is not None and use.text() == Level.POOL and piece.get("entry") is None:
            message = "the pool proposes nothing here: no entry has a `pick`"
            remedy = "give an entry a `pick`, or name one with `entry`"
            yield use.warning(Code.NEVER_DECIDES, message, remedy)


def _picked_before(guards: Guards, written: list[tuple[Piece, PoolEntry]]) -> Iterator[Diagnostic]:
    """Yield entries whose place in the pool leaves nothing to their `pick`."""
    rules = [it for it in guards.policy.precedence if it.use is Level.POOL and it.entry is None]
    if not rules or any(it.order_by is not None or it.falls_to_candidates for it in rules):
        return
    earlier: dict[Node, PoolEntry] = {}
    for piece, entry in written:
        if entry.pick is None:
            continue
        tree = guards.about(entry.pick, guards.attributes(entry))
        covering = (it for pick, it in earlier.items() if _covers(guards, pick, tree))
        if guards.decided(tree) is not False and (first := next(covering, None)) is not None:
            name = quote(first.name)
            message = f"the pool never picks {quote(entry.name)}: {name} is picked in all its cases"
            remedy = f"put it before {name}, or give the rule of the pool an `order_by`"
            place = piece.get("pick") or piece
            yield place.warning(Code.NEVER_DECIDES, message, remedy)
        elif len(earlier) < _MOST_PICKS and _is_never_rejected(guards, entry):
            earlier.setdefault(tree, entry)


def _covers(guards: Guards, pick: Node, later: Node) -> bool:
    """Tell whether a `pick` is true wherever a later one is."""
    if pick == later or guards.decided(pick) is True:
        return True
    return guards.never_both(later, Apply(BOOL, 0, 0, "!", (pick,)))


def _is_never_rejected(guards: Guards, entry: PoolEntry) -> bool:
    """Tell whether no guard can be against an entry: another one never has to stand in for it."""
    at = {**guards.attributes(entry), "target.level": literal(Level.POOL.value)}
    return (
        guards.about(entry.allow, at) is TRUE
        and bool(entry.provider)
        and entry.supports is None
        and entry.context_window is None
        and not entry.limits
        and all(
            guards.decided(guards.about(rule.when, at)) is False
            for rule in guards.policy.forbid
            if rule.enforce
        )
    )
