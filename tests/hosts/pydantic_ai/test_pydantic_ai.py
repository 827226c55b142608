"""The adapter of pydantic-ai, with the real package and providers on loopback."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent, BinaryContent
from pydantic_ai.capabilities import ModelFallback
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from policy_router.hosts import PolicyHost
from policy_router.hosts.pydantic_ai import PolicyCapability, delegate_tool
from policy_router.hosts.refused import RefusedError
from tests.hosts.cases import Cases
from tests.support.hosting import GOAL, KEYS, Peers, requests


def look(at: str) -> str:
    """Look at something."""
    return f"It is {at}."


class TestPydanticAI(Cases):
    def run(self, host: PolicyHost, model: str, **options: Any) -> str:
        capability = PolicyCapability(host, options.get("facts"))
        settings = options.get("settings")
        agent = Agent(model, capabilities=[capability], tools=[look], model_settings=settings)
        if not options.get("stream"):
            return agent.run_sync(GOAL).output

        async def streamed() -> str:
            async with agent.run_stream(GOAL) as run:
                return [text async for text in run.stream_text()][-1]

        return asyncio.run(streamed())

    def lead(self, host: PolicyHost, **options: Any) -> str:
        capabilities = [PolicyCapability(host, options.get("facts"))]
        child = Agent("auto", capabilities=capabilities)
        tools = [delegate_tool(host, child, options.get("facts"))]
        lead = Agent("policy:lead", capabilities=capabilities, tools=tools)
        return lead.run_sync("Lead.").output

    def test_a_child_keeps_its_plan_whatever_its_instructions_ask(
        self, peers: Peers, host: PolicyHost
    ) -> None:
        capabilities = [PolicyCapability(host)]
        other, child = Agent("spare", capabilities=capabilities), Agent()

        @child.instructions
        async def asked() -> str:
            return (await other.run("Help.")).output

        lead = Agent("policy:lead", capabilities=capabilities, tools=[delegate_tool(host, child)])
        peers.calls["m-lead"] = [("delegate_task", {"goal": GOAL, "kind": "coding"})]
        lead.run_sync("Lead.")
        assert peers.asked[1:-1] == [("near", "m-spare"), ("far", "m-coder")]

    def test_an_image_is_no_text(self, host: PolicyHost, tmp_path: Path) -> None:
        agent = Agent("auto", capabilities=[PolicyCapability(host)])
        agent.run_sync(["Look.", BinaryContent(b"1" * 4000, media_type="image/png")])
        host.close()
        (request,) = requests(tmp_path / "log")
        assert request["task"]["input_tokens"] == 2

    def test_a_model_with_an_endpoint_of_its_own_is_refused(
        self, peers: Peers, host: PolicyHost
    ) -> None:
        url = f"{peers.provider.url.removesuffix('/v1')}/lead/v1"
        model = OpenAIChatModel("m-lead", provider=OpenAIProvider(url, api_key=KEYS["lead"]))
        capability = PolicyCapability(host)
        agent = Agent(model, capabilities=[capability])
        with pytest.raises(RefusedError, match="not_policed"):
            agent.run_sync(GOAL)
        with pytest.raises(RefusedError, match="not_policed"):
            Agent("auto", capabilities=[capability]).run_sync(GOAL, model=model)
        assert peers.asked == []
        peers.faults |= {"m-small": [503]}
        behind = Agent("auto", capabilities=[capability, ModelFallback(model)])
        with pytest.raises(RefusedError, match="server_error"):
            behind.run_sync(GOAL)
        assert peers.asked == [("near", "m-small")]
