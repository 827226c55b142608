"""Texts of conditions to compiled conditions, with problems put where they were written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from policy_router.cel.ast import BOOL, BROKEN, DOUBLE, INT, Attribute, Present, Type, walk
from policy_router.cel.checker import Checked, Problem, check
from policy_router.cel.condition import Condition
from policy_router.cel.evaluate import Program
from policy_router.cel.vocabulary import (
    NOW,
    OUTCOME_NAMES,
    REQUEST_NAMES,
    TARGET_NAMES,
    Name,
    Vocabulary,
)
from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic
from policy_router.domain import ClosedSet, Fact, Level, Table
from policy_router.policy.sections import Piece
from policy_router.policy.yaml import ScalarNode
from policy_router.policy.yaml_effects import (
    CUT_BY_COMMA,
    CUT_BY_COMMENT,
    control_character,
    is_commented,
    is_cut,
    swallowing,
)

_TARGET_ELSEWHERE = {
    "target": "`target` is known in `allow`, `pick`, `forbid` and `order_by` alone"
}


_OUTCOMES = {"outcome": frozenset({"selected", "refused"}), "level": frozenset(Level)}


@dataclass(frozen=True, slots=True)
class Vocabularies:
    """What conditions may use: ``rule`` in general, ``candidate`` where there is a target.

    An ``assertion`` looks at what a decision came to, besides.
    """

    rule: Vocabulary
    candidate: Vocabulary
    assertion: Vocabulary

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
        candidate = Vocabulary.of([*names, *target], {}, types)
        outcome = [replace(name, values=_OUTCOMES.get(name.path)) for name in OUTCOME_NAMES]
        return cls(rule, candidate, Vocabulary.of([*names, *target, *outcome], {}, types))

    def learn(self, name: Name) -> None:
        """Let the conditions that follow use one more name."""
        for vocabulary in (self.rule, self.candidate, self.assertion):
            vocabulary.learn(name)


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


class Sees(Enum):
    """What an expression looks at: the request, a candidate besides, or what is decided."""

    REQUEST = "rule"
    CANDIDATE = "candidate"
    OUTCOME = "assertion"


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
        self._read: dict[tuple[str, Sees], _Expression] = {}

    def condition(self, piece: Piece | None, sees: Sees) -> Condition | None:
        """Read a condition."""
        return self._of_type(piece, {BOOL}, "a condition is true or false, not {}", sees)

    def prohibition(self, piece: Piece | None) -> Condition | None:
        """Read the condition of a forbid rule: what may be absent should forbid, too."""
        before = len(self.found)
        condition = self.condition(piece, Sees.CANDIDATE)
        expression = self._read.get((_text_of(piece) or "", Sees.CANDIDATE))
        if piece and expression and any(problem.guard for problem in expression.problems):
            self.found[before:] = [placed(piece, _closed(it)) for it in expression.problems]
        return condition

    def expression(self, piece: Piece, sees: Sees) -> Condition | None:
        """Read an expression of any type."""
        found = self._expression(piece, sees)
        return found.condition(piece) if found else None

    def number(self, piece: Piece | None) -> Condition | None:
        """Read an expression for a candidate that must be a number."""
        wanted = "`order_by` is a number, not {}"
        return self._of_type(piece, {INT, DOUBLE}, wanted, Sees.CANDIDATE)

    def _of_type(
        self, piece: Piece | None, types: set[Type], wanted: str, sees: Sees
    ) -> Condition | None:
        expression = self._expression(piece, sees)
        condition = expression.condition(piece) if piece and expression else None
        if piece and condition and condition.tree.type not in types:
            message = wanted.format(condition.tree.type)
            self.found.append(piece.error(Code.NOT_A_CONDITION, message))
            return None
        return condition

    def variable(self, name: str, piece: Piece) -> Condition | None:
        """Read a variable of any type, and let later expressions use it."""
        expression = self._expression(piece, Sees.REQUEST)
        condition = expression.condition(piece) if expression else None
        path = f"variables.{name}"
        self._read.clear()  # the same text means something else now
        if expression is None or condition is None:
            self.vocabularies.learn(Name(path, BROKEN))
            return None
        _, if_true, if_false = expression.checked
        self.vocabularies.learn(
            Name(path, condition.tree.type, present_if_true=if_true, present_if_false=if_false)
        )
        self._places[name] = len(self._places)
        self._variables[name] = condition
        return condition

    def _expression(self, piece: Piece | None, sees: Sees) -> _Expression | None:
        """Check a text, or find what was found where the same text stood before."""
        text = _text_of(piece)
        if piece is None or text is None:
            return None
        if (comment := swallowing(piece)) is not None:
            self.found.append(comment)
            return None
        if (control := control_character(piece)) is not None:
            self.found.append(control)
        found = self._read.get((text, sees))
        if found is None:
            vocabulary: Vocabulary = getattr(self.vocabularies, sees.value)
            found = self._read[text, sees] = self._compiled(*check(text, vocabulary))
        self.found.extend(placed(piece, problem) for problem in found.problems)
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


def placed(piece: Piece, problem: Problem, severity: Severity = Severity.ERROR) -> Diagnostic:
    """Put a problem of an expression where it was written."""
    span = piece.span
    if isinstance(piece.node, ScalarNode) and isinstance(piece.node.value, str):
        span = piece.node.span_of(problem.start, problem.end)
    remedy = problem.help
    if problem.code is Code.CEL_SYNTAX and is_cut(piece.node):
        remedy = CUT_BY_COMMA
    elif problem.code is Code.CEL_SYNTAX and is_commented(piece.node):
        remedy = CUT_BY_COMMENT
    return Diagnostic(problem.code, severity, problem.message, span, piece.path, remedy)


def _closed(problem: Problem) -> Problem:
    """Propose the guard that forbids where a name is absent."""
    if problem.guard is None:
        return problem
    remedy = f"write `!{problem.guard} || ...`: without it, the rule forbids"
    return replace(problem, help=remedy)
