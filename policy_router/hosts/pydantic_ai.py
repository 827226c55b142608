"""The adapter of pydantic-ai: the policy decides what an agent's runs call.

::

    from pydantic_ai import Agent
    from policy_router.hosts.pydantic_ai import PolicyCapability

    agent = Agent("policy:coding", capabilities=[PolicyCapability("rules/")])

The first model request of a run is decided, and all requests of the run go along its plan. A
failure is told to the plan, and the host's own way of trying again goes to the next target. A model
that was built elsewhere is refused, since it has an endpoint of its own.
"""

from __future__ import annotations

import dataclasses
from dataclasses import field
from typing import Any, Final

from pydantic_ai import RunContext, Tool
from pydantic_ai.agent import AbstractAgent
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering, ModelFallback
from pydantic_ai.exceptions import RetryModelRequest
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models import Model, ModelRequestContext
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition

from policy_router.calls.legs import Leg
from policy_router.hosts.child_run import (
    ChildRun,
    Facts,
    begin_async,
    facts_of,
    function_of,
    host_of,
    undecided,
    wish_of,
    words_of,
)
from policy_router.hosts.connections import Connections, is_chat
from policy_router.hosts.deciding_policy import PolicySource
from policy_router.hosts.delegating import delegated_async, prompt_of
from policy_router.hosts.host_plan import HostPlan
from policy_router.hosts.policy_host import PolicyHost
from policy_router.hosts.refused import Refused, RefusedError
from policy_router.parameters import EFFORT, KNOWN

_EFFORTS: Final = ("thinking", "openai_reasoning_effort")
"""What the host calls the reasoning effort, among others."""
_SENT: Final = frozenset({*_EFFORTS, "timeout", "request_timeout", "service_tier"})
"""Settings that the decision replaces, besides those of every host."""


class _Undecided(FunctionModel):
    """Stands for a model until a run is decided; it answers nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(_never, model_name=name)


def _never(*_: Any) -> ModelResponse:
    raise RefusedError(Refused("not_policed", "the model of this run is not decided"))


@dataclasses.dataclass
class PolicyCapability(AbstractCapability[Any]):
    """Lets the policy decide what the runs of an agent call.

    The agent's model is a name of the pool, ``auto``, or ``policy:KIND``.

    Attributes:
        policy: a policy, its path, or a host with a log and facts of its own.
        facts: what is stated of a run, or a function of the run's dependencies.
        id: what the host knows it by: one of a run replaces one of its agent.
        decision_id: for a single run that was decided before: its decision.
    """

    policy: PolicyHost | PolicySource
    facts: Facts = None
    id: str | None = field(default="policy-router", kw_only=True)
    decision_id: str | None = field(default=None, kw_only=True)
    _host: PolicyHost = field(init=False, repr=False, compare=False)
    _run: ChildRun | None = field(default=None, init=False, repr=False, compare=False)
    _connections: Connections = field(
        default_factory=Connections, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        """Read the policy."""
        self._host = host_of(self.policy)

    def get_ordering(self) -> CapabilityOrdering:
        """Have the last word on which model is called, and the first on a failure."""
        return CapabilityOrdering(position="innermost", wrapped_by=(ModelFallback,))

    async def resolve_model_id(self, ctx: Any, *, model_id: str) -> Model:
        """Keep what the name of a model asks for, until the run is decided."""
        return _Undecided(model_id)

    async def for_run(self, ctx: RunContext[Any]) -> PolicyCapability:
        """Begin a run, which is not decided yet."""
        return dataclasses.replace(self, policy=self._host)

    async def wrap_run(self, ctx: RunContext[Any], *, handler: Any) -> Any:
        """Note how the run ended, and close its connections."""
        error: BaseException | None = None
        try:
            result = await handler()
        except BaseException as problem:
            error = problem
            raise
        else:
            if self._run is not None:
                self._run.text = str(result.output)
            return result
        finally:
            if self._run is not None:
                self._run.ended(error)
            await self._connections.aclose()

    async def prepare_model_request(
        self, ctx: RunContext[Any], request_context: ModelRequestContext
    ) -> ModelRequestContext:
        """Send an attempt to the target that the plan is at; the first one is decided."""
        if self._run is None:
            self._run = await self._decided(ctx, request_context)
        leg = await self._run.leg_async()
        request_context.model = self._model(leg)
        request_context.model_settings = _settings(request_context.model_settings, leg)
        return request_context

    async def _decided(self, ctx: RunContext[Any], asked: ModelRequestContext) -> ChildRun:
        if asked.model_id is None and not isinstance(asked.model, _Undecided):
            words = "the model has an endpoint of its own; give the name of one"
            raise RefusedError(Refused("not_policed", words))
        task = wish_of(asked.model_id or asked.model.model_name)
        if parameters := _wishes(asked.model_settings or {}):
            task["parameters"] = parameters
        facts = facts_of(self._host, self.facts, ctx.deps)
        return await begin_async(self._host, task, facts, words_of(ctx.prompt), self.decision_id)

    def _model(self, leg: Leg) -> Model:
        provider = OpenAIProvider(openai_client=self._connections.async_client(leg))
        kind = OpenAIChatModel if is_chat(leg) else OpenAIResponsesModel
        return kind(leg.model, provider=provider)

    async def on_model_request_error(
        self,
        ctx: RunContext[Any],
        *,
        request_context: ModelRequestContext,
        error: Exception,
    ) -> ModelResponse:
        """Go to the next target of the plan, and to nothing else."""
        if self._run is not None and self._run.failed(error):
            raise RetryModelRequest
        raise error

    async def after_model_request(
        self,
        ctx: RunContext[Any],
        *,
        request_context: ModelRequestContext,
        response: ModelResponse,
    ) -> ModelResponse:
        """Count what a call took."""
        if self._run is not None:
            usage = response.usage
            counts = usage.input_tokens, usage.output_tokens, usage.cache_read_tokens
            self._run.answered(response.model_name, *(counts if usage.has_values() else ()))
        return response

    async def wrap_tool_execute(
        self,
        ctx: RunContext[Any],
        *,
        call: Any,
        tool_def: Any,
        args: Any,
        handler: Any,
    ) -> Any:
        """Let what a tool delegates be known as the run's."""
        if self._run is None:
            return await handler(args)
        with self._run.scope():
            return await handler(args)


