"""The adapter of LangChain and deepagents, with the real packages and providers on loopback."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from deepagents import create_deep_agent
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ModelFallbackMiddleware,
    ModelResponse,
    ModelRetryMiddleware,
    before_agent,
    wrap_model_call,
)
from langchain_core.messages import AIMessage, SystemMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt
from pydantic import SecretStr

from policy_router.hosts import PolicyHost
from policy_router.hosts.deepagents import with_policy
from policy_router.hosts.langchain import PolicyMiddleware, PolicyModel, delegate_tool
from policy_router.hosts.refused import RefusedError
from tests.hosts.cases import Cases
from tests.support.hosting import (
    GOAL,
    KEYS,
    SECRETS,
    Peers,
    executions,
    is_whole,
    requests,
    result_of,
)

ASKED: Any = {"messages": [{"role": "user", "content": GOAL}]}
LEAD: Any = {"messages": [{"role": "user", "content": "Lead."}]}


@tool
def look(at: str) -> str:
    """Look at something."""
    return f"It is {at}."


def agent_of(host: PolicyHost, model: str, **options: Any) -> Any:
    middleware = PolicyMiddleware(
        host, model, parameters=options.get("settings"), facts=options.get("facts")
    )
    return create_agent(PolicyModel(), tools=[look], middleware=[middleware])


def answer(state: Any) -> str:
    return str(state["messages"][-1].text)


class TestLangChain(Cases):
    def run(self, host: PolicyHost, model: str, **options: Any) -> str:
        agent = agent_of(host, model, **options)
        if not options.get("stream"):
            return answer(agent.invoke(ASKED))
        parts = [
            part.text
            for part, about in agent.stream(ASKED, stream_mode="messages")
            if about["langgraph_node"] == "model" and not part.tool_call_chunks
        ]
        assert len(parts) > 1
        return "".join(parts)

    def lead(self, host: PolicyHost, **options: Any) -> str:
        child = create_agent(PolicyModel(), middleware=[PolicyMiddleware(host)])
        lead = create_agent(
            PolicyModel(),
            tools=[delegate_tool(host, child, options.get("facts"))],
            middleware=[PolicyMiddleware(host, "policy:lead")],
        )
        return answer(lead.invoke(LEAD))


class TestLangChainOnAnEventLoop(TestLangChain):
    def run(self, host: PolicyHost, model: str, **options: Any) -> str:
        agent = agent_of(host, model, **options)

        async def streamed() -> str:
            parts = agent.astream(ASKED, stream_mode="messages")
            return "".join(
                [
                    part.text
                    async for part, about in parts
                    if about["langgraph_node"] == "model" and not part.tool_call_chunks
                ]
            )

        async def whole() -> str:
            return answer(await agent.ainvoke(ASKED))

        return asyncio.run(streamed() if options.get("stream") else whole())

    def lead(self, host: PolicyHost, **options: Any) -> str:
        child = create_agent(PolicyModel(), middleware=[PolicyMiddleware(host)])
        lead = create_agent(
            PolicyModel(),
            tools=[delegate_tool(host, child, options.get("facts"))],
            middleware=[PolicyMiddleware(host, "policy:lead")],
        )
        return answer(asyncio.run(lead.ainvoke(LEAD)))


class TestWaysAround:
    @pytest.fixture
    def peers(self) -> Any:
        with Peers() as peers:
            yield peers

    @pytest.fixture
    def host(self, peers: Peers, tmp_path: Path) -> Any:
        with peers.host(tmp_path) as host:
            yield host

    def test_an_agent_without_the_middleware_calls_nothing(self, host: PolicyHost) -> None:
        agent = create_agent(PolicyModel())
        with pytest.raises(RefusedError, match="not_policed"):
            agent.invoke(ASKED)
        with pytest.raises(ValueError, match="no PolicyMiddleware"):
            delegate_tool(host, agent)
        with pytest.raises(ValueError, match="no PolicyMiddleware"):
            with_policy([{"name": "a", "description": "b", "runnable": agent}], host)
        with pytest.raises(ValueError, match="runs elsewhere"):
            with_policy([{"name": "a", "description": "b", "graph_id": "c"}], host)

    @pytest.mark.parametrize("is_outside", [True, False])
    def test_another_middleware_brings_no_other_model(
        self, peers: Peers, host: PolicyHost, *, is_outside: bool
    ) -> None:
        url = f"{peers.provider.url.removesuffix('/v1')}/lead/v1"
        other = ChatOpenAI(model="m-lead", base_url=url, api_key=SecretStr(KEYS["lead"]))
        peers.faults["m-small"] = [503]
        ours, theirs = PolicyMiddleware(host), ModelFallbackMiddleware(other)
        both = [theirs, ours] if is_outside else [ours, theirs]
        with pytest.raises(RefusedError, match="run_ended" if is_outside else "not_policed"):
            create_agent(PolicyModel(), middleware=both).invoke(ASKED)
        assert peers.asked == [("near", "m-small")]

    def test_a_middleware_that_chooses_a_model_sends_nothing(
        self, peers: Peers, host: PolicyHost, tmp_path: Path
    ) -> None:
        @wrap_model_call
        def chosen(request: Any, handler: Any) -> Any:
            return handler(request.override(model=PolicyModel()))

        @wrap_model_call
        def put(request: Any, handler: Any) -> Any:
            request.model = PolicyModel()
            return handler(request)

        @wrap_model_call
        def own(*_: Any) -> Any:
            return ModelResponse(result=[AIMessage("Hello from nobody.")])

        for theirs in (chosen, put, own):
            agent = create_agent(PolicyModel(), middleware=[PolicyMiddleware(host), theirs])
            with pytest.raises(RefusedError, match="not_policed: another middleware"):
                agent.invoke(ASKED)
        host.close()
        assert peers.asked == []
        assert [it.status for it in executions(tmp_path / "log")] == ["failed"] * 3

    def test_a_middleware_after_it_may_change_all_else(
        self, peers: Peers, host: PolicyHost
    ) -> None:
        @wrap_model_call
        def polite(request: Any, handler: Any) -> Any:
            return handler(request.override(system_message=SystemMessage("Be polite.")))

        peers.faults["m-small"] = [503]
        repeated = ModelRetryMiddleware(initial_delay=0.01)
        middleware = [PolicyMiddleware(host), polite, repeated]
        assert answer(create_agent(PolicyModel(), middleware=middleware).invoke(ASKED))
        assert [it.body["messages"][0]["content"] for it in peers.provider.talks] == [
            "Be polite."
        ] * 2

    def test_a_child_keeps_its_plan_whatever_its_middleware_runs(
        self, peers: Peers, host: PolicyHost
    ) -> None:
        other = create_agent(PolicyModel(), middleware=[PolicyMiddleware(host, "spare")])

        @before_agent
        def ask(_state: Any, _runtime: Any) -> None:
            other.invoke(LEAD)

        child = create_agent(PolicyModel(), middleware=[ask, PolicyMiddleware(host)])
        lead = create_agent(
            PolicyModel(),
            tools=[delegate_tool(host, child)],
            middleware=[PolicyMiddleware(host, "policy:lead")],
        )
        peers.calls["m-lead"] = [("delegate_task", {"goal": GOAL, "kind": "coding"})]
        lead.invoke(LEAD)
        assert peers.asked[1:-1] == [("near", "m-spare"), ("far", "m-coder")]

    def test_an_interrupted_run_goes_on_by_its_decision(
        self, peers: Peers, host: PolicyHost, tmp_path: Path
    ) -> None:
        @tool
        def ask() -> str:
            """Ask a person."""
            return str(interrupt("?"))

        peers.calls["m-coder"] = [("ask", {})]
        agent = create_agent(
            PolicyModel(),
            tools=[ask],
            middleware=[PolicyMiddleware(host, "policy:coding")],
            checkpointer=InMemorySaver(),
        )
        thread: Any = {"configurable": {"thread_id": "1"}}
        assert agent.invoke(ASKED, thread)["__interrupt__"]
        assert answer(agent.invoke(Command(resume="yes"), thread)) == "Hello from m-coder."
        assert len(requests(tmp_path / "log")) == 1
        agent.invoke(ASKED, thread)  # another run in the same conversation
        host.close()
        assert len(requests(tmp_path / "log")) == 2
        assert [it.status for it in executions(tmp_path / "log")] == ["completed"] * 2

    def test_an_interrupted_run_does_not_go_on_elsewhere(
        self, peers: Peers, host: PolicyHost
    ) -> None:
        @tool
        def ask() -> str:
            """Ask a person."""
            return str(interrupt("?"))

        peers.calls["m-small"] = [("ask", {})]
        saver = InMemorySaver()
        first, second = (
            create_agent(
                PolicyModel(),
                tools=[ask],
                middleware=[PolicyMiddleware(host)],
                checkpointer=saver,
            )
            for _ in range(2)
        )
        thread: Any = {"configurable": {"thread_id": "1"}}
        first.invoke(ASKED, thread)
        with pytest.raises(RefusedError, match="run_ended"):
            second.invoke(Command(resume="yes"), thread)
        assert len(peers.asked) == 1


class TestDeepAgents:
    @pytest.fixture
    def peers(self) -> Any:
        with Peers() as peers:
            yield peers

    @pytest.fixture
    def host(self, peers: Peers, tmp_path: Path) -> Any:
        with peers.host(tmp_path) as host:
            yield host

    def deep(self, host: PolicyHost, *names: str) -> Any:
        subagents: list[Any] = [
            {"name": name, "description": name, "system_prompt": "Work."} for name in names
        ]
        return create_deep_agent(
            PolicyModel(),
            middleware=[PolicyMiddleware(host, "policy:lead")],
            subagents=with_policy(subagents, host),
        )

    def test_the_type_of_a_sub_agent_is_the_kind_of_its_task(
        self, peers: Peers, host: PolicyHost, tmp_path: Path
    ) -> None:
        peers.calls["m-lead"] = [
            ("task", {"description": GOAL, "subagent_type": "coding"}),
            ("task", {"description": GOAL, "subagent_type": "general-purpose"}),
            ("task", {"description": GOAL, "subagent_type": "writing"}),
        ]
        assert answer(self.deep(host, "coding", "writing").invoke(LEAD)) == "Hello from m-lead."
        host.close()
        assert sorted(peers.asked[1:-1]) == [
            ("far", "m-coder"),
            ("near", "m-small"),
            ("near", "m-small"),
        ]
        kinds = [it["task"]["kind"] for it in requests(tmp_path / "log")]
        assert sorted(kinds) == ["coding", "general-purpose", "lead", "writing"]
        assert [it.status for it in executions(tmp_path / "log")] == ["completed"] * 4
        assert is_whole(tmp_path / "log")

    def test_a_refused_sub_agent_starts_nothing_and_its_parent_reads_why(
        self, peers: Peers, tmp_path: Path
    ) -> None:
        forbid = [{"when": 'task.kind == "writing"', "message": "no writing"}]
        path = tmp_path / "policy.json"
        path.write_text(peers.policy(precedence="strict", forbid=forbid))
        peers.calls["m-lead"] = [("task", {"description": GOAL, "subagent_type": "writing"})]

        with PolicyHost(path, environ=SECRETS) as host:
            self.deep(host, "writing").invoke(LEAD)
        assert peers.asked == [("lead", "m-lead")] * 2
        told = result_of(peers.provider.talks[-1])
        assert told["error"]["code"] == "no_target"
