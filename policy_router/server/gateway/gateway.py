"""The gateway: reads a model call, lets the policy decide, and forwards it along the plan.

The decision is in the log before anything is sent. As long as nothing has been passed to the
client, the plan goes on after a failure; afterwards never.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import msgspec
from msgspec import UnsetType
from msgspec.structs import replace

from policy_router.calls.dialects import CHAT, MESSAGES, PATHS, RESPONSES
from policy_router.calls.messages import VERSION as VERSION_OF_MESSAGES
from policy_router.calls.results import Event, Failing, Watcher
from policy_router.decision.record import DecisionRecord
from policy_router.diagnostics.model import printable
from policy_router.domain import Policy
from policy_router.errors import ProviderError
from policy_router.hosts import HostPlan, Leg, PolicyHost, Refused
from policy_router.server.asking import Answer, Asked, BrokenOffError, DisconnectedError
from policy_router.server.budgets import CallerBudgets, reserve
from policy_router.server.deciding import DECISION, Agents
from policy_router.server.gateway.hang_up import HangUp
from policy_router.server.gateway.model_request import ModelRequest, model_request
from policy_router.server.gateway.origins import Origin, Origins
from policy_router.server.gateway.passing import Events, Seen
from policy_router.server.gateway.said import RETRY, CallProblem, broken_off
from policy_router.server.gateway.upstream import (
    BROKEN,
    SILENCE_SECONDS,
    Headers,
    Received,
    Upstream,
)
from policy_router.server.problems import NOT_JSON, Header, Problem
from policy_router.version import VERSION

Keep = Callable[..., None]
"""Remembers which target gave an answer."""
LONGEST_ANSWER: Final = 32 * 1024 * 1024
"""The longest whole answer that is passed, in bytes."""
_LONGEST_ERROR: Final = 1024 * 1024
_HELD: Final = 64 * 1024
"""So many bytes of comments are held back until a stream's first event."""
_PASSED_ON: Final = "(passed on)"
"""Stands for the part of an answer that its client has: it is kept nowhere."""
_EVENTS: Final = b"text/event-stream"
_FROM_CLIENT: Final = (b"accept-language", b"openai-beta", b"x-client-request-id")
"""The headers of a client that are forwarded."""
_FROM_ANTHROPIC: Final = (b"anthropic-beta", b"anthropic-version")
"""The same, where the Messages API is called."""
_NOT_PASSED: Final = frozenset(
    {
        *(b"connection", b"keep-alive", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        *(b"proxy-authenticate", b"proxy-authentication-info", b"proxy-connection"),
        *(b"content-length", b"content-type", b"date", b"server", b"set-cookie", b"set-cookie2"),
        *(b"alt-svc", b"strict-transport-security", b"www-authenticate"),
        *(b"anthropic-organization-id", b"openai-organization", b"openai-project"),
    }
)
"""The headers of a provider's answer that are about its connection, its cookies, or the account."""
_OK: Final = range(200, 300)
_OURS: Final = b"policy-router-"
_RETRY_AFTER: Final = frozenset({b"retry-after", b"retry-after-ms"})
_SHORTEST_SECRET: Final = 8
_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F))).replace("%", "")
_STATUSES: Final[Mapping[str, int]] = {
    Failing.TIMEOUT: 504,
    Failing.RATE_LIMITED: 429,
    Failing.MODEL_NOT_FOUND: 404,
}
_OURS_TO_MEND: Final = frozenset({Failing.UNAUTHORIZED, Failing.PAYMENT_REQUIRED})
_OWN_STATUSES: Final = frozenset({400, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504})
"""The statuses of a provider that its client gets as they are: the fault may be the client's."""
_PASSING: Final = frozenset(
    {Failing.CONNECTION_FAILED, Failing.RATE_LIMITED, Failing.SERVER_ERROR, Failing.TIMEOUT}
)


