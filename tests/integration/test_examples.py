"""Each shipped example checks clean, and decides its requests as it says it does."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from policy_router import check, decide, load
from policy_router.analysis import Coverages, run_tests
from policy_router.files.loader import profiles
from policy_router.files.rule_files import is_suite
from tests.support.commands import NOW, ROOT, Run
from tests.support.rows import each

EXAMPLES = ROOT / "rules" / "examples"
PROFILES = ROOT / "rules" / "precedence"
# Each team has a line in the tables, and the checks of conditions want the guard all the same.
UNREACHABLE = {
    "three-teams": [
        ("caller.team in tables.reserve_usd", ("false",)),
        ("caller.team in tables.dearest_usd", ("false",)),
    ]
}
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
    "host-config": [
        "config general-small",
        "pool coder",
        "pool researcher",
        "pool viewer",
        "task refuses: not_allowed",
        "config general-small",
    ],
    "three-teams": [
        "pool coder",
        "config standard",
        "pool standard-us",
        "pool home",
        "save-money standard",
        "task frontier",
        "task refuses: not_allowed",
        "pool analyst",
    ],
    "canary-ramp": [
        "config chat",
        "pool chat-next",
        "pool coder",
        "config chat",
        "config chat",
    ],
    "forty-models": [
        "pool code-medium",
        "pool fast-small",
        "config chat-small",
        "pool long-medium",
        "pool open-vision",
        "pool local-medium",
        "task code-max",
        "task refuses: not_allowed",
        "task refuses: forbidden",
    ],
    "by-team": [
        "pool data-analyst",
        "pool coder",
        "task web-coder",
        "task refuses: not_allowed",
        "pool mobile-screens",
        "None refuses: no_target",
    ],
}


def file_of(name: str) -> Path:
    """Return the rule file of an example, or its folder."""
    folder = EXAMPLES / name
    return folder if folder.is_dir() else EXAMPLES / f"{name}.yaml"


def test_every_example_is_tested() -> None:
    files = [file for file in EXAMPLES.iterdir() if not file.name.endswith(".json")]
    suites = {file.stem.removesuffix("_test") for file in files if is_suite(file)}
    assert {file.stem for file in files if not is_suite(file)} == suites == set(EXPECTED)
    beside = {file.stem.removesuffix("_test") for file in PROFILES.iterdir() if is_suite(file)}
    assert beside == set(profiles())


@pytest.mark.parametrize("folder", ["examples", "precedence", "."])
def test_the_tests_of_what_is_shipped_pass_and_look_at_all_of_it(folder: str) -> None:
    suites = [file for file in (ROOT / "rules" / folder).iterdir() if is_suite(file)]
    assert suites
    coverages = Coverages()
    for result in run_tests(*suites, coverages=coverages):
        failed = [it.test.name for it in result.results if it.differences]
        assert (result.suite.found.to_text(), failed) == ("", [])
    for coverage in coverages.all() if folder != "precedence" else ():
        missing = [(item.text, item.missing) for item in coverage.report().items if item.missing]
        assert missing == UNREACHABLE.get(coverage.policy.name, [])


@each("name", EXPECTED)
def test_an_example_checks_clean(name: str) -> None:
    policy, found = check(file_of(name), now=datetime.datetime(2026, 11, 30, tzinfo=datetime.UTC))
    assert policy is not None
    assert found.to_text() == ""


@each("name", EXPECTED)
def test_an_example_decides_its_requests(name: str) -> None:
    policy = load(file_of(name))
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
    late = decide(policy, request, now="2031-01-01T00:00:00Z").decision
    assert late.target
    assert late.target.entry == "stable"
    assert [warning.code for warning in late.warnings] == ["not_allowed"]


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_can_be_explained_as_its_comment_says(run: Run, name: str) -> None:
    words = (str(file_of(name)), str(EXAMPLES / f"{name}.requests.json"))
    assert run("check", words[0], "--pedantic", "--now", "2026-11-30T00:00:00Z").code == 0
    assert run("decide", *words, "--now", NOW).code in {0, 3}
    assert run("explain", *words, "--now", NOW, "-v").code == 0
