"""Parts of records in words, for a person."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UnsetType

from policy_router.decision.record import (
    Candidate,
    DecisionRecord,
    DecisionWarning,
    ReasonCode,
    Requested,
    Step,
    Target,
)
from policy_router.diagnostics.model import printable, quote
from policy_router.domain import WISHES, Policy

REASONS = {
    ReasonCode.OUTSIDE_POOL: "outside the pool",
    ReasonCode.NOT_ALLOWED: "not allowed",
    ReasonCode.FORBIDDEN: "forbidden",
    ReasonCode.LACKS_CAPABILITY: "lacks a capability that the task needs",
    ReasonCode.CONTEXT_TOO_SMALL: "has a context window smaller than input and answer",
    ReasonCode.INCOMPLETE: "no model or no provider is known",
    ReasonCode.PARAMETER_NOT_ALLOWED: "a parameter asked for is not allowed",
    ReasonCode.EVALUATION_ERROR: "the condition cannot be evaluated",
    ReasonCode.NO_TARGET: "no rule selects a target",
    ReasonCode.PARAMETER_LIMITED: "a parameter was limited",
    ReasonCode.PICK_ERROR: "whether to pick it, or where it comes, cannot be evaluated",
    ReasonCode.OUTRANKED: "another rule went before",
    ReasonCode.LEVEL_NOT_USED: "no rule uses what is asked for here",
    ReasonCode.UNKNOWN_VALUE: "the value is not in the policy's set, and counts as not given",
    ReasonCode.WOULD_FORBID: "would be forbidden",
}
"""What the codes mean, for a person."""


def reason(candidate: Candidate) -> str:
    """Return what became of a candidate."""
    if isinstance(candidate.code, UnsetType):
        return "selected"
    by = f" by `{candidate.forbid}`" if candidate.forbid else ""
    failed = ", since the condition cannot be evaluated" if candidate.verdict == "error" else ""
    return f"{REASONS[candidate.code]}{by}{failed}"


def named(step: Step) -> str:
    """Return the name of a rule, with its level where the name does not tell."""
    name = printable(step.rule)
    return name if step.rule == step.level else f"{name} ({step.level})"


def spelt_warning(warning: DecisionWarning) -> str:
    """Return a warning for a person or an agent."""
    about = asked(warning.requested) or printable(warning.entry or warning.path or "")
    if not about and warning.level:
        about = f"at level {warning.level}"
    says = f"{REASONS[warning.code]}{details(warning)}"
    return f"{about}: {says}" if about else says


def details(warning: DecisionWarning) -> str:
    """Return what else a warning says: which parameter, which rule forbids and why."""
    is_named = not warning.parameter or warning.requested
    parameter = "" if is_named else f" ({printable(str(warning.parameter))})"
    forbid = f" by `{printable(warning.forbid)}`" if warning.forbid else ""
    by = f" (rule `{printable(warning.by)}`)" if warning.by else ""
    failed = ", since it cannot be evaluated" if warning.error else ""
    message = f": {printable(warning.message)}" if warning.message else ""
    return f"{parameter}{forbid}{by}{failed}{message}"


def asked(requested: Requested | UnsetType) -> str:
    """Return a wish for a person, or the empty text where there is none."""
    if isinstance(requested, UnsetType):
        return ""
    model, provider = requested.get("model"), requested.get("provider")
    parts = [quote(model)] if model else []
    parts += (
        [f"at {quote(provider)}" if model else f"provider {quote(provider)}"] if provider else []
    )
    parts += [
        f"{key} {quote(str(value))}"
        for key, value in requested.items()
        if key not in {"model", "provider"}
    ]
    return " ".join(parts)


def spelt_target(target: Target) -> str:
    """Return a target for a person: its entry's name, or its model, and its provider."""
    where = f" at {target.provider}" if target.provider else ""
    if isinstance(target.entry, UnsetType) or target.entry == target.model:
        return printable(f"{target.model}{where}")
    return printable(f"{target.entry} ({target.model}{where})")


def spelt_parameters(target: Target) -> str:
    """Return the parameters of a target for a person."""
    pairs = [f"{key}={value}" for key, value in sorted(target.parameters.items())]
    return printable(", ".join(pairs)) or "none"


def aligned(rows: list[tuple[str, str]]) -> Iterator[str]:
    """Yield names and texts in two columns."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, text in rows:
        yield f"  {name:<{width}}  {text}".rstrip()


def is_pinned(policy: Policy, record: DecisionRecord) -> bool:
    """Tell whether a target has no fallbacks only since it was asked for by name."""
    decision = record.decision
    if decision.level not in WISHES or decision.fallbacks or not decision.target:
        return False
    entry = decision.target.entry
    return any(it.name == entry and bool(it.fallback) for it in policy.pool or ())
