"""Answers agents and hosts: decisions, the menu, and the definition of the tool.

Nobody is believed without a credential. An agent states what it wishes and what its task is; who
it is, what it runs on and what it may spend come from its credential, or from the service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from policy_router.decision.evaluator import decide
from policy_router.decision.menu import menu_as_json, permitted_entries
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import Request
from policy_router.decision.typed import typed_sections
from policy_router.delegation.arguments import Arguments
from policy_router.delegation.batch import Planned, planned
from policy_router.delegation.tool import FORMATS, Format, tool
from policy_router.domain import FrozenDict, Policy
from policy_router.errors import LogError, RequestError
from policy_router.files.clock import Clock
from policy_router.files.ids import uuid7
from policy_router.hosts.pseudonyms import Pseudonyms
from policy_router.log.write.decision_log import DecisionLog
from policy_router.log.write.drafts import Decided
from policy_router.server.asking import SESSION, TAGS, Answer, Asked, Marks, marks_in
from policy_router.server.budgets import CallerBudgets
from policy_router.server.credentials import Credential
from policy_router.server.earlier import EarlierDecisions
from policy_router.server.problems import NOT_JSON, Problem, not_json, not_verified, unfit, unlogged
from policy_router.server.tracing import Spans, trace_of

FACTS: Final = b"policy-router-facts"
"""The header that states what the body has no place for."""
PARENT: Final = b"policy-router-parent"
DECISION: Final = b"policy-router-decision-id"
MOST_REQUESTS: Final = 1000
"""How many requests a batch may have."""
_STATED: Final = frozenset({"call", "task"})
_NO_MARKS: Final = Marks()
_SEVERAL: Final = 8
"""How many long batches a worker answers at a time; others wait."""
AT_A_TIME: Final = 50
"""After how many requests of one call others have their turn."""


class Agents:
    """Answers agents and hosts."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        *,
        log: DecisionLog | None,
        clock: Clock,
        may_state: tuple[str, ...],
        earlier: EarlierDecisions,
        unlogged: Callable[[], None],
        spans: Spans | None = None,
        budgets: CallerBudgets | None = None,
        pseudonyms: Pseudonyms | None = None,
        marks: Marks = _NO_MARKS,
    ) -> None:
        """Keep what decisions need.

        Args:
            policy: returns what decides now.
            log: every decision is in it before it is answered.
            clock: tells the time of each decision.
            may_state: what an agent may state besides ``call`` and ``task``.
            earlier: knows the decisions of a moment ago.
            unlogged: is called where decisions cannot be logged.
            spans: make a span of each decision.
            budgets: know what a caller may spend; None: nobody does.
            pseudonyms: stand for the caller and for facts; None: they are named.
            marks: what the log has of decisions of which no header says it.
        """
        self._policy, self._log, self._clock = policy, log, clock
        self.pseudonyms, self._marks = pseudonyms, marks
        self._may_state, self._earlier = may_state, earlier
        self._unlogged, self._spans, self._budgets = unlogged, spans, budgets
        self._open = _STATED.union(may_state)
        self._several = asyncio.Semaphore(_SEVERAL)

    async def decide(self, asked: Asked) -> Decided:
        """Decide one request, and log it.

        Returns:
            The decision, with the canonical JSON of its record.

        Raises:
            Problem: the request is not good, or cannot be logged.
        """
        policy = self._policy()
        decided = await self.decided(policy, asked.body, asked)
        await self.keep(policy, [decided])
        return decided

    async def batch(self, asked: Asked) -> tuple[Answer, list[DecisionRecord]]:
        """Decide requests, in order, and log all of them together."""
        contents = batch_of(asked.body)
        async with self.turn(len(contents)):
            policy = self._policy()
            made: list[Decided | Problem] = []
            for number, content in enumerate(contents, 1):
                try:
                    made.append(await self.decided(policy, bytes(content), asked))
                except Problem as problem:
                    made.append(problem)
                if not number % AT_A_TIME:
                    await asyncio.sleep(0)  # others have their turn
            decided = [it for it in made if isinstance(it, Decided)]
            await self.keep(policy, decided)
            answers = [
                {"error": it.plain()}
                if isinstance(it, Problem)
                else {"decision_id": it.decision_id, "record": msgspec.Raw(it.content or b"")}
                for it in made
            ]
            body = msgspec.json.encode({"decisions": answers})
            return Answer(body, revision=policy.revision), [it.record for it in decided]

    def turn(self, requests: int) -> AbstractAsyncContextManager[Any]:
        """Return what is held while so many requests are answered together: it bounds memory."""
        return self._several if requests > AT_A_TIME else nullcontext()

    async def menu(self, asked: Asked) -> Answer:
        """List what the caller may ask for: at all, or with this request."""
        asked.options()
        policy, request = self._policy(), await self.believed(self._policy(), asked)
        with _fitting():
            entries = permitted_entries(policy, request, self._clock())
        return Answer.of(menu_as_json(policy, entries))

    async def tool(self, asked: Asked) -> Answer:
        """Return the definition of ``delegate_task`` for an agent of this caller."""
        options = asked.options("format", "strict")
        format_, strict = _format_of(options), asked.flag(options, "strict")
        request = await self.believed(self._policy(), asked)
        with _fitting():
            return Answer.of(tool(self._policy(), request, format=format_, strict=strict))

    async def believed(self, policy: Policy, asked: Asked) -> Request:
        """Return the request of a body, which may be empty, as far as it is believed.

        Raises:
            Problem: it is not good.
        """
        stated = self._stated_in(asked.body or b"{}")
        _, parent = await self._parent(stated.sections, asked)
        with _fitting():
            return self._request(policy, stated, asked.credential, parent)

    async def decided(self, policy: Policy, content: bytes, asked: Asked) -> Decided:
        """Decide one request, which is not logged yet.

        Raises:
            Problem: the request is not good.
        """
        return await self._decided(policy, self._stated_in(content), asked)

    async def decide_sections(
        self, policy: Policy, sections: dict[str, Any], asked: Asked
    ) -> Decided:
        """Decide a request that came in other words, and log it.

        Args:
            policy: what decides.
            sections: the sections of the request, as its caller states them.
            asked: who asks.

        Raises:
            Problem: the request is not good, or cannot be logged.
        """
        stated = self._hidden(_Stated(sections, is_checked=False))
        decided = await self._decided(policy, stated, asked)
        await self.keep(policy, [decided])
        return decided

    async def plans(self, policy: Policy, arguments: Arguments, asked: Asked) -> list[Planned]:
        """Decide a call of ``delegate_task`` whole, and log it.

        Args:
            policy: what decides.
            arguments: the tasks.
            asked: who asks; its header has the facts that it may state.

        Raises:
            Problem: the request is not good, or cannot be logged.
        """
        facts, parent_id = await self.facts(policy, asked)
        marks = self.marks(asked)
        with _fitting():
            made = planned(policy, arguments, facts, now=self._clock(), ids=uuid7)
        drafts = [_draft(it.record, it.decision_id, parent_id, asked, marks) for it in made]
        await self.keep(policy, drafts)
        return made

    async def facts(self, policy: Policy, asked: Asked) -> tuple[Mapping[str, Any], str | None]:
        """Return the facts of a call of ``delegate_task``, as far as they are believed.

        They are stated in a header, since the body has the arguments.

        Returns:
            The sections, and the id of the decision that the agent itself runs by.

        Raises:
            Problem: they are not good.
        """
        stated = self._stated_in(asked.headers.get(FACTS, b"{}"))
        for section in _STATED & stated.sections.keys():
            detail = "wishes go into the arguments, not into the facts"
            raise Problem(422, "bad_request", detail, path=f"{FACTS.decode()}: {section}")
        parent_id, parent = await self._parent(stated.sections, asked)
        with _fitting():
            request = self._request(policy, stated, asked.credential, parent)
        return request.given, parent_id

    async def _decided(self, policy: Policy, stated: _Stated, asked: Asked) -> Decided:
        marks = self.marks(asked)
        parent_id, parent = None, None
        if PARENT in asked.headers:
            parent_id, parent = await self._parent(stated.sections, asked)
        try:
            request = self._request(policy, stated, asked.credential, parent)
            now = self._clock()
            record = decide(policy, request, now=now)
        except RequestError as problem:
            raise unfit(problem) from None
        return _draft(record, uuid7(now), parent_id, asked, marks)

    async def keep(self, policy: Policy, decided: list[Decided]) -> None:
        """Log decisions before anybody is told of them."""
        if self._log is not None and decided:
            try:
                await self._log.decisions_async(policy, decided)
            except (LogError, RuntimeError) as problem:
                self._unlogged()
                said = unlogged(problem)
                await self._trace(decided, said.code)
                raise said from None
        await self._trace(decided)
        for it in decided:
            self._earlier.keep(it.decision_id, it.record)

    async def _trace(self, decided: list[Decided], error: str | None = None) -> None:
        """Make the spans of decisions."""
        if self._spans is not None:
            for first in range(0, len(decided), AT_A_TIME):
                if first:
                    await asyncio.sleep(0)  # others have their turn
                self._spans.record(decided[first : first + AT_A_TIME], error)

    # Who is believed.

    def marks(self, asked: Asked) -> Marks:
        """Return what the log has of decisions besides, as far as it is believed.

        Raises:
            Problem: an agent states it, or no line can have it.
        """
        headers = asked.headers
        if SESSION not in headers and TAGS not in headers:
            return self._marks
        for header, name in ((SESSION, "session"), (TAGS, "tags")):
            if header in headers and not (asked.credential.is_host or name in self._may_state):
                raise not_verified(header.decode(), may_state=self._may_state)
        return marks_in(headers)

    def caller_id(self, sections: Mapping[str, Any], asked: Asked) -> str:
        """Return who a request is of, by what it states and by its credential."""
        caller: Any = asked.credential.caller
        if "caller" in sections:
            stated = sections["caller"]
            caller = stated if self.pseudonyms is None else self.pseudonyms.in_caller(stated)
        return str(caller.get("id", "")) if isinstance(caller, Mapping) else ""

    def _stated_in(self, body: bytes) -> _Stated:
        """Read what is stated, without the names for which pseudonyms stand.

        Raises:
            Problem: it is not JSON, no mapping, or has a fact that no pseudonym can stand for.
        """
        return self._hidden(_stated_in(body))

    def _hidden(self, stated: _Stated) -> _Stated:
        if self.pseudonyms is None:
            return stated
        with _fitting():
            return _Stated(self.pseudonyms.in_request(stated.sections), stated.is_checked)

    def _request(
        self,
        policy: Policy,
        stated: _Stated,
        credential: Credential,
        parent: Mapping[str, Any] | None,
    ) -> Request:
        """Return a request in which everybody states only what they may.

        Args:
            policy: what decides.
            stated: what is stated.
            credential: who states it.
            parent: what the agent itself runs on, where an earlier decision says so.

        Raises:
            Problem: an agent states more.
            RequestError: the request is malformed.
        """
        sections = stated.sections
        if not credential.is_host and not self._open.issuperset(sections):
            self._check_stated(sections)
        if parent is not None:
            sections["parent"] = parent
        if credential.caller and "caller" not in sections:
            sections["caller"] = credential.caller
        if credential.facts:
            sections["facts"] = self._facts(policy, sections.get("facts", {}), credential)
        if self._budgets is not None and "budget" not in sections:
            budget = self._budgets.section(sections.get("caller"))
            if budget is not None:
                sections["budget"] = budget
        if stated.is_checked:
            return Request.of_checked(sections)
        return Request.from_mapping(sections)

    def _facts(self, policy: Policy, stated: Any, credential: Credential) -> FrozenDict:
        """Return the facts of a credential, as far as the policy reads them, and stated ones."""
        known = {name: it for name, it in credential.facts.items() if name in policy.facts}
        if not isinstance(stated, dict):
            raise RequestError("$.facts", "expected a mapping")
        if not credential.is_host and not known.keys().isdisjoint(stated):
            name = next(name for name in stated if name in known)
            raise not_verified(f"$.facts.{name}", may_state=self._may_state)
        return FrozenDict({**known, **stated})

    def _check_stated(self, sections: Mapping[str, Any]) -> None:
        """Refuse what an agent may not state; what nobody knows is left to the request."""
        for section in ("caller", "parent", "budget"):
            if section in sections and section not in self._open:
                raise not_verified(f"$.{section}", may_state=self._may_state)
        if "facts" not in sections or "facts" in self._open:
            return
        facts = sections["facts"]
        for name in facts if isinstance(facts, dict) else ("",):
            if f"facts.{name}" not in self._open:
                raise not_verified(f"$.facts.{name}".rstrip("."), may_state=self._may_state)

    async def _parent(
        self, sections: Mapping[str, Any], asked: Asked
    ) -> tuple[str | None, Mapping[str, Any] | None]:
        """Return what the agent itself runs on, by the decision that it names in a header.

        Returns:
            The id of that decision, and the section ``parent``; neither without the header.

        Raises:
            Problem: there is no such decision of this caller.
        """
        header, name = asked.headers.get(PARENT), PARENT.decode()
        if header is None:
            return None, None
        if "parent" in sections:
            detail = "what the agent runs on is stated twice: in the header and in the body"
            raise Problem(400, "stated_twice", detail, path=name)
        parent_id = header.decode("latin-1")
        earlier = await self._earlier.find(parent_id)
        caller = sections.get("caller", asked.credential.caller)
        caller_id = caller.get("id", "") if isinstance(caller, Mapping) else ""
        parent = None if earlier is None or earlier.caller != caller_id else earlier.parent()
        if parent is None:
            detail = "this names no decision of the same caller that selected a target"
            raise Problem(403, "not_verified", detail, path=name)
        return parent_id, parent


