"""The three checks of the formulas that proofs are about: each must find nothing wrong.

1. What is proved never happens, whatever is asked.
2. Each real decision, pinned into the formula, is a model of it; where all its pieces are known, no
   other outcome is.
3. Each condition, pinned, comes to what the evaluator says.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from policy_router import Policy, PolicyError, RequestError, loads
from policy_router.analysis.outcomes import Outcome
from policy_router.analysis.proof.analyzing import Events, analyze
from policy_router.analysis.proof.asking import Answer, Asking
from policy_router.analysis.proof.solver import FALSE
from policy_router.analysis.proof.terms import Number, Text
from policy_router.analysis.proof.walk import Walk
from policy_router.cel.evaluate import Truth
from policy_router.decision.prepared import Prepared
from policy_router.decision.request import moment
from policy_router.domain import Level
from tests.property.random_policies import PolicyMaker
from tests.support.pinning import pinned, pinned_pieces

NOW = moment("2026-01-31T09:00:00Z")
Plain = dict[str, Any]


@dataclass
class Found:
    """What the checks saw: how much was compared, and what is wrong."""

    decisions: int = 0
    conditions: int = 0
    exact: int = 0
    questions: dict[Answer, int] = field(default_factory=lambda: dict.fromkeys(Answer, 0))
    wrong: list[str] = field(default_factory=list)


def made(maker: PolicyMaker) -> Policy:
    """Return a random policy that compiles."""
    while True:
        try:
            return loads(json.dumps(maker.policy()))
        except PolicyError:
            continue


def maker_of(seed: int) -> PolicyMaker:
    return PolicyMaker(random.Random(seed))  # noqa: S311 - for variety, not for secrets


def check_never(policy: Policy, requests: Iterable[Plain], found: Found) -> None:
    """Check 1."""
    events = Events(policy)
    analysis = analyze(policy, now=NOW)
    for it in analysis.items:
        found.questions[it.answered.answer] += 1
    proved = {it.answered.key for it in analysis.items if it.answered.answer is Answer.NEVER}
    for request in requests:
        try:
            outcome = Outcome(policy, request, NOW)
        except RequestError:
            continue
        found.decisions += 1
        happened = {*events.of(outcome)} - {key for key in proved if key[0] == "forbid"}
        found.wrong += [f"{key} never happens, and did" for key in happened & proved]
        for rule in policy.forbid:
            if ("forbid", rule.id) in proved:
                other = Outcome.of_other(policy.prepared(Prepared).without(rule), outcome)
                if other.runs != outcome.runs:
                    found.wrong.append(f"{rule.id} never makes a difference, and did")


def check_decisions(policy: Policy, requests: Iterable[Plain], found: Found) -> None:
    """Checks 2 and 3."""
    asking = Asking([policy], now=NOW)
    (walk,) = asking.walks
    for request in requests:
        try:
            outcome = Outcome(policy, request, NOW)
        except RequestError:
            continue
        found.decisions += 1
        pins = [*asking.switches, *pinned(asking, outcome)]
        _check_outcome(asking, outcome, pins, found)
        pins += pinned_pieces(walk, outcome.evaluation)
        _check_others(asking, outcome, pins, found)
        _check_conditions(asking, outcome, pins, found)


def _literal(walk: Walk, outcome: Outcome) -> tuple[int, list[int]]:
    """Return the literal of an outcome, and those of its plan."""
    ending = outcome.ending
    if ending.rule is None:
        return walk.nothing, []
    (ended,) = [it for it in walk.rules if it.rule is ending.rule]
    if ending.selected is None:
        assert ending.rejection is not None
        return ended.refused.get(ending.rejection.code, FALSE), []
    entry = ending.selected.entry
    chosen = [it for place, it in ended.selected.items() if place.entry is entry]
    planned = [it.entry for it in outcome.runs[1:]]
    plan = [
        it if any(place.entry is entry for entry in planned) else -it
        for place, it in ended.planned.items()
    ]
    known = [place.entry for place in ended.planned]
    plan += [FALSE for entry in planned if not any(it is entry for it in known)]
    return walk.formula.any(*chosen), plan


def _check_outcome(asking: Asking, outcome: Outcome, pins: list[int], found: Found) -> None:
    literal, plan = _literal(asking.walks[0], outcome)
    if asking.formula.holds([*pins, literal, *plan]) is not True:
        found.wrong.append(f"no model: {outcome.rule} {outcome.code} {outcome.request}")


def _check_others(asking: Asking, outcome: Outcome, pins: list[int], found: Found) -> None:
    """Let no other outcome be a model, unless something is left open that nothing pins.

    That is a piece about elements of lists, and how a name compares with what follows from names.
    """
    (walk,) = asking.walks
    terms = asking.names.terms
    twins = [it for term in terms.values() if isinstance(term, Text | Number) for it in term.twins]
    is_open = any(path.startswith("element.") for path in terms)
    is_open = is_open or any(other.name not in terms for other, *_ in twins)
    if (
        is_open
        or not walk.conditions.is_exact
        or not all(it.proposal.is_ordered for it in walk.rules)
    ):
        return
    literal, _ = _literal(walk, outcome)
    found.exact += 1
    if asking.formula.holds([*pins, -literal]) is not False:
        found.wrong.append(f"another outcome: {outcome.rule} {outcome.code} {outcome.request}")


def _check_conditions(asking: Asking, outcome: Outcome, pins: list[int], found: Found) -> None:
    for what, truths, truth in _conditions(asking.walks[0], outcome):
        found.conditions += 1
        true, false = truths
        wanted = {Truth.TRUE: [true], Truth.FALSE: [false], Truth.ERROR: [-true, -false]}[truth]
        if asking.formula.holds([*pins, *wanted]) is not True:
            found.wrong.append(f"{what} is {truth}")


def _conditions(walk: Walk, outcome: Outcome) -> Iterator[tuple[str, tuple[int, int], Truth]]:
    """Yield the conditions of a policy, what they are in the formula, and what they come to."""
    policy, evaluation = walk.policy, outcome.evaluation
    for rule in policy.precedence:
        if rule.when is not None:
            truths = walk.conditions.condition(rule.when)
            yield f"when {rule.when.text}", truths, evaluation.truth(rule.when)
    for entry in policy.pool or ():
        for level in Level:
            known, candidate = (
                walk.places.of(entry, level).known,
                evaluation.candidate(entry, level),
            )
            every = [entry.allow, entry.pick, *(rule.when for rule in policy.forbid)]
            for condition in filter(None, every):
                truths = walk.conditions.about(condition, known)
                yield condition.text, truths, evaluation.truth_for(condition, candidate)


def check_random(seed: int, requests: int, found: Found) -> None:
    """Check a random policy in all three ways."""
    maker = maker_of(seed)
    policy = made(maker)
    check_decisions(policy, [maker.request() for _ in range(requests)], found)
    check_never(policy, [maker.request() for _ in range(requests * 3)], found)
