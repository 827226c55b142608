"""Answers agents and hosts: decisions, the menu, and the definition of the tool."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from policy_router.decision.evaluator import decide
from policy_router.decision.menu import menu_as_json, permitted_entries
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import Request
from policy_router.delegation.arguments import Arguments
from policy_router.delegation.batch import Planned, planned
from policy_router.delegation.tool import FORMATS, Format, tool
from policy_router.domain import Policy
from policy_router.errors import LogError, RequestError
from policy_router.files.clock import Clock
from policy_router.files.ids import uuid7
from policy_router.log.write.decision_log import DecisionLog
from policy_router.log.write.drafts import Decided
from policy_router.server.asking import Answer, Asked, Marks
from policy_router.server.earlier import EarlierDecisions
from policy_router.server.problems import NOT_JSON, Problem, fitting, not_json, unfit, unlogged
from policy_router.server.tracing import Spans, trace_of
from policy_router.server.trust import ALWAYS_STATED, PARENT, Stated, Trust

FACTS: Final = b"policy-router-facts"
"""The header that states what the body has no place for."""
DECISION: Final = b"policy-router-decision-id"
MOST_REQUESTS: Final = 1000
"""How many requests a batch may have."""
_SEVERAL: Final = 8
"""How many long batches a worker answers at a time; others wait."""
AT_A_TIME: Final = 50
"""After how many requests of one call others have their turn."""


class Agents:
    """Answers agents and hosts."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        trust: Trust,
        *,
        log: DecisionLog | None,
        clock: Clock,
        earlier: EarlierDecisions,
        unlogged: Callable[[], None],
        spans: Spans | None = None,
    ) -> None:
        """Keep what decisions need.

        Args:
            policy: returns what decides now.
            trust: knows who is believed.
            log: every decision is in it before it is answered.
            clock: tells the time of each decision.
            earlier: keeps the decisions of a moment ago.
            unlogged: is called where decisions cannot be logged.
            spans: make a span of each decision.
        """
        self._policy, self.trust, self._log, self._clock = policy, trust, log, clock
        self._earlier, self._unlogged, self._spans = earlier, unlogged, spans
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
        with fitting():
            entries = permitted_entries(policy, request, self._clock())
        return Answer.of(menu_as_json(policy, entries))

    async def tool(self, asked: Asked) -> Answer:
        """Return the definition of ``delegate_task`` for an agent of this caller."""
        options = asked.options("format", "strict")
        format_, strict = _format_of(options), asked.flag(options, "strict")
        request = await self.believed(self._policy(), asked)
        with fitting():
            return Answer.of(tool(self._policy(), request, format=format_, strict=strict))

    async def believed(self, policy: Policy, asked: Asked) -> Request:
        """Return the request of a body, which may be empty, as far as it is believed.

        Raises:
            Problem: it is not good.
        """
        stated = self.trust.stated_in(asked.body or b"{}")
        _, parent = await self.trust.parent(stated.sections, asked)
        with fitting():
            return self.trust.request(policy, stated, asked.credential, parent)

    async def decided(self, policy: Policy, content: bytes, asked: Asked) -> Decided:
        """Decide one request, which is not logged yet.

        Raises:
            Problem: the request is not good.
        """
        return await self._decided(policy, self.trust.stated_in(content), asked)

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
        stated = self.trust.hidden(Stated(sections, is_checked=False))
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
        marks = self.trust.marks(asked)
        with fitting():
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
        stated = self.trust.stated_in(asked.headers.get(FACTS, b"{}"))
        for section in ALWAYS_STATED & stated.sections.keys():
            detail = "wishes go into the arguments, not into the facts"
            raise Problem(422, "bad_request", detail, path=f"{FACTS.decode()}: {section}")
        parent_id, parent = await self.trust.parent(stated.sections, asked)
        with fitting():
            request = self.trust.request(policy, stated, asked.credential, parent)
        return request.given, parent_id

    async def _decided(self, policy: Policy, stated: Stated, asked: Asked) -> Decided:
        marks = self.trust.marks(asked)
        parent_id, parent = None, None
        if PARENT in asked.headers:
            parent_id, parent = await self.trust.parent(stated.sections, asked)
        try:
            request = self.trust.request(policy, stated, asked.credential, parent)
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


class BatchBody(Struct, forbid_unknown_fields=True):
    """Requests that are decided together.

    Attributes:
        requests: in order.
    """

    requests: list[msgspec.Raw]


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


def batch_size(body: bytes) -> int:
    """Return how many requests a batch counts as."""
    return max(1, len(batch_of(body)))
