"""Each shipped example checks clean, and decides its requests as it says it does."""

from __future__ import annotations

import json

import pytest

from policy_router import check, decide, load
from tests.support.commands import NOW, ROOT, Run

EXAMPLES = ROOT / "rules" / "examples"
EXPECTED = {
    "hermes": ["call glm-5", "task glm-5.1", "config glm-5-turbo", "config glm-5-turbo"],
    "team-budget": [
        "pool large",
        "save-money small",
        "task large",
        "task refuses: forbidden",
        "call research",
        "call refuses: not_allowed",
        "task refuses: parameter_not_allowed",
    ],
    "data-residency": [
        "config general",
        "pool general-eu",
        "pool general-eu",
        "pool home",
        "task refuses: forbidden",
        "task refuses: forbidden",
        "task home",
    ],
    "canary": [
        "config stable",
        "pool canary",
        "pool canary",
        "config stable",
        "config stable",
        "config stable",
    ],
}


def test_every_example_is_tested() -> None:
    assert {file.stem for file in EXAMPLES.glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_checks_clean(name: str) -> None:
    policy, found = check(EXAMPLES / f"{name}.yaml")
    assert policy is not None
    assert found.to_text() == ""


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_decides_its_requests(name: str) -> None:
    policy = load(EXAMPLES / f"{name}.yaml")
    found = []
    for request in json.loads((EXAMPLES / f"{name}.requests.json").read_bytes()):
        decision = decide(policy, request, now=NOW).decision
        if decision.target:
            found.append(f"{decision.rule} {decision.target.entry}")
        elif decision.refusal:
            found.append(f"{decision.refusal.rule} refuses: {decision.refusal.code}")
    assert found == EXPECTED[name]


def test_the_canary_ends_by_itself() -> None:
    policy = load(EXAMPLES / "canary.yaml")
    request = {"task": {"kind": "coding"}, "caller": {"team": "platform"}}
    late = decide(policy, request, now="2027-01-01T00:00:00Z").decision
    assert late.target
    assert late.target.entry == "stable"
    assert [warning.code for warning in late.warnings] == ["not_allowed"]


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_can_be_explained_as_its_comment_says(run: Run, name: str) -> None:
    words = (str(EXAMPLES / f"{name}.yaml"), str(EXAMPLES / f"{name}.requests.json"))
    assert run("check", words[0], "--strict").code == 0
    assert run("decide", *words, "--now", NOW).code in {0, 3}
    assert run("explain", *words, "--now", NOW, "-v").code == 0
