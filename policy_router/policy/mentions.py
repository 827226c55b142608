"""Names, models, providers and capabilities that a condition mentions and the policy lacks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple

from policy_router.cel.ast import Apply, Attribute, Literal, Node, TableOf, walk
from policy_router.cel.checker import Problem
from policy_router.cel.condition import Condition
from policy_router.cel.simplify import literal
from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import did_you_mean, quote
from policy_router.domain import WISHES, Level, Policy
from policy_router.policy.parts import Finding
from policy_router.policy.truth import Reasoner


class _Set(NamedTuple):
    """The values that a name has in this policy.

    Attributes:
        values: the values.
        lacks: what to say of another value.
        is_closed: whether there is no other; else it may come from an agent or the host.
        only_close: whether another value is only odd where it is close to one of these.
    """

    values: Collection[str]
    lacks: str
    is_closed: bool = False
    only_close: bool = False


class Mentions:
    """Knows what a policy's conditions can mention."""

    def __init__(self, policy: Policy, known_providers: Iterable[str]) -> None:
        """Collect the names, models and providers of a policy."""
        self._closed, self._tests = policy.closed, _MOST_TESTS
        pool = policy.pool or ()
        names, models = {entry.name for entry in pool}, {entry.model for entry in pool}
        aliases = {alias for entry in pool for alias in entry.aliases}
        self._names_of = {
            **{alias: entry.name for entry in pool for alias in entry.aliases},
            **{entry.model: entry.name for entry in pool},
        }
        providers = {policy.provider or "", *(it.provider for it in pool), *policy.providers}
        providers.discard("")
        callable_ones = providers if policy.providers else providers | set(known_providers)
        default = {policy.model} if policy.model else set()
        is_closed = not may_be_outside(policy)
        declared = {it for entry in pool for it in entry.supports or ()}
        strengths = {it for entry in pool for it in entry.strengths}
        at = "no target is at"
        self._sets = {
            "target.provider": _Set(providers, at, is_closed),
            **dict.fromkeys(("call.provider", "task.provider"), _Set(callable_ones, at)),
            "parent.provider": _Set(callable_ones, at, only_close=True),
        }
        if policy.pool is not None:
            wishes = _Set(names | models | aliases, "no entry has the name, model or alias")
            self._sets |= {
                "target.name": _Set(names | default, "no entry has the name", is_closed),
                "target.model": _Set(models | default, "no entry has the model", is_closed),
                **dict.fromkeys(("call.model", "task.model"), wishes),
                "target.supports": _Set(declared, "no entry declares", is_closed=True),
                "target.strengths": _Set(strengths, "no entry has the strength", is_closed=True),
            }

    def findings(self, condition: Condition, reasoner: Reasoner) -> Iterator[Finding]:
        """Yield what a condition mentions and the policy lacks."""
        yield from self._foreign_keys(condition)
        if self._sets.keys().isdisjoint(condition.reads):
            return
        for node in walk(condition.tree):
            if isinstance(node, Apply) and node.function in _TESTS:
                yield from self._untrue(node, reasoner)
            for path, place, value in _mentioned(node, reasoner):
                known = self._sets.get(path)
                if known is not None and value and value not in known.values:
                    finding = self._finding(path, place, value, known)
                    if finding is not None:
                        yield finding

    def _untrue(self, node: Apply, reasoner: Reasoner) -> Iterator[Finding]:
        """Yield a test of a text that no name of its kind passes."""
        name, wanted = node.arguments
        known = self._sets.get(name.path) if isinstance(name, Attribute) else None
        if known is None or known.only_close or not known.values or self._tests < 0:
            return
        self._tests -= len(known.values)
        values = sorted(known.values)
        passed = [_passes(node, value, wanted, reasoner) for value in values]
        if any(passed):
            return
        alike = (it for it in values if _passes(node, it.lower(), _lower(wanted), reasoner))
        other = next(alike, None)
        remedy = f"case matters: there is {quote(other)}" if other else None
        what = " a provider" if known.lacks.endswith(" at") else ""
        message = f"{known.lacks}{what} for which this is true"
        problem = Problem(Code.IN_NO_ENTRY, message, node.start, node.end, remedy)
        is_odd = known.is_closed or remedy is not None
        yield Finding(problem, Severity.WARNING if is_odd else Severity.HINT)

    def _foreign_keys(self, condition: Condition) -> Iterator[Finding]:
        """Yield the keys of tables that the name which is looked up there can never have."""
        if self._closed.keys().isdisjoint(condition.reads):
            return
        looked_up: dict[tuple[str, str], TableOf] = {}
        for node in walk(condition.tree):
            if isinstance(node, Apply) and node.function in {"in", "[]"}:
                names = [it.path for it in node.arguments if isinstance(it, Attribute)]
                tables = [it for it in node.arguments if isinstance(it, TableOf)]
                for name, table in zip(names, tables, strict=False):
                    looked_up.setdefault((table.path, name), table)
        for (_, name), table in looked_up.items():
            if (closed := self._closed.get(name)) is not None:
                yield from _outside(table, name, closed.values)

    def _finding(self, path: str, place: Node, value: str, known: _Set) -> Finding | None:
        remedy = did_you_mean(value, sorted(known.values), 0.75)
        if path == "target.name" and value in self._names_of:
            remedy = f"the name of that entry is {quote(self._names_of[value])}"
        if remedy is None and (known.only_close or not known.values):
            return None
        message = f"{known.lacks} {quote(value)}"
        problem = Problem(Code.IN_NO_ENTRY, message, place.start, place.end, remedy)
        is_odd = known.is_closed or remedy is not None
        return Finding(problem, Severity.WARNING if is_odd else Severity.HINT)


def _outside(table: TableOf, path: str, values: Collection[str]) -> Iterator[Finding]:
    for key in sorted(table.values.keys() - set(values)):
        message = f"the key {quote(key)} of `{table.path}` is not one of the values of `{path}`"
        remedy = did_you_mean(key, sorted(values))
        problem = Problem(Code.OUTSIDE_CLOSED_SET, message, table.start, table.end, remedy)
        yield Finding(problem)


def may_be_outside(policy: Policy) -> bool:
    """Tell whether a target may be none of the pool and not the default."""
    levels = (*WISHES, Level.PARENT)
    open_ones = [rule for rule in policy.precedence if rule.use in levels and not rule.in_pool]
    return policy.pool is None or bool(open_ones)


_TESTS: Final = frozenset({"startsWith", "endsWith", "contains", "matches"})
_MOST_TESTS: Final = 20_000
"""So many names are tried in the tests of one policy."""


def _passes(node: Apply, value: str, wanted: Node, reasoner: Reasoner) -> bool:
    """Tell whether a test of a text is not false for a value."""
    return reasoner.constant(replace(node, arguments=(literal(value), wanted))) is not False


def _lower(node: Node) -> Node:
    return literal(str(node.value).lower()) if isinstance(node, Literal) else node


def _mentioned(node: Node, reasoner: Reasoner) -> Iterator[tuple[str, Node, Any]]:
    """Yield the name, the place and the value of each text that a name is compared with."""
    if not isinstance(node, Apply) or node.function not in {"==", "!=", "in"}:
        return
    left, right = node.arguments
    name, places = left, right.children() if node.function == "in" else (right,)
    if not isinstance(left, Attribute):
        name, places = right, (left,)
    for place in places if isinstance(name, Attribute) else ():
        value = reasoner.constant(place)
        if isinstance(name, Attribute) and isinstance(value, str):
            yield name.path, place, value
