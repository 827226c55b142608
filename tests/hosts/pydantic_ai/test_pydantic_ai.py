from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from policy_router.hosts.pydantic_ai import PolicyCapability, delegate_tool
from policy_router.hosts.refused import RefusedError
from tests.support.hosting import *

@pytest.fixture
def peers():
    with Peers() as p:
        yield p


def test_one(peers, tmp_path):
    with peers.host(tmp_path) as host:
        agent = Agent("policy:coding", capabilities=[PolicyCapability(host)])
        assert agent.run_sync(GOAL).output == "Hello from m-coder."
    assert peers.asked == [("far", "m-coder")]
    print(executions(tmp_path/"log"), is_whole(tmp_path/"log"))
    assert is_whole(tmp_path/"log")


def test_three(peers, tmp_path):
    peers.calls=[THREE]
    with peers.host(tmp_path) as host:
        child = Agent("auto", capabilities=[PolicyCapability(host)])
        agent = Agent("policy:lead", capabilities=[PolicyCapability(host)], tools=[delegate_tool(host, child)])
        assert agent.run_sync("Lead.").output == "Hello from m-lead."
    print(peers.asked)
    print(result_of(peers.provider.talks[-1]))
    for e in executions(tmp_path/"log"): print(e)
    for e in decisions(tmp_path/"log"): print(e.record.request, e.parent, e.id)
    assert is_whole(tmp_path/"log")
    assert 0
