"""Replay: a recorded decision made again, and compared; under its own policy or under another.

Since ``decide`` is pure, a record holds all that it takes. Under its own policy a decision has to
come out the same, byte for byte. Under another policy the question is what would have been.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import Struct, UnsetType

from policy_router.decision.evaluator import decide
from policy_router.decision.record import (
    DecisionRecord,
    Step,
)
from policy_router.domain import Policy
from policy_router.errors import RequestError

_LANGUAGE_CHANGED = "the policy language has changed since"
_ENCODE = msgspec.json.Encoder(order="sorted").encode


class Outcome(StrEnum):
    """What became of a decision that was made again."""

    IDENTICAL = "identical"
    """Decision and steps are the same, byte for byte."""
    CHANGED = "changed"
    """They are not: the language changed since, or by the same engine a bug or a changed record."""
    ENGINE_DRIFT = "engine_drift"
    """They are not, and the record was made by another version of this package or of its engine."""
    NOT_REPLAYABLE = "not_replayable"
    """It cannot be made again."""


class Replayed(Struct, frozen=True):
    """A decision that was made again.

    Attributes:
        outcome: what became of it.
        record: the new record; None where none could be made.
        reason: why it cannot be made again, or where the two begin to differ; else None.
    """

    outcome: Outcome
    record: DecisionRecord | None = None
    reason: str | None = None


def replay(policy: Policy, record: DecisionRecord) -> Replayed:
    """Repeat a recorded decision under its own policy, and compare.

    Args:
        policy: the policy that decided.
        record: the decision.

    Returns:
        The outcome. If the policy has another revision, the record is not replayable.
    """
    if record.policy.revision != policy.revision:
        reason = f"the record is of another policy, in revision {record.policy.revision[:19]}"
        return Replayed(Outcome.NOT_REPLAYABLE, reason=reason)
    try:
        again = decide(policy, record.request, now=record.now)
    except RequestError as problem:
        reason = f"the request does not fit its policy: {problem.path}: {problem.reason}"
        if _of_first_edition(record):
            return Replayed(Outcome.CHANGED, reason=f"{_LANGUAGE_CHANGED}: {reason}")
        return Replayed(Outcome.NOT_REPLAYABLE, reason=reason)
    if compared(again) == compared(record):
        if (again.policy, again.now) == (record.policy, record.now):
            return Replayed(Outcome.IDENTICAL, again)
        return Replayed(Outcome.CHANGED, again, "the record names the policy or the time otherwise")
    reason = f"first difference: {difference(record, again)}"
    if _of_first_edition(record):
        return Replayed(Outcome.CHANGED, again, f"{_LANGUAGE_CHANGED}: {reason}")
    drifts = again.engine != record.engine
    return Replayed(Outcome.ENGINE_DRIFT if drifts else Outcome.CHANGED, again, reason)


def _of_first_edition(record: DecisionRecord) -> bool:
    """Tell whether a record was made by the first edition of the language, as its engine says."""
    return not isinstance(record.engine.cel, UnsetType)


def compared(record: DecisionRecord) -> tuple[bytes, bytes]:
    """Return what two replays have in common if they are the same: decision and steps."""
    return _ENCODE(record.decision), _ENCODE(record.steps)


def difference(before: DecisionRecord, after: DecisionRecord) -> str:
    """Return where two records of the same request begin to differ."""
    old, new = before.steps, after.steps
    for first, second in zip(old, new, strict=False):
        if first != second:
            return f"rule `{first.rule}`: {_spelt(first)} became {_spelt(second)}"
    if len(old) != len(new):
        return f"{len(old)} steps became {len(new)}"
    return "the same steps, and another decision of them"


def _spelt(step: Step) -> str:
    return step.result if isinstance(step.code, UnsetType) else f"{step.result} ({step.code})"
