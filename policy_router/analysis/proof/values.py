"""Texts, numbers and times: what an expression comes to, each with where."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from policy_router.analysis.proof.items import Items
from policy_router.analysis.proof.names import ELEMENT
from policy_router.analysis.proof.numbers import MonotoneNumbers, node_name
from policy_router.analysis.proof.solver import FALSE, TRUE
from policy_router.analysis.proof.terms import Number, Term, Text
from policy_router.analysis.proof.trees import (
    MOST_CASES,
    Values,
    affixes_of,
    chosen,
    constant_of,
    excludes,
    is_safe,
    plain,
    range_of,
    without,
)
from policy_router.cel.ast import (
    DOUBLE,
    INT,
    STRING,
    STRINGS,
    TIMESTAMP,
    Apply,
    Attribute,
    Bind,
    Literal,
    Loop,
    Node,
    TableOf,
)
from policy_router.cel.frame import FAILURE

if TYPE_CHECKING:
    from policy_router.analysis.proof.conditions import Conditions


class ValuesOf:
    """Understands texts, numbers and times."""

    def __init__(self, conditions: Conditions) -> None:
        """Use what is known of other expressions."""
        self._all, self._formula = conditions, conditions.formula
        self._values: dict[Node, Values | None] = {}

    def of(self, node: Node) -> Values | None:
        """Return what a text, a number or a time comes to; None where it is not understood."""
        if node not in self._values:
            found = self._valued(node)
            too_many = found is not None and len(found) > MOST_CASES
            self._values[node] = None if too_many else found
        return self._values[node]

    def _valued(self, node: Node) -> Values | None:
        match node:
            case Literal():
                return [(TRUE, node.value)]
            case Attribute() if node.path in self._all.variables:
                tree = self._all.variables[node.path].tree
                return None if self._all.may_run_out(tree) else self.of(tree)
            case Attribute() if node.path.startswith("target."):
                return []  # what is known of a target is written in: this name is absent
            case Attribute():
                if node.type not in {STRING, INT, DOUBLE, TIMESTAMP}:
                    return None
                if node.path in self._all.names.terms and node.path.startswith(ELEMENT):
                    return [(TRUE, self._all.names.terms[node.path])]
                return [
                    (it.where, it.value) for it in self._all.names.seen(self._all.policy, node.path)
                ]
            case Bind():
                body = self._all.bound(node)
                return None if body is None else self.of(body)
            case Apply():
                return self._value_of(node)
        return None

    def _value_of(self, node: Apply) -> Values | None:
        if node.type not in {STRING, INT, DOUBLE, TIMESTAMP}:
            return None
        match node.function:
            case "?:":
                test, *branches = node.arguments
                one, two = (self.of(it) for it in branches)
                return chosen(self._formula, self._all.truth(test), one, two)
            case "[]":
                return self._element(node)
            case "size":
                found = self._size_of(node)
                if found is not None:
                    return found
            case "+" | "-" | "*" | "/" | "%" | "neg" | "double" | "int":
                found = MonotoneNumbers(self._all).values(node)
                if found is not None:
                    return found
        return self._derived(node)

    def _size_of(self, node: Apply) -> Values | None:
        if node.arguments[0].type == STRING:
            return None
        items = self._all.resolved(node.arguments[0])
        if isinstance(items, Loop) and items.macro == "filter":
            return self._all.counted(items)
        lists = self._all.lists(items)
        if lists is None or any(len(parts) > 1 for _, parts in lists):
            return None
        sizes: Values = []
        for where, parts in lists:
            part = parts[0] if parts else None
            if part is not None and not isinstance(part, Items):
                return None
            sizes.append((where, 0 if part is None else part.size))
        return sizes

    def _element(self, node: Apply) -> Values | None:
        first, place = node.arguments
        keys = self.of(place)
        if keys is None:
            return None
        if isinstance(first, TableOf):
            return self._of_table(first, keys) if node.type != STRINGS else None
        lists = self._all.lists(first)
        if lists is None:
            return None
        found: Values = []
        for where, parts in lists:
            for also, number in keys:
                hits = self._of_list(parts, number)
                if hits is None:
                    return None
                found += [(self._formula.all(where, also, it), value) for it, value in hits]
        return found

    def _of_table(self, table: TableOf, keys: Values) -> Values:
        found: Values = []
        for where, key in keys:
            if isinstance(key, Text):
                found += [
                    (self._formula.all(where, key.equals(word)), it)
                    for word, it in table.values.items()
                ]
            elif key in table.values:
                found.append((where, table.values[key]))
        return found

    def _of_list(self, parts: Sequence[Items | Node], number: Any) -> Values | None:
        if len(parts) == 1 and isinstance(parts[0], Items):
            if isinstance(number, Number):
                return None
            items, names = parts[0], self._all.names
            if number < 0:
                return []
            return [(items.there(number), names.term(names.at(items, number).path))]
        found: Values = []
        defined = []
        for place, part in enumerate(parts):
            values = None if isinstance(part, Items) else self.of(part)
            if values is None:
                return None
            there = self._all.comparison("==", number, place)
            found += [(self._formula.all(there, where), value) for where, value in values]
            defined.append(self._formula.any(*[where for where, _ in values]))
        return [(self._formula.all(where, *defined), value) for where, value in found]

    def _derived(self, node: Apply) -> Values | None:
        """Return a value that follows from one name of the request."""
        source = self._all.source_of(node)
        if source is None:
            constant = constant_of(node)
            return constant if constant is not None else self._loose(node)
        term, run = source
        types = {INT, STRING, TIMESTAMP} if isinstance(term, Text) else {INT, STRING}
        if isinstance(term, Items) or node.type not in types:
            return None
        shape = self._all.shape(node)
        affixes, defined = affixes_of(shape), self._defined(node, shape, term, run)

        def derive(key: Hashable, test: Callable[[Any], bool]) -> int:
            def of_source(value: Any) -> bool:
                outcome = plain(run(value))
                return outcome is not FAILURE and test(outcome)

            if affixes and isinstance(term, Text) and isinstance(key, tuple) and key[0] == "==":
                rest = without(key[1], affixes)
                return FALSE if rest is None else term.equals(rest)
            asked = term.asks(("of", shape, key), of_source)
            self._formula.imply(asked, defined)
            return asked

        found: Term = (
            Text(self._formula, node_name(node), derive)
            if node.type == STRING
            else Number(self._formula, node_name(node), *range_of(node), derive)
        )
        found.source = term, run
        return [(defined, found)]

    def _defined(self, node: Apply, shape: Node, term: Term, run: Callable[[Any], Any]) -> int:
        """Return whether a value that follows from a name is there."""
        if not self._all.may_fail(node):
            return TRUE
        others = [key[1] for key in term.questions if isinstance(key, tuple) and key[0] == "fits"]
        found = term.asks(("fits", shape), lambda value: run(value) is not FAILURE)
        for other in others:
            if excludes(shape, other):
                self._formula.add(-found, -term.questions["fits", other].literal)
        return found

    def _loose(self, node: Apply) -> Values | None:
        """Return a whole number or text of which only the range is known."""
        if node.type not in {INT, STRING}:
            return None
        defined = self._formula.new() if self._all.may_fail(node) else TRUE
        dividends = self.of(node.arguments[0]) if node.function in {"/", "%"} else None
        if dividends is not None and is_safe(node):
            defined = self._formula.any(*[where for where, _ in dividends])
        elif node.function in {"/", "%"}:
            divisors = self.of(node.arguments[1])
            for where, value in divisors or ():
                zero = self._all.comparison("==", value, 0)
                self._formula.add(-defined, -where, -zero)
        answers = self._all.note(node, [(defined, lambda it: it is not FAILURE)])

        def derive(_key: Hashable, test: Callable[[Any], bool]) -> int:
            asked = self._formula.new()
            answers.append((asked, lambda it: it is not FAILURE and test(it)))
            return asked

        if node.type == STRING:
            return [(defined, Text(self._formula, node_name(node), derive))]
        return [(defined, Number(self._formula, node_name(node), *range_of(node), derive))]
