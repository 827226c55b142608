"""The application: a table of routes on plain ASGI, and what surrounds every request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from policy_router.diagnostics.model import printable
from policy_router.domain import Policy
from policy_router.errors import needs_extra
from policy_router.server.active import Active
from policy_router.server.administering import Administrators
from policy_router.server.asking import (
    Answer,
    Asked,
    DisconnectedError,
    Edges,
    Receive,
    Scope,
    Send,
    answer_of,
    body_of,
)
from policy_router.server.auditing import Auditors
from policy_router.server.authzen import PATH as ACCESS
from policy_router.server.authzen import Access, request_id
from policy_router.server.credentials import LOGGER, Credential, Limits
from policy_router.server.deciding import DECISION, Agents, batch_size
from policy_router.server.evaluations import evaluations_size
from policy_router.server.gate import Gate
from policy_router.server.metrics import OTHER, ROUTES, Metrics
from policy_router.server.metrics import TYPE as METRICS
from policy_router.server.openapi import document
from policy_router.server.problems import Header, Problem, busy, not_json, role_needed
from policy_router.server.tracing import Spans

Handler = Callable[[Asked], Awaitable[Answer]]
WriteWhole = Callable[[Send, int, list[Header], bytes], bool]
"""Writes a status, headers and a body; returns whether it could."""
POLICY: Final = b"policy-router-policy"
_TEXT: Final = b"text/plain; charset=utf-8"
_MOST_BYTES: Final = 64 * 1024 * 1024
"""How long all bodies together may be that are answered at a time."""
_LONGEST_PATH: Final = 1000


class Route(Struct, frozen=True):
    """What answers a method of a path.

    Attributes:
        answer: the function.
        role: what a credential has to be; None needs none.
        weighs: how many requests a body counts as.
        name: how it is called where requests are counted.
        also: another role that will do.
    """

    answer: Handler
    role: str | None = "agent"
    weighs: Callable[[bytes], int] | None = None
    name: str = OTHER
    also: str | None = None


Routes = dict[str, dict[str, Route]]
"""Methods by path; a path that ends with ``/`` stands for all below it."""


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
        spans: Spans | None = None,
        write_whole: WriteWhole = lambda *_: False,
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
            spans: take over the traces of requests.
            write_whole: writes an answer at once, where the server has a quicker way for that.
        """
        self.active, self.is_draining = active, False
        self._gate, self._limits, self._edges, self._spans = gate, limits, edges, spans
        self._metrics, self._queue, self._write_whole = metrics, queue, write_whole
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
            raise RuntimeError("only HTTP is spoken here")
        began, name = perf_counter(), OTHER
        try:
            route, rest = self._route(scope["path"], scope["method"])
            name = route.name
            answer = await self._answered(route, rest, scope, receive)
        except Problem as problem:
            answer = answer_of(problem)
        except DisconnectedError:
            return
        except RecursionError as problem:  # a body can be nested so that reading works, and no more
            answer = answer_of(not_json(problem))
        except Exception:  # noqa: BLE001 - a bug of ours fails one request and is logged
            LOGGER.exception("%s %s", scope["method"], printable(scope["path"]))
            answer = answer_of(Problem(500, "internal", "this is a bug of the service"))
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
            async for piece in answer.pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": body})

    async def _answered(self, route: Route, rest: str, scope: Scope, receive: Receive) -> Answer:
        headers = self._edges.headers(scope["headers"])
        if self._spans is not None:
            self._spans.take_over(headers)
        if route.role is None:
            return await route.answer(Asked(_NOBODY, headers=headers, query=scope["query_string"]))
        credential = self._gate.known(headers) or await self._gate.credential(headers)
        if route.role not in credential.roles and route.also not in credential.roles:
            raise role_needed(route.role)
        if self._running >= self._queue or self._bytes > _MOST_BYTES:
            self._metrics.overloaded()
            raise busy("overloaded", "there are too many requests at a time")
        self._running += 1
        self._metrics.running(self._running)
        body = b""
        try:
            body = await body_of(headers, receive)
            self._bytes += len(body)
            asked = Asked(credential, body, headers, scope["query_string"], rest, receive)
            if credential.rate is None and credential.concurrency is None:
                return await route.answer(asked)
            weight = 1 if route.weighs is None else route.weighs(body)
            with self._limits.use(credential, weight):
                return await route.answer(asked)
        finally:
            self._running -= 1
            self._metrics.running(self._running)
            self._bytes -= len(body)

    def _route(self, path: str, method: str) -> tuple[Route, str]:
        methods, rest, above = self._routes.get(path), "", ""
        if methods is None and len(path) <= _LONGEST_PATH:
            above, _, rest = path.rpartition("/")
            methods = self._routes.get(f"{above}/")
        while methods is None and above:
            above, _, name = above.rpartition("/")
            rest, methods = f"{name}/{rest}", self._routes.get(f"{above}/")
        if methods is None:
            help_ = "`GET /openapi.json` lists what there is"
            raise Problem(404, "no_route", "there is nothing at this path", help=help_)
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allowed = ", ".join(sorted(methods))
            headers = ((b"allow", allowed.encode()),)
            detail = f"the method is none of {allowed}"
            raise Problem(405, "no_method", detail, headers=headers)
        return route, rest


