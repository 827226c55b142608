"""What coverage says came about did, and nothing else: against decisions that are watched.

The watched way decides the plain way, keeps each condition that the choice asks for, and then looks
at the values of all parts of it, top down.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from policy_router import Policy, PolicyError, Request, decide
from policy_router.analysis.coverage import Coverage
from policy_router.cel.ast import BOOL, Apply, Attribute, Bind, BoundName, Literal, Loop, Node, walk
from policy_router.cel.condition import Condition
from policy_router.cel.evaluate import Program
from policy_router.cel.frame import FAILURE
from policy_router.decision import evaluator
from policy_router.decision.candidate import Candidate
from policy_router.decision.evaluation import Evaluation
from policy_router.decision.fitting import checked, values_of
from policy_router.decision.record import Result
from policy_router.decision.request import moment
from policy_router.errors import RequestError
from tests.property.random_policies import PolicyMaker
from tests.property.strategies import NOW, compiled
from tests.support.evaluating import PRODUCT
from tests.support.plain_evaluation import PlainEvaluation

Event = tuple[str, int, bool]
LOGIC = {"&&", "||", "!", "?:"}
POLICIES, REQUESTS = 150, 4


class Watched(PlainEvaluation):
    """Keeps which conditions the choice asked for, and about which candidates."""

    asked: list[tuple[Condition, Candidate | None]]

    def evaluate(self, condition: Condition, candidate: Candidate | None = None) -> Any:
        self.asked.append((condition, candidate))
        return super().evaluate(condition, candidate)


class Parts:
    """The values of the leaves of one decision's conditions, top down."""

    def __init__(self, policy: Policy, evaluation: Evaluation) -> None:
        self.variables = {it.name: it.condition for it in policy.variables}
        self.evaluation = evaluation
        self.frame: Mapping[str, Any] = {}
        self.seen: set[str] = set()

    def of(self, condition: Condition, candidate: Candidate | None) -> Iterator[Event]:
        self.frame = self.evaluation.frame_for(candidate)
        yield from self._whole(condition)

    def _whole(self, condition: Condition) -> Iterator[Event]:
        value = self._value(condition.tree, ())
        if isinstance(value, bool):
            yield str(condition.span), -1, value
        yield from self._part(condition, condition.tree, ())

    def _value(self, node: Node, binds: tuple[Bind, ...]) -> Any:
        for bind in reversed(binds):
            node = replace(bind, type=node.type, body=node)
        return Program(node).evaluate(self.frame)

    def _part(self, condition: Condition, node: Node, binds: tuple[Bind, ...]) -> Iterator[Event]:
        if isinstance(node, Bind):
            yield from self._part(condition, node.body, (*binds, node))
        elif isinstance(node, Apply) and node.function in LOGIC:
            for part in self._reached(node, binds):
                yield from self._part(condition, part, binds)
        elif not isinstance(node, Literal):
            for child in () if isinstance(node, Loop) else node.children():
                yield from self._inside(condition, child, binds)
            yield from self._read(node, binds)
            value = self._value(node, binds)
            if node.type == BOOL and isinstance(value, bool):
                yield str(condition.span), node.start, value

    def _inside(self, condition: Condition, node: Node, binds: tuple[Bind, ...]) -> Iterator[Event]:
        if isinstance(node, Bind) or (isinstance(node, Apply) and node.function in LOGIC):
            yield from self._part(condition, node, binds)
        elif not isinstance(node, Loop):
            for child in node.children():
                yield from self._inside(condition, child, binds)

    def _reached(self, node: Apply, binds: tuple[Bind, ...]) -> list[Node]:
        if node.function == "?:":
            condition, positive, negative = node.arguments
            value = self._value(condition, binds)
            chosen = [] if value is FAILURE else [positive if value else negative]
            return [condition, *chosen]
        decisive = {"&&": False, "||": True}.get(node.function)
        found = []
        for part in node.arguments:
            found.append(part)
            if self._value(part, binds) is decisive:
                break
        return found

    def _read(self, node: Node, binds: tuple[Bind, ...]) -> Iterator[Event]:
        for part in walk(node):
            if isinstance(part, BoundName):
                bind = next((it for it in reversed(binds) if it.name == part.name), None)
                yield from self._read(bind.value, binds) if bind else ()
            if isinstance(part, Attribute) and part.path.startswith("variables."):
                name = part.path.removeprefix("variables.")
                if name not in self.seen:
                    self.seen.add(name)
                    frame, self.frame = self.frame, self.frame
                    yield from self._whole(self.variables[name])
                    self.frame = frame


def watched(policy: Policy, request: Request, monkeypatch: pytest.MonkeyPatch) -> set[Event]:
    """Return what a decision brought about, the slow way."""
    values = values_of(policy, checked(policy, request))
    evaluation = Watched(policy, values, moment(NOW), PRODUCT)
    evaluation.asked = []
    with monkeypatch.context() as patched:
        # What could be asked for instead is no part of the decision.
        patched.setattr(evaluator, "permitted_names", lambda *_: ())
        record = evaluator.decided(evaluation, request)
    reached = {
        id(rule.when)
        for rule, step in zip(policy.precedence, record.steps, strict=True)
        if step.result is not Result.NOT_REACHED
    }
    whens = {id(rule.when) for rule in policy.precedence}
    parts = Parts(policy, Evaluation(policy, values, moment(NOW)))
    return {
        event
        for condition, candidate in evaluation.asked
        if id(condition) not in whens - reached
        for event in parts.of(condition, candidate)
    }


def covered(coverage: Coverage) -> set[Event]:
    """Return what coverage says came about."""
    found: set[Event] = set()
    for each in coverage.conditions():
        condition = each.observer.condition
        for text, count in each.item.counts.items():
            if count and text in {"true", "false"}:
                found.add((str(condition.span), -1, text == "true"))
        leaves = each.observer.all_leaves
        found |= {
            (str(condition.span), leaf.node.start, value)
            for leaf in leaves
            for value, count in leaf.counts.items()
            if count
        }
    return found


def cases(seed: int) -> Iterator[tuple[Policy, list[Request]]]:
    maker = PolicyMaker(random.Random(seed))  # noqa: S311 - for variety
    for _ in range(POLICIES):
        plain = maker.policy()
        try:
            policy = compiled(plain)
        except PolicyError:
            continue
        requests = []
        for _ in range(REQUESTS):
            try:
                requests.append(checked(policy, maker.request()))
            except RequestError:
                continue
        yield policy, requests


@pytest.mark.stress
@pytest.mark.parametrize("seed", range(4))
def test_coverage_is_what_came_about(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = 0
    for policy, requests in cases(seed):
        for request in requests:
            coverage = Coverage(policy)
            coverage.note(request, decide(policy, request, now=NOW))
            assert covered(coverage) == watched(policy, request, monkeypatch), request.given
            decisions += 1
    assert decisions > POLICIES
