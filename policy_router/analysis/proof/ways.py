"""In which ways two decisions of a request differ, and what that is due to: no formula is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from policy_router.analysis.outcomes import Outcome
from policy_router.decision.candidate import Candidate
from policy_router.decision.compare import cause, spelt_guard
from policy_router.decision.evaluator import admission, decide, wishes_of
from policy_router.decision.record import DecisionRecord
from policy_router.domain import PoolEntry

CLASSES: Final[Mapping[str, str]] = {
    "newly-refused": "a request is refused that had a target",
    "newly-allowed": "a request has a target that was refused",
    "moved": "a request has another target",
    "dearer": "a request has a dearer target",
    "fallbacks": "a request has other fallbacks",
}
"""In which ways a request can be decided differently, in words."""
DETAILS: Final = "details"


def price_of(entry: PoolEntry) -> tuple[float, float] | None:
    """Return the price of an entry, to be compared: output before input; None if not known."""
    price = entry.price
    if price.output is None:
        return None
    return price.output, price.input or 0.0


def _where(candidate: Candidate) -> tuple[str, str]:
    return candidate.model, candidate.provider


def _is_newly_refused(outcomes: Sequence[Outcome]) -> bool:
    return bool(outcomes[0].runs) and not outcomes[1].runs


def _is_newly_allowed(outcomes: Sequence[Outcome]) -> bool:
    return bool(outcomes[1].runs) and not outcomes[0].runs


def _is_moved(outcomes: Sequence[Outcome]) -> bool:
    one, two = (it.ending.selected for it in outcomes)
    return one is not None and two is not None and _where(one) != _where(two)


def _is_dearer(outcomes: Sequence[Outcome]) -> bool:
    one, two = (it.ending.selected for it in outcomes)
    if one is None or two is None or one.entry is None or two.entry is None:
        return False
    before, after = price_of(one.entry), price_of(two.entry)
    return before is not None and after is not None and after > before


def _has_other_fallbacks(outcomes: Sequence[Outcome]) -> bool:
    one, two = ([*map(_where, it.runs)] for it in outcomes)
    return bool(one) and bool(two) and one[0] == two[0] and one != two


def _has_other_details(outcomes: Sequence[Outcome]) -> bool:
    one, two = (
        decide(it.evaluation.policy, it.request, now=it.evaluation.now).decision for it in outcomes
    )
    return one != two


CONFIRMS: Final[Mapping[str, Callable[[Sequence[Outcome]], bool]]] = {
    "newly-refused": _is_newly_refused,
    "newly-allowed": _is_newly_allowed,
    "moved": _is_moved,
    "dearer": _is_dearer,
    "fallbacks": _has_other_fallbacks,
    DETAILS: _has_other_details,
}
"""What tells whether the decisions of an old and a new policy differ in a way."""


def due_to(outcomes: Sequence[Outcome], records: Sequence[DecisionRecord]) -> str:
    """Return what tells two decisions apart; where they have one target, its plan or its price."""
    if _has_other_fallbacks(outcomes):
        return _due_to_plan(*outcomes)
    if _is_dearer(outcomes) and not _is_moved(outcomes):
        return f"the price of `{outcomes[1].runs[0].name}`"
    return cause(*records)


def _due_to_plan(old: Outcome, new: Outcome) -> str:
    """Return why two decisions have other fallbacks: a guard, or what the policies plan."""
    lost = _rejected(old, new)
    if lost is not None:
        return lost
    found = _rejected(new, old)
    if found is not None:
        return f"no longer {found}"
    selected = new.runs[0]
    if selected.entry is None or new.ending.others or old.ending.others:
        return f"rule `{new.rule}`"
    return f"`fallback` of `{selected.name}`"


def _rejected(one: Outcome, other: Outcome) -> str | None:
    """Return which guard keeps a fallback of one decision from the plan of another one."""
    evaluation, selected, rule = other.evaluation, other.runs[0], other.ending.rule
    if selected.entry is None or rule is None:
        return None
    missing = {it.name for it in one.runs[1:]} - {it.name for it in other.runs}
    for entry in evaluation.prepared.offer(selected.entry).fallback:
        candidate = evaluation.candidate(entry, selected.level)
        found = admission(evaluation, candidate, wishes_of(evaluation), in_pool=rule.in_pool)
        if entry.name in missing and found is not None:
            forbid = found.forbid.id if found.forbid else None
            return spelt_guard(found.code, entry.name, forbid)
    return None
