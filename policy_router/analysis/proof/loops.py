"""Loops over lists as formulas: a list of a request has elements that nobody knows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from policy_router.analysis.proof.items import Items
from policy_router.analysis.proof.names import ELEMENT, MOST_PLACES, text_name
from policy_router.analysis.proof.numbers import node_name
from policy_router.analysis.proof.solver import FALSE, TRUE
from policy_router.analysis.proof.terms import Number
from policy_router.analysis.proof.trees import (
    ANY_TEXT,
    MOST_PIECES,
    Truths,
    Values,
    binds,
    opened,
    size_of,
    written,
)
from policy_router.cel.ast import BOOL, INT, STRING, STRINGS, Apply, Loop, LoopVariable, Node
from policy_router.cel.simplify import literal, simplified

if TYPE_CHECKING:
    from policy_router.analysis.proof.conditions import Conditions

_MOST_ELEMENTS: Final = 8
MOST_WORK: Final = 300_000
"""What is made of loops, in clauses: all further loops of a policy are left open."""
_CLAUSES: Final = 30
"""The clauses that are made in the time in which an element is written into a body."""
_MOST_LISTS: Final = 8


class Loops:
    """Understands the macros that walk a list."""

    def __init__(self, conditions: Conditions) -> None:
        """Use what is known of other expressions."""
        self._all, self._formula = conditions, conditions.formula
        self._depth = self._clauses = self._written = 0

    def truths(self, node: Loop) -> Truths:
        """Return what a loop that is true or false comes to."""
        if self._work() > MOST_WORK:
            return self._all.left_open(node)
        self._clauses += 0 if self._depth else -self._formula.clauses
        self._depth += 1
        found = self._truths(node)
        self._depth -= 1
        self._clauses += 0 if self._depth else self._formula.clauses
        return found

    def _work(self) -> int:
        """Return how much was made of loops so far, in clauses."""
        clauses = self._clauses + (self._formula.clauses if self._depth else 0)
        return clauses + _CLAUSES * self._written

    def _truths(self, node: Loop) -> Truths:
        inner = self._all.resolved(node.source)
        if isinstance(inner, Loop) and (other := self._unfolded(node, inner)) is not None:
            return self._all.made(inner, self._all.truth(other))
        if node.macro == "exists_one":
            kept = replace(node, macro="filter", type=STRINGS)
            return self._all.truth(
                Apply(BOOL, 0, 0, "==", (Apply(INT, 0, 0, "size", (kept,)), literal(1)))
            )
        if (member := self._member(node)) is not None:
            return self._all.truth(member)
        lists = self._all.lists(node.source)
        if lists is None or node.macro not in {"all", "exists"} or len(lists) > _MOST_LISTS:
            return self._all.left_open(node)
        true, false = [], []
        for where, parts in lists:
            found = self._walked(node, parts)
            if found is None:
                return self._all.left_open(node)
            true.append(self._formula.all(where, found[0]))
            false.append(self._formula.all(where, found[1]))
        return self._formula.any(*true), self._formula.any(*false)

    def _unfolded(self, node: Loop, inner: Loop) -> Loop | None:
        """Return a loop over another loop's list as one over the list below."""
        if node.macro not in {"all", "exists"} or binds(node.body, inner.variable):
            return None
        if inner.macro == "map":
            body = written(node.body, {node.variable: inner.body})
        else:
            here = written(node.body, {node.variable: LoopVariable(STRING, 0, 0, inner.variable)})
            kept = inner.body
            if node.macro == "exists":
                body = Apply(BOOL, 0, 0, "&&", (kept, here))
            else:
                body = Apply(BOOL, 0, 0, "||", (Apply(BOOL, 0, 0, "!", (kept,)), here))
        return replace(node, variable=inner.variable, source=inner.source, body=body)

    def _member(self, node: Loop) -> Node | None:
        """Return a loop that looks for one text as a question of what is in the list."""
        body, sign = node.body, {"exists": "==", "all": "!="}.get(node.macro)
        if not isinstance(body, Apply) or body.function != sign:
            return None
        for one, other in (body.arguments, body.arguments[::-1]):
            is_element = isinstance(one, LoopVariable) and one.name == node.variable
            if is_element and other == written(other, {node.variable: ANY_TEXT}):
                if other.type != STRING or self._all.may_fail(other):
                    return None
                found = Apply(BOOL, 0, 0, "in", (other, node.source))
                return found if sign == "==" else Apply(BOOL, 0, 0, "!", (found,))
        return None

    def _walked(self, node: Loop, parts: Sequence[Items | Node]) -> Truths | None:
        if size_of(node.body) > MOST_PIECES:
            return None
        side = 0 if node.macro == "exists" else 1
        found = []
        for part in parts:
            if isinstance(part, Items):
                found.append(self._some_of(node, part, side))
            else:
                at = self._at(node, part)
                found.append((at[side], at[1 - side]))
        # An element that is a name, and absent, makes the list fail.
        defined = [self._defined(it) for it in parts if not isinstance(it, Items)]
        true = self._formula.all(*defined, self._formula.any(*[it[0] for it in found]))
        false = self._formula.all(*defined, *[it[1] for it in found])
        return (true, false) if side == 0 else (false, true)

    def _defined(self, node: Node) -> int:
        if not self._all.may_fail(node):
            return TRUE
        values = self._all.values(node) if node.type != BOOL else None
        self._all.is_exact = False
        return (
            self._formula.new() if values is None else self._formula.any(*[it for it, _ in values])
        )

    def _at(self, node: Loop, element: Node) -> Truths:
        """Return what the body of a loop comes to for an element."""
        self._written += 1
        return self._all.truth(simplified(written(node.body, {node.variable: element}), {}))

    def _some_of(self, node: Loop, items: Items, side: int) -> Truths:
        """Return whether the body is so for an element, and whether it is not for any."""
        formula = self._formula
        is_total = not self._all.may_fail(opened(node))
        true = formula.new()
        false = -true if is_total else formula.new()
        instances = self._instances(node, items)
        name, is_in = self._all.names.element(items)
        found = self._at(node, name)
        formula.add(-true, formula.all(is_in, found[side]))
        instances.append((is_in, found))
        if not is_total:
            formula.add(-true, -false)
            other, is_also_in = self._all.names.element(items)
            failing = self._at(node, other)
            formula.add(true, false, formula.all(is_also_in, -failing[1 - side]))
            instances.append((is_also_in, failing))
        for member, truths in instances:
            formula.add(-member, -truths[side], true)
            formula.add(-false, -member, truths[1 - side])
        return true, false

    def _instances(self, node: Loop, items: Items) -> list[tuple[int, Truths]]:
        """Return what the body comes to for each element that has a name."""
        found = [(items.has(word), self._at(node, literal(word))) for word in [*items.words]]
        named = [it for it in items.elements if it[0].name in self._all.names.terms][
            :_MOST_ELEMENTS
        ]
        for text, is_in in named:
            if not text.name.startswith(ELEMENT) or len(found) < MOST_PIECES:
                found.append((is_in, self._at(node, text_name(text.name))))
        return found

    # Lists that loops make.

    def made(self, node: Loop) -> int:
        """Return whether the body of a loop has a value for each element."""
        if not self._all.may_fail(opened(node)):
            return TRUE
        signs = (Apply(BOOL, 0, 0, it, (node.body, node.body)) for it in ("==", "!="))
        has_value = Apply(BOOL, 0, 0, "||", tuple(signs))
        return self._all.truth(replace(node, type=BOOL, macro="all", body=has_value))[0]

    def counted(self, node: Loop) -> Values | None:
        """Return how many elements of a list a filter keeps."""
        lists = self._all.lists(node.source)
        if lists is None or len(lists) > _MOST_LISTS or size_of(node.body) > MOST_PIECES:
            return None
        found: Values = []
        for where, parts in lists:
            for part in parts:  # what a loop says of each element, it says of those it knows
                if isinstance(part, Items):
                    self._all.names.first(part)
            defined = [self._defined(it) for it in parts if not isinstance(it, Items)]
            is_made = self._formula.all(self.made(node), *defined)
            found.append((self._formula.all(where, is_made), self._count(node, parts, is_made)))
        return found

    def _count(self, node: Loop, parts: Sequence[Items | Node], is_made: int) -> Number:
        """Return how many elements of the parts of a list a filter keeps."""
        formula, hits, sizes = self._formula, list[int](), list[Number]()
        for part in parts:
            if isinstance(part, Items):
                first = self._all.names.first(part)
                hits += [formula.all(there, self._at(node, name)[0]) for name, there in first]
                sizes.append(part.size)
            else:
                hits.append(self._at(node, part)[0])
        at_least = formula.counted(hits)
        beyond = formula.any(*[-size.at_most(MOST_PLACES) for size in sizes])
        is_any = self._all.truth(replace(node, type=BOOL, macro="exists"))[0]

        def derive(key: Hashable, _test: object) -> int:
            bound = key[1]  # type: ignore[index]
            literal_ = formula.new()
            more = at_least[bound] if bound < len(at_least) else FALSE
            formula.add(-more, -literal_)
            formula.add(more, literal_, beyond)
            if bound == 0:
                formula.same(literal_, -is_any, where=is_made)
            if len(parts) == len(sizes) == 1:
                formula.imply(sizes[0].at_most(bound), literal_)
            return literal_

        most = sum(it.high for it in sizes) + len(hits)
        return Number(formula, node_name(node), 0, int(most), derive)
