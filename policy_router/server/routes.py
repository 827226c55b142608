"""The table of routes: what answers a method of a path, and who may ask it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from policy_router.domain import Policy
from policy_router.errors import needs_extra
from policy_router.server.active import Active
from policy_router.server.administering import Administrators
from policy_router.server.asking import (
    JSON,
    LONGEST_BODY,
    Answer,
    Asked,
    answer_of,
)
from policy_router.server.auditing import Auditors
from policy_router.server.authzen import PATH as ACCESS
from policy_router.server.authzen import Access
from policy_router.server.credentials import Credential
from policy_router.server.deciding import DECISION, Agents, batch_size
from policy_router.server.evaluations import evaluations_size
from policy_router.server.gateway.models import CALLS, LONGEST_CALL, MESSAGES_PATH, models_of
from policy_router.server.gateway.said import to_anthropic, to_openai
from policy_router.server.metrics import OTHER, Metrics
from policy_router.server.metrics import TYPE as METRICS
from policy_router.server.openapi import document
from policy_router.server.plans import Plans, tasks_size
from policy_router.server.problems import (
    Problem,
    busy,
    role_needed,
)

if TYPE_CHECKING:
    from policy_router.server.delegating import Delegations
    from policy_router.server.gateway.gateway import Gateway

Handler = Callable[[Asked], Awaitable[Answer]]
KnownBy = Callable[[Mapping[bytes, bytes], str], Awaitable[Credential]]
"""Returns who makes a request, from its headers and its address."""
_TEXT: Final = b"text/plain; charset=utf-8"


class Route(Struct, frozen=True):
    """What answers a method of a path.

    Attributes:
        answer: the function.
        role: what a credential has to be; None needs none.
        weighs: how many requests a body counts as.
        name: how it is called where requests are counted.
        also: another role that will do.
        longest: how many bytes a body may have.
        takes_api_key: whether a credential may come in the header ``x-api-key`` too.
        spends: whether it spends money, which takes a credential, or a socket of one's own.
        problem_in: says a problem in the words of its clients.
        known_by: knows who asks by another sign than a credential: the headers, and the address.
        takes: the content type of a body.
    """

    answer: Handler
    role: str | None = "agent"
    weighs: Callable[[bytes], int] | None = None
    name: str = OTHER
    also: str | None = None
    longest: int = LONGEST_BODY
    takes_api_key: bool = False
    spends: bool = False
    problem_in: Callable[[Problem], Answer] = answer_of
    known_by: KnownBy | None = None
    takes: bytes = JSON


Routes = dict[str, dict[str, Route]]
"""Methods by path; a path that ends with ``/`` stands for all below it."""


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
    *,
    delegations: Delegations | None = None,
) -> Routes:
    """Return what answers over MCP. The SDK is imported with the first message: it takes long."""
    tools: list[Any] = []

    def load() -> None:
        with needs_extra("mcp", "mcp", "MCP"):
            from policy_router.server.mcp import Tools
        made = Tools(
            policy,
            agents,
            auditors,
            metrics.decided,
            may_state=may_state,
            delegations=delegations,
        )
        tools.append(made)

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


def gateway_routes(agents: Agents, gateway: Gateway | None) -> Routes:
    """Return what clients of models ask.

    Args:
        agents: list the models.
        gateway: forwards calls; None where models are not called.
    """

    async def not_offered(_asked: Asked) -> Answer:
        help_ = "start the service with `--run`"
        raise Problem(501, "not_offered", "this service calls no models", help=help_)

    models = Route(models_of(agents), takes_api_key=True, problem_in=to_openai)

    def call(path: str, answer: Handler) -> Route:
        return Route(
            answer,
            longest=LONGEST_CALL,
            takes_api_key=True,
            spends=gateway is not None,
            problem_in=to_anthropic if path == MESSAGES_PATH else to_openai,
        )

    routes = {"/v1/models": {"GET": models}}
    for path, name in CALLS.items():
        routes[path] = {"POST": call(path, getattr(gateway, name, not_offered))}
    return routes


def plan_routes(plans: Plans) -> Routes:
    """Return what hosts in other languages ask."""
    return {
        "/v1/plan": {"POST": Route(plans.plan, weighs=tasks_size)},
        "/v1/executions": {"POST": Route(plans.report)},
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
