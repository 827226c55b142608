"""Lines before they have their places in a chain, and what they are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from policy_router.decision.record import DecisionRecord
from policy_router.domain import Policy
from policy_router.log.entry import (
    ID_RULE,
    TRACE,
    Close,
    Execution,
    Gap,
    Kind,
    LogEntry,
    Prune,
    is_id,
)


class Draft(Struct, frozen=True):
    """A line before it has its place in the chain; the fields are those of :class:`LogEntry`.

    What comes from outside is JSON already: what cannot be spelt is found before it is handed over,
    and harms nobody else.

    Attributes:
        policy: of a decision: what decided, which is stored before the line is written.
        is_waited_for: whether somebody waits for it, and would be told that it is not written.
    """

    kind: Kind
    time: int
    id: str | UnsetType = UNSET
    parent: str | UnsetType = UNSET
    caller: Raw | UnsetType = UNSET
    record: Raw | UnsetType = UNSET
    execution: Raw | UnsetType = UNSET
    gap: Gap | UnsetType = UNSET
    close: Close | UnsetType = UNSET
    prune: Prune | UnsetType = UNSET
    purpose: str | UnsetType = UNSET
    trace: str | UnsetType = UNSET
    policy: Policy | None = None
    is_waited_for: bool = False


class Decided(Struct, frozen=True):
    """A decision to be logged.

    Attributes:
        record: the decision.
        decision_id: its id, a UUID of version 7.
        parent_id: the id of the decision under which the delegating agent runs, or None.
        content: the canonical JSON of the record, where it was made already.
        purpose: what it was made for, where nothing runs by it.
        trace: the trace that its request belongs to: the id of the trace, ``-``, and the id of the
            span that asked, as the header ``traceparent`` has them.
    """

    record: DecisionRecord
    decision_id: str
    parent_id: str | None = None
    content: bytes | None = None
    purpose: str | UnsetType = UNSET
    trace: str | UnsetType = UNSET


def decision_draft(policy: Policy, decided: Decided, now: int, *, is_waited_for: bool) -> Draft:
    """Return the line of a decision.

    Raises:
        ValueError: the record is not of this policy, or an id or the trace is malformed.
    """
    record = decided.record
    if record.policy.revision != policy.revision:
        raise ValueError("the record is not of this policy")
    if not isinstance(decided.trace, UnsetType) and not _TRACE.fullmatch(decided.trace):
        raise ValueError(f"the trace does not match `{TRACE}`")
    return Draft(
        Kind.DECISION,
        now,
        checked(decided.decision_id),
        UNSET if decided.parent_id is None else checked(decided.parent_id),
        caller_of(record.request.get("caller")),
        Raw(decided.content or record.to_json()),
        purpose=decided.purpose,
        trace=decided.trace,
        policy=policy,
        is_waited_for=is_waited_for,
    )


def caller_of(caller: object) -> Raw | UnsetType:
    """Return who called as a part of a line.

    Raises:
        ValueError: a text in it is not valid Unicode.
    """
    return encoded(caller) if isinstance(caller, dict) else UNSET


def checked(decision_id: str) -> str:
    """Return the id of a decision, which has to be one that a log can hold and find again."""
    if not is_id(decision_id):
        raise ValueError(ID_RULE)
    return decision_id


def chained(draft: Draft, seq: int, prev: str) -> bytes:
    """Return the bytes of a line, without a line end.

    Args:
        draft: what it says.
        seq: its number.
        prev: the hash of the line before.
    """
    return _ENCODER.encode(
        LogEntry(
            seq,
            prev,
            draft.time,
            draft.kind,
            draft.id,
            draft.parent,
            cast("dict[str, Any]", draft.caller),
            draft.record,
            cast("Execution", draft.execution),
            draft.gap,
            draft.close,
            draft.prune,
            draft.purpose,
            draft.trace,
        )
    )


def encoded(content: Execution | Mapping[str, Any]) -> Raw:
    """Return a part of a line as JSON, which can be read back.

    Raises:
        ValueError: it is not what its class says, or a text in it is not valid Unicode.
    """
    try:
        line = _ENCODER.encode(content)
        if isinstance(content, Execution):
            msgspec.json.decode(line, type=Execution)
    except (TypeError, RecursionError, msgspec.ValidationError) as problem:
        raise ValueError(f"it cannot be a part of a line: {problem}") from None
    return Raw(line)


_TRACE = re.compile(TRACE)
_ENCODER = msgspec.json.Encoder(order="sorted")
