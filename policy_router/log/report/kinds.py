"""The kinds of reports: which rows a decision adds to, and what is counted there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from msgspec import Struct, UnsetType

from policy_router.calls.results import Status
from policy_router.decision.record import ReasonCode, Result, Step, Verdict
from policy_router.log.report.cases import NOT_KNOWN, Case, Choice, Wish

Key: TypeAlias = tuple[str, ...]
Rows: TypeAlias = Iterator[tuple[Key, str]]
"""The names of a row beside those of ``--by``, and what a decision counts as there."""

_DENIED: Final = frozenset({Status.REFUSED.value, Status.NOT_STARTED.value})
_PASSED: Final = frozenset({Result.SKIPPED, Result.NO_PROPOSAL, Result.NOT_REACHED})


class KindOfReport(Struct, frozen=True):
    """A kind of report.

    Attributes:
        by: what its rows are grouped by unless told otherwise.
        rows: the rows that a decision adds to.
        alike_by: what tells decisions apart that add to different rows.
        counts: what is counted in a row; the first one orders them.
        names: what a row has before what ``by`` names.
        has_costs: whether a row has costs.
    """

    by: Key
    rows: Callable[[Case], Rows]
    alike_by: Callable[[Case], Any]
    counts: Key
    names: Key = ()
    has_costs: bool = False


def _every(_: Case) -> Rows:
    yield (), ""


def _alike(_: Case) -> None:
    """Return what all decisions have."""


def _refused(case: Case) -> Rows:
    """Yield a row for a refusal, by the policy or by a budget."""
    if _is_refused(case):
        yield (), ""


def _is_refused(case: Case) -> bool:
    return case.choice.target is None or is_denied(case)


def is_denied(case: Case) -> bool:
    """Tell whether a target was selected, and a budget did not let it start."""
    return case.last is not None and case.last.status in _DENIED


# --- Wishes ---------------------------------------------------------------------------------------


def _wishes(case: Case) -> Rows:
    """Yield a row for each level at which a target was asked for, and for limited parameters."""
    for level, wish in (("call", case.request.call), ("task", case.request.task)):
        if wish.name:
            became, code = _became(case, level, wish)
            yield (wish.name, code), became
    for warning in case.choice.decision.warnings:
        if warning.code is ReasonCode.PARAMETER_LIMITED:
            yield (f"parameter {warning.parameter}", warning.code.value), "overridden"


def _by_wishes(case: Case) -> tuple[Choice, Wish, str, str]:
    request = case.request
    return case.choice, request.call, request.task.model, request.task.provider


def _became(case: Case, level: str, wish: Wish) -> tuple[str, str]:
    """Return what became of a wish, and the code where it was not granted."""
    decision = case.choice.decision
    if not isinstance(decision.refusal, UnsetType):
        return "refused", decision.refusal.code.value
    rules = {step.rule for step in case.choice.steps if step.level == level}
    asked = {"model": wish.model, "provider": wish.provider}
    asked = {key: value for key, value in asked.items() if value}
    for it in decision.warnings:
        is_here = it.rule in rules if isinstance(it.level, UnsetType) else it.level == level
        if is_here and (it.code is ReasonCode.LEVEL_NOT_USED or it.requested == asked):
            return "overridden", it.code.value
    return "granted", NOT_KNOWN


# --- Rules, forbid rules and entries --------------------------------------------------------------


def _fired(case: Case) -> Rows:
    """Yield what each rule, forbid rule and entry did; each once a decision."""
    seen: dict[tuple[Key, str], None] = {}
    for step in case.choice.steps:
        seen[("rule", step.rule), _of_step(step)] = None
        for it in step.candidates or ():
            if it.verdict is not Verdict.SELECTED and isinstance(it.entry, str):
                seen[("entry", it.entry), "rejected"] = None
            if isinstance(it.forbid, str):
                seen[("forbid", it.forbid), "rejected"] = None
    for warning in case.choice.decision.warnings:
        if isinstance(warning.forbid, str):
            is_trial = warning.code is ReasonCode.WOULD_FORBID
            seen[("forbid", warning.forbid), "warned" if is_trial else "rejected"] = None
    target = case.choice.target
    selected = None if target is None else target.entry
    if isinstance(selected, str):
        seen[("entry", selected), "selected"] = None
    for run in case.runs:
        if run.entry and run.entry != selected:
            is_planned = run.entry in case.choice.entries
            seen[("entry", run.entry), "fallback" if is_planned else "outside"] = None
    yield from seen


def _by_parts(case: Case) -> tuple[Any, ...]:
    return (case.choice, *[run.entry for run in case.runs])


def _of_step(step: Step) -> str:
    if step.result is Result.SELECTED:
        return "selected"
    return "passed" if step.result in _PASSED else "rejected"


KINDS: Final[Mapping[str, KindOfReport]] = {
    "spend": KindOfReport(("team", "model"), _every, _alike, ("decisions",), has_costs=True),
    "refusals": KindOfReport(("code", "rule", "forbid"), _refused, _is_refused, ("decisions",)),
    "wishes": KindOfReport(
        (), _wishes, _by_wishes, ("decisions", "granted", "overridden", "refused"), ("wish", "code")
    ),
    "rules": KindOfReport(
        (),
        _fired,
        _by_parts,
        ("selected", "fallback", "outside", "rejected", "warned", "passed"),
        ("part", "name"),
    ),
    "models": KindOfReport(
        ("decided", "sent", "served"), _every, _alike, ("decisions",), has_costs=True
    ),
    "callers": KindOfReport(
        ("team", "caller"), _every, _alike, ("decisions", "refused"), has_costs=True
    ),
}
"""The kinds of reports, by name."""
