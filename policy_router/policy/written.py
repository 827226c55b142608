"""The conditions of a policy with the places where they are written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policy_router.cel.checker import Problem
from policy_router.cel.condition import Condition
from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic
from policy_router.domain import ForbidRule, Policy, PoolEntry, PrecedenceRule
from policy_router.policy.conditions import placed
from policy_router.policy.sections import Piece, Sections


@dataclass(frozen=True, slots=True)
class Written:
    """A condition and its place.

    Attributes:
        piece: where it is written.
        condition: the condition.
        of: the entry or the rule that it belongs to; None for a variable.
    """

    piece: Piece
    condition: Condition
    of: PoolEntry | ForbidRule | PrecedenceRule | None = None

    @property
    def key(self) -> str:
        """The key that it is the value of: ``allow``, ``pick``, ``when``, ``order_by`` ..."""
        return str(self.piece.parts[-1])

    def finding(
        self, code: Code, message: str, help_: str | None = None, *, hint: bool = False
    ) -> Diagnostic:
        """Return a finding about the whole condition."""
        problem = Problem(code, message, 0, len(self.condition.text.rstrip()), help_)
        return placed(self.piece, problem, Severity.HINT if hint else Severity.WARNING)


def entries(policy: Policy, sections: Sections) -> list[tuple[Piece, PoolEntry]]:
    """Return the entries of the pool with the pieces that they are read from."""
    return list(zip(sections.joined("pool") or (), policy.pool or (), strict=True))


def conditions(policy: Policy, sections: Sections, *, own_precedence: bool) -> Iterator[Written]:
    """Yield every condition of a policy without errors, apart from those of a shipped profile.

    Args:
        policy: the policy.
        sections: what it was read from.
        own_precedence: whether the precedence rules are its own.
    """
    pairs = sections.united("variables")
    for (_, piece), variable in zip(pairs, policy.variables, strict=True):
        yield Written(piece, variable.condition)
    for piece, entry in entries(policy, sections):
        yield from _under(piece, entry, allow=entry.allow, pick=entry.pick)
    for piece, forbid in zip(sections.joined("forbid") or (), policy.forbid, strict=True):
        yield from _under(piece, forbid, when=forbid.when)
    rules = zip(sections.joined("precedence") or (), policy.precedence, strict=True)
    for piece, rule in rules if own_precedence else ():
        yield from _under(piece, rule, when=rule.when, order_by=rule.order_by)


def _under(
    piece: Piece, of: PoolEntry | ForbidRule | PrecedenceRule, **conditions: Condition | None
) -> Iterator[Written]:
    for key, condition in conditions.items():
        inner = piece.get(key)
        if inner is not None and condition is not None:
            yield Written(inner, condition, of)
