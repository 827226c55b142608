"""Traces: the one that a request belongs to, and the spans of the decisions that it asks for.

OpenTelemetry comes in here alone, and only where its API is installed. Spans are made only where
something in the process takes them. What they say is named here; no fact is in it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from msgspec import UNSET, UnsetType

from policy_router.diagnostics.model import printable
from policy_router.diagnostics.redaction import redact
from policy_router.errors import RequestError
from policy_router.log.entry import microseconds
from policy_router.log.write.drafts import Decided
from policy_router.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

TRACEPARENT: Final = b"traceparent"
DECIDE: Final = "policy_router.decide"
"""The name of the span of a decision."""
_LONGEST: Final = 256
"""How much of a value a span has, in characters: some names come from whoever asks."""
# W3C Trace Context: no id is all zeros, there is no version ff, and only later ones have more.
_HEADER: Final = re.compile(
    rb"(?:00-(?=.{52}\Z)|(?!00|ff)[0-9a-f]{2}-)"
    rb"((?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
_SAMPLED: Final = 1


def trace_of(headers: Mapping[bytes, bytes]) -> tuple[str | UnsetType, bool]:
    """Return the trace that a request names, as the log has it, and whether it is sampled.

    A header that is not as it should be counts as none.
    """
    if TRACEPARENT not in headers:
        return UNSET, False
    found = _HEADER.fullmatch(headers[TRACEPARENT].strip(b" \t"))
    return (found[1].decode(), bool(int(found[2], 16) & _SAMPLED)) if found else (UNSET, False)


class Spans:
    """Makes spans of decisions."""

    def __init__(self, tracer: Tracer) -> None:
        """Take what makes spans."""
        self._tracer = tracer

    @classmethod
    def installed(cls) -> Spans | None:
        """Return what makes spans; None where OpenTelemetry is not installed, or takes none.

        Raises:
            RequestError: OpenTelemetry cannot be configured as its environment says.
        """
        try:
            import opentelemetry.trace as api
        except ModuleNotFoundError:
            return None
        if isinstance(api.get_tracer_provider(), api.ProxyTracerProvider):
            _configure()
        tracer = api.get_tracer(__name__, VERSION)
        return None if isinstance(tracer, api.ProxyTracer | api.NoOpTracer) else cls(tracer)

    def take_over(self, headers: Mapping[bytes, bytes]) -> None:
        """Let what this task does from now on belong to the trace of a request, or to a new one."""
        import opentelemetry.trace as api
        from opentelemetry.context import Context, attach

        (trace, is_sampled), context = trace_of(headers), Context()
        if not isinstance(trace, UnsetType):
            trace_id, span_id = (int(it, 16) for it in trace.split("-"))
            flags = api.TraceFlags(is_sampled)
            named = api.SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
            context = api.set_span_in_context(api.NonRecordingSpan(named), context)
        attach(context)  # for good: each request has a task of its own

    def record(self, decided: Iterable[Decided], error: str | None = None) -> None:
        """Make the spans of decisions, each from its decision until now.

        Args:
            decided: the decisions, of one request.
            error: the code of the problem that is answered in their place, if one is.
        """
        import opentelemetry.trace as api

        for it in decided:
            began = microseconds(datetime.datetime.fromisoformat(it.record.now)) * 1000
            span = self._tracer.start_span(DECIDE, attributes=attributes_of(it), start_time=began)
            if error is not None:
                span.set_attribute("error.type", error)
                span.set_status(api.StatusCode.ERROR)
            span.end()


def attributes_of(decided: Decided) -> dict[str, str]:
    """Return what a span says of a decision."""
    record, decision = decided.record, decided.record.decision
    target, refusal = decision.target or None, decision.refusal or None
    found = {
        "policy_router.decision.id": decided.decision_id,
        "policy_router.decision.outcome": decision.outcome,
        "policy_router.decision.level": decision.level,
        "policy_router.decision.rule": refusal.rule if refusal else decision.rule,
        "policy_router.refusal.code": refusal and refusal.code,
        "policy_router.policy.name": record.policy.name,
        "policy_router.policy.revision": record.policy.revision,
        "policy_router.target.entry": target and target.entry,
        "policy_router.target.model": target and target.model,
        "policy_router.target.provider": target and target.provider,
    }
    return {name: it[:_LONGEST] for name, it in found.items() if isinstance(it, str)}


def _configure() -> None:
    """Configure OpenTelemetry by what is installed for that, in each process that answers.

    ``opentelemetry-instrument`` does the same, but not in the workers that a service starts.
    """
    from importlib.metadata import entry_points

    for found in entry_points(group="opentelemetry_configurator"):
        try:
            found.load()().configure()
        except Exception as problem:  # noqa: BLE001 - whatever it is, it is said
            said = printable(redact(str(problem)))
            raise RequestError("OpenTelemetry", f"it cannot be configured: {said}") from None
        return
