"""The product decides as the reference model does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from tests.property import reference
from tests.property.reference_input import Plain, faults
from tests.property.strategies import decided, odd_requests, policies, requests

OPEN = {"outside_pool"}
"""Codes whose message is not the model's: it names what is near to the wish."""


def essence(record: Plain) -> Plain:
    """Return what the reference model speaks of: no wording but a forbid rule's own.

    Warnings come in no order, so they are sorted.
    """
    decision = dict(record["decision"])
    decision["warnings"] = in_order(_reworded(it) for it in decision["warnings"])
    if "refusal" in decision:
        refusal = _reworded(decision["refusal"])
        reasons = {"reasons": [_reworded(it) for it in refusal.get("reasons", ())]}
        decision["refusal"] = {**refusal, **(reasons if "reasons" in refusal else {})}
    return {**decision, "steps": [_step(step) for step in record["steps"]]}


def in_order(warnings: Iterable[Plain]) -> list[Plain]:
    return sorted(warnings, key=lambda it: sorted((key, repr(value)) for key, value in it.items()))


def _reworded(it: Mapping[str, Any]) -> Plain:
    """Let the model's word stand for what is said of a guard that failed."""
    plain = dict(it)
    if "could not be evaluated" in plain.get("message", ""):
        plain["message"] = reference.FAILED
    if plain["code"] in OPEN:
        plain.pop("message", None)
    return plain


def _step(step: Plain) -> Plain:
    looked_at = [
        {
            "name": it.get("entry", it.get("model")),
            **{key: it[key] for key in ("verdict", "code", "forbid") if key in it},
        }
        for it in step.get("candidates", ())
    ]
    return {**step, "candidates": looked_at} if looked_at else step


def expected_of(policy: Plain, request_: Plain) -> Plain:
    expected = reference.decide(policy, request_)
    return {**expected, "warnings": in_order(expected["warnings"])}


@given(policies(), st.one_of(requests, requests, odd_requests))
def test_the_product_decides_as_the_reference_model(policy: Plain, request_: Plain) -> None:
    wrong = faults(policy, request_)
    record = decided(policy, request_)
    event("does not fit" if wrong else "fits")
    if wrong:
        assert record["decision"]["outcome"] == "request_error"
        assert record["decision"]["path"] in wrong
        return
    expected, found = expected_of(policy, request_), essence(record)
    if "message" not in expected.get("refusal", {"message": ""}):
        found.get("refusal", {}).pop("message", None)
    assert found == expected
