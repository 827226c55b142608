"""Texts of conditions to compiled conditions, with problems put where they were written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from policy_router.diagnostics import Code, Diagnostic, Severity
from policy_router.expressions.checker import Checked, Problem, check
from policy_router.expressions.condition import Condition
from policy_router.expressions.evaluate import Program
from policy_router.expressions.tree import BOOL, BROKEN, DOUBLE, INT, Attribute, Node, Present, walk
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
        cls, facts: Iterable[Name], kinds: tuple[str, ...] | None, levels: Iterable[str]
    ) -> Vocabularies:
        """Make them from a policy's facts and closed sets."""
        closed = {
            "task.kind": frozenset(kinds) if kinds is not None else None,
            "target.level": frozenset(levels),
        }
        request = [
            replace(name, values=closed.get(name.path)) for name in (*REQUEST_NAMES, *TARGET_NAMES)
        ]
        names = [name for name in request if not name.path.startswith("target.")]
        rule = Vocabulary.of([*names, NOW, *facts], _TARGET_ELSEWHERE)
        candidate = Vocabulary.of([*request, NOW, *facts])
        return cls(rule, candidate)

    def learn(self, name: Name) -> None:
        """Let the conditions that follow use one more name."""
        self.rule.learn(name)
        self.candidate.learn(name)


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

    def condition(self, piece: Piece | None, *, candidate: bool) -> Condition | None:
        """Read a condition; ``candidate`` tells whether ``target`` is known in it."""
        checked = self._checked(piece, candidate=candidate)
        if piece is None or checked is None or checked.node is None:
            return None
        if checked.node.type != BOOL:
            message = f"a condition is true or false, not {checked.node.type}"
            self.found.append(piece.error(Code.NOT_A_CONDITION, message))
            return None
        return self._compiled(piece, checked.node)

    def number(self, piece: Piece | None) -> Condition | None:
        """Read an expression for a candidate that must be a number."""
        checked = self._checked(piece, candidate=True)
        if piece is None or checked is None or checked.node is None:
            return None
        if checked.node.type not in {INT, DOUBLE}:
            message = f"`order_by` is a number, not {checked.node.type}"
            self.found.append(piece.error(Code.NOT_A_CONDITION, message))
            return None
        return self._compiled(piece, checked.node)

    def variable(self, name: str, piece: Piece) -> Condition | None:
        """Read a variable of any type, and let later expressions use it."""
        checked = self._checked(piece, candidate=False)
        path = f"variables.{name}"
        if checked is None or checked.node is None:
            self.vocabularies.learn(Name(path, BROKEN))
            return None
        known = Name(path, checked.node.type, shows=checked.shows, hides=checked.hides)
        self.vocabularies.learn(known)
        condition = self._compiled(piece, checked.node)
        self._places[name] = len(self._places)
        self._variables[name] = condition
        return condition

    def _checked(self, piece: Piece | None, *, candidate: bool) -> Checked | None:
        text = _text_of(piece)
        if piece is None or text is None:
            return None
        vocabulary = self.vocabularies.candidate if candidate else self.vocabularies.rule
        checked, problems = check(text, vocabulary)
        self.found.extend(_diagnostic(piece, problem) for problem in problems)
        return checked

    def _compiled(self, piece: Piece, node: Node) -> Condition:
        direct = frozenset(
            part.path for part in walk(node) if isinstance(part, Attribute | Present)
        )
        used = [path.removeprefix("variables.") for path in direct if path.startswith("variables.")]
        variables = self._with_all_they_use(used)
        reads = direct.union(*(self._variables[name].reads for name in used))
        program = Program(node)
        return Condition(_text_of(piece) or "", node, program, piece.span, reads, variables)

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
