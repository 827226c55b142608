"""The application: a table of routes on plain ASGI, and what surrounds every request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from policy_router.domain import Policy
from policy_router.errors import needs_extra
from policy_router.server.active import Active
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
from policy_router.server.credentials import LOGGER, Credential, Limits
from policy_router.server.deciding import DECISION, Agents, batch_size
from policy_router.server.gate import Gate
from policy_router.server.problems import Problem, busy, role_needed

Handler = Callable[[Asked], Awaitable[Answer]]
POLICY: Final = b"policy-router-policy"
_TEXT: Final = b"text/plain; charset=utf-8"
_MOST_BYTES: Final = 64 * 1024 * 1024
"""How long all bodies together may be that are answered at a time."""
_LATER: Final = "this is promised for a later version"


class Route(Struct, frozen=True):
    """What answers a method of a path.

    Attributes:
        answer: the function.
        role: what a credential has to be; None needs none.
        weighs: how many requests a body counts as.
        also: another role that will do.
    """

    answer: Handler
    role: str | None = "agent"
    weighs: Callable[[bytes], int] | None = None
    also: str | None = None


Routes = dict[str, dict[str, Route]]
"""Methods by path; a path that ends with ``/`` stands for all below it."""


class Service:
    """Answers requests: an ASGI application."""

    def __init__(
        self, active: Active, gate: Gate, limits: Limits, edges: Edges, *, queue: int
    ) -> None:
        """Begin without routes.

        Args:
            active: the policy that decides.
            gate: knows who asks.
            limits: how often each may.
            edges: the names and pages that clients may come from.
            queue: how many requests are answered at a time.
        """
        self.active, self.is_draining = active, False
        self._gate, self._limits, self._edges = gate, limits, edges
        self._queue = queue
        self.running = self._bytes = 0
        self.routes: Routes = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(
                "only HTTP is spoken here"
            )  # uvicorn is told so, and asks nothing else
        try:
            answer = await self._answered(scope, receive)
        except Problem as problem:
            answer = answer_of(problem)
        except DisconnectedError:
            return
        except Exception:  # noqa: BLE001 - a bug of ours fails one request and is logged
            LOGGER.exception("%s %s", scope["method"], scope["path"])
            answer = answer_of(Problem(500, "internal", "this is a bug of the service"))
        await self._send(answer, send)

    async def _send(self, answer: Answer, send: Send) -> None:
        headers = [
            (b"content-type", answer.type),
            (POLICY, (answer.revision or self.active.revision).encode()),
            (b"cache-control", b"no-store"),
            *answer.headers,
        ]
        if answer.pieces is None:
            headers.append((b"content-length", b"%d" % len(answer.body)))
        if self.is_draining:
            headers.append((b"connection", b"close"))
        start = {"type": "http.response.start", "status": answer.status, "headers": headers}
        await send(start)
        if answer.pieces is not None:
            async for piece in answer.pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answered(self, scope: Scope, receive: Receive) -> Answer:
        raw = scope["headers"]
        headers = dict(raw)
        self._edges.check(headers, raw)
        route, rest = self._route(scope["path"], scope["method"])
        if route.role is None:
            return await route.answer(Asked(_NOBODY, query=scope["query_string"]))
        credential = await self._gate.credential(headers)
        if route.role not in credential.roles and route.also not in credential.roles:
            raise role_needed(route.role)
        if self.running >= self._queue or self._bytes > _MOST_BYTES:
            raise busy("overloaded", "there are too many requests at a time")
        self.running += 1
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
            self.running -= 1
            self._bytes -= len(body)

    def _route(self, path: str, method: str) -> tuple[Route, str]:
        methods, rest = self.routes.get(path), ""
        if methods is None:
            above, _, rest = path.rpartition("/")
            methods = self.routes.get(f"{above}/")
        while methods is None and above:
            above, _, name = above.rpartition("/")
            rest, methods = f"{name}/{rest}", self.routes.get(f"{above}/")
        if methods is None:
            raise Problem(404, "no_route", "there is nothing at this path")
        route = methods.get(method)
        if route is None:
            allowed = ", ".join(sorted(methods))
            headers = ((b"allow", allowed.encode()),)
            detail = f"the method is none of {allowed}"
            raise Problem(405, "no_method", detail, headers=headers)
        return route, rest


_NOBODY: Final = Credential("", frozenset())


def agent_routes(agents: Agents, auditors: Auditors) -> Routes:
    """Return what agents and hosts ask."""

    async def decide(asked: Asked) -> Answer:
        explains = bool(asked.query) and asked.flag(asked.options("explain"), "explain")
        if explains and "auditor" not in asked.credential.roles:
            raise role_needed("auditor")
        decision_id, record, content = await agents.decide(asked)
        name = decision_id.encode()
        body = b'{"decision_id":"%b","record":%b}' % (name, content)
        if explains:
            told = msgspec.json.encode(await auditors.explanation(record))
            body = body[:-1] + b',"explanation":%b}' % told
        return Answer(body, headers=((DECISION, name),), revision=record.policy.revision)

    async def batch(asked: Asked) -> Answer:
        asked.options()
        answer, _ = await agents.batch(asked)
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
    policy: Callable[[], Policy], agents: Agents, auditors: Auditors, may_state: tuple[str, ...]
) -> Routes:
    """Return what answers over MCP. The SDK is imported with the first message: it takes long."""
    tools: list[Any] = []

    def load() -> None:
        with needs_extra("mcp", "mcp", "MCP"):
            from policy_router.server.mcp import Tools
        tools.append(Tools(policy, agents, auditors, may_state=may_state))

    async def speak(asked: Asked) -> Answer:
        if not tools:
            try:
                await asyncio.to_thread(load)
            except ModuleNotFoundError as problem:
                raise Problem(501, "not_installed", str(problem)) from None
        answer: Answer = await tools[0].answer(asked)
        return answer

    return {"/mcp": {"POST": Route(speak, also="auditor")}}


def later_routes() -> Routes:
    """Return what is promised for a later version."""

    async def later(_asked: Asked) -> Answer:
        raise Problem(501, "not_implemented", _LATER)

    get, post = {"GET": Route(later)}, {"POST": Route(later)}
    return {
        "/v1/plan": post,
        "/v1/executions": post,
        "/v1/models": get,
        "/v1/chat/completions": post,
        "/v1/responses": post,
        "/v1/messages": post,
        "/access/v1/": {**get, **post},
        "/.well-known/authzen-configuration": get,
    }


def state_routes(active: Active, is_ready: Callable[[], Awaitable[str | None]]) -> Routes:
    """Return what tells how the service is.

    Args:
        active: the policy that decides.
        is_ready: returns why the service cannot decide; None where it can.
    """

    async def alive(_asked: Asked) -> Answer:
        return Answer(b"alive\n", type=_TEXT)

    async def ready(_asked: Asked) -> Answer:
        reason = await is_ready()
        if reason is not None:
            raise busy("not_ready", reason)
        return Answer(b"ready\n", type=_TEXT)

    async def policy(asked: Asked) -> Answer:
        asked.options()
        return Answer.of(active.status())

    return {
        "/livez": {"GET": Route(alive, None)},
        "/readyz": {"GET": Route(ready, None)},
        "/v1/policy": {"GET": Route(policy, "admin")},
    }
