"""policy-router: which model does a delegated task run on, and why?

A policy (YAML with conditions in CEL) and a request (wishes and facts) give a decision record::

    from policy_router import decide, load

    policy = load("policy.yaml")
    record = decide(policy, {"task": {"kind": "coding"}}, now="2026-01-31T09:00:00Z")
    print(record.decision.target.model)

Deciding imports neither an SDK nor a server. What delegates (:class:`Delegator`,
:class:`Executor`, :class:`Reply`) and logs (:class:`DecisionLog`) is imported when it is first
asked for, and the SDK, which the extra ``run`` installs, with the first model call.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from policy_router.decision.evaluator import decide, permitted
from policy_router.decision.explain import Explanation, explain
from policy_router.decision.record import DecisionRecord
from policy_router.decision.replay import replay
from policy_router.decision.request import Request
from policy_router.diagnostics import Diagnostic, Diagnostics
from policy_router.domain import Policy
from policy_router.errors import (
    NoTarget,
    PolicyError,
    PolicyRouterError,
    ProviderError,
    RecordError,
    RequestError,
)
from policy_router.runtime.loader import check, load, loads
from policy_router.runtime.router import Router

if TYPE_CHECKING:
    from policy_router.runtime.delegator import Delegator
    from policy_router.runtime.executor import Executor
    from policy_router.runtime.log.decision_log import DecisionLog
    from policy_router.runtime.results import Reply

__all__ = [
    "DecisionLog",
    "DecisionRecord",
    "Delegator",
    "Diagnostic",
    "Diagnostics",
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

_LATER = {
    "DecisionLog": "log.decision_log",
    "Delegator": "delegator",
    "Executor": "executor",
    "Reply": "results",
}


def __getattr__(name: str) -> Any:
    """Import what delegates and logs when it is asked for (PEP 562)."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"policy_router.runtime.{_LATER[name]}"), name)
