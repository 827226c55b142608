"""The application on plain ASGI: what surrounds every request. Its table is in ``routes``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, aclosing
from time import perf_counter
from typing import Final

from msgspec.structs import replace

from policy_router.diagnostics.model import printable
from policy_router.server.active import Active
from policy_router.server.asking import (
    LONGEST_BODY,
    Answer,
    Asked,
    BrokenOffError,
    DisconnectedError,
    Edges,
    Receive,
    Scope,
    Send,
    answer_of,
    body_of,
    length_of,
    with_bearer,
)
from policy_router.server.authzen import PATH as ACCESS
from policy_router.server.authzen import request_id
from policy_router.server.credentials import LOGGER, Credential, Limits
from policy_router.server.gate import Gate
from policy_router.server.gateway.said import no_route, shape_at
from policy_router.server.metrics import OTHER, ROUTES, Metrics
from policy_router.server.problems import (
    Header,
    Problem,
    busy,
    credential_needed,
    not_json,
    role_needed,
)
from policy_router.server.routes import Route, Routes
from policy_router.server.tracing import Spans

WriteWhole = Callable[[Send, int, list[Header], bytes], bool]
"""Writes a status, headers and a body; returns whether it could."""
POLICY: Final = b"policy-router-policy"
_MOST_BYTES: Final = 64 * 1024 * 1024
"""How long all bodies together may be that are answered at a time."""
_LONGEST_PATH: Final = 1000
_NOBODY: Final = Credential("", frozenset())


class Service:
    """Answers requests: an ASGI application."""

    def __init__(
        self,
        active: Active,
        gate: Gate,
        limits: Limits,
        edges: Edges,
        metrics: Metrics,
        *,
        routes: Routes,
        queue: int,
        may_spend: bool = False,
        spans: Spans | None = None,
        write_whole: WriteWhole = lambda *_: False,
        cut: Callable[[Send], None] = lambda _: None,
    ) -> None:
        """Begin.

        Args:
            active: the policy that decides.
            gate: knows who asks.
            limits: how often each may.
            edges: the names and pages that clients may come from.
            metrics: count.
            routes: what answers.
            queue: how many requests are answered at a time.
            may_spend: whether everybody who may ask is known, so that money may be spent.
            spans: take over the traces of requests.
            write_whole: writes an answer at once, where the server has a quicker way for that.
            cut: ends an answer so that its client knows that it is not whole.
        """
        self.active, self.is_draining = active, False
        self._gate, self._limits, self._edges, self._spans = gate, limits, edges, spans
        self._metrics, self._queue, self._may_spend = metrics, queue, may_spend
        self._write_whole, self._cut = write_whole, cut
        self._running = self._bytes = 0
        self._routes = {
            path: {
                method: replace(route, name=path if path in ROUTES else OTHER)
                for method, route in methods.items()
            }
            for path, methods in routes.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError("only HTTP is supported here")
        began, name = perf_counter(), OTHER
        shaped: Callable[[Problem], Answer] | None = None
        try:
            route, rest = self._route(scope["path"], scope["method"])
            name, shaped = route.name, route.problem_in
            answer = await self._answered(route, rest, scope, receive)
        except Problem as problem:
            answer = (shaped or shape_at(scope["path"]))(problem)
        except DisconnectedError:
            return
        except RecursionError as problem:  # a body can be nested so that reading works, and no more
            answer = (shaped or answer_of)(not_json(problem))
        except Exception:  # noqa: BLE001 - a bug of ours fails one request and is logged
            LOGGER.exception("%s %s", scope["method"], printable(scope["path"]))
            answer = (shaped or answer_of)(Problem(500, "internal", "this is a bug of the service"))
        if scope["path"].startswith(ACCESS):
            named = request_id(scope["headers"])
            answer = replace(answer, headers=(*answer.headers, *named))
        await self._send(answer, send)
        self._metrics.request(name, answer.status, perf_counter() - began)

    async def _send(self, answer: Answer, send: Send) -> None:
        headers = [
            (b"content-type", answer.type),
            (POLICY, (answer.revision or self.active.revision).encode()),
            *answer.headers,
        ]
        if self.is_draining:
            headers.append((b"connection", b"close"))
        body = answer.body
        if answer.pieces is None:
            headers.append((b"content-length", b"%d" % len(body)))
            if not self.is_draining and self._write_whole(send, answer.status, headers, body):
                return
        start = {"type": "http.response.start", "status": answer.status, "headers": headers}
        await send(start)
        if answer.pieces is not None:
            try:
                async with aclosing(answer.pieces) as pieces:
                    async for piece in pieces:
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
            except DisconnectedError:
                return
            except BrokenOffError:
                self._cut(send)
                return
        await send({"type": "http.response.body", "body": body})

    async def _answered(self, route: Route, rest: str, scope: Scope, receive: Receive) -> Answer:
        headers = self._edges.headers(scope["headers"])
        if self._spans is not None:
            self._spans.take_over(headers)
        if route.known_by is not None:
            credential = await route.known_by(headers, _address(scope))
        elif route.role is None:
            asked = Asked(_NOBODY, b"", headers, scope["query_string"], rest)
            return await route.answer(asked)
        else:
            headers = with_bearer(headers) if route.takes_api_key else headers
            credential = self._gate.known(headers) or await self._gate.credential(headers)
        if route.role is not None and credential.roles.isdisjoint((route.role, route.also)):
            raise role_needed(route.role)
        if route.spends and not self._may_spend:
            raise credential_needed()
        asked = Asked(credential, b"", headers, scope["query_string"], rest, receive)
        is_bounded = credential.rate is not None or credential.concurrency is not None
        run = self._held if is_bounded or route.longest > LONGEST_BODY else self._run
        return await run(route, asked, receive)

    async def _run(self, route: Route, asked: Asked, receive: Receive) -> Answer:
        """Answer a request, and count it until its answer is there: the quick way of most."""
        self._check_room(0)
        self._count(1, 0)
        size = 0
        try:
            body = await body_of(asked.headers, receive, type_=route.takes)
            size = len(body)
            self._bytes += size
            return await route.answer(
                Asked(asked.credential, body, asked.headers, asked.query, asked.rest, receive)
            )
        finally:
            self._count(-1, -size)

    async def _held(self, route: Route, asked: Asked, receive: Receive) -> Answer:
        """Answer a request that is bounded or may be long, and count it until its answer's end."""
        # A body that may be long is counted before it is read.
        size = length_of(asked.headers, route.longest)
        self._check_room(size)
        with ExitStack() as held:
            self._count(1, size)
            held.callback(self._count, -1, -size)
            body = await body_of(asked.headers, receive, route.longest, type_=route.takes)
            weight = 1 if route.weighs is None else route.weighs(body)
            held.enter_context(self._limits.use(asked.credential, weight))
            answer = await route.answer(replace(asked, body=body))
            if answer.pieces is not None:
                answer = replace(answer, pieces=_while(answer.pieces, held.pop_all()))
        return answer

    def _check_room(self, size: int) -> None:
        """Turn a request away where too many, or too long ones, are being answered."""
        if self._running >= self._queue or self._bytes + size > _MOST_BYTES:
            self._metrics.overloaded()
            raise busy("overloaded", "there are too many requests at a time")

    def _count(self, requests: int, size: int) -> None:
        """Count what is being answered."""
        self._running += requests
        self._bytes += size
        self._metrics.running(self._running)

    def _route(self, path: str, method: str) -> tuple[Route, str]:
        methods, rest, above = self._routes.get(path), "", path
        if len(path) > _LONGEST_PATH:
            above = ""
        while methods is None and above:
            above, _, name = above.rpartition("/")
            rest = f"{name}/{rest}" if rest else name
            methods = self._routes.get(f"{above}/") if above else None
        if methods is None:
            raise no_route(path)
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = ", ".join(sorted(methods))
            headers = ((b"allow", allowed.encode()),)
            detail = f"the method is not one of {allowed}"
            raise Problem(405, "no_method", detail, headers=headers)
        return route, rest


async def _while(pieces: AsyncGenerator[bytes, None], held: ExitStack) -> AsyncGenerator[bytes]:
    """Yield the pieces of an answer, and leave what is held at their end."""
    with held:
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece


def _address(scope: Scope) -> str:
    """Return what stands behind the host in the address of a request."""
    query: bytes = scope["query_string"]
    path: str = scope["path"]
    return f"{path}?{query.decode('latin-1')}" if query else path
