"""Loops over lists as formulas: a list of a request has elements that nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from policy_router.analysis.proof.names import ELEMENT, text_name
from policy_router.analysis.proof.solver import FALSE, TRUE
from policy_router.analysis.proof.terms import Items
from policy_router.analysis.proof.trees import MOST_PIECES, Truths, binds, opened, size_of, written
from policy_router.cel.ast import BOOL, STRING, Apply, Loop, LoopVariable, Node
from policy_router.cel.simplify import literal, simplified

if TYPE_CHECKING:
    from policy_router.analysis.proof.conditions import Conditions

_MOST_ELEMENTS: Final = 8


class Loops:
    """Understands the macros that walk a list."""

    def __init__(self, conditions: Conditions) -> None:
        """Use what is known of other expressions."""
        self._all, self._formula = conditions, conditions.formula

    def truths(self, node: Loop) -> Truths:
        """Return what a loop that is true or false comes to."""
        if (other := self._unfolded(node)) is not None:
            return self._all.truth(other)
        lists = self._all.lists(node.source)
        if lists is None or node.macro not in {"all", "exists", "exists_one"} or len(lists) > 8:  # noqa: PLR2004
            return self._all.left_open(node)
        true, false = [], []
        for where, parts in lists:
            found = self._walked(node, parts)
            if found is None:
                return self._all.left_open(node)
            true.append(self._formula.all(where, found[0]))
            false.append(self._formula.all(where, found[1]))
        return self._formula.any(*true), self._formula.any(*false)

    def _unfolded(self, node: Loop) -> Loop | None:
        """Return a loop over another loop's list as one over the list below."""
        inner = node.source
        if not isinstance(inner, Loop) or node.macro not in {"all", "exists"}:
            return None
        if self._all.may_fail(opened(inner)) or binds(node.body, inner.variable):
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

    def _walked(self, node: Loop, parts: Sequence[Items | Node]) -> Truths | None:
        if size_of(node.body) > MOST_PIECES:
            return None
        if node.macro == "exists_one":
            only = parts[0] if len(parts) == 1 else None
            return self._exactly_one(node, only) if isinstance(only, Items) else None
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

    def _exactly_one(self, node: Loop, items: Items) -> Truths:
        formula = self._formula
        true, false = formula.new(), formula.new()
        formula.add(-true, -false)
        if not self._all.may_fail(opened(node)):
            formula.add(true, false)
        words = self._instances(node, items)
        name, is_in = self._all.names.element(items)
        found = self._at(node, name)
        formula.add(-true, formula.all(is_in, found[0]))
        first = words[: len(items.words)]
        before = FALSE
        for member, truths in first:
            hit = formula.all(member, truths[0])
            formula.add(-before, -hit, -true)
            before = formula.any(before, hit)
        for member, truths in [*words, (is_in, found)]:
            formula.add(-member, -true, *truths)
            formula.add(-member, -false, *truths)
        return true, false
