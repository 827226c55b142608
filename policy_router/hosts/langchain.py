"""The adapter of LangChain and LangGraph: the policy decides what an agent's runs call.

::

    from langchain.agents import create_agent
    from policy_router.hosts.langchain import PolicyMiddleware, PolicyModel

    agent = create_agent(PolicyModel(), middleware=[PolicyMiddleware("rules/", "policy:coding")])

Before the agent begins, its run is decided; each of its model calls goes along the plan of this
decision. The agent's own model is never called. Another middleware that sets another model, or that
answers by itself, is refused. One that repeats calls stands after this one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any, Final, NotRequired, TypedDict

from langchain.agents.middleware.types import AgentMiddleware, ModelRequest, PrivateStateAttr
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI
from langgraph.errors import GraphBubbleUp
from langgraph.runtime import get_runtime

from policy_router.calls.legs import Leg
from policy_router.hosts.child_run import (
    Attempt,
    ChildRun,
    Facts,
    begin,
    begin_async,
    facts_of,
    function_of,
    host_of,
    undecided,
    wish_of,
)
from policy_router.hosts.connections import Connections, is_chat, silence_of
from policy_router.hosts.deciding_policy import PolicySource
from policy_router.hosts.delegating import delegated, delegated_async, prompt_of
from policy_router.hosts.host_plan import HostPlan
from policy_router.hosts.policy_host import PolicyHost
from policy_router.hosts.refused import Refused, RefusedError

_MOST_RUNS: Final = 10_000
"""So many runs are kept; one whose host has never told of its end is forgotten in the end."""


class PolicyModel(BaseChatModel):
    """Stands for the model of an agent with a :class:`PolicyMiddleware`; it answers nothing."""

    @property
    def _llm_type(self) -> str:
        return "policy-router"

    def _generate(self, *_: Any, **__: Any) -> Any:
        words = "the agent has no PolicyMiddleware, or another middleware calls its model itself"
        raise RefusedError(Refused("not_policed", words))

    def bind_tools(self, *_: Any, **__: Any) -> PolicyModel:
        """Return itself."""
        return self


class _Listener(BaseCallbackHandler):
    """Hears whether a call has begun to answer, and whether the last one was answered."""

    def __init__(self) -> None:
        self.attempt, self.has_answered = Attempt(), False

    def on_llm_new_token(self, *_: Any, **__: Any) -> None:
        self.attempt.has_begun = True

    def on_llm_end(self, *_: Any, **__: Any) -> None:
        self.has_answered = True

    def on_llm_error(self, *_: Any, **__: Any) -> None:
        self.has_answered = False


class _Sealed(ModelRequest[Any]):
    """A request whose model is decided: no middleware after ours puts another one into it."""

    def override(self, **overrides: Any) -> ModelRequest[Any]:
        self._check(**overrides)
        return super().override(**overrides)

    def __setattr__(self, name: str, value: Any) -> None:
        self._check(**{name: value})
        super().__setattr__(name, value)

    def _check(self, **changed: Any) -> None:
        if changed.get("model", self.model) is not self.model:
            raise RefusedError(Refused("not_policed", "another middleware sets another model"))


class _Running:
    """A run of an agent with its connections; `close` and `aclose` are safe to repeat."""

    def __init__(self, run: ChildRun) -> None:
        self.run, self.connections = run, Connections()

    def model(self, leg: Leg) -> tuple[ChatOpenAI, _Listener]:
        """Return the model of a leg, with both clients, since the host would make one itself."""
        one, other = self.connections.client(leg), self.connections.async_client(leg)
        listener = _Listener()
        model = ChatOpenAI(
            model=leg.model,
            base_url=leg.base_url,
            stream_usage=is_chat(leg),
            use_responses_api=not is_chat(leg),
            extra_body=leg.parameters,
            callbacks=[listener],
            max_retries=0,
            timeout=leg.limits.total or silence_of(leg),
            root_client=one,
            client=one.chat.completions,
            root_async_client=other,
            async_client=other.chat.completions,
        )
        return model, listener


class _State(TypedDict):
    """The state of an agent, with the number of its run."""

    policy_run: NotRequired[Annotated[str, PrivateStateAttr]]


class PolicyMiddleware(AgentMiddleware[Any, Any, Any]):
    """Lets the policy decide what the runs of an agent call."""

    state_schema = _State

    def __init__(
        self,
        policy: PolicyHost | PolicySource,
        model: str = "auto",
        *,
        parameters: Mapping[str, Any] | None = None,
        facts: Facts = None,
    ) -> None:
        """Read the policy.

        Args:
            policy: a policy, its path, or a host with a log and facts of its own.
            model: a name of the pool, ``auto``, or ``policy:KIND``.
            parameters: what the agent asks for, such as ``{"max_tokens": 500}``.
            facts: what is stated of a run, or a function of the graph's own context.
        """
        super().__init__()
        self._host, self._facts = host_of(policy), facts
        self._task = wish_of(model) | ({"parameters": dict(parameters)} if parameters else {})
        self._runs: dict[str, _Running] = {}

    # Beginning and ending.

    def before_agent(self, state: Any, runtime: Any) -> dict[str, Any]:
        """Decide the run."""
        return self._kept(begin(*self._asked(state, runtime)))

    async def abefore_agent(self, state: Any, runtime: Any) -> dict[str, Any]:
        """Decide the run, without blocking the event loop."""
        return self._kept(await begin_async(*self._asked(state, runtime)))

    def _asked(self, state: Any, runtime: Any) -> tuple[Any, ...]:
        """Return what is to be decided, and the decision that the run was given, if it was."""
        facts = facts_of(self._host, self._facts, runtime.context)
        said = [it for it in state["messages"] if isinstance(it, HumanMessage)]
        goal, given = (str(said[-1].text), said[-1].id) if said else ("", None)
        return self._host, self._task, facts, goal, given

    def _kept(self, run: ChildRun) -> dict[str, Any]:
        while len(self._runs) >= _MOST_RUNS:
            self._runs.pop(next(iter(self._runs))).run.plan.cancelled()
        self._runs[run.plan.decision_id] = _Running(run)
        return {"policy_run": run.plan.decision_id}

    def _running(self, state: Any) -> _Running:
        running = self._runs.get(state.get("policy_run", ""))
        if running is None:
            raise RefusedError(Refused("run_ended", "the run has ended, or began elsewhere"))
        return running

    def _ended(self, state: Any, error: BaseException | None = None) -> _Running | None:
        running = self._runs.pop(state.get("policy_run", ""), None)
        if running is not None:
            running.run.text = str(state["messages"][-1].text) if error is None else None
            running.run.ended(error)
        return running

    def after_agent(self, state: Any, runtime: Any) -> None:
        """Note the answer."""
        if (running := self._ended(state)) is not None:
            running.connections.close()

    async def aafter_agent(self, state: Any, runtime: Any) -> None:
        """Note the answer."""
        if (running := self._ended(state)) is not None:
            await running.connections.aclose()

    @contextmanager
    def _in(self, state: Any) -> Iterator[_Running]:
        """Be in a run, which ends with an exception."""
        running = self._running(state)
        try:
            yield running
        except GraphBubbleUp:
            raise  # the run is interrupted, and goes on later
        except BaseException as error:
            self._ended(state, error)
            running.connections.close()
            raise

    @asynccontextmanager
    async def _in_async(self, state: Any) -> AsyncIterator[_Running]:
        running = self._running(state)
        try:
            yield running
        except GraphBubbleUp:
            raise
        except BaseException as error:
            self._ended(state, error)
            await running.connections.aclose()
            raise

    # Calling.

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        """Go along the plan until a call is answered."""
        with self._in(request.state) as running:
            while True:
                model, listener = running.model(running.run.leg())
                with running.run.attempt() as listener.attempt:
                    return _answered(running.run, listener, handler(_sent(request, model)))

    async def awrap_model_call(self, request: Any, handler: Any) -> Any:
        """Go along the plan until a call is answered, on the event loop."""
        async with self._in_async(request.state) as running:
            while True:
                model, listener = running.model(await running.run.leg_async())
                with running.run.attempt() as listener.attempt:
                    return _answered(running.run, listener, await handler(_sent(request, model)))

    def wrap_tool_call(self, request: Any, handler: Any) -> Any:
        """Let what a tool delegates be known as the run's, and tell the agent of a refusal."""
        with self._in(request.state) as running:
            try:
                with running.run.scope():
                    return handler(request)
            except RefusedError as error:
                return _refusal_message(request, error)

    async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
        """Do the same on the event loop."""
        async with self._in_async(request.state) as running:
            try:
                with running.run.scope():
                    return await handler(request)
            except RefusedError as error:
                return _refusal_message(request, error)


