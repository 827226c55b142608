"""A line of the log: one JSON object in canonical form, chained to the line before it.

``prev`` is the SHA-256 of the bytes of the line before, without its line end; what is hashed is
what is stored. The first line of a writer has :data:`GENESIS` there.
"""

from __future__ import annotations

import datetime
import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from policy_router.decision.record import SCHEMA, DecisionRecord, EngineName, PolicyName
from policy_router.errors import RecordError
from policy_router.log.used_policy import UsedPolicy

HOLE: Final = b"\0"
"""What a power cut may leave where nothing was on disk yet. No line has it: JSON spells it out."""
ACCESS: Final = "access"
"""The purpose of a decision that only answers whether something is allowed."""
MOST_LINE: Final = 16 << 20
"""The bytes that no line has more of: nobody writes a longer one, and nobody reads one."""
GENESIS: Final = "0" * 64
"""What the first line of a writer has for the hash of the line before it."""
ID_RULE: Final = "the id of a decision is of 1 to 200 letters, digits, `_`, `-`, `.`, `:`"
_ID = re.compile(r"[\w.:-]{1,200}", re.ASCII)
MOST_TAGS: Final = 8
"""How many tags a decision may have."""
TAG_RULE: Final = "a decision has up to 8 tags of 1 to 100 characters, without control characters"
_TAG = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,100}")
TRACE: Final = "[0-9a-f]{32}-[0-9a-f]{16}"
"""The shape of a trace in a line: the ids of the trace and of the span, in hexadecimal."""

UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What is raised for bytes that are no line of a log, or no record."""

_NOTHING: Final = Raw()
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)


class Kind(StrEnum):
    """What a line is about."""

    DECISION = "decision"
    """A decision, before anything is done about it."""
    EXECUTION = "execution"
    """Something that happened to the child of a decision."""
    GAP = "gap"
    """Something that is not in the log, and why."""
    CLOSE = "close"
    """The end of a segment, or of a writer's process."""
    PRUNE = "prune"
    """Segments that are removed, since they are old enough."""
    POLICY = "policy"
    """A policy that a process decides by from here on, with its rule files."""


PARTS: Final = {
    Kind.DECISION: ("id", "record"),
    Kind.EXECUTION: ("id", "execution"),
    Kind.GAP: ("gap",),
    Kind.CLOSE: ("close",),
    Kind.PRUNE: ("prune",),
    Kind.POLICY: ("policy",),
}
"""What a line has, by its kind."""
_KINDS: Final = frozenset(PARTS)
_WITHOUT_ID: Final = frozenset(kind for kind, parts in PARTS.items() if "id" not in parts)


class Call(Struct, frozen=True, omit_defaults=True, gc=False):
    """One model call of a child, without any content.

    Attributes:
        number: its number, from 1.
        provider: the provider's name.
        model: the model's id at its provider.
        entry: the name of the pool entry.
        failure: the code of its failure.
        status: the HTTP status.
        duration_seconds: its duration.
        is_sent: whether the request was sent.
        input_tokens: of a failed call: the provider's count, where it told one.
        output_tokens: the same.
    """

    number: int
    provider: str
    model: str
    entry: str | None = None
    failure: str | None = None
    status: int | None = None
    duration_seconds: float = 0.0
    is_sent: bool = True
    input_tokens: int | None = None
    output_tokens: int | None = None


class Execution(Struct, frozen=True, omit_defaults=True, gc=False):
    """An event of a child, without any content.

    Attributes:
        event: the kind of event, such as ``started`` and ``finished``.
        provider: the provider's name.
        model: the model's id at its provider.
        entry: the name of the pool entry.
        attempt: the number of the attempt, from 1.
        seconds: the time to wait before the next attempt.
        parameter: the name of the parameter that is left out.
        status: of the end: the status of the task.
        error: of the end: the code of the failure.
        served_model: the model that the provider reports.
        finish_reason: of the end: the provider's reason why the model stopped.
        input_tokens: of the end: the provider's count.
        output_tokens: of the end: the provider's count.
        cached_tokens: of the end: how many tokens of the input came from the provider's cache.
        cost_usd: of the end: US dollars by the prices of the pool.
        duration_seconds: of the end: the time since the start.
        session_id: the session of the child.
        calls: of the end: every model call, in order.
        answer_id: of an answer that can be gone on from: its id at the provider.
        cost_status: of the end: how the cost is known, or why it is not.
    """

    event: str
    provider: str | None = None
    model: str | None = None
    entry: str | None = None
    attempt: int | None = None
    seconds: float | None = None
    parameter: str | None = None
    status: str | None = None
    error: str | None = None
    served_model: str | None = None
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    duration_seconds: float | None = None
    session_id: str | None = None
    calls: tuple[Call, ...] = ()
    answer_id: str | None = None
    cost_status: str | None = None
    cached_tokens: int | None = None


