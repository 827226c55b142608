"""Answers auditors: explanations, the log, replay and what-if."""

from __future__ import annotations

import asyncio
import datetime
import re
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from policy_router.decision.evaluator import decide
from policy_router.decision.explain.explanation import explain, explanation_as_json
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import Request, moment
from policy_router.domain import Policy
from policy_router.errors import LogError, RecordError, RequestError
from policy_router.files.clock import Clock
from policy_router.log.entry import is_id, microseconds
from policy_router.server.asking import Answer, Asked, decoded
from policy_router.server.earlier import EarlierDecisions
from policy_router.server.helpers import Helpers, StayingHelper
from policy_router.server.index import Index
from policy_router.server.index_questions import FILTERS
from policy_router.server.problems import Problem, busy, fitting
from policy_router.server.settings import seconds_of
from policy_router.server.tasks import Task

_LINES: Final = b"application/x-ndjson"
_AGE: Final = re.compile(r"[0-9]{1,6}[smhd]")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_LIMIT: Final = 50
_MOST: Final = 1000
_NO_LOG: Final = "the service has no decision log: it was started without --log"


class ExplainBody(Struct, forbid_unknown_fields=True):
    """What is to be explained: one of `request`, `record` and `decision_id`.

    Attributes:
        request: is decided now and not logged.
        record: a decision record, as it was answered or logged.
        decision_id: the id of a decision in the log.
        now: of a request: the time of the decision, RFC 3339; the clock's unless given.
        why_not: a name that could have been asked for: why was it not selected?
        full: add every pool entry with the values of its conditions.
    """

    request: dict[str, Any] | None = None
    record: msgspec.Raw | UnsetType = UNSET
    decision_id: str | None = None
    now: str | None = None
    why_not: str | None = None
    full: bool = False


class WindowBody(Struct, forbid_unknown_fields=True):
    """Which decisions of the log are meant.

    Attributes:
        policy: of what-if: the other policy, as a rule file holds it.
        since: from this time on: a day, RFC 3339, or an age such as 7d.
        until: before this time.
    """

    policy: str | None = None
    since: str | None = None
    until: str | None = None


