"""Texts of conditions to compiled conditions, with problems put where they were written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from policy_router.diagnostics import Code, Diagnostic, Severity
from policy_router.domain import ClosedSet, Fact, Level, Table
from policy_router.expressions.checker import Checked, Problem, check
from policy_router.expressions.condition import Condition
from policy_router.expressions.evaluate import Program
from policy_router.expressions.tree import BOOL, BROKEN, DOUBLE, INT, Attribute, Present, Type, walk
from policy_router.expressions.vocabulary import (
    NOW,
    REQUEST_NAMES,
    TARGET_NAMES,
    Name,
    Vocabulary,
)
from policy_router.policy.sections import Piece
from policy_router.policy.source import ScalarNode

_TARGET_ELSEWHERE = {
    "target": "`target` is known in `allow`, `pick`, `forbid` and `order_by` alone"
}


@dataclass(frozen=True, slots=True)
class Vocabularies:
    """What conditions may use: ``rule`` in general, ``candidate`` where there is a target."""

    rule: Vocabulary
    candidate: Vocabulary

    @classmethod
    def of(
        cls,
        facts: Iterable[Fact],
        closed: Mapping[str, ClosedSet],
        required: Collection[str],
        tables: Mapping[str, Table],
    ) -> Vocabularies:
        """Make them from what a policy says of its requests."""
        values = {path: frozenset(it.values) for path, it in closed.items()}
        values["target.level"] = frozenset(Level)
        own = [Name(f"facts.{it.name}", it.type, optional=it.default is None) for it in facts]
        names = [
            replace(name, values=values.get(name.path), required=name.path in required)
            for name in (*REQUEST_NAMES, NOW, *own)
        ]
        target = [replace(name, values=values.get(name.path)) for name in TARGET_NAMES]
        types = {f"tables.{name}": (it.type, it.values) for name, it in tables.items()}
        rule = Vocabulary.of(names, _TARGET_ELSEWHERE, types)
        return cls(rule, Vocabulary.of([*names, *target], {}, types))

    def learn(self, name: Name) -> None:
        """Let the conditions that follow use one more name."""
        self.rule.learn(name)
        self.candidate.learn(name)


@dataclass(frozen=True, slots=True)
class _Expression:
    """What there is to know about a text of CEL, wherever it is written.

    Attributes:
        checked: its tree, and what it tells about optional names.
        problems: what is wrong with it.
        program: what evaluates the tree.
        reads: as of :class:`Condition`.
        variables: as of :class:`Condition`.
    """

    checked: Checked
    problems: tuple[Problem, ...]
    program: Program | None = None
    reads: frozenset[str] = frozenset()
    variables: tuple[str, ...] = ()

    def condition(self, piece: Piece) -> Condition | None:
        """Return it as the condition that is written at a place; None where it is wrong."""
        if self.checked.node is None or self.program is None:
            return None
        node, text = self.checked.node, _text_of(piece) or ""
        return Condition(text, node, self.program, piece.span, self.reads, self.variables)


class ConditionReader:
    """Reads the conditions of one policy, and collects what is wrong with them.

    Attributes:
        found: the problems so far.
        vocabularies: what they may use; grows with the policy's variables.
    """

    def __init__(self, vocabularies: Vocabularies) -> None:
        """Begin with a policy's facts and no variables."""
        self.vocabularies = vocabularies
        self.found: list[Diagnostic] = []
        self._variables: dict[str, Condition] = {}
        self._places: dict[str, int] = {}
        self._read: dict[tuple[str, bool], _Expression] = {}

    def condition(self, piece: Piece | None, *, candidate: bool) -> Condition | None:
        """Read a condition; ``candidate`` tells whether ``target`` is known in it."""
        wanted = "a condition is true or false, not {}"
        return self._of_type(piece, {BOOL}, wanted, candidate=candidate)

    def number(self, piece: Piece | None) -> Condition | None:
        """Read an expression for a candidate that must be a number."""
        return self._of_type(piece, {INT, DOUBLE}, "`order_by` is a number, not {}", candidate=True)

    def _of_type(
        self, piece: Piece | None, types: set[Type], wanted: str, *, candidate: bool
    ) -> Condition | None:
        expression = self._expression(piece, candidate=candidate)
        condition = expression.condition(piece) if piece and expression else None
        if piece and condition and condition.tree.type not in types:
            message = wanted.format(condition.tree.type)
            self.found.append(piece.error(Code.NOT_A_CONDITION, message))
            return None
        return condition

    def variable(self, name: str, piece: Piece) -> Condition | None:
        """Read a variable of any type, and let later expressions use it."""
        expression = self._expression(piece, candidate=False)
        condition = expression.condition(piece) if expression else None
        path = f"variables.{name}"
        self._read.clear()  # the same text means something else now
        if expression is None or condition is None:
            self.vocabularies.learn(Name(path, BROKEN))
            return None
        _, shows, hides = expression.checked
        self.vocabularies.learn(Name(path, condition.tree.type, shows=shows, hides=hides))
        self._places[name] = len(self._places)
        self._variables[name] = condition
        return condition

    def _expression(self, piece: Piece | None, *, candidate: bool) -> _Expression | None:
        """Check a text, or find what was found where the same text stood before."""
        text = _text_of(piece)
        if piece is None or text is None:
            return None
        found = self._read.get((text, candidate))
        if found is None:
            vocabulary = self.vocabularies.candidate if candidate else self.vocabularies.rule
            found = self._read[text, candidate] = self._compiled(*check(text, vocabulary))
        self.found.extend(_diagnostic(piece, problem) for problem in found.problems)
        return found

    def _compiled(self, checked: Checked, problems: tuple[Problem, ...]) -> _Expression:
        node = checked.node
        if node is None:
            return _Expression(checked, problems)
        direct = frozenset(
            part.path for part in walk(node) if isinstance(part, Attribute | Present)
        )
        used = [path.removeprefix("variables.") for path in direct if path.startswith("variables.")]
        variables = self._with_all_they_use(used)
        reads = direct.union(*(self._variables[name].reads for name in used))
        return _Expression(checked, problems, Program(node), reads, variables)

    def _with_all_they_use(self, used: list[str]) -> tuple[str, ...]:
        """Return variables and the ones they use, each after the ones that it uses."""
        needed = {inner for name in used for inner in self._variables[name].variables}
        return tuple(sorted(needed.union(used), key=self._places.__getitem__))


def _text_of(piece: Piece | None) -> str | None:
    """Return the text of an expression; ``true`` and numbers may stand in YAML as themselves."""
    if piece is None or not isinstance(piece.node, ScalarNode) or piece.node.value is None:
        return None
    value = piece.node.value
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def _diagnostic(piece: Piece, problem: Problem) -> Diagnostic:
    span = piece.span
    if isinstance(piece.node, ScalarNode) and isinstance(piece.node.value, str):
        span = piece.node.span_of(problem.start, problem.end)
    return Diagnostic(problem.code, Severity.ERROR, problem.message, span, piece.path, problem.help)
