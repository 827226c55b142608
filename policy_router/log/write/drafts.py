"""Lines before they have their places in a chain, and what they are made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from policy_router.decision.record import DecisionRecord
from policy_router.domain import Policy
from policy_router.errors import RequestError
from policy_router.files.ids import check_session
from policy_router.log.entry import (
    ID_RULE,
    TAG_RULE,
    TRACE,
    Close,
    Execution,
    Gap,
    Kind,
    LogEntry,
    Prune,
    are_tags,
    is_id,
)
from policy_router.log.used_policy import UsedPolicy

_MOST_ROOTS = 10_000
"""Of so many decisions the first one of their tree is remembered, and of as many before."""


class Draft(Struct, frozen=True):
    """A line before it has its place in the chain; the fields are those of :class:`LogEntry`.

    What comes from outside is JSON already: what cannot be spelt is found before it is handed over,
    and harms nobody else.

    Attributes:
        used: of a policy: what is decided by from here on.
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
    root: str | UnsetType = UNSET
    session: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    used: UsedPolicy | UnsetType = UNSET
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
        root_id: the id of the first decision of its tree, where the host knows it; None: it is
            found, where the decision above it was logged by the same process.
        session_id: the session that it belongs to, or None.
        tags: up to eight words of the host's own.
    """

    record: DecisionRecord
    decision_id: str
    parent_id: str | None = None
    content: bytes | None = None
    purpose: str | UnsetType = UNSET
    trace: str | UnsetType = UNSET
    root_id: str | None = None
    session_id: str | None = None
    tags: tuple[str, ...] = ()


class TreeRoots:
    """Knows the first decision of a tree by any of its decisions of a while ago.

    Safe to share between threads: what two of them forget at once is unknown, and no more.
    """

    def __init__(self) -> None:
        """Know none."""
        self._new: dict[str, str] = {}
        self._old: dict[str, str] = {}

    def of(self, decided: Decided) -> str | None:
        """Return the first decision of a decision's tree; None where it is not known."""
        parent, root = decided.parent_id, decided.root_id
        if root is None and parent is None:
            root = decided.decision_id
        elif root is None and parent is not None:
            root = self._new.get(parent) or self._old.get(parent)
        if root is not None:
            if len(self._new) >= _MOST_ROOTS:
                self._old, self._new = self._new, {}
            self._new[decided.decision_id] = root
        return root


def decision_draft(
    policy: Policy, decided: Decided, now: int, *, is_waited_for: bool, root: str | None = None
) -> Draft:
    """Return the line of a decision.

    Args:
        policy: what decided.
        decided: the decision.
        now: the time, in microseconds since 1970.
        is_waited_for: whether somebody waits for it.
        root: the first decision of its tree; None is unknown.

    Raises:
        ValueError: the record is not of this policy, or an id, the trace, the session or a tag is
            malformed.
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
        root=UNSET if root is None else checked(root),
        session=_session_of(decided.session_id),
        tags=_tags_of(decided.tags),
        policy=policy,
        is_waited_for=is_waited_for,
    )


def _session_of(session_id: str | None) -> str | UnsetType:
    if session_id is None:
        return UNSET
    try:
        check_session(session_id)
    except RequestError as problem:
        raise ValueError(problem.reason) from None
    return session_id


def _tags_of(tags: tuple[str, ...]) -> tuple[str, ...] | UnsetType:
    if not are_tags(tags):
        raise ValueError(TAG_RULE)
    return tuple(tags) or UNSET


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
            draft.root,
            draft.session,
            draft.tags,
            draft.used,
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
