"""Lists as formulas: what is in them, and what they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

from policy_router.analysis.proof.items import Items
from policy_router.analysis.proof.names import MOST_PLACES
from policy_router.analysis.proof.solver import FALSE, TRUE
from policy_router.analysis.proof.terms import Text
from policy_router.analysis.proof.trees import MOST_CASES, Truths, chosen, parts_of, written
from policy_router.cel.ast import (
    BOOL,
    STRING,
    Apply,
    Attribute,
    Bind,
    ListOf,
    Literal,
    Loop,
    Node,
    TableOf,
)
from policy_router.cel.simplify import literal
from policy_router.cel.texts import MAX_LIST

if TYPE_CHECKING:
    from policy_router.analysis.proof.conditions import Conditions

ListCases: TypeAlias = list[tuple[int, tuple[Items | Node, ...]]]
"""What a list may come to: its parts, each with where."""


class Lists:
    """Understands what is asked of lists."""

    def __init__(self, conditions: Conditions) -> None:
        """Use what is known of other expressions."""
        self._all, self._formula = conditions, conditions.formula

    def is_in(self, node: Apply) -> Truths:
        """Return whether something is in a list or a table."""
        item, items = node.arguments[0], self._all.resolved(node.arguments[1])
        if isinstance(items, Loop) and items.macro in {"map", "filter"}:
            return self._is_in_loop(item, items, node)
        values = self._all.values(item)
        if isinstance(items, TableOf) and values is not None:
            return self._all.over(
                (where, TRUE, self._is_one_of(value, items.values)) for where, value in values
            )
        lists = self.of(items)
        if values is None or lists is None or len(values) * len(lists) > MOST_CASES:
            return self._all.left_open(node)
        cases = []
        for also, parts in lists:
            for where, value in values:
                found = self._member(value, parts)
                if found is None:
                    return self._all.left_open(node)
                cases.append((self._formula.all(where, also), *found))
        return self._all.over((where, defined, is_in) for where, is_in, defined in cases)

    def _is_in_loop(self, item: Node, items: Loop, node: Apply) -> Truths:
        """Understand whether something is in a list that a loop makes."""
        if item.type != STRING or self._all.may_fail(item):  # it does so beside an empty list, too
            return self._all.left_open(node)
        if items.macro == "filter":
            is_there = Apply(BOOL, 0, 0, "in", (item, items.source))
            is_kept = written(items.body, {items.variable: item})
            no = literal(False)  # noqa: FBT003 - it is data
            tree: Node = Apply(BOOL, 0, 0, "?:", (is_there, is_kept, no))
        else:
            equal = Apply(BOOL, 0, 0, "==", (items.body, item))
            tree = replace(items, type=BOOL, macro="exists", body=equal)
        return self._all.made(items, self._all.truth(tree))

    def _is_one_of(self, value: Any, words: Any) -> int:
        if isinstance(value, Text):
            return self._formula.any(*[value.equals(word) for word in words])
        return TRUE if value in words else FALSE

    def _member(self, value: Any, parts: Sequence[Items | Node]) -> Truths | None:
        """Return whether a value is in a list, and whether all elements have values."""
        found, defined = [], []
        for part in parts:
            if isinstance(part, Items):
                found.append(part.has_text(value) if isinstance(value, Text) else part.has(value))
                continue
            elements = self._all.values(part)
            if elements is None:
                return None
            defined.append(self._formula.any(*[where for where, _ in elements]))
            found += [
                self._formula.all(where, self._all.comparison("==", value, it))
                for where, it in elements
            ]
        return self._formula.any(*found), self._formula.all(*defined)

    def equal(self, node: Apply) -> Truths:
        """Understand comparisons of two lists, place by place."""
        one, two = (self.of(it) for it in node.arguments)
        if one is None or two is None or len(one) * len(two) > MOST_CASES:
            return self._all.left_open(node)
        cases = []
        for where, left in one:
            for also, right in two:
                found = self._equal(left, right)
                if found is None:
                    return self._all.left_open(node)
                cases.append((where, also, found if node.function == "==" else -found))
        return self._all.over(iter(cases))

    def _equal(self, left: Sequence[Items | Node], right: Sequence[Items | Node]) -> int | None:
        """Return whether two lists are equal; None where it is not understood."""
        if isinstance(left[0] if left else None, Items):
            left, right = right, left
        nodes = [it for it in left if not isinstance(it, Items)]
        items = [it for it in right if isinstance(it, Items)]
        if any(self._all.may_fail(it) or it.type != STRING for it in nodes):
            return None
        if not left and len(items) == len(right):
            return self._formula.all(*[it.size.at_most(0) for it in items])
        if len(right) != 1 or not items:
            return None
        if len(nodes) == len(left):
            return self._consists(items[0], nodes)
        others = [it for it in left if isinstance(it, Items)]
        return self._same(items[0], others[0]) if len(left) == len(others) == 1 else None

    def _consists(self, items: Items, nodes: Sequence[Node]) -> int:
        """Return whether a list has just some elements, in their order."""
        pairs = [(self._all.names.at(items, place), it) for place, it in enumerate(nodes)]
        return self._formula.all(
            items.size.compared("==", len(nodes)), *[self._all.same(*pair) for pair in pairs]
        )

    def _same(self, one: Items, two: Items) -> int:
        """Return whether two lists are equal: of long ones, that is not known."""
        if one is two:
            return TRUE
        formula, first = self._formula, self._all.names.first
        sizes = self._all.comparison("==", one.size, two.size)
        same = [
            formula.any(-there, self._all.same(name, other))
            for (name, there), (other, _) in zip(first(one), first(two), strict=True)
        ]
        rest = formula.any(one.size.at_most(MOST_PLACES), formula.new())
        found = formula.all(sizes, *same, rest)
        for word in dict.fromkeys((*one.words, *two.words)):
            formula.same(one.has(word), two.has(word), where=found)
        return found

    def sets(self, node: Apply) -> Truths:
        """Understand ``sets`` functions about the constants of a list."""
        (one, two), contains = ((self.of(it) for it in node.arguments), "contains" in node.function)
        if one is None or two is None or len(one) != 1 or len(two) != 1:
            return self._all.left_open(node)
        (where, left), (also, right) = one[0], two[0]
        if any(isinstance(it, Items) for it in right) and not contains:
            left, right = right, left
        if any(not isinstance(it, Items) and self._all.may_fail(it) for it in left):
            return self._all.left_open(node)
        found = []
        for it in right:
            word = it.value if isinstance(it, Literal) else None
            member = self._member(word, left) if isinstance(word, str) else None
            if member is None:
                return self._all.left_open(node)
            found.append(member[0])
        is_so = self._formula.all(*found) if contains else self._formula.any(*found)
        return self._formula.all(where, also, is_so), self._formula.all(where, also, -is_so)

    def of(self, node: Node) -> ListCases | None:
        """Return what a list comes to: lists of a request, and single elements, one by one."""
        match node:
            case ListOf():
                return [(TRUE, node.items)]
            case Attribute() if node.path in self._all.variables:
                tree = self._all.variables[node.path].tree
                return None if self._all.may_run_out(tree) else self.of(tree)
            case Attribute():
                return [
                    (it.where, parts_of(it.value))
                    for it in self._all.names.seen(self._all.policy, node.path)
                ]
            case Bind():
                body = self._all.bound(node)
                return None if body is None else self.of(body)
            case Apply(function="?:"):
                test, *branches = node.arguments
                one, two = (self.of(it) for it in branches)
                return chosen(self._formula, self._all.truth(test), one, two)
            case Apply(function="+"):
                one, two = (self.of(it) for it in node.arguments)
                if one is None or two is None or len(one) * len(two) > MOST_CASES:
                    return None
                if self._all.failing.longest(node) > MAX_LIST:  # it fails where it is too long
                    return None
                return [
                    (self._formula.all(where, also), (*left, *right))
                    for where, left in one
                    for also, right in two
                ]
        return None
