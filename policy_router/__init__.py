"""policy-router: which model does a delegated task run on, and why?

A policy (YAML with conditions in CEL) and a request (wishes and facts) give a decision record::

    from policy_router import decide, load

    policy = load("policy.yaml")
    record = decide(policy, {"task": {"kind": "coding"}}, now="2026-01-31T09:00:00Z")
    print(record.decision.target.model)

Every public name is imported when it is first asked for (PEP 562), and with a policy comes all that
deciding needs: a decision imports nothing. Deciding needs neither an SDK nor a server; the SDK,
which the extra ``run`` installs, is imported with the first model call.
"""

from typing import TYPE_CHECKING

from policy_router import public_names

if TYPE_CHECKING:
    from policy_router.calls.child_task import Event, Reply
    from policy_router.calls.executor import Executor
    from policy_router.decision.evaluator import decide, permitted
    from policy_router.decision.explain.explanation import Explanation, explain
    from policy_router.decision.record import DecisionRecord
    from policy_router.decision.replay import replay
    from policy_router.decision.request import Request
    from policy_router.delegation.delegator import Delegator
    from policy_router.delegation.router import Router
    from policy_router.diagnostics.model import Diagnostic, Diagnostics
    from policy_router.domain import Policy
    from policy_router.errors import (
        NoTarget,
        PolicyError,
        PolicyRouterError,
        ProviderError,
        RecordError,
        RequestError,
    )
    from policy_router.files.loader import check, load, loads
    from policy_router.log.write.decision_log import DecisionLog

__all__ = [
    "DecisionLog",
    "DecisionRecord",
    "Delegator",
    "Diagnostic",
    "Diagnostics",
    "Event",
    "Executor",
    "Explanation",
    "NoTarget",
    "Policy",
    "PolicyError",
    "PolicyRouterError",
    "ProviderError",
    "RecordError",
    "Reply",
    "Request",
    "RequestError",
    "Router",
    "check",
    "decide",
    "explain",
    "load",
    "loads",
    "permitted",
    "replay",
]

_MODULES = {
    "DecisionLog": "log.write.decision_log",
    "DecisionRecord": "decision.record",
    "Delegator": "delegation.delegator",
    "Diagnostic": "diagnostics.model",
    "Diagnostics": "diagnostics.model",
    "Event": "calls.child_task",
    "Executor": "calls.executor",
    "Explanation": "decision.explain.explanation",
    "NoTarget": "errors",
    "Policy": "domain",
    "PolicyError": "errors",
    "PolicyRouterError": "errors",
    "ProviderError": "errors",
    "RecordError": "errors",
    "Reply": "calls.child_task",
    "Request": "decision.request",
    "RequestError": "errors",
    "Router": "delegation.router",
    "check": "files.loader",
    "decide": "decision.evaluator",
    "explain": "decision.explain.explanation",
    "load": "files.loader",
    "loads": "files.loader",
    "permitted": "decision.evaluator",
    "replay": "decision.replay",
}
"""The module of each public name."""

__getattr__, __dir__ = public_names.of(__name__, _MODULES, globals())