def delegate_tool(
    policy: PolicyHost | PolicySource, agent: Any, facts: Facts = None
) -> StructuredTool:
    """Return the tool ``delegate_task``, whose children are runs of an agent.

    Args:
        policy: a policy, its path, or a host with a log and facts of its own.
        agent: the graph that runs each task; it has a :class:`PolicyMiddleware`.
        facts: what is stated of a call, or a function of the graph's own context.

    Raises:
        ValueError: the agent has none.
        RefusedError: the policy cannot be used.
    """
    check_agent(agent)
    host = host_of(policy)

    def delegate(**arguments: Any) -> str:
        stated = facts_of(host, facts, get_runtime().context)
        run = lambda plan: agent.invoke(_messages(plan))  # noqa: E731 - as short as it gets
        return json.dumps(delegated(host, arguments, stated, run))

    async def delegate_async(**arguments: Any) -> str:
        stated = facts_of(host, facts, get_runtime().context)
        run = lambda plan: agent.ainvoke(_messages(plan))  # noqa: E731 - as short as it gets
        return json.dumps(await delegated_async(host, arguments, stated, run))

    made = function_of(host, facts)
    return StructuredTool(
        name=made["name"],
        description=made["description"],
        args_schema=made["parameters"],
        func=delegate,
        coroutine=delegate_async,
    )


