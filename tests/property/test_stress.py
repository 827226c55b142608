"""The evaluator and whole decisions beside the oracles, by the thousand or by the million.

``POLICY_ROUTER_STRESS`` multiplies how much is compared: 500 compares a million expressions with
the quickest oracle, 200,000 with each of the others, and 100,000 decisions with all.
"""

from __future__ import annotations

import json
import os
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from policy_router import decide, loads
from tests.property.random_policies import PolicyMaker
from tests.property.strategies import NOW
from tests.property.trees import shown
from tests.support import evaluating
from tests.support.evaluating import PRODUCT
from tests.support.oracles import ORACLES
from tests.support.oracles.engine import Engine
from tests.support.plain_evaluation import plain_decision
from tests.support.random_trees import Maker
from tests.support.render import render

pytestmark = pytest.mark.stress

TIMES = int(os.environ.get("POLICY_ROUTER_STRESS", "1"))
THREADS = 8
REQUESTS = 4


def made(name: str) -> random.Random:
    """Return a source of chance of its own, the same one each time."""
    return random.Random(name)  # noqa: S311 - for variety, not for secrets


@pytest.mark.parametrize("oracle", ORACLES, ids=lambda it: it.name.split()[0])
def test_expressions_come_to_what_the_oracle_says(oracle: Engine) -> None:
    maker = Maker(made(f"expressions {oracle.name}"), extensions=oracle.has_extensions)
    for _ in range(TIMES * (2000 if oracle is ORACLES[-1] else 400)):
        tree, facts = maker.tree(), maker.facts()
        assert shown(tree, facts) == shown(tree, facts, oracle), render(tree)


def test_threads_that_share_programs_come_to_what_the_oracle_says() -> None:
    maker, oracle = Maker(made("threads")), ORACLES[-1]
    for _ in range(TIMES):
        trees = [maker.tree() for _ in range(20)]
        facts = [maker.facts() for _ in range(20)]
        wanted = [[shown(tree, it, oracle) for it in facts] for tree in trees]
        programs = [PRODUCT.compile(tree) for tree in trees]

        def work(first: int, programs: Any = programs, facts: Any = facts) -> list[list[str]]:
            found = [[""] * len(facts) for _ in programs]
            for turn in range(len(facts)):
                place = (turn + first) % len(facts)
                frame = evaluating.frame(facts[place])
                for number, program in enumerate(programs):
                    found[number][place] = repr(program.evaluate(frame))
            return found

        with ThreadPoolExecutor(THREADS) as threads:
            assert all(found == wanted for found in threads.map(work, range(THREADS)))


def test_decisions_are_those_of_the_long_way_with_every_oracle() -> None:
    maker = PolicyMaker(made("decisions"))
    for _ in range(TIMES * 200 // REQUESTS):
        text = json.dumps(maker.policy())
        policy = loads(text)
        for request in [maker.request() for _ in range(REQUESTS)]:
            record = decide(policy, request, now=NOW).to_json()
            for engine in (PRODUCT, *ORACLES):
                other = plain_decision(policy, request, NOW, engine).to_json()
                assert other == record, (engine.name, text, request)
