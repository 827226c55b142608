"""Explanations as plain data, with the page that a person reads."""

from __future__ import annotations

from typing import Any

import msgspec

from policy_router.decision.explain.explanation import Explanation
from policy_router.decision.explain.trace import ConditionTrace


def explanation_as_json(explanation: Explanation, *, full: bool = False) -> dict[str, Any]:
    """Return an explanation.

    Args:
        explanation: of a decision.
        full: add every pool entry with its conditions.
    """
    question = explanation.why_not
    answer: dict[str, Any] = {
        "record": msgspec.Raw(explanation.record.to_json()),
        "text": explanation.to_text(full=full),
    }
    if question is not None:
        answer["why_not"] = {
            "name": question.name,
            "lines": question.lines,
            "conditions": [_trace(it) for it in question.traces],
        }
    if full:
        answer["entries"] = [
            {
                "entry": entry.name,
                "place": str(entry.span),
                "conditions": [_trace(it) for it in traces],
            }
            for entry, traces in explanation.entries()
        ]
    return answer


def _trace(trace: ConditionTrace) -> dict[str, Any]:
    return {
        "title": trace.title,
        "value": trace.value,
        "place": str(trace.span),
        "parts": [
            {"depth": part.depth, "text": part.text, "value": part.value, "inputs": part.inputs}
            for part in trace.parts
        ],
        "variables": [_trace(it) for it in trace.variables],
    }