def check_agent(agent: Any) -> None:
    """Check that a graph does not run without a decision.

    Raises:
        ValueError: it has no :class:`PolicyMiddleware`.
    """
    if f"{PolicyMiddleware.__name__}.before_agent" not in getattr(agent, "nodes", ()):
        raise ValueError("the agent has no PolicyMiddleware")


def _messages(plan: HostPlan) -> dict[str, Any]:
    return {"messages": [HumanMessage(prompt_of(plan), id=plan.decision_id)]}


def _sent(request: Any, model: ChatOpenAI) -> Any:
    """Return a request to a model, without settings that would replace what is decided."""
    given = {it.name: getattr(request, it.name) for it in dataclasses.fields(request)}
    settings = undecided(request.model_settings)
    return _Sealed(**{**given, "model": model, "model_settings": settings})


def _answered(run: ChildRun, listener: _Listener, response: Any) -> Any:
    """Note the answer of a call, which has to be of the target."""
    if not listener.has_answered:
        words = "another middleware has answered in place of the model that was decided"
        raise RefusedError(Refused("not_policed", words))
    for message in response.result:
        if isinstance(message, AIMessage):
            usage: Any = message.usage_metadata or {}
            cached = usage.get("input_token_details", {}).get("cache_read")
            served = message.response_metadata.get("model_name")
            run.answered(served, usage.get("input_tokens"), usage.get("output_tokens"), cached)
    return response


def _refusal_message(request: Any, error: RefusedError) -> ToolMessage:
    """Return a refusal as the result of a tool."""
    content = json.dumps(error.refused.to_dict())
    return ToolMessage(content, tool_call_id=request.tool_call["id"], status="error")
