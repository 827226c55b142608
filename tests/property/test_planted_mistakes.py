"""A hundred policies with a planted mistake each: the check that is to find it does."""

from __future__ import annotations

import re

import pytest

from policy_router.analysis import Answer, analyze, prove
from tests.support.commands import NOW, ROOT
from tests.support.planted import MISTAKES, planted, policy_of
from tests.support.rows import each

SEEDS = 5


def found_as_planted(name: str, seed: int) -> None:
    find = MISTAKES[name][1]
    base, broken = planted(name, seed)
    assert base != broken
    assert find(broken, base), f"{name} is not found ({seed})"
    assert not find(base, base), f"{name} is found where it is not ({seed})"


@pytest.mark.slow
@each("name", MISTAKES)
def test_a_planted_mistake_is_found(name: str) -> None:
    found_as_planted(name, 1)


@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MISTAKES)
def test_a_hundred_planted_mistakes_are_found(name: str) -> None:
    assert len(MISTAKES) * SEEDS > 100
    for seed in range(2, 1 + SEEDS):
        found_as_planted(name, seed)


@pytest.mark.slow
def test_nothing_is_found_in_the_policies_without_mistakes() -> None:
    for seed in range(1, 1 + SEEDS):
        policy = policy_of(planted("a `pick` contradicts itself", seed)[0])
        analysis = analyze(policy, now=NOW)
        assert [it.item.text for it in analysis.items if it.is_finding] == []
        assert analysis.alike == ()
        assert analysis.count(Answer.UNDECIDED) == 0
        assert [it.word for it in prove(policy, now=NOW).proofs] == ["holds"]


def test_the_page_says_which_check_finds_which_mistake() -> None:
    page = (ROOT / "docs" / "proof.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| `(analyze|prove|compare|check)`", page, re.MULTILINE)
    assert dict(rows) == {name: command for name, (_, _, command) in MISTAKES.items()}
