"""The guards of a policy for each of its entries, for any request.

An entry's own attributes are written into the conditions about it. Nothing here compares every rule
with every entry: of each rule only so many kinds of targets are looked at.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Final, TypeAlias

from policy_router.cel.ast import Apply, Attribute, Node
from policy_router.cel.condition import Condition
from policy_router.cel.simplify import (
    TRUE,
    Known,
    conjuncts,
    joined,
    literal,
    reads_of,
    simplified,
    strings,
)
from policy_router.domain import PRICES, ForbidRule, Level, Policy, PoolEntry
from policy_router.policy.mentions import may_be_outside
from policy_router.policy.truth import Reasoner

_CHAINS: Final = frozenset({"&&", "||"})
_MOST_KINDS: Final = 50
"""So many kinds of targets are looked at for one rule; what it does to others is left open."""
_OUTSIDE: Final[Known] = {
    "target.strengths": strings(()),
    "target.supports": strings(()),
    **{f"target.price.{key}": None for key in PRICES},
    "target.context_window": None,
}
"""What is known of a target that is no entry."""

_Kind: TypeAlias = tuple[Node | None, ...]


class Guards:
    """Answers for the guards of one policy.

    Attributes:
        policy: the policy.
        reasoner: knows its names.
    """

    def __init__(self, policy: Policy, reasoner: Reasoner) -> None:
        """Work nothing out yet."""
        self.policy, self.reasoner = policy, reasoner
        self._attributes: dict[int, Known] = {}
        self._folded: dict[tuple[int, _Kind], Node] = {}
        self._kinds: dict[tuple[str, ...], dict[_Kind, list[PoolEntry]]] = {}
        self._decided: dict[Node, bool | None] = {}
        self._read: dict[Node, frozenset[str]] = {}

    def decided(self, node: Node) -> bool | None:
        """Tell what a condition comes to, whatever is asked."""
        if node not in self._decided:
            self._decided[node] = self._decide(node)
        return self._decided[node]

    def leave_open(self, nodes: Iterable[Node]) -> None:
        """Take it that chains of conditions, no part of which is constant, are undecided."""
        chains = (node for node in nodes if isinstance(node, Apply) and node.function in _CHAINS)
        self._decided.update(dict.fromkeys(chains))

    def _decide(self, node: Node) -> bool | None:
        """Reason about a condition; where its operands share no name, about each by itself."""
        if not isinstance(node, Apply) or node.function not in _CHAINS:
            return self.reasoner.decided(node)
        decisive = node.function == "||"
        truths = {self.decided(operand) for operand in node.arguments}
        if decisive in truths or None not in truths:
            return decisive if decisive in truths else not decisive
        names = [self.reads(operand) for operand in node.arguments]
        if sum(map(len, names)) == len(frozenset().union(*names)):
            return None
        return self.reasoner.decided(node)

    def reads(self, node: Node) -> frozenset[str]:
        """Return the names that a condition uses, and those that its variables use."""
        if node not in self._read:
            found, variables = reads_of(node), self.reasoner.variables
            used = (self.reads(variables[path]) for path in found if path in variables)
            self._read[node] = found.union(*used)
        return self._read[node]

    def attributes(self, entry: PoolEntry) -> Known:
        """Return what is known of an entry as a target."""
        if entry.position not in self._attributes:
            prices = {f"price.{key}": getattr(entry.price, key) for key in PRICES}
            numbers = {**prices, "context_window": entry.context_window}
            self._attributes[entry.position] = {
                **{
                    f"target.{key}": None if value is None else literal(value)
                    for key, value in numbers.items()
                },
                **self.outsider(entry.model, entry.provider or None, entry.name),
                "target.strengths": strings(entry.strengths),
                "target.supports": strings(entry.supports or ()),
            }
        return self._attributes[entry.position]

    def outsider(self, model: str, provider: str | None, name: str | None = None) -> Known:
        """Return what is known of a target by its model and its provider, if that is known."""
        texts = {"target.name": name or model, "target.model": model, "target.provider": provider}
        return {key: literal(value) for key, value in texts.items() if value is not None}

    def about(self, condition: Condition | None, target: Known) -> Node:
        """Return a condition about a target; true where there is none."""
        if condition is None:
            return TRUE
        reads = _reads(condition)
        if not reads:
            return condition.tree
        kind = _kind(reads, target)
        key = id(condition.tree), kind
        if key not in self._folded:
            known = {path: target[path] for path in reads if path in target}
            self._folded[key] = simplified(condition.tree, known)
        return self._folded[key]

    def allowed(self, entry: PoolEntry) -> Node:
        """Return the condition under which an entry is allowed."""
        return self.about(entry.allow, self.attributes(entry))

    def never_both(self, one: Node, other: Node) -> bool:
        """Tell whether two conditions are never true together."""
        if self.reads(one).isdisjoint(self.reads(other)):
            return False
        return self.decided(joined("&&", (one, other))) is False

    # What forbid rules do.

    @cached_property
    def forbidden(self) -> Mapping[int, ForbidRule]:
        """The places of the entries that a rule forbids whatever is asked, with the rule."""
        found: dict[int, ForbidRule] = {}
        for rule in self.policy.forbid if self.policy.pool else ():
            for entries, truth in self._for_kinds(rule) if rule.enforce else ():
                if truth:
                    found.update((entry.position, rule) for entry in entries)
        return found

    def forbids_nothing(self, rule: ForbidRule) -> bool:
        """Tell whether a rule is never true, whatever the target."""
        return self.decided(self.about(rule.when, {})) is False or self._always(rule, False)  # noqa: FBT003 - a truth

    def forbids_all(self, rule: ForbidRule) -> bool:
        """Tell whether a rule is true for every target."""
        return self.decided(self.about(rule.when, {})) is True or self._always(rule, True)  # noqa: FBT003 - a truth

    def _always(self, rule: ForbidRule, wanted: bool) -> bool:  # noqa: FBT001 - a truth
        """Tell whether a rule comes to the same for every target there can be."""
        if not _reads(rule.when):
            return False
        left = len(self.policy.pool or ())
        truths = set()
        for entries, truth in self._for_kinds(rule):
            left -= len(entries)
            truths.add(truth)
        truths |= {self.decided(self.about(rule.when, target)) for target in self._outsiders()}
        return left == 0 and truths == {wanted}

    def _outsiders(self) -> Iterator[Known]:
        """Yield what is known of the targets that may be none of the pool."""
        if may_be_outside(self.policy):
            yield _OUTSIDE
        elif self.policy.model is not None:
            yield self.default()

    def forbids_default(self, rule: ForbidRule, target: Known) -> bool:
        """Tell whether a rule forbids the default, whatever is asked."""
        at = {**target, "target.level": literal(Level.CONFIG.value)}
        return rule.enforce and self.decided(self.about(rule.when, at)) is True

    def default(self) -> Known:
        """Return what is known of a default that is no entry."""
        return {**_OUTSIDE, **self.outsider(self.policy.model or "", self.policy.provider)}

    def _for_kinds(self, rule: ForbidRule) -> Iterator[tuple[list[PoolEntry], bool | None]]:
        """Yield the entries of each kind that a rule tells apart, and what it comes to for them."""
        reads = _reads(rule.when)
        kinds = self._kinds_by(reads)
        meant, others = self._meant(rule, reads, kinds)
        if others:
            yield others, False
        for kind in meant[:_MOST_KINDS]:
            known = {path: node for path, node in zip(reads, kind, strict=True) if node != _LEFT}
            yield kinds[kind], self.decided(self.about(rule.when, known))

    def _kinds_by(self, reads: tuple[str, ...]) -> dict[_Kind, list[PoolEntry]]:
        if reads not in self._kinds:
            kinds: defaultdict[_Kind, list[PoolEntry]] = defaultdict(list)
            for entry in self.policy.pool or ():
                kinds[_kind(reads, self.attributes(entry))].append(entry)
            self._kinds[reads] = kinds
        return self._kinds[reads]

    def _meant(
        self, rule: ForbidRule, reads: tuple[str, ...], kinds: dict[_Kind, list[PoolEntry]]
    ) -> tuple[list[_Kind], list[PoolEntry]]:
        """Return the kinds that a rule may be about, and the entries that a comparison excludes."""
        if len(kinds) <= _MOST_KINDS:
            return list(kinds), []
        for part in conjuncts(rule.when.tree):
            comparison = self.reasoner.comparison(part)
            if comparison is None or comparison[1] not in {"==", "in"}:
                continue
            term, function, value = comparison
            if isinstance(term, Attribute) and term.path in reads:
                place, values = reads.index(term.path), value if function == "in" else {value}
                meant = [kind for kind in kinds if getattr(kind[place], "value", None) in values]
                kept = set(meant)
                return meant, [
                    it for kind, them in kinds.items() if kind not in kept for it in them
                ]
        return list(kinds), []


_LEFT: Final = Attribute(TRUE.type, 0, 0, "")
"""Stands for a value that is not known."""


def _reads(condition: Condition) -> tuple[str, ...]:
    return tuple(sorted(path for path in condition.reads if path.startswith("target.")))


def _kind(reads: tuple[str, ...], target: Known) -> _Kind:
    return tuple(target.get(path, _LEFT) for path in reads)
