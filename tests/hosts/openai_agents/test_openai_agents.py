"""The adapter of openai-agents, with the real package and providers on loopback."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import agents
import pytest
from agents import Agent, ModelSettings, RunConfig, Runner, function_tool
from agents.models.interface import ModelTracing
from msgspec import UNSET

from policy_router.hosts import PolicyHost
from policy_router.hosts.openai_agents import PolicyProvider, delegate_tool
from policy_router.hosts.refused import RefusedError
from tests.hosts.cases import Cases
from tests.support.hosting import GOAL, Peers, decisions, executions, requests

agents.set_tracing_disabled(disabled=True)


@function_tool
def look(at: str) -> str:
    """Look at something."""
    return f"It is {at}."


class TestOpenAIAgents(Cases):
    STRICT, TELLS_SERVED = True, False

    def run(self, host: PolicyHost, model: str, **options: Any) -> str:
        settings = ModelSettings(**options.get("settings", {}))
        agent = Agent("Worker", model=model, tools=[look], model_settings=settings)
        config = RunConfig(model_provider=PolicyProvider(host, options.get("facts")))

        async def streamed() -> str:
            run = Runner.run_streamed(agent, GOAL, run_config=config)
            parts = [
                event.data.delta
                async for event in run.stream_events()
                if event.type == "raw_response_event"
                and event.data.type == "response.output_text.delta"
            ]
            assert len(parts) > 1
            return "".join(parts)

        async def whole() -> str:
            return str((await Runner.run(agent, GOAL, run_config=config)).final_output)

        return asyncio.run(streamed() if options.get("stream") else whole())

    def lead(self, host: PolicyHost, **options: Any) -> str:
        child = Agent("Child", model="gpt-of-its-own")
        tool = delegate_tool(host, child, options.get("facts"))
        lead = Agent("Lead", model="policy:lead", tools=[tool])
        config = RunConfig(model_provider=PolicyProvider(host))
        made = asyncio.run(Runner.run(lead, "Lead.", run_config=config))
        return str(made.final_output)

    def test_each_agent_of_a_handoff_runs_by_a_decision_of_its_own(
        self, peers: Peers, host: PolicyHost, tmp_path: Path
    ) -> None:
        coder = Agent("Coder", model="policy:coding")
        lead = Agent("Lead", model="policy:lead", handoffs=[coder])
        peers.calls["m-lead"] = [("transfer_to_coder", {})]
        config = RunConfig(model_provider=PolicyProvider(host))
        made = asyncio.run(Runner.run(lead, "Lead.", run_config=config))
        host.close()
        assert made.final_output == "Hello from m-coder."
        assert peers.asked == [("lead", "m-lead"), ("far", "m-coder")]
        assert [it["task"]["kind"] for it in requests(tmp_path / "log")] == ["lead", "coding"]
        assert [it.status for it in executions(tmp_path / "log")] == ["completed"] * 2

    def test_an_agent_as_a_tool_runs_below_the_decision_of_its_parent(
        self, peers: Peers, host: PolicyHost, tmp_path: Path
    ) -> None:
        config = RunConfig(model_provider=PolicyProvider(host))
        coder = Agent("Coder", model="policy:coding")
        tool = coder.as_tool("code", "Codes.", run_config=config)
        lead = Agent("Lead", model="policy:lead", tools=[tool])
        peers.calls["m-lead"] = [("code", {"input": GOAL}), ("code", {"input": GOAL})]
        asyncio.run(Runner.run(lead, "Lead.", run_config=config))
        host.close()
        assert peers.asked[1:-1] == [("far", "m-coder")] * 2
        first, *others = decisions(tmp_path / "log")
        assert [it.parent for it in others] == [first.id] * 2

    def test_runs_after_each_other_and_at_once_are_no_parents_of_each_other(
        self, host: PolicyHost, tmp_path: Path
    ) -> None:
        config = RunConfig(model_provider=PolicyProvider(host))
        agent = Agent("Worker", model="auto")

        async def several() -> None:
            await Runner.run(agent, "One.", run_config=config)
            await Runner.run(agent, "Two.", run_config=config)
            await asyncio.gather(*(Runner.run(agent, "?", run_config=config) for _ in range(5)))

        asyncio.run(several())
        host.close()
        assert [it.parent for it in decisions(tmp_path / "log")] == [UNSET] * 7
        assert [it.status for it in executions(tmp_path / "log")] == ["completed"] * 7

    def test_a_run_that_its_tool_stops_is_cancelled(
        self, peers: Peers, host: PolicyHost, tmp_path: Path
    ) -> None:
        @function_tool(failure_error_function=None)
        def broken() -> str:
            raise KeyError("broken")

        peers.calls["m-small"] = [("broken", {})]
        agent = Agent("Worker", model="auto", tools=[broken])
        config = RunConfig(model_provider=PolicyProvider(host))
        with pytest.raises(Exception, match="broken"):
            asyncio.run(Runner.run(agent, GOAL, run_config=config))
        host.close()
        assert [it.status for it in executions(tmp_path / "log")] == ["cancelled"]

    def test_a_child_keeps_its_plan_whatever_its_instructions_ask(
        self, peers: Peers, host: PolicyHost
    ) -> None:
        config = RunConfig(model_provider=PolicyProvider(host))

        async def asked(_context: Any, _agent: Any) -> str:
            made = await Runner.run(Agent("Other", model="spare"), GOAL, run_config=config)
            return str(made.final_output)

        child = Agent("Child", instructions=asked)
        lead = Agent("Lead", model="policy:lead", tools=[delegate_tool(host, child)])
        peers.calls["m-lead"] = [("delegate_task", {"goal": GOAL, "kind": "coding"})]
        asyncio.run(Runner.run(lead, "Lead.", run_config=config))
        assert peers.asked[1:-1] == [("near", "m-spare"), ("far", "m-coder")]

    def test_what_the_host_sets_by_itself_is_no_wish(
        self, peers: Peers, host: PolicyHost, tmp_path: Path
    ) -> None:
        config = RunConfig(model_provider=PolicyProvider(host))
        asyncio.run(Runner.run(Agent("Worker"), GOAL, run_config=config))
        host.close()
        assert "reasoning_effort" not in peers.provider.talks[-1].body
        (request,) = requests(tmp_path / "log")
        assert "parameters" not in request.get("task", {})

    def test_outside_a_run_nothing_is_called(self, peers: Peers, host: PolicyHost) -> None:
        model = PolicyProvider(host).get_model("auto")
        call = model.get_response(
            None,
            GOAL,
            ModelSettings(),
            [],
            None,
            [],
            ModelTracing.DISABLED,
            previous_response_id=None,
            conversation_id=None,
            prompt=None,
        )
        with pytest.raises(RefusedError, match="not_policed"):
            asyncio.run(call)
        assert peers.asked == []
