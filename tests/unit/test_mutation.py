"""Mutants: each is one small change, and one that survives really decides every test alike."""

from __future__ import annotations

import random
from typing import Any

import pytest

from policy_router import PolicyError, Request, decide, loads
from policy_router.analysis.expectations import differences
from policy_router.analysis.mutation import chosen, mutants, survivors
from policy_router.analysis.suites import PolicyTest, Suite, read_suite_text
from policy_router.decision.fitting import checked
from policy_router.diagnostics.model import Diagnostics
from policy_router.errors import RequestError
from tests.property.random_policies import PolicyMaker
from tests.property.strategies import NOW, compiled
from tests.support.evaluating import PRODUCT
from tests.support.plain_evaluation import plain_decision

RULES = """\
version: 1
model: small
provider: p
providers: {p: {base_url: "https://p.example.com"}}
variables:
  busy: task.labels.exists(x, x == "busy") || cel.bind(n, size(task.needs), n > 2)
pool:
  - {model: small}
  - name: large
    model: big
    allow: parent.depth < 2 && !variables.busy
    pick: task.kind in ["coding", "math"] && task.index in [1, 2]
    fallback: [small]
forbid:
  - {id: dear, when: has(budget.remaining_usd) && budget.remaining_usd <= 0.5}
precedence:
  - {use: call, on_violation: reject}
  - {use: pool, order_by: 1.0 + double(parent.depth), when: parent.depth != 7}
  - {use: config}
"""


def test_each_part_is_changed_in_small_ways() -> None:
    policy = loads(RULES, name="acme.yaml")
    found = [f"{it.span}: {it.name}: {it.change}" for it in mutants(policy)]
    assert len(found) == len(set(found))
    for wanted in (
        'acme.yaml:6:9: variable busy: without task.labels.exists(x, x == "busy")',
        'acme.yaml:6:31: variable busy: `==` is `!=` in x == "busy"',
        "acme.yaml:6:77: variable busy: `>` is `>=` in n > 2",
        "acme.yaml:6:81: variable busy: 2 is 3",
        "acme.yaml:8:5: entry small: removed",
        "acme.yaml:9:5: fallback of large: removed",
        "acme.yaml:11:12: allow of large: removed",
        "acme.yaml:11:12: allow of large: `<` is `<=` in parent.depth < 2",
        "acme.yaml:11:32: allow of large: without !variables.busy",
        "acme.yaml:11:32: allow of large: without `!` in !variables.busy",
        'acme.yaml:12:11: pick of large: not task.kind in ["coding", "math"]',
        "acme.yaml:12:11: pick of large: removed",
        "acme.yaml:12:61: pick of large: 1 is 2",
        "acme.yaml:15:5: forbid rule dear: removed",
        "acme.yaml:15:5: forbid rule dear: not enforced",
        "acme.yaml:15:75: forbid rule dear: 0.5 is 1.5",
        "acme.yaml:17:5: rule call: removed",
        "acme.yaml:17:5: rule call: swapped with rule pool",
        "acme.yaml:17:5: rule call: on_violation is next",
        "acme.yaml:18:27: rule pool: order_by removed",
        "acme.yaml:18:61: rule pool: when removed",
        "acme.yaml:18:27: rule pool: 1.0 is 2.0",
        "acme.yaml:18:61: rule pool: `!=` is `==` in parent.depth != 7",
    ):
        assert wanted in found
    assert all(it.policy.canonical == policy.canonical for it in mutants(policy))


def test_what_a_profile_brings_is_not_changed() -> None:
    rules = "version: 1\nmodel: m\nprovider: p\nprecedence: strict\nforbid: [{id: f, when: 'true'}]"
    policy = loads(rules, name="acme.yaml")
    assert {it.name for it in mutants(policy)} == {"forbid rule f"}
    enforced = loads(rules.replace("'true'", "'true', enforce: false"), name="acme.yaml")
    assert [it.change for it in mutants(enforced)] == ["removed", "enforced"]


def test_some_are_chosen_the_same_for_the_same_seed() -> None:
    policy = loads(RULES, name="acme.yaml")
    everything = chosen(policy, None, 1)
    assert [it.change for it in everything] == [it.change for it in mutants(policy)]
    assert len(chosen(policy, 1_000, 1)) == len(everything)
    first, again, other = (chosen(policy, 5, seed) for seed in (1, 1, 2))
    assert first == again != other
    places = [everything.index(it) for it in first]
    assert places == sorted(places)


SUITE = """\
tests:
  - {name: coding, request: {task: {kind: coding, index: 1}}, expect: {entry: large}}
  - name: deep
    request: {task: {kind: coding, index: 1}, parent: {depth: 2}}
    expect: {entry: small}
  - {name: wish, request: {call: {model: gpt}}, expect: {refused: outside_pool}}
"""


def test_a_change_that_a_test_notices_does_not_survive() -> None:
    policy = loads(RULES, name="acme.yaml")
    suite = read_suite_text("acme_test.yaml", SUITE, policy)
    tried = list(mutants(policy))
    seen: list[tuple[int, int]] = []
    lasting = survivors([suite], tried, lambda done, total: seen.append((done, total)))
    assert seen == [(number, len(tried)) for number in range(1, len(tried) + 1)]
    names = [f"{it.name}: {it.change}" for it in lasting]
    assert "forbid rule dear: removed" in names
    assert "allow of large: removed" not in names
    assert "allow of large: `<` is `<=` in parent.depth < 2" not in names
    assert "rule call: on_violation is next" not in names
    assert survivors([], tried) == tried


@pytest.mark.stress
@pytest.mark.parametrize("seed", range(3))
def test_a_survivor_survives_indeed(seed: int) -> None:
    """Each test is decided the plain way by each mutant: without what is prepared of a policy."""
    maker = PolicyMaker(random.Random(seed))  # noqa: S311 - for variety
    tried = 0
    while tried < 200:
        try:
            policy = compiled(maker.policy())
            request = checked(policy, Request.from_mapping(maker.request()))
        except (PolicyError, RequestError):
            continue
        record = decide(policy, request, now=NOW)
        expect: dict[str, Any] = {"warnings": [str(it.code) for it in record.decision.warnings]}
        if record.decision.target and record.decision.target.entry:
            expect = {"entry": record.decision.target.entry}
        test = PolicyTest("one", request, NOW, expect)
        suite = Suite("one_test.yaml", policy, (test,), Diagnostics())
        some = chosen(policy, 10, seed)
        lasting = survivors([suite], some)
        for mutant in some:
            plain = plain_decision(mutant.policy, request.given, NOW, PRODUCT)
            assert (mutant in lasting) == (differences(expect, plain, mutant.policy) == ()), mutant
            tried += 1
