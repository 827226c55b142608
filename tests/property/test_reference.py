"""The product decides as the reference model does."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from tests.property import reference
from tests.property.strategies import decided, policies, requests


def essence(record: dict[str, Any]) -> dict[str, Any]:
    """Return what the reference model speaks of: no wording but a forbid rule's own."""
    decision = dict(record["decision"])
    if "refusal" in decision:
        decision["refusal"] = {
            key: value for key, value in decision["refusal"].items() if key != "message"
        }
    return {**decision, "steps": [_step(step) for step in record["steps"]]}


def _step(step: dict[str, Any]) -> dict[str, Any]:
    looked_at = [
        {
            "name": it.get("entry", it.get("model")),
            **{key: it[key] for key in ("verdict", "code") if key in it},
        }
        for it in step.get("candidates", ())
    ]
    return {**step, "candidates": looked_at} if looked_at else step


@given(policies(), requests)
def test_the_product_decides_as_the_reference_model(
    policy: dict[str, Any], request_: dict[str, Any]
) -> None:
    expected = reference.decide(policy, request_)
    record = decided(policy, request_)
    message = expected.get("refusal", {}).pop("message", None)
    if message is not None:
        assert record["decision"]["refusal"]["message"] == message
    assert essence(record) == expected
