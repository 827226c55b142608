"""A policy's conditions, folded for one candidate each, and fused with others.

An entry's own attributes are constants, so they are written into its conditions. A folded
condition comes to what the condition as written comes to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from msgspec import Struct

from policy_router.domain import Level, Policy, PoolEntry
from policy_router.expressions.condition import Condition
from policy_router.expressions.engine import Deferred, Outcome, Program
from policy_router.expressions.folding import (
    FALSE,
    TRUE,
    Folding,
    Known,
    constant_of,
    joined,
    literal,
    strings,
)
from policy_router.expressions.fusing import Fused
from policy_router.expressions.tree import (
    STRING,
    Apply,
    Attribute,
    Node,
    Present,
    walk,
)


class Folded(Struct, frozen=True):
    """A condition for one candidate, with what is known about it written in.

    Attributes:
        condition: the condition as it was written, which decides where the rest fails; None for
            what is only a quick way to know that several conditions hold.
        tree: what is left of it.
        constant: its outcome, where that is all that is left; else None.
        program: what is left, to be evaluated; None where it is evaluated as it was written.
        variables: the variables that the rest needs, each after the ones that it uses.
        aimed: whether the rest still reads names of the candidate.
    """

    condition: Condition | None
    tree: Node
    constant: Outcome | None = None
    program: Program | None = None
    variables: tuple[str, ...] = ()
    aimed: bool = False


class Group(Struct, frozen=True):
    """Conditions that are needed together.

    Attributes:
        members: the conditions.
        fused: all of them in one; None where they are evaluated one by one.
        variables: the variables that any of them needs.
        entries: for each the entry that it is about; empty where they are about the request.
        level: the level that proposes these entries.
    """

    members: tuple[Folded, ...]
    fused: Fused | None
    variables: tuple[str, ...]
    entries: tuple[PoolEntry, ...]
    level: Level


class Folder:
    """Folds and fuses the conditions of one policy.

    Attributes:
        folds: whether known values are written into conditions; if not, each is evaluated by
            itself, as it was written.
        fuses: whether conditions are evaluated together.
    """

    def __init__(self, policy: Policy, *, folds: bool, fuses: bool) -> None:
        """Begin with a policy."""
        self.folds, self.fuses = folds, folds and fuses
        self._engine = policy.engine
        self._folding = Folding(policy.engine, {})
        self._variables = {
            variable.name: variable.condition.variables for variable in policy.variables
        }

    def folded(self, condition: Condition, entry: PoolEntry | None, level: Level) -> Folded:
        """Fold a condition for a candidate.

        Args:
            condition: the condition.
            entry: the entry that the candidate is, or None.
            level: the level that proposes it.
        """
        if not self.folds:
            return Folded(condition, condition.tree)
        return self._folded(self._folding.fold(condition.tree, known_of(entry, level)), condition)

    def quick(self, tree: Node) -> Folded:
        """Return a folded expression that has no written condition to fall back on."""
        return self._folded(tree, None) if self.folds else Folded(None, tree)

    def _folded(self, tree: Node, condition: Condition | None) -> Folded:
        constant = constant_of(tree)
        if constant is not None:
            known = _TRUE if constant is True else _FALSE if constant is False else None
            return known or Folded(None, tree, constant)
        reads = reads_of(tree)
        program = Deferred(self._engine, tree)
        return Folded(condition, tree, None, program, self._needed(reads), _is_aimed(reads))

    def group(
        self,
        members: Sequence[Folded],
        entries: Sequence[PoolEntry] = (),
        level: Level = Level.POOL,
        *,
        fuses: bool = True,
    ) -> Group:
        """Take conditions together.

        Args:
            members: the conditions.
            entries: for each the entry that it is about; none where they are about the request.
            level: the level that proposes these entries.
            fuses: whether to fuse them, where this folder does.
        """
        trees = [member.tree for member in members]
        fused = Fused(self._engine, trees) if fuses and self.fuses else None
        needed = {name for member in members for name in member.variables}
        variables = tuple(name for name in self._variables if name in needed)
        return Group(tuple(members), fused, variables, tuple(entries), level)

    def cut(self, condition: Condition) -> tuple[Node | None, Condition | None]:
        """Cut a chain of ``&&`` in two; it is false exactly where one of the parts is.

        Returns:
            The part that is about the request alone, and the part that looks at the candidate;
            None for a part that there is not.
        """
        parts: tuple[list[Node], list[Node]] = ([], [])
        for part in _conjuncts(condition.tree):
            parts[_is_aimed(reads_of(part))].append(part)
        about_request, aimed = parts
        if not about_request:
            return None, condition
        return joined("&&", about_request), self._part(condition, aimed) if aimed else None

    def _part(self, condition: Condition, parts: list[Node]) -> Condition:
        """Return a part of a condition; its text and its place are those of the whole."""
        tree = joined("&&", parts)
        reads = reads_of(tree)
        program, variables = Deferred(self._engine, tree), self._needed(reads)
        return replace(condition, tree=tree, program=program, reads=reads, variables=variables)

    def _needed(self, reads: Iterable[str]) -> tuple[str, ...]:
        """Return the variables among some names, each after the ones that it uses."""
        named = [path.removeprefix("variables.") for path in reads if path.startswith("variables.")]
        needed = {*named, *(inner for name in named for inner in self._variables[name])}
        return tuple(name for name in self._variables if name in needed)


def reads_of(tree: Node) -> frozenset[str]:
    """Return the names that an expression uses, ``has()`` included."""
    return frozenset(part.path for part in walk(tree) if isinstance(part, Attribute | Present))


def _is_aimed(reads: Iterable[str]) -> bool:
    return any(path.startswith("target.") for path in reads)


def _conjuncts(tree: Node) -> list[Node]:
    """Return the operands of a chain of ``&&``, those of chains in it included."""
    if not isinstance(tree, Apply) or tree.function != "&&":
        return [tree]
    return [part for argument in tree.arguments for part in _conjuncts(argument)]


def known_of(entry: PoolEntry | None, level: Level) -> Known:
    """Return what stands for the names of a candidate: an entry, or a target that is none."""
    if entry is None:
        return {**_NO_ENTRY, "target.level": literal(level.value)}
    provider = literal(entry.provider) if entry.provider else _PARENT_PROVIDER
    return {
        "target.name": literal(entry.name),
        "target.model": literal(entry.model),
        "target.provider": provider,
        "target.level": literal(level.value),
        "target.strengths": strings(entry.strengths),
        "target.supports": strings(entry.supports or ()),
        "target.price.input": _number(entry.price.input),
        "target.price.output": _number(entry.price.output),
        "target.context_window": _number(entry.context_window),
    }


def _number(value: float | None) -> Node | None:
    return None if value is None else literal(value)


# Most of what is folded comes to one of these.
_TRUE: Final = Folded(None, TRUE, constant=True)
_FALSE: Final = Folded(None, FALSE, constant=False)
_PARENT_PROVIDER: Final = Attribute(STRING, 0, 0, "parent.provider")
_NO_ENTRY: Final[Known] = {
    "target.name": Attribute(STRING, 0, 0, "target.model"),
    "target.strengths": strings(()),
    "target.supports": strings(()),
    "target.price.input": None,
    "target.price.output": None,
    "target.context_window": None,
}
