"""Forwards a model call along its plan: what is sent, received and passed to the client.

As long as nothing has been passed to the client, the plan goes on after a failure; then never.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final

import msgspec

from policy_router.calls.dialects import CHAT, PATHS, RESPONSES
from policy_router.calls.failing import Failing
from policy_router.errors import ProviderError
from policy_router.hosts import HostPlan, Leg
from policy_router.server.asking import Answer, Asked, BrokenOffError, DisconnectedError
from policy_router.server.gateway.hang_up import HangUp
from policy_router.server.gateway.headers import (
    answer_headers,
    decision_header,
    retries,
    secrets_of,
    sent_headers,
    status_of,
)
from policy_router.server.gateway.model_request import ModelRequest
from policy_router.server.gateway.passing import Events, Seen
from policy_router.server.gateway.said import CallProblem, broken_off
from policy_router.server.gateway.upstream import (
    BROKEN,
    SILENCE_SECONDS,
    Headers,
    Received,
    Upstream,
)
from policy_router.server.problems import NOT_JSON, Header

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
_OK: Final = range(200, 300)
_RETRY_AFTER: Final = frozenset({b"retry-after", b"retry-after-ms"})
_PASSING: Final = frozenset(
    {Failing.CONNECTION_FAILED, Failing.RATE_LIMITED, Failing.SERVER_ERROR, Failing.TIMEOUT}
)


class Forwarding:
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
                headers, body = (
                    sent_headers(leg, self._api, self._headers, streams=self._request.streams),
                    self._body(leg),
                )
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
        return request.body(leg.model, parameters)

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
            self._failed(Failing.BAD_RESPONSE, "the provider's answer is not a JSON object")
            return None
        if seen.error is not None:
            self._plan.failed(seen.status, body=seen.error)
            return None
        for secret in secrets_of(leg):
            body = body.replace(secret, b"***")
        self._done(leg, seen)
        return Answer(body, received.status, self._named(leg, received.headers))

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
        seen, secrets = Seen(), secrets_of(stream.leg)
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
            self._named(stream.leg, stream.received.headers),
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
                self._hang_up.calls(stream.received.abort)
                yield first
                async for piece in stream.timely():
                    whole = events.feed(piece)
                    stream.look(has_news=seen.has_news)
                    if whole:
                        yield whole
            self._hang_up.check()
            if rest := events.rest():
                yield rest
            self._ended(stream.leg, seen)
        except (DisconnectedError, GeneratorExit, asyncio.CancelledError):
            self._plan.cancelled()
            raise
        except (*BROKEN, TimeoutError) as problem:
            if self._hang_up.has_come:
                self._plan.cancelled()
                raise DisconnectedError from None
            message = f"the stream broke off ({type(problem).__name__})"
            self._failed(Failing.STREAM_BROKEN, message, _PASSED_ON)
            yield broken_off(self._api, message)
            raise BrokenOffError from None
        finally:
            self._hang_up.end()

    def _ended(self, leg: Leg, seen: Seen) -> None:
        if seen.error is not None:
            self._failed(Failing.STREAM_BROKEN, "the stream ended with an error", _PASSED_ON)
        elif not seen.is_complete:
            message = "the stream ended before the answer did"
            self._failed(Failing.STREAM_BROKEN, message, _PASSED_ON)
        else:
            self._done(leg, seen)

    # What the client gets.

    def _named(self, leg: Leg, received: Headers) -> tuple[Header, ...]:
        """Return the headers of an answer."""
        id_ = self._plan.decision_id
        return answer_headers(leg, received, decision_id=id_, attempts=self._attempts)

    def _problem(self) -> CallProblem:
        """Return why no target answered."""
        error, attempts = self._plan.error, self._plan.attempts
        code, message = (error.code, error.message) if error else (Failing.CHILD_ERROR, "no answer")
        last = next((it for it in reversed(attempts) if it.failure == code), None)
        if self._other_api is not None:
            way = f"send it to /v1/{PATHS[self._other_api]}"
            code, message, status = "other_api", f"{message}; {way}", 400
        else:
            status = status_of(code, None if last is None else last.status)
        headers = (
            decision_header(self._plan.decision_id),
            (b"policy-router-attempts", str(len(attempts)).encode()),
            *self._retry_after,
            retries(passes=code in _PASSING),
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

    def timely(self) -> AsyncGenerator[bytes, None]:
        """Return the pieces, as long as they come in time."""
        return self.pieces if self.deadline is None else self._until(self.deadline)

    async def _until(self, deadline: float) -> AsyncGenerator[bytes, None]:
        while True:
            async with asyncio.timeout_at(deadline):
                piece = await anext(self.pieces, None)
            if piece is None:
                return
            yield piece

    def look(self, *, has_news: bool) -> None:
        """Note whether a piece had news.

        Raises:
            TimeoutError: there was none for too long.
        """
        now = time.monotonic()
        if has_news:
            self.alive = now
        elif now - self.alive > self.idle:
            raise TimeoutError


def _is_object(body: bytes) -> bool:
    try:
        _OBJECTS.decode(body)
    except NOT_JSON:
        return False
    return True


_OBJECTS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