_NOBODY: Final = Credential("", frozenset())


def agent_routes(agents: Agents, auditors: Auditors, metrics: Metrics) -> Routes:
    """Return what agents and hosts ask."""

    async def decide(asked: Asked) -> Answer:
        explains = bool(asked.query) and asked.flag(asked.options("explain"), "explain")
        if explains and "auditor" not in asked.credential.roles:
            raise role_needed("auditor")
        decided = await agents.decide(asked)
        record, name = decided.record, decided.decision_id.encode()
        metrics.decided(record)
        body = b'{"decision_id":"%b","record":%b}' % (name, decided.content or b"")
        if explains:
            content = msgspec.json.encode(await auditors.explanation(record))
            body = body[:-1] + b',"explanation":%b}' % content
        return Answer(body, headers=((DECISION, name),), revision=record.policy.revision)

    async def batch(asked: Asked) -> Answer:
        asked.options()
        answer, records = await agents.batch(asked)
        for record in records:
            metrics.decided(record)
        return answer

    return {
        "/v1/decide": {"POST": Route(decide)},
        "/v1/decide/batch": {"POST": Route(batch, weighs=batch_size)},
        "/v1/menu": {"GET": Route(agents.menu), "POST": Route(agents.menu)},
        "/v1/tool": {"POST": Route(agents.tool)},
    }


def auditor_routes(auditors: Auditors) -> Routes:
    """Return what auditors ask."""
    return {
        "/v1/explain": {"POST": Route(auditors.explain, "auditor")},
        "/v1/decisions": {"GET": Route(auditors.decisions, "auditor")},
        "/v1/decisions/": {"GET": Route(auditors.decision, "auditor")},
        "/v1/replay": {"POST": Route(auditors.replay, "auditor")},
        "/v1/what-if": {"POST": Route(auditors.what_if, "auditor")},
    }


def mcp_routes(
    policy: Callable[[], Policy],
    agents: Agents,
    auditors: Auditors,
    may_state: tuple[str, ...],
    metrics: Metrics,
) -> Routes:
    """Return what answers over MCP. The SDK is imported with the first message: it takes long."""
    tools: list[Any] = []

    def load() -> None:
        with needs_extra("mcp", "mcp", "MCP"):
            from policy_router.server.mcp import Tools
        tools.append(Tools(policy, agents, auditors, metrics.decided, may_state=may_state))

    async def speak(asked: Asked) -> Answer:
        if not tools:
            try:
                await asyncio.to_thread(load)
            except ModuleNotFoundError as problem:
                raise Problem(501, "not_installed", str(problem)) from None
        answer: Answer = await tools[0].answer(asked)
        return answer

    return {"/mcp": {"POST": Route(speak, also="auditor")}}


def access_routes(access: Access) -> Routes:
    """Return what clients of AuthZEN ask."""
    several = Route(access.evaluations, weighs=evaluations_size)
    return {
        f"{ACCESS}evaluation": {"POST": Route(access.evaluation)},
        f"{ACCESS}evaluations": {"POST": several},
        f"{ACCESS}search/resource": {"POST": Route(access.resources)},
        "/.well-known/authzen-configuration": {"GET": Route(access.configuration, None)},
    }


def later_routes() -> Routes:
    """Return what is promised for a later version."""

    async def later(_asked: Asked) -> Answer:
        raise Problem(501, "not_implemented", "this is promised for a later version")

    get, post = {"GET": Route(later)}, {"POST": Route(later)}
    return {
        "/v1/plan": post,
        "/v1/executions": post,
        "/v1/models": get,
        "/v1/chat/completions": post,
        "/v1/responses": post,
        "/v1/messages": post,
    }


def state_routes(
    active: Active, metrics: Metrics, is_ready: Callable[[], Awaitable[str | None]]
) -> Routes:
    """Return what tells how the service is.

    Args:
        active: the policy that decides.
        metrics: what is counted.
        is_ready: returns why the service cannot decide; None where it can.
    """

    async def alive(_asked: Asked) -> Answer:
        return Answer(b"alive\n", type=_TEXT)

    async def ready(_asked: Asked) -> Answer:
        reason = await is_ready()
        if reason is not None:
            raise busy("not_ready", reason)
        return Answer(b"ready\n", type=_TEXT)

    async def counted(asked: Asked) -> Answer:
        asked.options()
        return Answer(metrics.to_text(active), type=METRICS)

    described = document()

    async def openapi(asked: Asked) -> Answer:
        asked.options()
        return Answer(described)

    return {
        "/openapi.json": {"GET": Route(openapi, None)},
        "/livez": {"GET": Route(alive, None)},
        "/readyz": {"GET": Route(ready, None)},
        "/metrics": {"GET": Route(counted, "auditor")},
    }


def administrator_routes(administrators: Administrators) -> Routes:
    """Return what administrators ask."""
    return {
        "/v1/policy": {"GET": Route(administrators.status, "admin")},
        "/v1/policy/check": {"POST": Route(administrators.check, "admin")},
        "/v1/policy/reload": {"POST": Route(administrators.reload, "admin")},
    }