def _draft(
    record: DecisionRecord, decision_id: str, parent_id: str | None, asked: Asked, marks: Marks
) -> Decided:
    """Return a decision as it is logged."""
    return Decided(
        record,
        decision_id,
        parent_id,
        record.to_json(),
        trace=trace_of(asked.headers)[0],
        session_id=marks.session_id,
        tags=marks.tags,
    )


class _Stated(Struct):
    """What a body states.

    Attributes:
        sections: the sections of the request, to be completed.
        is_checked: whether they were checked in shape.
    """

    sections: dict[str, Any]
    is_checked: bool


class BatchBody(Struct, forbid_unknown_fields=True):
    """Requests that are decided together.

    Attributes:
        requests: in order.
    """

    requests: list[msgspec.Raw]


def _stated_in(body: bytes) -> _Stated:
    """Read a request; what is not plainly good is read slowly, for the sake of its error.

    Raises:
        Problem: it is not JSON, or no mapping.
    """
    typed = typed_sections(body)
    if typed is not None:
        return _Stated(dict(typed), is_checked=True)
    try:
        content = msgspec.json.decode(body)
    except NOT_JSON as problem:
        raise not_json(problem) from None
    if not isinstance(content, dict):
        raise Problem(422, "bad_request", "expected a mapping", path="$")
    return _Stated(content, is_checked=False)


