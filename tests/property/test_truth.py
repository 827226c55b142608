"""What reasoning says a condition always comes to, it comes to for whatever is asked."""

from __future__ import annotations

import random

from policy_router.cel.ast import BOOL, INT, STRING, Apply, Attribute, Node
from policy_router.cel.evaluate import Program
from policy_router.cel.frame import FAILURE
from policy_router.cel.simplify import literal
from policy_router.policy.truth import Reasoner
from tests.support.evaluating import PRODUCT
from tests.support.random_trees import Maker
from tests.support.render import render

_WORDS = ("a", "b", "")


def _atom(chance: random.Random) -> Node:
    """Return a comparison of one of few names with one of few constants."""
    if chance.random() < 0.5:
        return _compared(chance, Attribute(INT, 0, 0, "task.index"), chance.randrange(-1, 3))
    return _compared(chance, Attribute(STRING, 0, 0, "task.kind"), chance.choice(_WORDS))


def _compared(chance: random.Random, name: Node, value: int | str) -> Node:
    function = chance.choice(("==", "!=", "<", "<=", ">", ">="))
    sides = [name, literal(value)]
    if chance.random() < 0.3:
        sides.reverse()
    return Apply(BOOL, 0, 0, function, tuple(sides))


def _condition(chance: random.Random, depth: int) -> Node:
    shape = chance.choice(("&&", "||", "!", "?:")) if depth and chance.random() < 0.9 else ""
    if not shape:
        return _atom(chance)
    count = {"!": 1, "?:": 3}.get(shape) or chance.randrange(2, 4)
    return Apply(BOOL, 0, 0, shape, tuple(_condition(chance, depth - 1) for _ in range(count)))


def test_a_condition_of_few_names_comes_to_what_reasoning_says() -> None:
    chance = random.Random(20261130)  # noqa: S311 - for variety, not for secrets
    reasoner, decided = Reasoner({}, {}), 0
    for _ in range(4000):
        tree = _condition(chance, 3)
        said = reasoner.decided(tree)
        program = Program(tree)
        values = [
            program.evaluate({"task": {"index": index, "kind": kind}})
            for index in range(-2, 4)
            for kind in ("", "a", "aa", "b", "c")
        ]
        if said is not None:
            assert set(values) == {said}, render(tree)
            decided += 1
    assert decided > 500


def test_whatever_the_checker_lets_through_comes_to_what_reasoning_says() -> None:
    maker = Maker(random.Random(20261130))  # noqa: S311 - for variety, not for secrets
    reasoner, decided = Reasoner({}, {}), 0
    for _ in range(3000):
        tree = maker.tree()
        said = reasoner.decided(tree) if tree.type == BOOL else None
        if said is None:
            continue
        program = PRODUCT.compile(tree)
        values = {program.evaluate(PRODUCT.bind(maker.facts())) for _ in range(10)} - {FAILURE}
        assert values <= {said}, render(tree)
        decided += 1
    assert decided > 30
