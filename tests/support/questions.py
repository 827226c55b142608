"""The fourth check of the formulas: what a request does, each question lets a request do.

The questions are those that ``analyze``, ``prove``, ``compare`` and ``test --suggest`` ask of
random policies. Where the evaluator confirms a question for a request, the question has a model
with all that is known of that request; else *never* could be wrong.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from policy_router import Policy, PolicyError, loads
from policy_router.analysis import Coverage, analyze, compare, prove
from policy_router.analysis.outcomes import Outcome
from policy_router.analysis.proof.asking import Answer, Answered, Asking, Question
from policy_router.analysis.proof.suggesting import suggest
from tests.property.random_policies import PolicyMaker
from tests.property.rich_policies import WORDS
from tests.support.pinning import pinned, pinned_pieces
from tests.support.proofs import NOW, maker_of

Plain = dict[str, Any]
_ASSERTIONS = (
    'outcome == "refused" || in_pool',
    "target.provider == PROVIDER",
    'code == "forbidden" || level == "pool" && (ANY)',
    "target.name in [NAME, NAME] && (ANY)",
    'rule == "rule-1" && KEY',
    "has(target.price.output) && target.price.output > 0.7",
    "FAIL || AIM",
)
_ORDERS = (
    "target.model == NAME ? facts.share * facts.share : (KEY ? 1.0 : 2.0)",
    "target.model == NAME ? facts.share * facts.share : (BOUND ? 1.0 : 0.0 / 0.0)",
    "(AIM) ? facts.share * 2.0 : ((ANY) ? 1.0 : 3.0)",
)
_DEFAULTS = {"string": "b", "int": 3, "double": 2.0, "bool": True, "list": ["c", "b"]}


def questions_of(ask: Callable[[], object]) -> list[tuple[Asking, Question]]:
    """Return the questions that are asked; none is answered."""
    found: list[tuple[Asking, Question]] = []

    def note(asking: Asking, question: Question, **_: object) -> Answered:
        found.append((asking, question))
        return Answered(question.key, Answer.UNDECIDED)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Asking, "ask", note)
        patch.setattr(Asking, "sample", lambda *_: None)
        ask()
    return found


def check_questions(
    asked: Sequence[tuple[Asking, Question]], requests: Iterable[Plain], wrong: list[str]
) -> int:
    """Note what happens and has no model; return how often something happened."""
    happened, asking = 0, asked[0][0] if asked else None
    for request in requests if asking else ():
        assert asking is not None
        outcomes = asking.outcomes(request, NOW)
        hits = [it for _, it in asked if outcomes and it.confirm(outcomes)]
        happened += len(hits)
        pins = _pinned(asking, outcomes) if outcomes and hits else []
        for it in hits:
            assumed = it.assumed or asking.switches
            if asking.formula.holds([*pins, *assumed, it.literal]) is not True:
                wrong.append(f"{it.key} happens, and has no model: {json.dumps(request)}")
    return happened


def _pinned(asking: Asking, outcomes: Sequence[Outcome]) -> list[int]:
    pairs = [*zip(asking.walks, outcomes, strict=True)]
    pieces = [pin for walk, it in pairs for pin in pinned_pieces(walk, it.evaluation)]
    return [*pinned(asking, outcomes[0]), *pieces]


def _compiled(content: Plain) -> Policy | None:
    try:
        return loads(json.dumps(content))
    except PolicyError:
        return None


def _policy(maker: PolicyMaker) -> tuple[Plain, Policy]:
    """Return a random policy with all that questions are about."""
    while True:
        content = maker.policy()
        words = (maker.condition(_ASSERTIONS, 2, aimed=True) for _ in range(3))
        content["assert"] = [
            {"id": f"a{number}", maker.pick(("never", "always")): it}
            for number, it in enumerate(words)
        ]
        for rule in content["precedence"] if isinstance(content["precedence"], list) else ():
            rule.update(maker.maybe(fallback=maker.pick(("candidates", True))))
            if rule["use"] in {"pool", "call", "task"} and maker.chance.random() < 0.6:
                rule["order_by"] = maker.condition(_ORDERS, 1, aimed=True)
        for entry in content.get("pool", ()):
            entry.update(maker.maybe(limits={"temperature": {"max": maker.pick((0, 0.5))}}))
        if maker.chance.random() < 0.3:
            _close(maker, content)
        if (policy := _compiled(content)) is not None:
            return content, policy


def _close(maker: PolicyMaker, content: Plain) -> None:
    words = [*WORDS[: maker.pick((2, 5, 6))]]
    for key in maker.some(("kinds", "teams", "roles"), 3):
        content[key] = maker.pick((words, {"values": words, "unknown": "drop"}))
    content |= maker.maybe(require=[maker.pick(("task.kind", "caller.team", "caller.roles"))])


def _edit(maker: PolicyMaker, content: Plain) -> None:
    """Change a policy in some way."""
    pool, rules = content.get("pool"), content["precedence"]
    match maker.pick(("set", "set", "fact", "pool", "pool", "forbid", "rules")):
        case "set":
            _close(maker, content)
        case "fact":
            name = maker.pick([*content["facts"]])
            fact = content["facts"][name] = dict(content["facts"][name])
            fact["default"] = _DEFAULTS[fact["type"]]
        case "pool" if pool:
            entry = maker.pick(pool)
            entry |= {"pick": maker.condition(("ANY",), 2, aimed=True), "price": {"output": 7.0}}
            entry["fallback"] = [maker.pick(pool)["model"]]
        case "forbid":
            content["forbid"] = content["forbid"][1:]
        case "rules" if isinstance(rules, list):
            rules[:2] = rules[1::-1]
            rules[2]["on_violation"] = "reject"


def check_all_questions(seed: int, count: int, wrong: list[str]) -> int:
    """Check what is asked of a random policy; return how often something happened."""
    maker = maker_of(seed)
    content, policy = _policy(maker)
    requests = [maker.request() for _ in range(count)]
    for it in requests[::2]:
        it["task"]["parameters"] = {"temperature": maker.pick((0, 0.3, 0.9))}
    other = copy.deepcopy(content)
    _edit(maker, other)
    after, report = _compiled(other), Coverage(policy).report()
    asks: list[Callable[[], object]] = [
        lambda: analyze(policy, now=NOW),
        lambda: prove(policy, now=NOW),
        lambda: suggest(policy, report, now=NOW),
    ]
    if after is not None:
        asks.append(lambda: compare(policy, after, now=NOW))
    return sum(check_questions(questions_of(it), requests, wrong) for it in asks)
