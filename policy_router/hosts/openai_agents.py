"""The adapter of openai-agents: the policy decides what an agent's runs call.

::

    from agents import Agent, RunConfig, Runner
    from policy_router.hosts.openai_agents import PolicyProvider

    config = RunConfig(model_provider=PolicyProvider("rules/"))
    await Runner.run(Agent("Tester", model="policy:coding"), "Fix the test.", run_config=config)

The first model call of a run is decided, and all calls of the run go along its plan. The host names
a run to its models by the object that follows the tools of the run; outside a run, none is called.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, FunctionTool, RunConfig, Runner
from agents.items import ModelResponse
from agents.model_settings import ModelSettings
from agents.models._run_context import get_model_run_owner
from agents.models.default_models import get_default_model_settings
from agents.models.interface import Model, ModelProvider
from agents.models.openai_chatcompletions import OpenAIChatCompletionsModel
from agents.models.openai_responses import OpenAIResponsesModel
from agents.tool_context import ToolContext

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


class _Runs:
    """The decisions of one run of the host: one for each name of a model in it."""

    def __init__(self) -> None:
        self.by_name: dict[str | None, ChildRun] = {}
        self.connections = Connections()
        self.latest: ChildRun | None = None


class PolicyProvider(ModelProvider):
    """Lets the policy decide what the runs of agents call.

    The model of an agent is a name of the pool, ``auto``, or ``policy:KIND``.
    """

    def __init__(
        self,
        policy: PolicyHost | PolicySource,
        facts: Facts = None,
        *,
        decision_id: str | None = None,
    ) -> None:
        """Read the policy.

        Args:
            policy: a policy, its path, or a host with a log and facts of its own.
            facts: what is stated of a run, or a function that does. The host tells a provider
                nothing of a run, so that it is called with None.
            decision_id: for a single run that was decided before: its decision.
        """
        self._host, self._facts = host_of(policy), facts
        self._runs: dict[int, _Runs] = {}
        self._decision_id = decision_id

    def get_model(self, model_name: str | None) -> Model:
        """Return the model of a run, which is decided with its first call."""
        return _PolicyModel(self, model_name)

    async def begun(self, name: str | None, settings: ModelSettings, goal: str) -> _Runs:
        """Return the run at hand; its part with this name of a model is decided once."""
        owner = get_model_run_owner()
        if owner is None:
            raise RefusedError(Refused("not_policed", "a model is called outside a run"))
        runs = self._runs.setdefault(id(owner), _Runs())
        if name not in runs.by_name:
            task = wish_of(name)
            if parameters := _wishes(name, settings):
                task["parameters"] = parameters
            facts = facts_of(self._host, self._facts, None)
            runs.by_name[name] = await begin_async(self._host, task, facts, goal, self._decision_id)
        runs.latest = runs.by_name[name]
        runs.latest.enter()
        return runs

    async def ended(self, owner: object) -> None:
        """Note that a run has ended."""
        runs = self._runs.pop(id(owner), None)
        if runs is None:
            return
        for run in runs.by_name.values():
            if run is runs.latest and run.text is None:
                run.plan.cancelled()  # its last answer asked for more
            run.ended()
        await runs.connections.aclose()


class _PolicyModel(Model):
    """The model of a part of a run, which goes along the plan of its decision."""

    def __init__(self, provider: PolicyProvider, name: str | None) -> None:
        self._provider, self._name = provider, name

    async def _cleanup_on_run_end(self, owner: object) -> None:
        await self._provider.ended(owner)

    async def get_response(
        self,
        system_instructions: Any,
        input: Any,
        model_settings: ModelSettings,
        tools: Any,
        output_schema: Any,
        handoffs: Any,
        tracing: Any,
        **others: Any,
    ) -> ModelResponse:
        """Go along the plan until a call is answered."""
        given = (tools, output_schema, handoffs, tracing)
        runs = await self._provider.begun(self._name, model_settings, _goal(input))
        run = runs.by_name[self._name]
        while True:
            leg = await run.leg_async()
            model, settings = _model(leg, runs.connections), _settings(model_settings, leg)
            with run.attempt():
                async with asyncio.timeout(leg.limits.total):
                    answer = await model.get_response(
                        system_instructions, input, settings, *given, **others
                    )
                _note(run, answer.output, answer.usage)
                return answer

    async def stream_response(
        self,
        system_instructions: Any,
        input: Any,
        model_settings: ModelSettings,
        tools: Any,
        output_schema: Any,
        handoffs: Any,
        tracing: Any,
        **others: Any,
    ) -> AsyncIterator[Any]:
        """Go along the plan until a stream begins."""
        given = (tools, output_schema, handoffs, tracing)
        runs = await self._provider.begun(self._name, model_settings, _goal(input))
        run = runs.by_name[self._name]
        while True:
            leg = await run.leg_async()
            model, settings = _model(leg, runs.connections), _settings(model_settings, leg)
            with run.attempt() as attempt:
                events = model.stream_response(
                    system_instructions, input, settings, *given, **others
                )
                async for event in events:
                    attempt.has_begun = True
                    if event.type == "response.completed":
                        _note(run, event.response.output, event.response.usage)
                    yield event
                return


def delegate_tool(
    policy: PolicyHost | PolicySource, agent: Agent[Any], facts: Facts = None
) -> FunctionTool:
    """Return the tool ``delegate_task``, in its strict form, whose children are runs of an agent.

    The words of the children are in no trace.

    Args:
        policy: a policy, its path, or a host with a log and facts of its own.
        agent: runs each task, on the model that is decided for it.
        facts: what is stated of a call, or a function of the run's own context.

    Raises:
        RefusedError: the policy cannot be used.
    """
    host = host_of(policy)

    async def delegate(context: ToolContext[Any], arguments: str) -> str:
        async def child(plan: HostPlan) -> None:
            known = None if callable(facts) else facts
            provider = PolicyProvider(host, known, decision_id=plan.decision_id)
            config = RunConfig("auto", provider, trace_include_sensitive_data=False)
            await Runner.run(agent, prompt_of(plan), context=context.context, run_config=config)

        try:
            stated = facts_of(host, facts, context.context)
        except RefusedError as error:
            return json.dumps(error.refused.to_dict())
        return json.dumps(await delegated_async(host, arguments, stated, child))

    made = function_of(host, facts, strict=True)
    return FunctionTool(made["name"], made["description"], made["parameters"], delegate)


def _model(leg: Leg, connections: Connections) -> Model:
    kind = OpenAIChatCompletionsModel if is_chat(leg) else OpenAIResponsesModel
    return kind(leg.model, connections.async_client(leg))


def _goal(given: Any) -> str:
    """Return what a run is to do: what it is given first."""
    return words_of(given if isinstance(given, str) else given[:1])


def _wishes(name: str | None, settings: ModelSettings) -> dict[str, Any]:
    """Return the settings of an agent that are parameters for the policy to decide."""
    reasoning = settings.reasoning
    if reasoning == get_default_model_settings(name).reasoning:
        reasoning = None  # that of the host, which nobody asked for
    wishes = {it: getattr(settings, it, None) for it in KNOWN}
    wishes[EFFORT] = getattr(reasoning, "effort", None)
    if name is None and settings.verbosity == get_default_model_settings().verbosity:
        wishes["verbosity"] = None
    return {it: value for it, value in wishes.items() if value is not None}


def _settings(settings: ModelSettings, leg: Leg) -> ModelSettings:
    """Return the settings of a call: an agent's own, without what would replace the decision."""
    named = {it.name for it in dataclasses.fields(settings)}
    body: Any = settings.extra_body
    return dataclasses.replace(
        settings,
        **dict.fromkeys((named & {*KNOWN}) | {"reasoning"}),
        include_usage=True,
        extra_args=undecided(settings.extra_args),
        extra_body={**undecided(body), **leg.parameters},
        extra_headers={**dict(settings.extra_headers or {}), **leg.headers},
    )


def _note(run: ChildRun, output: Any, usage: Any) -> None:
    """Note an answer; one that calls a tool is not the last."""
    calls = any(str(it.type).endswith("_call") for it in output)
    texts = [
        part.text
        for it in output
        if it.type == "message"
        for part in it.content
        if part.type == "output_text"
    ]
    run.text = None if calls else "".join(texts)
    if usage is None or not usage.total_tokens:
        run.answered()
        return
    details = usage.input_tokens_details
    cached = getattr(details, "cached_tokens", None)
    run.answered(None, usage.input_tokens, usage.output_tokens, cached)