def batch_of(body: bytes) -> list[msgspec.Raw]:
    """Return the requests of a batch.

    Raises:
        Problem: the body is none.
    """
    try:
        requests = _BATCHES.decode(body).requests
    except msgspec.ValidationError:
        detail = "expected a mapping with the list `requests`, and nothing else"
        raise Problem(422, "bad_request", detail, path="$") from None
    except NOT_JSON as problem:
        raise not_json(problem) from None
    if len(requests) > MOST_REQUESTS:
        detail = f"a batch has at most {MOST_REQUESTS:,} requests"
        raise Problem(413, "too_large", detail, path="$.requests")
    return requests


_BATCHES: Final = msgspec.json.Decoder(BatchBody)


def _format_of(options: Mapping[str, str]) -> Format:
    """Return the format that is asked for.

    Raises:
        Problem: there is no such format.
    """
    format_: Any = options.get("format", "openai")
    if format_ not in FORMATS:
        detail = f"expected one of {', '.join(FORMATS)}"
        raise Problem(400, "bad_query", detail, path="format")
    return cast("Format", format_)


@contextmanager
def _fitting() -> Iterator[None]:
    """Say what does not fit a policy as a problem."""
    try:
        yield
    except RequestError as problem:
        raise unfit(problem) from None


def batch_size(body: bytes) -> int:
    """Return how many requests a batch counts as."""
    return max(1, len(batch_of(body)))
