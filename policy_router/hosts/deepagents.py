"""The adapter of deepagents: each sub-agent runs by a decision of its own.

::

    from deepagents import create_deep_agent
    from policy_router.hosts.deepagents import with_policy
    from policy_router.hosts.langchain import PolicyMiddleware, PolicyModel

    agent = create_deep_agent(
        PolicyModel(),
        middleware=[PolicyMiddleware("rules/", "policy:lead")],
        subagents=with_policy([coder, writer], "rules/"),
    )

Sub-agents do not inherit the middleware of the agent above them, so each gets its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deepagents.middleware.subagents import GENERAL_PURPOSE_SUBAGENT

from policy_router.hosts.child_run import Facts, host_of
from policy_router.hosts.deciding_policy import PolicySource
from policy_router.hosts.langchain import PolicyMiddleware, PolicyModel, check_agent
from policy_router.hosts.policy_host import PolicyHost


def with_policy(
    subagents: Sequence[Mapping[str, Any]],
    policy: PolicyHost | PolicySource,
    facts: Facts = None,
) -> list[Any]:
    """Return sub-agents, each with a middleware; the kind of their tasks is their name.

    Args:
        subagents: their specifications; the one that deepagents adds by itself is added.
        policy: a policy, its path, or a host with a log and facts of its own.
        facts: what is stated of a run, or a function of the graph's own context.

    Raises:
        ValueError: one is compiled already, without a middleware; or runs elsewhere.
    """
    host = host_of(policy)
    given = [dict(it) for it in subagents]
    if GENERAL_PURPOSE_SUBAGENT["name"] not in {it["name"] for it in given}:
        given.append(dict(GENERAL_PURPOSE_SUBAGENT))
    return [_with_policy(it, host, facts) for it in given]


def _with_policy(spec: dict[str, Any], host: PolicyHost, facts: Facts) -> dict[str, Any]:
    if "graph_id" in spec:
        raise ValueError(f"the sub-agent {spec['name']} runs elsewhere, without the policy")
    if "runnable" in spec:
        check_agent(spec["runnable"])
        return spec
    own = PolicyMiddleware(host, f"policy:{spec['name']}", facts=facts)
    return {**spec, "model": PolicyModel(), "middleware": [*spec.get("middleware", ()), own]}
