"""The checks of proofs are checked: a mistake that is planted in the formulas is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from policy_router import loads
from policy_router.analysis.proof.conditions import Conditions
from policy_router.analysis.proof.failing import Failing
from policy_router.analysis.proof.guards import Guards
from policy_router.analysis.proof.items import Items
from policy_router.analysis.proof.loops import Loops
from policy_router.analysis.proof.proposals import Proposals
from policy_router.analysis.proof.reaching import Reaching
from policy_router.analysis.proof.solver import FALSE, TRUE
from policy_router.analysis.proof.terms import Number, Text
from policy_router.analysis.proof.walk import Walk
from policy_router.analysis.proof.wishes import Wishes
from tests.support.proofs import Found, check_decisions, check_never, made, maker_of
from tests.support.questions import check_all_questions

pytestmark = [pytest.mark.stress, pytest.mark.timeout(300)]

BY_HAND = """
version: 1
model: a
provider: p
pool:
  - {name: small, model: a, aliases: [tiny], limits: {temperature: {max: 0.5}}, fallback: [large]}
  - {name: large, model: b, limits: {reasoning_effort: [low, medium]}, supports: [tools],
     context_window: 100, pick: 'task.kind == "coding" || parent.depth < 1'}
  - {name: dear, model: c, pick: 'task.kind.startsWith("cod")', price: {output: 3}, supports: []}
forbid:
  - {when: 'caller.team == "x" && 1 / parent.depth == 1 && target.name == "dear"'}
precedence:
  - {use: call, on_violation: reject}
  - {use: task, on_violation: reject, fallback: true}
  - {use: pool, order_by: "has(target.price.output) ? target.price.output : 1.0"}
  - {use: config}
"""
REQUESTS: list[dict[str, Any]] = [
    {"task": {"model": "small", "parameters": {"temperature": 0.9}}},
    {"task": {"model": "small", "parameters": {"temperature": 0.5}}},
    {"task": {"model": "large", "reasoning_effort": "high"}},
    {"task": {"model": "tiny"}},
    {"task": {"model": "dear", "needs": ["tools"]}},
    {"task": {"model": "large", "input_tokens": 100}},
    {"task": {"model": "large", "input_tokens": 99}},
    {"task": {"kind": "coding"}, "caller": {"team": "x"}},
    {"task": {"kind": "coding"}, "parent": {"depth": 1}},
    {"task": {"kind": "cod"}, "parent": {"depth": 1}},
    {"call": {"model": "unheard-of"}},
    {"parent": {"depth": 1}},
]


def _swapped(of: Callable[..., tuple[int, int]]) -> Callable[..., tuple[int, int]]:
    return lambda *arguments: of(*arguments)[::-1]


def _first_alone(_: Conditions, parts: list[tuple[int, int]]) -> tuple[int, int]:
    return parts[0]


def _error_is_false(of: Callable[..., tuple[int, int]]) -> Callable[..., tuple[int, int]]:
    def forbidden(*arguments: Any) -> tuple[int, int]:
        true, _ = of(*arguments)
        return true, -true

    return forbidden


def _named_alone(_: Proposals, entry: Any) -> list[str]:
    return [entry.name]


def _selects_last(of: Callable[..., int]) -> Callable[..., int]:
    def select(walk: Walk, ended: Any, active: int) -> int:
        turned = replace(ended.proposal, candidates=ended.proposal.candidates[::-1])
        return of(walk, replace(ended, proposal=turned), active)

    return select


FAULTS: dict[str, tuple[type, str, Any]] = {
    "a capability is never lacked": (Guards, "_lacks", lambda *_: FALSE),
    "each window holds each input": (Guards, "_holds", lambda *_: TRUE),
    "an alias means nothing": (Proposals, "_words_of", _named_alone),
    "no wish for a parameter insists": (Wishes, "_insisting", lambda *_: FALSE),
    "less is at most": (Number, "_before", lambda _, bound: bound),
    "of a conjunction, the first part counts": (Conditions, "_joined", _first_alone),
    "nothing can fail": (Failing, "may_fail", lambda *_, **__: False),
    "a forbid rule that fails is false": (Guards, "forbidden", _error_is_false(Guards.forbidden)),
    "the last candidate is selected": (Walk, "_select", _selects_last(Walk._select)),  # noqa: SLF001
    "no fallback is planned": (Walk, "_plan", lambda *_: None),
    "no rule refuses": (Walk, "_refuse", lambda *_: None),
    "a loop over all is one over some": (Loops, "truths", _swapped(Loops.truths)),
    "texts are never equal": (Text, "is_same", lambda *_: FALSE),
    "a list has one place less": (Items, "there", lambda it, place: -it.size.at_most(place + 1)),
    "a filter keeps all elements": (Loops, "_count", lambda *arguments: arguments[2][0].size),
    "no text that is not known is in a list": (Items, "has_text", lambda *_: FALSE),
}


def _last_alone(of: Callable[..., Any]) -> Callable[..., Any]:
    def numbers(*arguments: Any) -> Any:
        found = of(*arguments)
        return found and found[-1:]

    return numbers


FAULTS_OF_QUESTIONS: dict[str, tuple[type, str, Any]] = {
    "of the numbers of an entry, the last counts": (
        Proposals,
        "_numbers",
        _last_alone(Proposals._numbers),  # noqa: SLF001
    ),
    "no number puts an entry in order": (Proposals, "_numbers", lambda *_: [(TRUE, 0.0)]),
    "no entry has a fallback": (Reaching, "_planned", lambda *_: FALSE),
}


def _found_by(first: int, last: int) -> set[int]:
    """Return which checks find something wrong."""
    decided, happened = Found(), Found()
    by_hand = loads(BY_HAND)
    check_decisions(by_hand, REQUESTS, decided)
    check_never(by_hand, REQUESTS, happened)
    for seed in range(first, last):
        maker = maker_of(seed)
        policy = made(maker)
        check_decisions(policy, [maker.request() for _ in range(8)], decided)
        check_never(policy, [maker.request() for _ in range(24)], happened)
    is_model = any("model" in it or "outcome" in it for it in decided.wrong)
    is_condition = any(" is Truth" in it for it in decided.wrong)
    return {
        number
        for number, hit in enumerate((happened.wrong, is_model, is_condition), start=1)
        if hit
    }


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_mistake_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, method, wrong = FAULTS[name]
    monkeypatch.setattr(kind, method, wrong)
    assert _found_by(0, 12)


def test_without_a_mistake_nothing_is_found() -> None:
    assert _found_by(0, 12) == set()


@pytest.mark.parametrize("name", FAULTS_OF_QUESTIONS)
def test_a_mistake_in_what_is_asked_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, method, fault = FAULTS_OF_QUESTIONS[name]
    monkeypatch.setattr(kind, method, fault)
    wrong: list[str] = []
    for seed in range(40):
        check_all_questions(seed, 10, wrong)
        if wrong:
            return
    pytest.fail("it is not found")
