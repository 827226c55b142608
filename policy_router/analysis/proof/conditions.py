"""Conditions as formulas: each is two literals, *is true* and *is false*; with neither, it fails.

The formula lets in whatever a request can bring about, and sometimes more: a piece that is not
understood may come to anything. What it came to in a model is then found to be so, or not, by the
evaluator (see ``witness``). Nothing here decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

from policy_router.analysis.proof.comparisons import Comparisons
from policy_router.analysis.proof.failing import Failing
from policy_router.analysis.proof.items import Items
from policy_router.analysis.proof.lists import ListCases, Lists
from policy_router.analysis.proof.loops import Loops
from policy_router.analysis.proof.names import ELEMENT, Names
from policy_router.analysis.proof.solver import FALSE, TRUE, Formula
from policy_router.analysis.proof.terms import Number, Text
from policy_router.analysis.proof.trees import (
    MOST_PIECES,
    Truths,
    Values,
    bool_of,
    constant_of,
    size_of,
    written,
)
from policy_router.analysis.proof.values import ValuesOf
from policy_router.cel.ast import (
    BOOL,
    TIMESTAMP,
    Apply,
    Attribute,
    Bind,
    Literal,
    Loop,
    Node,
    Present,
    walk,
)
from policy_router.cel.condition import Condition
from policy_router.cel.evaluate import Program
from policy_router.cel.frame import frame_of
from policy_router.cel.simplify import Known, literal, simplified
from policy_router.cel.timestamps import Timestamp
from policy_router.cel.vocabulary import OUTCOME_NAMES
from policy_router.domain import Policy

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


_OUTCOME: Final = frozenset(name.path for name in OUTCOME_NAMES)


class Conditions:
    """Makes formulas of the conditions of one policy.

    Attributes:
        failing: tells what can fail: ``may_fail`` and ``may_run_out`` are its own.
        variables: the variables of the policy, by the paths of their names.
        opaque: the pieces that are not understood.
        is_exact: whether nothing else is left open.
        within: for conditions with long loops, whether they stay within their budget.
    """

    def __init__(self, formula: Formula, names: Names, policy: Policy) -> None:
        """Begin with no condition."""
        self.formula, self.names, self.policy = formula, names, policy
        self.opaque: list[Opaque] = []
        self.is_exact = True
        self.within: list[int] = []
        self.failing = Failing(names, policy)
        self.variables = self.failing.variables
        self.may_fail, self.may_run_out = self.failing.may_fail, self.failing.may_run_out
        self._truths: dict[Node, Truths] = {}
        self._simplified: dict[object, Truths] = {}
        self._paths: dict[int, tuple[str, ...]] = {}
        self._marks: dict[Node | None, int] = {}
        self._about: Condition | None = None
        self._comparisons, self._lists = Comparisons(self), Lists(self)
        self._loops, self._worth = Loops(self), ValuesOf(self)

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

    def about(
        self, condition: Condition, known: Known, marks: Mapping[str, int] | None = None
    ) -> Truths:
        """Return what a condition comes to where some names stand for others.

        Args:
            condition: the condition.
            known: what the names of a target or of an outcome stand for.
            marks: the same as numbers, which are quicker to look up.
        """
        paths = self._paths.get(id(condition))
        if paths is None:
            read = (it for it in condition.reads if it in _OUTCOME or it.startswith("target."))
            paths = self._paths[id(condition)] = tuple(sorted(read))
        if marks is None:
            marks = {path: self.mark(known.get(path)) for path in paths}
        key = id(condition), tuple([marks.get(path) for path in paths])
        found = self._simplified.get(key)
        if found is None:
            standing = {path: known[path] for path in paths if path in known}
            found = self.tree(simplified(condition.tree, standing), condition)
            self._simplified[key] = found
        return found

    def mark(self, node: Node | None) -> int:
        """Return a number for what a name stands for: equal ones have the same."""
        return self._marks.setdefault(node, len(self._marks))

    def is_text(self, node: Node, word: str) -> int:
        """Return whether a constant, or a name of the request, is a word."""
        return self.same(node, literal(word))

    def same(self, one: Node, other: Node) -> int:
        """Return whether two constants, or names of the request, are equal."""
        left, right = self.values(one), self.values(other)
        return self.formula.either(
            (where, also, self.comparison("==", value, it))
            for where, value in left or ()
            for also, it in right or ()
        )

    def known(self, node: Node) -> Truths | None:
        """Return what a piece comes to if that was asked for; None if not."""
        return self._truths.get(node)

    def _within_budget(self, tree: Node, truths: Truths) -> Truths:
        """Let a condition fail as a whole where its loops can use its budget up."""
        if not self.may_run_out(tree):
            return truths
        self.is_exact = False
        key = budget_of(tree)
        if key not in self._truths:
            self.within.append(self.formula.new())
            self._truths[key] = self.within[-1], FALSE
        return self._where(self._truths[key][0], truths)

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
                body = self.bound(node)
                return self.left_open(node) if body is None else self.truth(body)
            case Loop():
                return self._loops.truths(node)
        assert isinstance(node, Apply)  # noqa: S101 - loop variables and bound names are written in
        return self._applied(node)

    def _name(self, node: Attribute) -> Truths:
        if node.path in self.variables:
            return self.condition(self.variables[node.path])
        seen = self.names.seen(self.policy, node.path)
        return self.over((it.where, TRUE, bool_of(it)) for it in seen)

    def _present(self, path: str) -> Truths:
        given = self.formula.any(*[it.where for it in self.names.seen(self.policy, path)])
        return given, -given

    def _applied(self, node: Apply) -> Truths:
        match node.function:
            case "&&":
                return self._joined([self.truth(it) for it in node.arguments])
            case "||":
                return self._joined([self.truth(it)[::-1] for it in node.arguments])[::-1]
            case "!":
                return self.truth(node.arguments[0])[::-1]
            case "?:":
                return self._choice(*(self.truth(it) for it in node.arguments))
            case "==" | "!=" | "<" | "<=" | ">" | ">=":
                return self._comparisons.truths(node)
            case "in":
                return self._lists.is_in(node)
            case "startsWith" | "endsWith" | "contains":
                return self._comparisons.text_test(node)
            case "sets.contains" | "sets.intersects":
                return self._lists.sets(node)
        return self.left_open(node)

    def _joined(self, parts: Sequence[Truths]) -> Truths:
        true = self.formula.all(*[it[0] for it in parts])
        return true, self.formula.any(*[it[1] for it in parts])

    def _choice(self, test: Truths, positive: Truths, negative: Truths) -> Truths:
        sides = zip(positive, negative, strict=True)
        true, false = (self.formula.either(zip(test, it, strict=True)) for it in sides)
        return true, false

    def over(self, cases: Iterator[tuple[int, int, int]]) -> Truths:
        """Join cases: where two things hold, a third one tells whether it is true."""
        found = [*cases]
        true, false = (
            self.formula.either((where, also, side * it) for where, also, it in found)
            for side in (1, -1)
        )
        return true, false

    def comparison(self, sign: str, one: Any, two: Any) -> int:
        """Return whether a comparison of two values, known or not, is true."""
        return self._comparisons.of(sign, one, two)

    def equal_lists(self, node: Apply) -> Truths:
        """Return what a comparison of two lists comes to."""
        return self._lists.equal(node)

    def lists(self, node: Node) -> ListCases | None:
        """Return what a list comes to: lists of a request, and single elements, one by one."""
        return self._lists.of(node)

    def values(self, node: Node) -> Values | None:
        """Return what a text, a number or a time comes to; None where it is not understood."""
        return self._worth.of(node)

    def values_of(self, tree: Node, about: Condition) -> Values | None:
        """Return what an expression that is evaluated by itself comes to."""
        outer, self._about = self._about, about
        found = None if self.may_run_out(tree) else self.values(tree)
        self._about = outer
        return found

    def resolved(self, items: Node) -> Node:
        """Return the expression of a list that is a variable, where it is safe to look at it."""
        if isinstance(items, Attribute) and items.path in self.variables:
            tree = self.variables[items.path].tree
            return items if self.may_run_out(tree) else self.resolved(tree)
        return items

    def counted(self, node: Loop) -> Values | None:
        """Return how many elements of a list a filter keeps."""
        return self._loops.counted(node)

    def made(self, node: Loop, truths: Truths) -> Truths:
        """Let something fail where the list that a loop makes has no value."""
        return self._where(self._loops.made(node), truths)

    def _where(self, also: int, truths: Truths) -> Truths:
        return self.formula.all(also, truths[0]), self.formula.all(also, truths[1])

    # What is not understood.

    def note(self, node: Node, answers: Answers) -> Answers:
        """Note what a piece that is not understood leaves open."""
        assert self._about is not None  # noqa: S101 - names and constants are understood
        self.opaque.append(Opaque(node, self._about, answers))
        return answers

    def left_open(self, node: Node) -> Truths:
        """Return what a piece comes to that may come to anything."""
        constant = constant_of(node)
        if constant is not None:
            if not constant:
                return FALSE, FALSE
            return (TRUE, FALSE) if constant[0][1] else (FALSE, TRUE)
        source = self.source_of(node)
        may_fail = self.may_fail(node)
        if source is not None:
            (term, run), key = source, self.shape(node)
            true = term.asks(("is", key), lambda value: run(value) is True)
            if not may_fail:
                return true, -true
            false = term.asks(("is not", key), lambda value: run(value) is False)
            self.formula.add(-true, -false)
        else:
            true = self.formula.new()
            false = self.formula.new() if may_fail else -true
            self.formula.add(-true, -false)
            self.note(node, [(true, lambda it: it is True), (false, lambda it: it is False)])
        return true, false

    def source_of(self, node: Node) -> tuple[Text | Number | Items, Callable[[Any], Any]] | None:
        """Return the one term that a piece depends on, and what it comes to for a value of it."""
        free = {part for part in walk(node) if isinstance(part, Attribute | Present)}
        name = free.pop() if len(free) == 1 else None
        if not isinstance(name, Attribute) or name.path.startswith(("variables.", "target.")):
            return None
        is_element = name.path.startswith(ELEMENT)
        seen = [] if is_element else self.names.seen(self.policy, name.path)
        known = len(seen) == 1 and seen[0].where == TRUE
        term = self.names.terms[name.path] if is_element else known and seen[0].value
        if not isinstance(term, Text | Number | Items):
            return None
        root, _, rest = name.path.partition(".")
        evaluate, is_time = Program(node).evaluate, name.type == TIMESTAMP

        def run(value: Any) -> Any:
            return evaluate(frame_of({root: {rest: Timestamp(value) if is_time else value}}))

        return term, run

    def shape(self, node: Node) -> Node:
        """Return a piece without the one name that it depends on: of equal texts, it is equal."""
        names = {part for part in walk(node) if isinstance(part, Attribute)}
        return simplified(node, {it.path: replace(it, path="it") for it in names})

    def bound(self, node: Bind) -> Node | None:
        """Return the body of a binding with the value in place of the name."""
        body = written(node.body, {node.name: node.value})
        return body if size_of(body) <= MOST_PIECES else None


def budget_of(tree: Node) -> Apply:
    """Return what stands for the budget of an expression."""
    return Apply(BOOL, 0, 0, "#budget", (tree,))
