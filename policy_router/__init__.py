"""policy-router: which model does a delegated task run on, and why?

A policy (YAML with conditions in CEL) and a request (wishes and facts) give a decision record::

    from policy_router import decide, load

    policy = load("policy.yaml")
    record = decide(policy, {"task": {"kind": "coding"}}, now="2026-01-31T09:00:00Z")
    print(record.decision.target.model)

Deciding imports neither an SDK nor a server.
"""

from policy_router.decision.evaluator import decide, permitted
from policy_router.decision.explain import Explanation, explain
from policy_router.decision.record import DecisionRecord
from policy_router.decision.request import Request
from policy_router.diagnostics import Diagnostic, Diagnostics
from policy_router.domain import Policy
from policy_router.errors import (
    NoTarget,
    PolicyError,
    PolicyRouterError,
    RecordError,
    RequestError,
)
from policy_router.runtime.loader import check, load, loads
from policy_router.runtime.router import Router

__all__ = [
    "DecisionRecord",
    "Diagnostic",
    "Diagnostics",
    "Explanation",
    "NoTarget",
    "Policy",
    "PolicyError",
    "PolicyRouterError",
    "RecordError",
    "Request",
    "RequestError",
    "Router",
    "check",
    "decide",
    "explain",
    "load",
    "loads",
    "permitted",
]