class Gap(Struct, frozen=True, omit_defaults=True):
    """What is not in the log.

    Attributes:
        reason: ``unlogged`` (it could not be written), ``torn_tail`` (a line that a killed process
            did not finish, and that nobody was told was written), ``cut`` (lines that had been
            written are not there), ``changed`` (they are not as they were), or ``head_lost``
            (nothing says how far the writer had come).
        decisions: how many decisions are missing.
        executions: how many execution events are missing.
        bytes: how many bytes were cut off.
        since: when it began, in microseconds since 1970.
        error: what the operating system said.
    """

    reason: str
    decisions: int = 0
    executions: int = 0
    bytes: int = 0
    since: int = 0
    error: str = ""


class Close(Struct, frozen=True):
    """Why a segment ends here.

    Attributes:
        reason: ``size`` or ``time`` where the next segment goes on, ``end`` where the process
            ended.
    """

    reason: str


class Prune(Struct, frozen=True):
    """What is removed.

    Attributes:
        before: everything in the segments is older than this, in microseconds since 1970.
        lines: how many lines they have.
        segments: which they are, as ``writer/number``.
    """

    before: int
    lines: int
    segments: tuple[str, ...]


class LogEntry(Struct, frozen=True):
    """A line of the log.

    Attributes:
        seq: its number in its writer's chain, from 1, across segments.
        prev: the SHA-256 of the line before, in hexadecimal.
        time: microseconds since 1970 in UTC, by the writer's clock.
        kind: the kind of line.
        id: the id of the decision, a UUID of version 7.
        parent: of a child's decision: the id of the decision under which its parent runs.
        caller: the section ``caller`` of the request.
        record: of a decision: the record, byte for byte as ``DecisionRecord.to_json`` gave it.
        execution: of an execution: the event.
        gap: of a gap: what is missing.
        close: of a close: the reason.
        prune: of a prune: what is removed.
        purpose: of a decision: ``access`` where it only answers whether something is allowed, and
            nothing runs by it; absent for all others.
        trace: of a decision: the trace that its request belongs to (W3C Trace Context): the id of
            the trace, `-`, and the id of the span that asked; absent where the request names none.
        root: of a decision: the id of the first decision of its tree, which is its own where no
            other is above it; absent where that is not known.
        session: of a decision: the session that it belongs to, as the host gave it.
        tags: of a decision: up to eight words of the host's own.
        policy: of a policy: what is decided by from here on.
    """

    seq: int
    prev: str
    time: int
    kind: Kind
    id: str | UnsetType = UNSET
    parent: str | UnsetType = UNSET
    caller: dict[str, Any] | UnsetType = UNSET
    record: Raw | UnsetType = UNSET
    execution: Execution | UnsetType = UNSET
    gap: Gap | UnsetType = UNSET
    close: Close | UnsetType = UNSET
    prune: Prune | UnsetType = UNSET
    purpose: str | UnsetType = UNSET
    trace: str | UnsetType = UNSET
    root: str | UnsetType = UNSET
    session: str | UnsetType = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    policy: UsedPolicy | UnsetType = UNSET

    @classmethod
    def from_json(cls, line: bytes) -> LogEntry:
        """Read a line back; fields of later versions are left out.

        Raises:
            RecordError: it is not a line of a log.
        """
        try:
            entry = _DECODER.decode(line)
        except UNREADABLE as problem:
            raise RecordError(f"not a line of a decision log: {problem}") from None
        if "id" in PARTS[entry.kind] and not entry.id:
            raise RecordError("not a line of a decision log: it has no `id`")
        return entry

    @property
    def decision_record(self) -> DecisionRecord:
        """The record of a decision.

        Raises:
            RecordError: it cannot be read, or there is none.
        """
        if isinstance(self.record, UnsetType):
            raise RecordError("the line has no decision record")
        return DecisionRecord.from_json(bytes(self.record))


class LineView(Struct, frozen=True, gc=False, kw_only=True):
    """What is read of a line where many lines are read; the fields are those of :class:`LogEntry`.

    A kind of a later version is a text like any other. Caller, record and execution stay JSON; an
    absent one is empty. The fields are in the order that lines have: to read them so is quicker.
    """

    caller: Raw = _NOTHING
    execution: Raw = _NOTHING
    gap: Gap | UnsetType = UNSET
    id: str = ""
    kind: str
    parent: str = ""
    policy: Raw = _NOTHING
    prev: str
    prune: Prune | UnsetType = UNSET
    purpose: str = ""
    record: Raw = _NOTHING
    root: str = ""
    seq: int
    session: str = ""
    tags: tuple[str, ...] = ()
    time: int