class Auditors:
    """Answers auditors."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        *,
        log: str | None,
        index: Index | None,
        earlier: EarlierDecisions,
        helpers: Helpers,
        clock: Clock,
    ) -> None:
        """Keep what the answers need.

        Args:
            policy: returns what decides now.
            log: the folder of the log, None where there is none.
            index: the index of the log.
            earlier: knows the decisions of a moment ago.
            helpers: do what takes long.
            clock: tells the time.
        """
        self._policy, self._log, self._index = policy, log, index
        self._earlier, self._helpers, self._clock = earlier, helpers, clock

    async def explain(self, asked: Asked) -> Answer:
        """Explain a request, a record, or a decision of the log."""
        asked.options()
        wanted = decoded(asked.body, ExplainBody)
        has_record = not isinstance(wanted.record, UnsetType)
        others = (wanted.request, wanted.decision_id)
        if has_record + sum(it is not None for it in others) != 1:
            detail = "expected one of `request`, `record` and `decision_id`"
            raise Problem(422, "bad_request", detail, path="$")
        if wanted.now is not None and wanted.request is None:
            raise Problem(422, "bad_request", "a record has its own time", path="$.now")
        if wanted.request is not None:
            record = self._made(wanted.request, wanted.now)
        elif not isinstance(wanted.record, UnsetType):
            record = _record(bytes(wanted.record))
        else:
            record = await self._logged(wanted.decision_id or "")
        explained = await self.explanation(record, why_not=wanted.why_not, full=wanted.full)
        return Answer.of(explained)

    async def explanation(
        self,
        record: DecisionRecord,
        *,
        why_not: str | None = None,
        full: bool = False,
        staying: StayingHelper | None = None,
    ) -> Any:
        """Explain a record; one of an earlier policy is a helper's work.

        Args:
            record: the decision.
            why_not: a name that could have been asked for.
            full: add every pool entry, and the steps with the lines of their rules.
            staying: a helper that is started already.

        Raises:
            Problem: it cannot be explained.
        """
        policy = self._policy()
        if record.policy.revision == policy.revision:
            try:
                page = await asyncio.to_thread(explain, policy, record, why_not=why_not)
                return await asyncio.to_thread(explanation_as_json, page, full=full)
            except RecordError as problem:
                raise Problem(422, "bad_record", str(problem), path="$.record") from None
        content = record.to_json().decode()
        task = Task("explain", record=content, log=self._folder(), why_not=why_not, full=full)
        if staying is not None:
            return await staying.report(task)
        with self._helpers.check():
            return await self._helpers.report(task)

    def _made(self, request: dict[str, Any], now: str | None) -> DecisionRecord:
        with fitting():
            at = self._clock() if now is None else now
            return decide(self._policy(), Request.from_mapping(request), now=at)

    async def _logged(self, decision_id: str) -> DecisionRecord:
        record = await self._earlier.record(decision_id)
        if record is None:
            self._folder()  # where there is no log, that is the problem
            raise _unknown("$.decision_id")
        return record

    async def decisions(self, asked: Asked) -> Answer:
        """List decisions of the log, the newest first."""
        options = asked.options(*FILTERS, "since", "until", "limit", "cursor")
        limit = options.get("limit", str(_LIMIT))
        if not _NUMBER.fullmatch(limit) or not 1 <= int(limit) <= _MOST:
            raise _bad_query("limit", f"expected a number from 1 to {_MOST:,}")
        try:
            found = await asyncio.to_thread(
                self._indexed().find,
                {name: options[name] for name in FILTERS if name in options},
                since=time_of(options.get("since"), "since", self._clock),
                until=time_of(options.get("until"), "until", self._clock),
                limit=int(limit),
                cursor=options.get("cursor"),
            )
        except LogError as problem:
            raise busy("index_unavailable", problem.reason) from None
        except ValueError as problem:
            raise _bad_query("cursor", str(problem)) from None
        lines = [msgspec.Raw(line) for line in found.lines]
        return Answer.of({"decisions": lines, "cursor": found.cursor})

    async def decision(self, asked: Asked) -> Answer:
        """Show a decision, what came of it, and what its child decided."""
        asked.options()
        self._indexed()
        lines, children = await self._earlier.lines(asked.rest) if is_id(asked.rest) else ([], [])
        if not lines:
            raise _unknown(None)
        return Answer.of(
            {"lines": list(map(msgspec.Raw, lines)), "children": list(map(msgspec.Raw, children))}
        )

    async def replay(self, asked: Asked) -> Answer:
        """Make the decisions of a window of the log again."""
        asked.options()
        return await self._over_log("replay", asked)

    async def what_if(self, asked: Asked) -> Answer:
        """Decide the requests of a window of the log by another policy."""
        asked.options()
        return await self._over_log("what_if", asked)

    async def _over_log(self, what: str, asked: Asked) -> Answer:
        window = decoded(asked.body or b"{}", WindowBody)
        if (window.policy is None) != (what == "replay"):
            verb = "expected a" if what == "what_if" else "a replay takes no"
            raise Problem(422, "bad_request", f"{verb} candidate policy", path="$.policy")
        task = Task(
            what,
            text=window.policy or "",
            log=self._folder(),
            since=time_of(window.since, "since", self._clock),
            until=time_of(window.until, "until", self._clock),
        )
        lines = self._lines(task, asked)
        first = await anext(lines)  # a problem that is known at once has its own status
        return Answer(type=_LINES, pieces=_with(first, lines))

    async def _lines(self, task: Task, asked: Asked) -> AsyncGenerator[bytes, None]:
        with self._helpers.audit():
            async for said in self._helpers.said(task, asked.gone):
                yield msgspec.json.encode(said) + b"\n"

    def _folder(self) -> str:
        if self._log is None:
            raise Problem(404, "no_log", _NO_LOG)
        return self._log

    def _indexed(self) -> Index:
        if self._index is None:
            raise Problem(404, "no_log", _NO_LOG)
        return self._index


def time_of(text: str | None, name: str, clock: Clock) -> int | None:
    """Return a time that is written as a day, in RFC 3339, or as an age, in microseconds.

    Args:
        text: the time; None where none is given.
        name: the parameter that it is.
        clock: tells what an age is counted from.

    Raises:
        Problem: it is none of these.
    """
    if text is None:
        return None
    try:
        if _AGE.fullmatch(text):
            return microseconds(clock() - datetime.timedelta(seconds=seconds_of(text)))
        return microseconds(moment(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text))
    except (RequestError, OverflowError):
        reason = "expected a day (2026-01-31), a time (2026-01-31T09:00:00Z) or an age (90d)"
        raise _bad_query(name, reason) from None


async def _with(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    try:
        async for line in rest:
            yield line
    except Problem as problem:  # the status is said already
        yield msgspec.json.encode({"problem": problem.plain()}) + b"\n"


def _record(content: bytes) -> DecisionRecord:
    try:
        return DecisionRecord.from_json(content)
    except RecordError as problem:
        raise Problem(422, "bad_record", str(problem), path="$.record") from None


def _unknown(path: str | None) -> Problem:
    return Problem(404, "unknown_decision", "there is no decision with this id", path=path)


def _bad_query(name: str, detail: str) -> Problem:
    return Problem(400, "bad_query", detail, path=name)
