"""Finds what no decision uses: variables, tables, a default, picks, fallbacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from policy_router.cel.ast import TableOf, walk
from policy_router.cel.condition import Condition
from policy_router.diagnostics.codes import Code, Severity
from policy_router.diagnostics.model import Diagnostic, quote
from policy_router.domain import WISHES, Level, Policy, PoolEntry, PrecedenceRule
from policy_router.policy.sections import Sections
from policy_router.policy.written import entries


def findings(policy: Policy, sections: Sections, *, own_precedence: bool) -> Iterator[Diagnostic]:
    """Yield what has no effect.

    Args:
        policy: a policy without errors.
        sections: what it was read from.
        own_precedence: whether the precedence rules are its own.
    """
    yield from _names(policy, sections)
    if own_precedence and policy.precedence:
        yield from _levels(policy, sections)
    yield from _fallbacks(policy, sections)


def _names(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    """Yield a hint for the variables and tables that nothing uses."""
    used = list(_conditions(policy))
    variables = {name for condition in used for name in condition.variables}
    read = [*used, *(it.condition for it in policy.variables if it.name in variables)]
    tables = {
        node.path.removeprefix("tables.")
        for condition in read
        for node in (walk(condition.tree) if "tables" in condition.text else ())
        if isinstance(node, TableOf)
    }
    for key, names in (("variables", variables), ("tables", tables)):
        for name, piece in sections.united(key):
            if name.text not in names:
                message = f"no rule uses {quote(f'{key}.{name.text}')}"
                yield Diagnostic(
                    Code.NO_EFFECT,
                    Severity.HINT,
                    message,
                    name.span,
                    piece.path,
                    "use it in a condition, or remove it",
                )


def _conditions(policy: Policy) -> Iterator[Condition]:
    """Yield the conditions that decide or that are proved."""
    entries_ = ((it.allow, it.pick) for it in policy.pool or ())
    rules = ((it.when, it.order_by) for it in policy.precedence)
    proved = ((it.condition,) for it in policy.assertions)
    forbidden = ((it.when,) for it in policy.forbid)
    groups: Iterable[Iterable[Condition | None]] = (
        *entries_,
        *rules,
        *proved,
        *forbidden,
        policy.assumptions,
    )
    for group in groups:
        yield from (it for it in group if it is not None)


def _levels(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    """Yield a default and picks where no rule proposes them."""
    used = {rule.use for rule in policy.precedence if rule.entry is None}
    model = sections.one("model")
    is_native = model is not None and model.path == "$.model"  # a host uses its own besides
    if model is not None and is_native and policy.pool and Level.CONFIG not in used:
        message = "`model` has no effect: no rule uses `config`"
        remedy = "add `{use: config}` to `precedence`, or leave `model` out"
        yield model.warning(Code.NO_EFFECT, message, remedy)
    for piece, _ in entries(policy, sections) if Level.POOL not in used else ():
        if (pick := piece.get("pick")) is not None:
            message = "`pick` has no effect: no rule uses `pool` without an `entry`"
            yield pick.warning(Code.NO_EFFECT, message, "add `{use: pool}` to `precedence`")
            return


def _fallbacks(policy: Policy, sections: Sections) -> Iterator[Diagnostic]:
    """Yield a hint for the fallbacks of entries that are only selected for a wish."""
    planning = [rule for rule in policy.precedence if rule.fallback]
    for piece, entry in entries(policy, sections):
        fallback = piece.get("fallback")
        if not entry.fallback or fallback is None:
            continue
        if not any(_may_select(policy, rule, entry) for rule in planning):
            name = quote(entry.name)
            message = f"a wish for {name} is planned without fallbacks, and no rule picks {name}"
            remedy = "set `fallback: true` on the rule for `task`, or give the entry a `pick`"
            yield fallback.hint(Code.NO_EFFECT, message, remedy)


def _may_select(policy: Policy, rule: PrecedenceRule, entry: PoolEntry) -> bool:
    """Tell whether a rule may select an entry; the parent's model is left out."""
    if rule.use is Level.CONFIG:
        same = entry.provider in {policy.provider or "", ""} or policy.provider is None
        return entry.model == policy.model and same
    if rule.use is Level.POOL:
        return entry.pick is not None if rule.entry is None else rule.entry == entry.name
    return rule.use in WISHES