class Gateway:
    """Forwards model calls to the targets that the policy decides."""

    def __init__(
        self,
        policy: Callable[[], Policy],
        agents: Agents,
        host: PolicyHost,
        upstream: Upstream,
        *,
        origins: Origins,
        passes: Collection[str],
        counted: Callable[[DecisionRecord], None],
        budgets: CallerBudgets | None = None,
    ) -> None:
        """Keep what a call needs.

        Args:
            policy: returns what decides now.
            agents: decide and log.
            host: hands out the plans of decisions.
            upstream: calls providers.
            origins: know which target gave which answer.
            passes: the fields that the configuration lets through.
            counted: counts decisions.
            budgets: know what a caller may spend; None: nobody does.
        """
        self._policy, self._agents, self._host = policy, agents, host
        self._upstream, self._passes = upstream, frozenset(passes)
        self._origins, self._counted, self._budgets = origins, counted, budgets
        self._settling: set[asyncio.Task[object]] = set()

    async def chat(self, asked: Asked) -> Answer:
        """Answer a call of Chat Completions."""
        return await self._call(CHAT, asked)

    async def responses(self, asked: Asked) -> Answer:
        """Answer a call of the Responses API."""
        return await self._call(RESPONSES, asked)

    async def messages(self, asked: Asked) -> Answer:
        """Answer a call of Anthropic's Messages API."""
        return await self._call(MESSAGES, asked)

    async def _call(self, api: str, asked: Asked) -> Answer:
        asked.options()
        request = model_request(api, asked, self._passes)
        origin = await self._origin(request, asked)
        sections = request.sections if origin is None else _asking_for(origin, request.sections)
        policy = self._policy()
        decided = await self._agents.decide_sections(policy, sections, asked)
        record, decision_id = decided.record, decided.decision_id
        self._counted(record)
        if origin is not None:
            record = _only(origin, record, decision_id)
        watcher = await self._paying(policy, record, decision_id)
        plan = self._host.plan_of(policy, record, decision_id, watcher=watcher)
        if isinstance(plan, Refused):
            raise _refused(plan, decision_id)
        keep = partial(self._origins.keep, record=record, decision_id=decision_id)
        forwarding = _Forwarding(
            api, request, plan, upstream=self._upstream, asked=asked, keep=keep
        )
        return await forwarding.answer()

    async def _paying(
        self, policy: Policy, record: DecisionRecord, decision_id: str
    ) -> Watcher | None:
        """Reserve what a call may cost, where its caller has a budget.

        Returns:
            What settles it at the end of the call.

        Raises:
            Problem: the budget does not let it.
        """
        caller = record.request.get("caller")
        accounts = None if self._budgets is None else self._budgets.of(caller)
        if accounts is None:
            return None
        try:
            purse = await asyncio.to_thread(reserve, accounts, policy, record, decision_id)
        except Problem as problem:
            plan = self._host.plan_of(policy, record, decision_id)
            if isinstance(plan, HostPlan):
                plan.refused(problem.code, problem.detail)
            raise _denied(problem, decision_id) from None

        def watch(event: Event) -> None:
            if event.result is not None:
                settling = asyncio.create_task(asyncio.to_thread(purse.settled, event.result))
                self._settling.add(settling)
                settling.add_done_callback(self._settling.discard)

        return watch

    async def _origin(self, request: ModelRequest, asked: Asked) -> Origin | None:
        """Return what gave the answer that a request goes on from.

        Raises:
            Problem: nobody gave it to this caller.
        """
        if request.previous is None:
            return None
        caller = request.sections.get("caller", asked.credential.caller)
        id_ = caller.get("id", "") if isinstance(caller, Mapping) else ""
        origin = await self._origins.find(request.previous, id_)
        if origin is None:
            detail = "this caller was given no such answer here"
            path = "$.previous_response_id"
            raise Problem(404, "unknown_response", detail, path=path, help="send the whole input")
        return origin


