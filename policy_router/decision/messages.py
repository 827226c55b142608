"""What an agent is told when its request is refused."""

from __future__ import annotations

from policy_router.decision.prepared import Candidate
from policy_router.decision.record import ReasonCode
from policy_router.domain import ForbidRule, Level, PoolEntry, PrecedenceRule

_ASKS = {
    Level.CALL: "the call asks for",
    Level.TASK: "the task asks for",
    Level.CONFIG: "the policy's default is",
    Level.PARENT: "the parent runs on",
}


def message_for(
    rule: PrecedenceRule | None,
    code: ReasonCode,
    forbid: ForbidRule | None,
    candidate: Candidate | None,
) -> str:
    """Say why a request is refused, without any value of a fact.

    Args:
        rule: the precedence rule that refuses, or None.
        code: the reason.
        forbid: the rule that forbids the candidate, whose own message goes first.
        candidate: the first candidate that was rejected, or None.
    """
    name = f"`{candidate.name}`" if candidate and candidate.entry else "the model"
    asks = _ASKS.get(rule.use, "the pool proposes") if rule else ""
    match code:
        case ReasonCode.FORBIDDEN:
            own = forbid.message if forbid else None
            return own or f"{name} is forbidden by the rule `{forbid.id if forbid else ''}`"
        case ReasonCode.NOT_ALLOWED:
            return f"{name} is not allowed for this request"
        case ReasonCode.LACKS_CAPABILITY:
            return f"{name} lacks a capability that the task needs"
        case ReasonCode.CONTEXT_TOO_SMALL:
            return f"the input is larger than the context window of {name}"
        case ReasonCode.OUTSIDE_POOL:
            return f"{asks} a model outside the pool"
        case ReasonCode.INCOMPLETE:
            return f"{asks} a provider without a model, and the policy has no model for it"
        case ReasonCode.PARAMETER_NOT_ALLOWED:
            allowed = _allowed(candidate.entry if candidate else None)
            return f"{asks} a reasoning_effort that {name} does not allow; it allows {allowed}"
        case ReasonCode.EVALUATION_ERROR:
            return f"the condition of the rule `{rule.id if rule else ''}` cannot be evaluated"
        case _:
            return "no rule selects a target"


def _allowed(entry: PoolEntry | None) -> str:
    limit = entry.limits.get("reasoning_effort") if entry else None
    return ", ".join(str(value) for value in (limit and limit.allowed) or ()) or "none"
