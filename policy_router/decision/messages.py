"""The messages of refusals.

No message holds a value of a fact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from policy_router.decision.evaluation import Evaluation
from policy_router.decision.record import DecisionWarning, ReasonCode, Requested
from policy_router.diagnostics.model import did_you_mean, quote
from policy_router.domain import WISHES, Level, Limit, PrecedenceRule

if TYPE_CHECKING:
    from policy_router.decision.evaluator import Rejection

_ASKS = {
    Level.CALL: "the call asks for",
    Level.TASK: "the task asks for",
    Level.CONFIG: "the policy's default is",
    Level.PARENT: "the parent runs on",
}


def warning_of(
    rule: PrecedenceRule, rejection: Rejection, requested: Requested | UnsetType = UNSET
) -> DecisionWarning:
    """Return what a rule leaves behind that selects nothing.

    Args:
        rule: the rule.
        rejection: what stood against its first candidate.
        requested: the wish that it stood for.
    """
    entry = rejection.candidate.entry if rejection.candidate else None
    names_entry = rejection.forbid is None and rejection.code is not ReasonCode.INCOMPLETE
    message = rejection.forbid.message if rejection.forbid else None
    if rejection.forbid and rejection.failed:
        message = _message(rule, rejection)
    return DecisionWarning(
        rejection.code,
        rule.id,
        requested,
        entry=entry.name if entry and names_entry else UNSET,
        parameter=rejection.wish.name if rejection.wish else UNSET,
        forbid=rejection.forbid.id if rejection.forbid else UNSET,
        message=UNSET if message is None else message,
    )


def message_for(
    evaluation: Evaluation,
    rule: PrecedenceRule | None,
    rejection: Rejection,
    violations: Sequence[tuple[PrecedenceRule, Rejection]],
    permitted: Sequence[str] | None,
) -> str:
    """Say why a request is refused.

    Args:
        evaluation: the request, met by its policy.
        rule: the precedence rule that refuses, or None.
        rejection: the reason.
        violations: for a request that no rule selects a target for: what stood in the way.
        permitted: the names that may be asked for; None without a pool.
    """
    if rejection.code is ReasonCode.NO_TARGET:
        return _no_target(violations)
    message = _message(rule, rejection)
    if rejection.code is ReasonCode.OUTSIDE_POOL and rule and rule.use in WISHES:
        hint = _nearest(evaluation, rule.use, permitted or ())
        return f"{message}; {hint}" if hint else message
    return message


def _no_target(violations: Sequence[tuple[PrecedenceRule, Rejection]]) -> str:
    """Return the first message of the reasons, else what stood in the way first."""
    messages = (warning_of(*violation).message for violation in violations)
    message = next((it for it in messages if isinstance(it, str)), None)
    if message is None and violations:
        return f"no rule selects a target: {_message(*violations[0])}"
    return message or "no rule selects a target"


def _nearest(evaluation: Evaluation, level: Level, permitted: Sequence[str]) -> str | None:
    """Say which permitted name was probably meant, or that only the provider is another."""
    model, provider = evaluation.values[level]["model"], evaluation.values[level]["provider"]
    prepared = evaluation.prepared
    known = prepared.named.get(model) or prepared.known_as.get(model, ())
    if provider and known:
        places = dict.fromkeys(quote(evaluation.provider_of(entry)) for entry in known)
        return f"{quote(model)} is not at {quote(provider)} but at {', '.join(places)}"
    return did_you_mean(model, permitted) if model else None


def _message(rule: PrecedenceRule | None, rejection: Rejection) -> str:
    candidate, forbid = rejection.candidate, rejection.forbid
    if (
        rejection.code is ReasonCode.FORBIDDEN
        and forbid
        and forbid.message
        and not rejection.failed
    ):
        return forbid.message
    if rejection.code is ReasonCode.INCOMPLETE and candidate:
        return f"no provider is known for {quote(candidate.name)}"
    if rejection.code is ReasonCode.PARAMETER_NOT_ALLOWED:
        return _parameter(rejection)
    texts = _FAILED if rejection.failed else _TEXTS
    return texts[rejection.code].format(
        name=_name(rejection),
        asks=_ASKS.get(rule.use, "the pool proposes") if rule else "",
        rule=quote(rule.id) if rule else "",
        forbid=quote(forbid.id) if forbid else "",
    )


_TEXTS = {
    ReasonCode.FORBIDDEN: "{name} is forbidden by the rule {forbid}",
    ReasonCode.NOT_ALLOWED: "{name} is not allowed for this request",
    ReasonCode.LACKS_CAPABILITY: "{name} lacks a capability that the task needs",
    ReasonCode.CONTEXT_TOO_SMALL: "input and answer are larger than the context window of {name}",
    ReasonCode.OUTSIDE_POOL: "{asks} a model outside the pool",
    ReasonCode.INCOMPLETE: "{asks} a provider without a model, and the policy has no model for it",
    ReasonCode.EVALUATION_ERROR: "the condition of the rule {rule} could not be evaluated",
}
_FAILED = {
    ReasonCode.FORBIDDEN: "the rule {forbid} could not be evaluated, so {name} is forbidden",
    ReasonCode.NOT_ALLOWED: "whether {name} is allowed could not be evaluated",
}


def _name(rejection: Rejection) -> str:
    candidate = rejection.candidate
    return quote(candidate.name) if candidate and candidate.entry else "the model"


def _parameter(rejection: Rejection) -> str:
    wish, entry = rejection.wish, rejection.candidate.entry if rejection.candidate else None
    parameter = wish.name if wish else ""
    limit = entry.limits.get(parameter) if entry else None
    allowed = _spelt(limit) if limit else "none"
    return f"{_name(rejection)} does not allow {parameter} as asked; it allows {allowed}"


def _spelt(limit: Limit) -> str:
    if limit.allowed is not None:
        return ", ".join(map(str, limit.allowed)) or "none"
    bounds = [("at least", limit.least), ("at most", limit.greatest)]
    return ", ".join(f"{word} {bound}" for word, bound in bounds if bound is not None)