def delegate_tool(
    policy: PolicyHost | PolicySource,
    agent: AbstractAgent[Any, Any],
    facts: Facts = None,
) -> Tool[Any]:
    """Return the tool ``delegate_task``, whose children are runs of an agent.

    Args:
        policy: a policy, its path, or a host with a log and facts of its own.
        agent: runs each task, on the model that is decided for it.
        facts: what is stated of a call, or a function of the run's dependencies.
    """
    host = host_of(policy)

    async def delegate(ctx: RunContext[Any], **arguments: Any) -> dict[str, Any]:
        async def child(plan: HostPlan) -> None:
            own = PolicyCapability(host, facts, decision_id=plan.decision_id)
            await agent.run(prompt_of(plan), model="auto", deps=ctx.deps, capabilities=[own])

        return await delegated_async(host, arguments, facts_of(host, facts, ctx.deps), child)

    async def prepare(ctx: RunContext[Any], known: ToolDefinition) -> ToolDefinition:
        made = function_of(host, facts_of(host, facts, ctx.deps))
        schema, words = made["parameters"], made["description"]
        return dataclasses.replace(known, parameters_json_schema=schema, description=words)

    made = function_of(host)
    tool = Tool.from_schema(
        delegate, made["name"], made["description"], made["parameters"], takes_ctx=True
    )
    tool.prepare = prepare
    return tool


def _wishes(settings: Any) -> dict[str, Any]:
    """Return the settings of an agent that are parameters for the policy to decide."""
    wishes = {name: settings[name] for name in KNOWN if settings.get(name) is not None}
    efforts = (settings.get(name) for name in _EFFORTS)
    effort = next((it for it in efforts if isinstance(it, str)), None)
    return wishes if effort is None else {EFFORT: effort, **wishes}


def _settings(given: Any, leg: Leg) -> Any:
    """Return the settings of a call: an agent's own, without what would replace the decision."""
    given = given or {}
    settings = {name: value for name, value in undecided(given).items() if name not in _SENT}
    settings["extra_body"] = {**undecided(given.get("extra_body")), **leg.parameters}
    settings["extra_headers"] = {**(given.get("extra_headers") or {}), **leg.headers}
    if leg.limits.total is not None:
        settings["request_timeout"] = leg.limits.total
    return settings
