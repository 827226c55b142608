"""What decisions can be told apart by: the names that ``--by`` and ``--where`` take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Final

from msgspec import Struct, UnsetType

from policy_router.decision.compare import REFUSED
from policy_router.diagnostics.model import did_you_mean, quote
from policy_router.domain import Level
from policy_router.errors import RequestError
from policy_router.log.entry import moment_of
from policy_router.log.report.cases import NOT_KNOWN, Case
from policy_router.log.report.cost_status import CaseCost

_SHORT: Final = 19
"""`sha256:` and the first 12 digits of a revision."""
_DAY: Final = timedelta(days=1) // timedelta(microseconds=1)


@lru_cache(maxsize=4096)
def _day(number: int) -> str:
    return f"{moment_of(number * _DAY):%Y-%m-%d}"


def _target_part(name: str) -> Callable[[Case], str]:
    """Return what tells a part of what was called at last, or else of what was decided."""

    def part(case: Case) -> str:
        target = case.called or case.choice.target
        if target is None:
            return REFUSED
        value = getattr(target, name)
        return value if isinstance(value, str) and value else NOT_KNOWN

    return part


def _code(case: Case) -> str:
    refusal = case.choice.decision.refusal
    return _error(case) if isinstance(refusal, UnsetType) else refusal.code.value


def _error(case: Case) -> str:
    return (case.last.error if case.last else "") or NOT_KNOWN


def _forbid(case: Case) -> str:
    """Return the forbid rule that was against the first candidate that one was against."""
    if case.choice.target is not None:
        return NOT_KNOWN
    each = (it for step in case.choice.steps for it in step.candidates or ())
    return next((it.forbid for it in each if isinstance(it.forbid, str)), NOT_KNOWN)


def _rule(case: Case) -> str:
    decision = case.choice.decision
    if not isinstance(decision.refusal, UnsetType):
        return decision.refusal.rule or NOT_KNOWN
    return NOT_KNOWN if isinstance(decision.rule, UnsetType) else decision.rule


def _level(case: Case) -> str:
    level = case.choice.decision.level
    return NOT_KNOWN if isinstance(level, UnsetType) else level.value


def _policy(case: Case) -> str:
    return f"{case.choice.policy} {case.choice.revision[:_SHORT]}"


def _plan(case: Case) -> str:
    """Return whether what was called at last is the target of the decision, or a fallback."""
    called = case.called
    if called is None:
        return NOT_KNOWN
    return "inside" if called in case.choice.targets.values() else "outside"


def _served(case: Case) -> str:
    return (case.last.served if case.last else "") or NOT_KNOWN


def _status(case: Case) -> str:
    if case.last is not None:
        return case.last.status
    return CaseCost.NEVER_ENDED.value if case.is_to_run else NOT_KNOWN


DIMENSIONS: Final[Mapping[str, Callable[[Case], str]]] = {
    "month": lambda case: _day(case.time // _DAY)[:7],
    "day": lambda case: _day(case.time // _DAY),
    "caller": lambda case: case.request.caller.id or NOT_KNOWN,
    "team": lambda case: case.request.caller.team or NOT_KNOWN,
    "kind": lambda case: case.request.task.kind or NOT_KNOWN,
    "label": lambda case: ", ".join(sorted(case.request.task.labels)) or NOT_KNOWN,
    "outcome": lambda case: case.choice.decision.outcome,
    "code": _code,
    "forbid": _forbid,
    "rule": _rule,
    "level": _level,
    "entry": _target_part("entry"),
    "model": _target_part("model"),
    "provider": _target_part("provider"),
    "decided": lambda case: case.choice.name,
    "sent": lambda case: case.sent,
    "plan": _plan,
    "served": _served,
    "status": _status,
    "error": _error,
    "cost": lambda case: case.cost()[0].value,
    "policy": _policy,
    "session": lambda case: case.line.session or NOT_KNOWN,
    "tag": lambda case: ", ".join(sorted(case.line.tags)) or NOT_KNOWN,
    "root": lambda case: case.line.root or NOT_KNOWN,
    "writer": lambda case: case.writer,
}
"""What a decision has under each name; :data:`NOT_KNOWN` where it has nothing."""

Dimensions = tuple[str, ...]
OF_DECISIONS: Final = frozenset(
    {
        *("month", "day", "caller", "team", "kind", "label", "outcome", "rule", "level", "forbid"),
        *("decided", "policy", "session", "root", "tag", "writer"),
    }
)
"""Dimensions that nothing that comes of a decision changes."""
_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "outcome": ("selected", "refused"),
    "level": (*Level, NOT_KNOWN),
    "cost": tuple(CaseCost),
}
"""All values of the dimensions that have few."""


def checked_names(names: Sequence[str], place: str) -> Dimensions:
    """Return the names of dimensions, each once.

    Args:
        names: what was given.
        place: where, for the message.

    Raises:
        RequestError: one is unknown, or given twice.
    """
    for name in names:
        if name not in DIMENSIONS:
            message = f"{quote(name)} is not one of {', '.join(DIMENSIONS)}"
            remedy = did_you_mean(name, list(DIMENSIONS))
            raise RequestError(place, f"{message}; {remedy}" if remedy else message)
        if names.count(name) > 1:
            raise RequestError(place, f"{quote(name)} is given twice")
    return tuple(names)


def checked_value(name: str, value: str, place: str) -> tuple[str, str]:
    """Return the name of a dimension and a value, which is one that decisions can have.

    Args:
        name: the dimension.
        value: what was given.
        place: where, for the message.

    Raises:
        RequestError: no decision can have it.
    """
    known = _VALUES.get(name)
    if known is not None and value not in known:
        raise RequestError(place, f"{name} {quote(value)} is not one of {', '.join(known)}")
    return name, value


class Filter(Struct, frozen=True):
    """Which decisions are meant.

    Attributes:
        wanted: values by dimension; a decision has to have all of them.
        over_nano: what it cost more than, in nano-dollars, measured and estimated.
    """

    wanted: tuple[tuple[str, str], ...] = ()
    over_nano: int | None = None

    @property
    def is_everything(self) -> bool:
        """Whether every decision is meant."""
        return not self.wanted and self.over_nano is None

    def of_decisions(self, place: str) -> Filter:
        """Return the same, if it looks at nothing that comes of decisions.

        Raises:
            RequestError: it does.
        """
        for name, _ in self.wanted:
            if name not in OF_DECISIONS:
                raise RequestError(place, f"{quote(name)} is about what came of a decision")
        return self

    def costing_over(self, nano: int | None) -> Filter:
        """Return the same for decisions that cost more than an amount; None is any."""
        return Filter(self.wanted, nano)

    def fits(self, case: Case) -> bool:
        """Tell whether a decision is meant."""
        if not all(has(case, name, value) for name, value in self.wanted):
            return False
        if self.over_nano is None:
            return True
        _, measured, estimated = case.cost()
        return measured + estimated > self.over_nano


def has(case: Case, name: str, value: str) -> bool:
    """Tell whether a decision has a value under a name.

    A label or a tag is one of several. A policy is named by its name or the beginning of its
    revision, a root by the beginning of its id, and a target by its entry or its model.
    """
    if name == "label":
        return value in case.request.task.labels
    if name == "tag":
        return value in case.line.tags
    if name == "policy":
        return is_policy(case.choice.policy, case.choice.revision, value)
    found = DIMENSIONS[name](case)
    if name == "root":
        return value != "" and found.startswith(value)
    if name in {"decided", "sent"}:
        return value in {found, *_names(case, name)}
    return found == value


def is_policy(name: str, revision: str, wanted: str) -> bool:
    """Tell whether a policy is meant by its name, or by the beginning of its revision."""
    digest = wanted.removeprefix("sha256:") or "none"
    return name == wanted or revision.removeprefix("sha256:").startswith(digest)


def _names(case: Case, which: str) -> tuple[object, ...]:
    """Return the entry and the model of what was decided, or of what was called at last."""
    target = case.choice.target if which == "decided" else case.called
    return () if target is None else (target.entry, target.model)