def _asking_for(origin: Origin, sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return sections that ask for the target of an earlier answer, unless a model is asked for."""
    task = sections["task"]
    wish = {"model": origin.entry or origin.model, "provider": origin.provider}
    return {**sections, "task": task if "model" in task else {**task, **wish}}


def _only(origin: Origin, record: DecisionRecord, decision_id: str) -> DecisionRecord:
    """Return a decision without fallbacks, since only its target knows the earlier answer.

    Raises:
        Problem: it selects another target.
    """
    target = record.decision.target
    if isinstance(target, UnsetType):
        return record
    if (target.model, target.provider) != (origin.model, origin.provider):
        detail = (
            f"{printable(target.model)} at {printable(target.provider)} is selected, and the answer"
            " to go on from is of another target"
        )
        headers = (_decision(decision_id), _retries(passes=False))
        raise CallProblem(409, "other_target", detail, decision_id=decision_id, headers=headers)
    return replace(record, decision=replace(record.decision, fallbacks=()))


class _Forwarding:
    """One call on its way along its plan."""

    def __init__(
        self,
        api: str,
        request: ModelRequest,
        plan: HostPlan,
        *,
        upstream: Upstream,
        asked: Asked,
        keep: Keep,
    ) -> None:
        self._api, self._request, self._plan = api, request, plan
        self._upstream, self._headers, self._keep = upstream, asked.headers, keep
        self._hang_up, self._attempts = HangUp(asked.gone), 0
        self._other_api: str | None = None
        self._retry_after: tuple[Header, ...] = ()

    async def answer(self) -> Answer:
        """Return the answer of the first target that gives one.

        Raises:
            Problem: none does.
            DisconnectedError: the client has hung up.
        """
        answer = None
        try:
            answer = await self._hang_up.wait(self._walk())
        except (DisconnectedError, asyncio.CancelledError):
            self._plan.cancelled()
            raise
        except Exception as problem:
            self._plan.failed(problem)
            raise
        finally:
            if answer is None or answer.pieces is None:
                self._hang_up.end()
        if answer is None:
            raise self._problem()
        return answer

    async def _walk(self) -> Answer | None:
        while (leg := await self._plan.ready_async()) is not None:
            self._attempts += 1
            answer = await self._attempt(leg)
            if answer is not None:
                return answer
        return None

    # One attempt.

    async def _attempt(self, leg: Leg) -> Answer | None:
        """Call a target; None where the plan goes on, or ends without an answer."""
        if leg.api != self._api:
            message = f"the target takes calls of `{leg.api}`, and this is one of `{self._api}`"
            is_last = not self._plan.failed(ProviderError(Failing.NO_ENDPOINT, message))
            self._other_api = leg.api if is_last and self._attempts == 1 else None
            return None
        began = asyncio.get_running_loop().time()
        url = f"{leg.base_url.rstrip('/')}/{PATHS[self._api]}"
        try:
            async with asyncio.timeout(leg.limits.total):
                headers, body = self._sent_headers(leg), self._body(leg)
                received = await self._upstream.send(url, headers, body, leg.limits)
                return await self._received(leg, received, began)
        except (*BROKEN, TimeoutError) as problem:
            self._plan.failed(problem)
        return None

    def _body(self, leg: Leg) -> bytes:
        """Return what is sent. For the log a stream of completions is to tell its usage."""
        parameters, request = leg.parameters, self._request
        is_told = "stream_options" not in leg.dialect.unsupported
        if request.streams and self._api == CHAT and is_told:
            parameters = {
                **parameters,
                "stream_options": {**request.options, "include_usage": True},
            }
        return request.body(self._api, leg.model, parameters)

    def _sent_headers(self, leg: Leg) -> dict[str, str]:
        """Return the headers of a call: those of the endpoint go before the client's and ours."""
        sent = {
            "accept": "text/event-stream" if self._request.streams else "application/json",
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": f"policy-router/{VERSION}",
        }
        passed: tuple[bytes, ...] = _FROM_CLIENT
        if self._api == MESSAGES:
            sent["anthropic-version"] = VERSION_OF_MESSAGES
            passed = (*_FROM_CLIENT, *_FROM_ANTHROPIC)
        if leg.api_key and self._api == MESSAGES and not _has_authorization(leg):
            sent["x-api-key"] = leg.api_key
        elif leg.api_key and self._api != MESSAGES:
            sent["authorization"] = f"Bearer {leg.api_key}"
        for name in passed:
            if name in self._headers:
                sent[name.decode()] = self._headers[name].decode("latin-1")
        return {**sent, **{name.lower(): value for name, value in leg.headers.items()}}

    async def _received(self, leg: Leg, received: Received, began: float) -> Answer | None:
        """Return the answer that has begun to come, if it is one."""
        idle = leg.limits.idle or SILENCE_SECONDS
        if received.status not in _OK:
            body = await received.whole(_LONGEST_ERROR, idle)
            headers = {name.decode(): value.decode("latin-1") for name, value in received.headers}
            self._retry_after = tuple(it for it in received.headers if it[0] in _RETRY_AFTER)
            self._plan.failed(received.status, body=body, headers=headers)
            return None
        kind = received.header(b"content-type").partition(b";")[0].strip().lower()
        if kind == _EVENTS:
            return await self._stream(_Stream(leg, received, idle, began))
        return self._whole(leg, received, await received.whole(LONGEST_ANSWER, idle))

    def _whole(self, leg: Leg, received: Received, body: bytes) -> Answer | None:
        """Return a whole answer, if it is one."""
        if len(body) > LONGEST_ANSWER:
            message = f"the answer has more than {LONGEST_ANSWER:,} bytes"
            self._failed(Failing.ANSWER_TOO_LARGE, message)
            return None
        seen = Seen()
        seen.take(body)
        if not _is_object(body):
            self._failed(Failing.BAD_RESPONSE, "the provider's answer is no JSON object")
            return None
        if seen.error is not None:
            self._plan.failed(seen.status, body=seen.error)
            return None
        for secret in _secrets(leg):
            body = body.replace(secret, b"***")
        self._done(leg, seen)
        return Answer(body, received.status, self._answer_headers(leg, received.headers))

    def _failed(self, code: Failing, message: str, partial: str = "") -> None:
        self._plan.failed(ProviderError(code, message), partial=partial)

    def _done(self, leg: Leg, seen: Seen) -> None:
        if self._api == RESPONSES and seen.id is not None:
            self._keep(seen.id, leg=leg)
        self._plan.done(
            served_model=seen.model,
            finish_reason=seen.finish_reason,
            input_tokens=seen.input_tokens,
            output_tokens=seen.output_tokens,
            cached_tokens=seen.cached_tokens,
        )

    # A stream.

    async def _stream(self, stream: _Stream) -> Answer | None:
        """Return a stream whose first event has come, if it is none of an error."""
        drops = self._api == CHAT and not self._request.wants_usage
        seen, secrets = Seen(), _secrets(stream.leg)
        events = Events(seen, secrets, drops_usage=drops)
        try:
            first = await self._first(stream, seen, events)
        except TimeoutError:
            await stream.pieces.aclose()
            raise
        if seen.error is not None or not seen.events:
            await stream.pieces.aclose()
            if seen.error is None:
                self._failed(Failing.BAD_RESPONSE, "the stream has no events")
                return None
            self._plan.failed(seen.status, body=seen.error)
            return None
        return Answer(
            b"",
            stream.received.status,
            self._answer_headers(stream.leg, stream.received.headers),
            stream.received.header(b"content-type"),
            self._passed(stream, seen, events, first),
        )

    async def _first(self, stream: _Stream, seen: Seen, events: Events) -> bytes:
        """Return the beginning of a stream, with its first event."""
        held = b""
        limit = stream.leg.limits.first_byte or SILENCE_SECONDS
        async for piece in stream.pieces:
            held += events.feed(piece)
            if seen.events or seen.is_complete or len(held) > _HELD:
                return held
            if asyncio.get_running_loop().time() - stream.began > limit:
                raise TimeoutError
        return held + events.rest()

    async def _passed(
        self, stream: _Stream, seen: Seen, events: Events, first: bytes
    ) -> AsyncGenerator[bytes, None]:
        """Yield the events of a stream as they come, and note what became of it."""
        try:
            async with aclosing(stream.pieces):
                yield first
                while (piece := await self._next(stream, seen)) is not None:
                    if whole := events.feed(piece):
                        yield whole
            if rest := events.rest():
                yield rest
            self._ended(stream.leg, seen)
        except (DisconnectedError, GeneratorExit, asyncio.CancelledError):
            self._plan.cancelled()
            raise
        except (*BROKEN, TimeoutError) as problem:
            message = f"the stream broke off ({type(problem).__name__})"
            self._failed(Failing.STREAM_BROKEN, message, _PASSED_ON)
            yield broken_off(self._api, message)
            raise BrokenOffError from None
        finally:
            self._hang_up.end()

    async def _next(self, stream: _Stream, seen: Seen) -> bytes | None:
        """Return the next piece; None at the end."""
        now = time.monotonic()
        if seen.has_news:
            stream.alive = now
        elif now - stream.alive > stream.idle:
            raise TimeoutError
        following = anext(stream.pieces, None)
        if stream.deadline is None:
            return await self._hang_up.wait(following)
        async with asyncio.timeout_at(stream.deadline):
            return await self._hang_up.wait(following)

    def _ended(self, leg: Leg, seen: Seen) -> None:
        if seen.error is not None:
            self._failed(Failing.STREAM_BROKEN, "the stream ended with an error", _PASSED_ON)
        elif not seen.is_complete:
            message = "the stream ended before the answer did"
            self._failed(Failing.STREAM_BROKEN, message, _PASSED_ON)
        else:
            self._done(leg, seen)

    # What the client gets.

    def _answer_headers(self, leg: Leg, received: Headers) -> tuple[Header, ...]:
        """Return the headers of an answer: the provider's, but for some, and ours."""
        named = {it.strip().lower() for it in _all(received, b"connection").split(b",")}
        secrets = _secrets(leg)
        passed = [
            (name, value)
            for name, value in received
            if name not in _NOT_PASSED
            and name not in named
            and not name.startswith(_OURS)
            and not any(secret in value for secret in secrets)
        ]
        ours = [(DECISION, self._plan.decision_id), (b"policy-router-entry", leg.entry)]
        ours += [(b"policy-router-model", leg.model), (b"policy-router-provider", leg.provider)]
        ours += [(b"policy-router-attempts", str(self._attempts))]
        return (*passed, *((name, _spelt(value)) for name, value in ours if value is not None))

    def _problem(self) -> CallProblem:
        """Return why no target answered."""
        error, attempts = self._plan.error, self._plan.attempts
        code, message = (error.code, error.message) if error else (Failing.CHILD_ERROR, "no answer")
        last = next((it for it in reversed(attempts) if it.failure == code), None)
        if self._other_api is not None:
            way = f"send it to /v1/{PATHS[self._other_api]}"
            code, message, status = "other_api", f"{message}; {way}", 400
        else:
            status = _status(code, None if last is None else last.status)
        headers = (
            _decision(self._plan.decision_id),
            (b"policy-router-attempts", str(len(attempts)).encode()),
            *self._retry_after,
            _retries(passes=code in _PASSING),
        )
        decision_id = self._plan.decision_id
        return CallProblem(status, str(code), message, decision_id=decision_id, headers=headers)


class _Stream:
    """A stream of a provider.

    Attributes:
        leg: what was called.
        received: the head of its answer.
        pieces: what comes of it.
        idle: seconds that it may be silent.
        began: when the call began, by the clock of the event loop.
        alive: when it last had news, by the clock that only goes forward.
        deadline: when it has to have ended; None is never.
    """

    def __init__(self, leg: Leg, received: Received, idle: float, began: float) -> None:
        self.leg, self.received, self.idle, self.began = leg, received, idle, began
        self.pieces = received.pieces(idle)
        self.alive = time.monotonic()
        total = leg.limits.total
        self.deadline = None if total is None else began + total


def _status(code: str, status: int | None) -> int:
    """Return the status that a client gets for a failure of its provider.

    What is wrong with the service's own account or key is not the client's fault.
    """
    if code in _OURS_TO_MEND:
        return 502
    return status if status in _OWN_STATUSES else _STATUSES.get(code, 502)


def _refused(refused: Refused, decision_id: str) -> CallProblem:
    headers = (_decision(decision_id), _retries(passes=False))
    return CallProblem(
        403,
        refused.code,
        refused.message,
        decision_id=decision_id,
        permitted=refused.permitted,
        headers=headers,
    )


def _denied(problem: Problem, decision_id: str) -> CallProblem:
    """Return why a call that was decided is not paid."""
    passes = problem.status == 503  # noqa: PLR2004 - the budget cannot be used just now
    return CallProblem(
        problem.status,
        problem.code,
        f"{problem.detail}; {problem.help}" if problem.help else problem.detail,
        decision_id=decision_id,
        headers=(*problem.headers, _decision(decision_id), _retries(passes=passes)),
    )


def _decision(decision_id: str) -> Header:
    return DECISION, decision_id.encode()


def _retries(*, passes: bool) -> Header:
    """Return the header that tells an SDK whether to send a request again."""
    return RETRY, b"true" if passes else b"false"


def _has_authorization(leg: Leg) -> bool:
    """Tell whether an endpoint has a header of its own for its key."""
    return any(name.lower() == "authorization" for name in leg.headers)


def _secrets(leg: Leg) -> list[bytes]:
    """Return what no answer may repeat; what is shorter is found in ordinary words."""
    return [it.encode() for it in leg.endpoint.secrets if len(it) >= _SHORTEST_SECRET]


def _spelt(text: str) -> bytes:
    """Return a text as a header can have it: others than printable ASCII are percent-encoded."""
    return quote(text, safe=_PRINTABLE).encode()


def _all(headers: Headers, name: bytes) -> bytes:
    return b",".join(value for key, value in headers if key == name)


def _is_object(body: bytes) -> bool:
    try:
        _OBJECTS.decode(body)
    except NOT_JSON:
        return False
    return True


_OBJECTS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
