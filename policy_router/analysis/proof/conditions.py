"""Conditions as formulas: each is two literals, *is true* and *is false*; with neither, it fails.

The formula lets in whatever a request can bring about, and sometimes more: a piece that is not
understood may come to anything. What it came to in a model is then found to be so, or not, by the
evaluator (see ``witness``). Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from policy_router.analysis.proof.names import ELEMENT, Names, Seen
from policy_router.analysis.proof.numbers import MonotoneNumbers, node_name
from policy_router.analysis.proof.solver import FALSE, TRUE, Formula
from policy_router.analysis.proof.terms import Items, Number, Text
from policy_router.analysis.proof.trees import (
    MOST_PIECES,
    SIGNS,
    Truths,
    Values,
    binds,
    bool_of,
    chosen,
    constant_of,
    is_safe,
    may_exceed_decision,
    name_of,
    opened,
    parts_of,
    range_of,
    size_of,
    written,
)
from policy_router.analysis.proof.visits import Visits
from policy_router.cel.ast import (
    BOOL,
    DOUBLE,
    INT,
    STRING,
    STRINGS,
    TIMESTAMP,
    Apply,
    Attribute,
    Bind,
    BoundName,
    ListOf,
    Literal,
    Loop,
    LoopVariable,
    Node,
    Present,
    TableOf,
    has_macros,
    walk,
)
from policy_router.cel.condition import Condition
from policy_router.cel.evaluate import (
    FAILURE,
    MAX_ELEMENTS,
    Program,
    frame_of,
)
from policy_router.cel.simplify import literal, simplified
from policy_router.cel.texts import MAX_LIST
from policy_router.cel.timestamps import Timestamp
from policy_router.cel.vocabulary import MAX_ITEMS
from policy_router.domain import Policy

MOST_CASES: Final = 64
_MOST_ELEMENTS: Final = 8
_MIRRORED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_TEXT_TESTS: Final[Mapping[str, Callable[[str, str], bool]]] = {
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": str.__contains__,
}


Answers: TypeAlias = list[tuple[int, Callable[[Any], bool]]]


@dataclass(frozen=True, slots=True)
class Opaque:
    """A piece of a condition that is not understood.

    Attributes:
        node: the piece.
        condition: where it stands.
        answers: what was left open: literals, each with what tells it of the outcome.
    """

    node: Node
    condition: Condition
    answers: Answers


class Conditions:
    """Makes formulas of the conditions of one policy.

    Attributes:
        opaque: the pieces that are not understood.
        is_exact: whether nothing else is left open.
    """

    def __init__(self, formula: Formula, names: Names, policy: Policy) -> None:
        """Begin with no condition."""
        self.formula, self.names, self.policy = formula, names, policy
        self.opaque: list[Opaque] = []
        self.is_exact = True
        self._variables = {it.name: it.condition for it in policy.variables}
        self._truths: dict[Node, Truths] = {}
        self._values: dict[Node, Values | None] = {}
        self._may_fail: dict[tuple[Node, bool], bool] = {}
        self._orders: dict[tuple[int, int], int] = {}
        self._kept: list[Text] = []  # so that no other text gets the id of one that is gone
        longest = max(
            (len(it.default) for it in policy.facts.values() if isinstance(it.default, tuple)),
            default=0,
        )
        self._visits = Visits(self._variables, max(MAX_ITEMS, longest))
        self._is_scarce = may_exceed_decision(policy)
        self._about: Condition | None = None

    def condition(self, condition: Condition) -> Truths:
        """Return what a condition comes to."""
        return self.tree(condition.tree, condition)

    def tree(self, tree: Node, about: Condition | None) -> Truths:
        """Return what the tree of a condition comes to, evaluated by itself.

        Args:
            tree: the tree.
            about: the condition that it is of.
        """
        outer, self._about = self._about, about
        found = self._within_budget(tree, self.truth(tree))
        self._about = outer
        return found

    def _within_budget(self, tree: Node, truths: Truths) -> Truths:
        """Let a condition fail as a whole where its loops can use its budget up."""
        if not self._may_run_out(tree):
            return truths
        self.is_exact = False
        within = self._truths.setdefault(
            Apply(BOOL, 0, 0, "#budget", (tree,)), (self.formula.new(), FALSE)
        )[0]
        return self.formula.all((within, truths[0])), self.formula.all((within, truths[1]))

    def _may_run_out(self, tree: Node) -> bool:
        if not has_macros(tree):
            return False
        return self._is_scarce or self._visits.of(tree) >= MAX_ELEMENTS

    # Truths.

    def truth(self, node: Node) -> Truths:
        """Return what a piece that is true or false comes to."""
        found = self._truths.get(node)
        if found is None:
            found = self._truths[node] = self._truth(node)
        return found

    def _truth(self, node: Node) -> Truths:
        match node:
            case Literal():
                return (TRUE, FALSE) if node.value else (FALSE, TRUE)
            case Attribute():
                return self._name(node)
            case Present():
                return self._present(node.path)
            case Bind():
                body = self._bound(node)
                return self._opaque(node) if body is None else self.truth(body)
            case Loop():
                return self._loop(node)
        assert isinstance(node, Apply)  # noqa: S101 - loop variables and bound names are written in
        return self._applied(node)

    def _name(self, node: Attribute) -> Truths:
        if node.path.startswith("variables."):
            return self._variable(node.path)
        seen = self.names.seen(self.policy, node.path)
        true = self.formula.any([self._both(it.where, bool_of(it)) for it in seen])
        false = self.formula.any([self._both(it.where, -bool_of(it)) for it in seen])
        return true, false

    def _variable(self, path: str) -> Truths:
        condition = self._variables[path.removeprefix("variables.")]
        return self.tree(condition.tree, condition)

    def _present(self, path: str) -> Truths:
        given = self.formula.any([it.where for it in self.names.seen(self.policy, path)])
        return given, -given

    def _both(self, *literals: int) -> int:
        return self.formula.all(literals)

    def _applied(self, node: Apply) -> Truths:
        match node.function:
            case "&&":
                parts = [self.truth(it) for it in node.arguments]
                return self._joined(parts)
            case "||":
                parts = [self.truth(it)[::-1] for it in node.arguments]
                return self._joined(parts)[::-1]
            case "!":
                return self.truth(node.arguments[0])[::-1]
            case "?:":
                return self._choice(*(self.truth(it) for it in node.arguments))
            case "==" | "!=" | "<" | "<=" | ">" | ">=":
                return self._compared(node)
            case "in":
                return self._is_in(node)
            case "startsWith" | "endsWith" | "contains":
                return self._text_test(node)
            case "sets.contains" | "sets.intersects":
                return self._sets(node)
        return self._opaque(node)

    def _joined(self, parts: Sequence[Truths]) -> Truths:
        true = self.formula.all([it[0] for it in parts])
        return true, self.formula.any([it[1] for it in parts])

    def _choice(self, test: Truths, positive: Truths, negative: Truths) -> Truths:
        true, false = (
            self.formula.any(
                (self._both(test[0], positive[side]), self._both(test[1], negative[side]))
            )
            for side in (0, 1)
        )
        return true, false

    def _compared(self, node: Apply) -> Truths:
        left, right = node.arguments
        if left.type == BOOL:
            return self._equal_truths(node)
        if left.type.name == "list":
            return self._equal_lists(node)
        one, two = self.values(left), self.values(right)
        if one is None or two is None or len(one) * len(two) > MOST_CASES:
            return self._opaque(node)
        return self._over(
            (where, also, self.comparison(node.function, value, other))
            for where, value in one
            for also, other in two
        )

    def _over(self, cases: Iterator[tuple[int, int, int]]) -> Truths:
        """Join cases: where two things hold, a third one tells whether it is true."""
        true, false = [], []
        for where, also, found in cases:
            true.append(self._both(where, also, found))
            false.append(self._both(where, also, -found))
        return self.formula.any(true), self.formula.any(false)

    def _equal_truths(self, node: Apply) -> Truths:
        one, two = (self.truth(it) for it in node.arguments)
        equal = self.formula.any((self._both(one[0], two[0]), self._both(one[1], two[1])))
        other = self.formula.any((self._both(one[0], two[1]), self._both(one[1], two[0])))
        return (equal, other) if node.function == "==" else (other, equal)

    def comparison(self, sign: str, one: Any, two: Any) -> int:
        """Return whether a comparison of two values, known or not, is true."""
        if isinstance(one, Text | Number):
            if isinstance(two, Text | Number):
                return self._of_terms(sign, one, two)
            return (
                self._of_text(sign, one, two) if isinstance(one, Text) else one.compared(sign, two)
            )
        if isinstance(two, Text | Number):
            return self.comparison(_MIRRORED[sign], two, one)
        return TRUE if SIGNS[sign](one, two) else FALSE

    def _of_text(self, sign: str, text: Text, word: str) -> int:
        if sign in {"==", "!="}:
            return text.equals(word) if sign == "==" else -text.equals(word)
        below = text.asks(("below", word), lambda value: bool(value < word))
        if sign in {"<", ">="}:
            return below if sign == "<" else -below
        most = self.formula.any((below, text.equals(word)))
        return most if sign == "<=" else -most

    def _of_terms(self, sign: str, one: Text | Number, two: Text | Number) -> int:
        if isinstance(one, Number) and isinstance(two, Number):
            return one.with_other(sign, two)
        assert isinstance(one, Text)  # noqa: S101 - both sides have one type
        assert isinstance(two, Text)  # noqa: S101
        same = one.is_same(two)
        if sign in {"==", "!="}:
            return same if sign == "==" else -same
        less = self._is_less(one, two)
        return {
            "<": less,
            "<=": self.formula.any((less, same)),
            ">": self._both(-less, -same),
            ">=": -less,
        }[sign]

    def _is_less(self, one: Text, two: Text) -> int:
        if (id(two), id(one)) in self._orders:
            return self._both(-self._orders[id(two), id(one)], -one.is_same(two))
        self.is_exact = False
        if (id(one), id(two)) not in self._orders:
            less = self._orders[id(one), id(two)] = self.formula.new()
            self.formula.add(-less, -one.is_same(two))
            self._kept += [one, two]
        return self._orders[id(one), id(two)]

    def _text_test(self, node: Apply) -> Truths:
        texts, parts = (self.values(it) for it in node.arguments)
        if texts is None or parts is None or any(isinstance(it, Text) for _, it in parts):
            return self._opaque(node)
        test = _TEXT_TESTS[node.function]
        return self._over(
            (where, also, self._tested(node.function, test, text, part))
            for where, text in texts
            for also, part in parts
        )

    def _tested(self, name: str, test: Callable[[str, str], bool], text: Any, part: str) -> int:
        if not isinstance(text, Text):
            return TRUE if test(text, part) else FALSE
        if not part:
            return TRUE
        return text.asks((name, part), lambda value: test(value, part))

    # Lists.

    def _is_in(self, node: Apply) -> Truths:
        item, items = node.arguments
        if isinstance(items, Loop) and items.macro in {"map", "filter"}:
            return self._is_in_loop(item, items, node)
        values = self.values(item)
        if isinstance(items, TableOf) and values is not None:
            return self._over(
                (where, TRUE, self._is_one_of(value, items.values)) for where, value in values
            )
        lists = self.lists(items)
        if values is None or lists is None or len(values) * len(lists) > MOST_CASES:
            return self._opaque(node)
        cases = []
        for also, parts in lists:
            for where, value in values:
                found = self._member(value, parts)
                if found is None:
                    return self._opaque(node)
                cases.append((self._both(where, also), *found))
        return self._over((where, defined, is_in) for where, is_in, defined in cases)

    def _is_in_loop(self, item: Node, items: Loop, node: Apply) -> Truths:
        """Understand whether something is in a list that a loop makes."""
        if self.may_fail(opened(items)) or item.type != STRING:
            return self._opaque(node)
        if items.macro == "filter":
            is_there = Apply(BOOL, 0, 0, "in", (item, items.source))
            is_kept = written(items.body, {items.variable: item})
            no = literal(False)  # noqa: FBT003 - it is data
            return self.truth(Apply(BOOL, 0, 0, "?:", (is_there, is_kept, no)))
        if self.may_fail(item):  # it does so beside an empty list, too
            return self._opaque(node)
        equal = Apply(BOOL, 0, 0, "==", (items.body, item))
        return self.truth(replace(items, type=BOOL, macro="exists", body=equal))

    def _is_one_of(self, value: Any, words: Any) -> int:
        if isinstance(value, Text):
            return self.formula.any([value.equals(word) for word in words])
        return TRUE if value in words else FALSE

    def _member(self, value: Any, parts: Sequence[Items | Node]) -> Truths | None:
        """Return whether a value is in a list, and whether all elements have values."""
        found, defined = [], []
        for part in parts:
            if isinstance(part, Items):
                found.append(part.has_text(value) if isinstance(value, Text) else part.has(value))
                continue
            elements = self.values(part)
            if elements is None:
                return None
            defined.append(self.formula.any([where for where, _ in elements]))
            found += [self._both(where, self.comparison("==", value, it)) for where, it in elements]
        return self.formula.any(found), self.formula.all(defined)

    def _equal_lists(self, node: Apply) -> Truths:
        """Understand comparisons with the empty list, and what equal lists have in common."""
        one, two = (self.lists(it) for it in node.arguments)
        if one is None or two is None or len(one) != 1 or len(two) != 1:
            return self._opaque(node)
        (where, left), (also, right) = one[0], two[0]
        for parts, others in ((left, right), (right, left)):
            if not others and all(isinstance(it, Items) for it in parts):
                empty = self.formula.all(
                    [it.size.at_most(0) for it in parts if isinstance(it, Items)]
                )
                found = empty if node.function == "==" else -empty
                return self._both(where, also, found), self._both(where, also, -found)
        return self._opaque(node)

    def _sets(self, node: Apply) -> Truths:
        """Understand ``sets`` functions about the constants of a list."""
        (one, two), contains = (
            (self.lists(it) for it in node.arguments),
            "contains" in node.function,
        )
        if one is None or two is None or len(one) != 1 or len(two) != 1:
            return self._opaque(node)
        (where, left), (also, right) = one[0], two[0]
        if any(isinstance(it, Items) for it in right) and not contains:
            left, right = right, left
        if any(not isinstance(it, Items) and self.may_fail(it) for it in left):
            return self._opaque(node)
        found = []
        for it in right:
            word = it.value if isinstance(it, Literal) else None
            member = self._member(word, left) if isinstance(word, str) else None
            if member is None:
                return self._opaque(node)
            found.append(member[0])
        is_so = self.formula.all(found) if contains else self.formula.any(found)
        return self._both(where, also, is_so), self._both(where, also, -is_so)

    def lists(self, node: Node) -> list[tuple[int, tuple[Items | Node, ...]]] | None:
        """Return what a list comes to: lists of a request, and single elements, one by one."""
        match node:
            case ListOf():
                return [(TRUE, node.items)]
            case Attribute() if node.path.startswith("variables."):
                tree = self._variables[node.path.removeprefix("variables.")].tree
                return None if self._may_run_out(tree) else self.lists(tree)
            case Attribute():
                return [
                    (it.where, parts_of(it.value)) for it in self.names.seen(self.policy, node.path)
                ]
            case Bind():
                body = self._bound(node)
                return None if body is None else self.lists(body)
            case Apply(function="?:"):
                test, *branches = node.arguments
                one, two = (self.lists(it) for it in branches)
                return chosen(self.formula, self.truth(test), one, two)
            case Apply(function="+"):
                one, two = (self.lists(it) for it in node.arguments)
                if one is None or two is None or len(one) * len(two) > MOST_CASES:
                    return None
                if self._visits.length(node) > MAX_LIST:  # it fails where it is too long
                    return None
                return [
                    (self._both(where, also), (*left, *right))
                    for where, left in one
                    for also, right in two
                ]
        return None

    # Loops.

    def _loop(self, node: Loop) -> Truths:
        if (other := self._unfolded(node)) is not None:
            return self.truth(other)
        lists = self.lists(node.source)
        if lists is None or node.macro not in {"all", "exists", "exists_one"} or len(lists) > 8:  # noqa: PLR2004
            return self._opaque(node)
        true, false = [], []
        for where, parts in lists:
            found = self._walked(node, parts)
            if found is None:
                return self._opaque(node)
            true.append(self._both(where, found[0]))
            false.append(self._both(where, found[1]))
        return self.formula.any(true), self.formula.any(false)

    def _unfolded(self, node: Loop) -> Loop | None:
        """Return a loop over another loop's list as one over the list below."""
        inner = node.source
        if not isinstance(inner, Loop) or node.macro not in {"all", "exists"}:
            return None
        if self.may_fail(opened(inner)) or binds(node.body, inner.variable):
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
        true = self.formula.all([*defined, self.formula.any([it[0] for it in found])])
        false = self.formula.all([*defined, *[it[1] for it in found]])
        return (true, false) if side == 0 else (false, true)

    def _defined(self, node: Node) -> int:
        if not self.may_fail(node):
            return TRUE
        values = self.values(node) if node.type != BOOL else None
        self.is_exact = False
        return self.formula.new() if values is None else self.formula.any([it for it, _ in values])

    def _at(self, node: Loop, element: Node) -> Truths:
        """Return what the body of a loop comes to for an element."""
        return self.truth(simplified(written(node.body, {node.variable: element}), {}))

    def _some_of(self, node: Loop, items: Items, side: int) -> Truths:
        """Return whether the body is so for an element, and whether it is not for any."""
        formula = self.formula
        is_total = not self.may_fail(opened(node))
        true = formula.new()
        false = -true if is_total else formula.new()
        instances = self._instances(node, items)
        name, is_in = self.names.element(items)
        found = self._at(node, name)
        formula.add(-true, formula.all((is_in, found[side])))
        instances.append((is_in, found))
        if not is_total:
            formula.add(-true, -false)
            other, is_also_in = self.names.element(items)
            failing = self._at(node, other)
            formula.add(true, false, formula.all((is_also_in, -failing[1 - side])))
            instances.append((is_also_in, failing))
        for member, truths in instances:
            formula.add(-member, -truths[side], true)
            formula.add(-false, -member, truths[1 - side])
        return true, false

    def _instances(self, node: Loop, items: Items) -> list[tuple[int, Truths]]:
        """Return what the body comes to for each element that has a name."""
        found = [(items.has(word), self._at(node, literal(word))) for word in [*items.words]]
        named = [it for it in items.elements if it[0].name in self.names.terms][:_MOST_ELEMENTS]
        for text, is_in in named:
            if not text.name.startswith(ELEMENT) or len(found) < MOST_PIECES:
                found.append((is_in, self._at(node, name_of(text))))
        return found

    def _exactly_one(self, node: Loop, items: Items) -> Truths:
        formula = self.formula
        true, false = formula.new(), formula.new()
        formula.add(-true, -false)
        if not self.may_fail(opened(node)):
            formula.add(true, false)
        words = self._instances(node, items)
        name, is_in = self.names.element(items)
        found = self._at(node, name)
        formula.add(-true, formula.all((is_in, found[0])))
        first = words[: len(items.words)]
        before = FALSE
        for member, truths in first:
            hit = formula.all((member, truths[0]))
            formula.add(-before, -hit, -true)
            before = formula.any((before, hit))
        for member, truths in [*words, (is_in, found)]:
            formula.add(-member, -true, *truths)
            formula.add(-member, -false, *truths)
        return true, false

    # Values.

    def values_of(self, tree: Node, about: Condition) -> Values | None:
        """Return what an expression that is evaluated by itself comes to."""
        outer, self._about = self._about, about
        found = None if self._may_run_out(tree) else self.values(tree)
        self._about = outer
        return found

    def values(self, node: Node) -> Values | None:
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
            case Attribute() if node.path.startswith("variables."):
                tree = self._variables[node.path.removeprefix("variables.")].tree
                return None if self._may_run_out(tree) else self.values(tree)
            case Attribute() if node.path.startswith("target."):
                return []  # what is known of a target is written in: this name is absent
            case Attribute():
                if node.type not in {STRING, INT, DOUBLE, TIMESTAMP}:
                    return None
                if node.path in self.names.terms and node.path.startswith(ELEMENT):
                    return [(TRUE, self.names.terms[node.path])]
                return [(it.where, it.value) for it in self.names.seen(self.policy, node.path)]
            case Bind():
                body = self._bound(node)
                return None if body is None else self.values(body)
            case Apply():
                return self._value_of(node)
        return None

    def _value_of(self, node: Apply) -> Values | None:
        if node.type not in {STRING, INT, DOUBLE, TIMESTAMP}:
            return None
        match node.function:
            case "?:":
                test, *branches = node.arguments
                one, two = (self.values(it) for it in branches)
                return chosen(self.formula, self.truth(test), one, two)
            case "[]":
                return self._element(node)
            case "size":
                found = self._size_of(node)
                if found is not None:
                    return found
            case "+" | "-" | "*" | "/" | "%" | "neg" | "double" | "int":
                found = MonotoneNumbers(self).values(node)
                if found is not None:
                    return found
        return self._derived(node)

    def _size_of(self, node: Apply) -> Values | None:
        if node.arguments[0].type == STRING:
            return None
        lists = self.lists(node.arguments[0])
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
        keys = self.values(place)
        if keys is None:
            return None
        if isinstance(first, TableOf):
            return self._of_table(first, keys) if node.type != STRINGS else None
        lists = self.lists(first)
        if lists is None:
            return None
        found: Values = []
        for where, parts in lists:
            for also, number in keys:
                hits = self._of_list(parts, number)
                if hits is None:
                    return None
                found += [(self._both(where, also, it), value) for it, value in hits]
        return found

    def _of_table(self, table: TableOf, keys: Values) -> Values:
        found: Values = []
        for where, key in keys:
            if isinstance(key, Text):
                found += [
                    (self._both(where, key.equals(word)), it) for word, it in table.values.items()
                ]
            elif key in table.values:
                found.append((where, table.values[key]))
        return found

    def _of_list(self, parts: Sequence[Items | Node], number: Any) -> Values | None:
        if len(parts) == 1 and isinstance(parts[0], Items):
            if isinstance(number, Number):
                return None
            items = parts[0]
            if number < 0:
                return []
            name, is_in = self.names.element(items)
            there = -items.size.at_most(number)
            self.formula.add(-there, is_in)
            return [(there, self.names.term(name.path))] if isinstance(name, Attribute) else None
        found: Values = []
        defined = []
        for place, part in enumerate(parts):
            values = None if isinstance(part, Items) else self.values(part)
            if values is None:
                return None
            there = self.comparison("==", number, place)
            found += [(self._both(there, where), value) for where, value in values]
            defined.append(self.formula.any([where for where, _ in values]))
        return [(self._both(where, *defined), value) for where, value in found]

    def _derived(self, node: Apply) -> Values | None:
        """Return a value that follows from one name of the request."""
        source = self.source_of(node)
        if source is None:
            constant = constant_of(node)
            return constant if constant is not None else self._loose(node)
        term, run = source
        if isinstance(term, Items) or node.type in {DOUBLE, TIMESTAMP}:
            return None

        def derive(key: Hashable, test: Callable[[Any], bool]) -> int:
            def of_source(value: Any) -> bool:
                outcome = run(value)
                return outcome is not FAILURE and test(outcome)

            return term.asks(("of", node, key), of_source)

        defined = TRUE
        if self.may_fail(node):
            defined = term.asks(("fails", node), lambda value: run(value) is not FAILURE)
        if node.type == STRING:
            return [(defined, Text(self.formula, node_name(node), derive))]
        return [(defined, Number(self.formula, node_name(node), *range_of(node), derive))]

    def _loose(self, node: Apply) -> Values | None:
        """Return a whole number or text of which only the range is known."""
        if node.type not in {INT, STRING}:
            return None
        defined = self.formula.new() if self.may_fail(node) else TRUE
        dividends = self.values(node.arguments[0]) if node.function in {"/", "%"} else None
        if dividends is not None and is_safe(node):
            defined = self.formula.any([where for where, _ in dividends])
        elif node.function in {"/", "%"}:
            divisors = self.values(node.arguments[1])
            for where, value in divisors or ():
                zero = self.comparison("==", value, 0)
                self.formula.add(-defined, -where, -zero)
        answers = self._open(node, [(defined, lambda it: it is not FAILURE)])

        def derive(_key: Hashable, test: Callable[[Any], bool]) -> int:
            asked = self.formula.new()
            answers.append((asked, lambda it: it is not FAILURE and test(it)))
            return asked

        if node.type == STRING:
            return [(defined, Text(self.formula, node_name(node), derive))]
        return [(defined, Number(self.formula, node_name(node), *range_of(node), derive))]

    # What is not understood.

    def _open(self, node: Node, answers: Answers) -> Answers:
        """Note what a piece that is not understood leaves open."""
        assert self._about is not None  # noqa: S101 - names and constants are understood
        self.opaque.append(Opaque(node, self._about, answers))
        return answers

    def _opaque(self, node: Node) -> Truths:
        """Return what a piece comes to that may come to anything."""
        constant = constant_of(node)
        if constant is not None:
            if not constant:
                return FALSE, FALSE
            return (TRUE, FALSE) if constant[0][1] else (FALSE, TRUE)
        source = self.source_of(node)
        may_fail = self.may_fail(node)
        if source is not None:
            term, run = source
            true = term.asks(("is", node), lambda value: run(value) is True)
            if not may_fail:
                return true, -true
            false = term.asks(("is not", node), lambda value: run(value) is False)
            self.formula.add(-true, -false)
        else:
            true = self.formula.new()
            false = self.formula.new() if may_fail else -true
            self.formula.add(-true, -false)
            self._open(node, [(true, lambda it: it is True), (false, lambda it: it is False)])
        return true, false

    def source_of(self, node: Node) -> tuple[Text | Number | Items, Callable[[Any], Any]] | None:
        """Return the one term that a piece depends on, and what it comes to for a value of it."""
        names = {part for part in walk(node) if isinstance(part, Attribute | Present | BoundName)}
        free = {it for it in names if not isinstance(it, BoundName)}
        if len(free) != 1:
            return None
        (name,) = free
        if not isinstance(name, Attribute) or name.path.startswith(("variables.", "target.")):
            return None
        if name.path.startswith(ELEMENT):
            seen = [Seen(TRUE, self.names.terms[name.path])]
        else:
            seen = self.names.seen(self.policy, name.path)
        if len(seen) != 1 or seen[0].where != TRUE or isinstance(seen[0].value, int):
            return None
        term = seen[0].value
        if not isinstance(term, Text | Number | Items):
            return None
        root, _, rest = name.path.partition(".")
        evaluate, is_time = Program(node).evaluate, name.type == TIMESTAMP

        def run(value: Any) -> Any:
            return evaluate(frame_of({root: {rest: Timestamp(value) if is_time else value}}))

        return term, run

    def may_fail(self, node: Node, *, guarded: bool = False) -> bool:
        """Tell whether an expression can have no value, for all that is known.

        Args:
            node: the expression.
            guarded: whether it is asked of no absent name, as the checks of a policy make sure.
        """
        found = self._may_fail.get((node, guarded))
        if found is None:
            found = self._may_fail[node, guarded] = self._fails(node, guarded=guarded)
        return found

    def _fails(self, node: Node, *, guarded: bool) -> bool:
        def fails(it: Node) -> bool:
            return self.may_fail(it, guarded=guarded)

        match node:
            case Attribute():
                if node.path.startswith("variables."):
                    tree = self._variables[node.path.removeprefix("variables.")].tree
                    return self._may_run_out(tree) or fails(tree)
                if guarded or node.path.startswith((ELEMENT, "target.")):
                    return node.path.startswith("target.") and not guarded
                seen = self.names.seen(self.policy, node.path)
                return self.formula.any([it.where for it in seen]) != TRUE
            case Loop():
                return self._may_run_out(node) or any(map(fails, node.children()))
            case Apply():
                return not is_safe(node) or any(map(fails, node.arguments))
        return any(map(fails, node.children()))

    def _bound(self, node: Bind) -> Node | None:
        """Return the body of a binding with the value in place of the name."""
        body = written(node.body, {node.name: node.value})
        return body if size_of(body) <= MOST_PIECES else None