class ScanView(Struct, frozen=True, gc=False, kw_only=True):
    """What is read of a line to verify it: as strict as :class:`LineView`, and quicker.

    Fields that may be any JSON are left out, since they are read as JSON either way. The rest is
    not inherited: the fields of a base come first, and then are not in the order that lines have.
    """

    gap: Gap | UnsetType = UNSET
    id: str = ""
    kind: str
    parent: str = ""
    prev: str
    prune: Prune | UnsetType = UNSET
    purpose: str = ""
    record: Raw = _NOTHING
    root: str = ""
    seq: int
    session: str = ""
    tags: tuple[str, ...] = ()
    time: int


class RecordView(Struct, frozen=True, gc=False, kw_only=True):
    """What is read of a record where many records are read; the fields are those of the record."""

    decision: Raw = _NOTHING
    engine: EngineName | UnsetType = UNSET
    now: str = ""
    policy: PolicyName
    request: Raw = _NOTHING
    schema: str = ""
    steps: Raw = _NOTHING


def view_of(line: bytes) -> LineView | None:
    """Read a line; None where it is none."""
    try:
        return _VIEWS.decode(line)
    except UNREADABLE:
        return None


def views_of(lines: bytes) -> list[LineView] | None:
    """Read lines at once, each with its line end; None where one of them is none."""
    try:
        return _VIEWS.decode_lines(lines)
    except UNREADABLE:
        return None


def scan_views_of(lines: bytes) -> list[ScanView] | None:
    """Read lines at once to verify them, each with its line end; None where one of them is none."""
    try:
        return _SCAN_VIEWS.decode_lines(lines)
    except UNREADABLE:
        return None


def split_lines(block: bytes) -> list[bytes]:
    """Return whole lines without their ends; `bytes.split` takes twice as long."""
    return [line[:-1] for line in io.BytesIO(block)]


def count_lines(block: bytes) -> int:
    """Return how many whole lines there are; `bytes.count` takes twice as long."""
    return len(io.BytesIO(block).readlines())


def known_views(lines: Iterable[bytes]) -> Iterator[LineView | None]:
    """Read lines; None for each of a kind that this version does not know, or without its id."""
    decode = _VIEWS.decode
    for line in lines:
        if line[:1] != b"{":  # To raise takes long, and there may be very many.
            yield None
            continue
        try:
            view = decode(line)
        except UNREADABLE:
            yield None
        else:
            yield view if view.kind in (_KINDS if view.id else _WITHOUT_ID) else None


def views_of_block(block: bytes) -> Iterable[LineView | None]:
    """Read whole lines at once, as :func:`known_views` does one by one, which takes longer."""
    views = views_of(block)
    if views is None or len(views) != count_lines(block):
        return known_views(split_lines(block))
    if all(it.kind in (_KINDS if it.id else _WITHOUT_ID) for it in views):
        return views
    return (it if it.kind in (_KINDS if it.id else _WITHOUT_ID) else None for it in views)


def record_view(record: Raw) -> RecordView | None:
    """Read a record; None where it is none of any version."""
    try:
        return _RECORD_VIEWS.decode(record)
    except UNREADABLE:
        return None


def known_record_view(record: Raw) -> RecordView | None:
    """Read a record; None where it lacks what every record of this version has."""
    try:
        view = _RECORD_VIEWS.decode(record)
    except UNREADABLE:
        return None
    is_known = view.schema == SCHEMA and view.engine is not UNSET
    return view if is_known and view.request and view.decision and view.steps else None


def read_execution(execution: Raw) -> Execution | None:
    """Read an execution; None where it is none."""
    try:
        return _EXECUTIONS.decode(execution)
    except UNREADABLE:
        return None


def is_id(text: str) -> bool:
    """Tell whether a log can hold a text as the id of a decision, and find it again."""
    return bool(_ID.fullmatch(text))


def are_tags(tags: object) -> bool:
    """Tell whether a line can have these tags."""
    if not isinstance(tags, tuple | list) or len(tags) > MOST_TAGS:
        return False
    return all(isinstance(it, str) and _TAG.fullmatch(it) for it in tags)


def line_hash(line: bytes) -> str:
    """Return the SHA-256 of a line, in hexadecimal."""
    return hashlib.sha256(line).hexdigest()


def microseconds(at: datetime.datetime) -> int:
    """Return a time as microseconds since 1970 in UTC."""
    return (at - _EPOCH) // _MICROSECOND


def moment_of(time: int) -> datetime.datetime:
    """Return microseconds since 1970 as a time in UTC; what no calendar has counts as 1970."""
    try:
        return _EPOCH + datetime.timedelta(microseconds=time)
    except OverflowError:
        return _EPOCH


_DECODER = msgspec.json.Decoder(LogEntry)
_VIEWS = msgspec.json.Decoder(LineView)
_SCAN_VIEWS = msgspec.json.Decoder(ScanView)
_RECORD_VIEWS = msgspec.json.Decoder(RecordView)
_EXECUTIONS = msgspec.json.Decoder(Execution)
