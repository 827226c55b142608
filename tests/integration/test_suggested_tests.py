"""`test --suggest`: tests for what no test looks at, made by the solver, to paste and confirm."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from policy_router import Request, RequestError, decide, loads
from policy_router.analysis import Coverage
from policy_router.analysis.proof.suggesting import suggest
from tests.support.commands import NOW, ROOT, STRICT, Run
from tests.support.proofs import made, maker_of

EXAMPLES = ("starter", "examples/canary", "examples/data-residency", "examples/host-config")
LARGE = ("examples/canary-ramp", "examples/team-budget", "examples/three-teams")
TEST = re.compile(r"(?m)^  - name: ")
UNREACHABLE = """\
version: 1
name: acme
model: small
provider: main
providers: {main: {base_url: "https://llm.example.com/v1"}}
teams: [research]
require: [caller.team]
pool:
  - {model: small, fallback: [large]}
  - {model: large, pick: task.kind == "coding", allow: caller.team == "research"}
  - {model: other, pick: task.kind == "math" && task.kind == "chat"}
precedence: strict
"""


def suggested(run: Run, *words: str) -> Any:
    (found,) = json.loads(run("test", *words, "--suggest", "--format", "json").out)["suggestions"]
    return found


def thinned(name: str) -> tuple[Path, Path]:
    """Copy an example, with every third of its tests alone."""
    policy = Path(f"{Path(name).name}.yaml")
    suite = policy.with_name(f"{policy.stem}_test.yaml")
    shutil.copy(ROOT / "rules" / f"{name}.yaml", policy)
    head, *tests = TEST.split((ROOT / "rules" / f"{name}_test.yaml").read_text())
    assert len(tests) > 1
    suite.write_text(head + "".join(f"  - name: {it}" for it in tests[::3]))
    return policy, suite


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_with_what_is_suggested_all_is_covered_or_said_to_be_out_of_reach(
    name: str, run: Run
) -> None:
    fill(name, run)


@pytest.mark.stress
@pytest.mark.parametrize("name", LARGE)
def test_the_same_of_large_examples(name: str, run: Run) -> None:
    fill(name, run)


def fill(name: str, run: Run) -> None:
    policy, suite = thinned(name)
    before = coverage(run, policy)
    assert before["covered"] < before["total"]
    ran = run("test", str(policy), "--suggest", "--now", NOW)
    assert ran.code == 0
    assert all(len(line) <= 80 for line in ran.out.splitlines() if line.startswith("# "))
    suite.write_text(suite.read_text().rstrip() + "\n" + ran.out.split("\ntests:\n")[1])
    assert run("test", str(policy)).code == 0
    after = coverage(run, policy)
    never = suggested(run, str(policy))
    assert (never["tests"], never["undecided"]) == ([], [])
    assert after["total"] - after["covered"] == len(never["never"])
    assert ran.out.count("\n# never: ") == len(never["never"])


def covered(found: Any) -> list[Any]:
    return [gap for test in found["tests"] for gap in test["covers"]]


def coverage(run: Run, policy: Path) -> Any:
    (found,) = json.loads(run("test", str(policy), "--coverage", "--format", "json").out)[
        "coverage"
    ]
    return found


def test_a_policy_without_tests_gets_a_whole_suite(run: Run) -> None:
    policy = Path("acme.yaml")
    policy.write_text(STRICT)
    suite = Path("acme_test.yaml")
    suite.write_text("")  # as the shell makes it for `> acme_test.yaml`
    ran = run("test", str(policy), "--suggest", "--now", NOW)
    assert (ran.code, ran.err) == (0, "")
    assert "policy: acme.yaml\ntests:\n" in ran.out
    assert f"# {policy}:10:11: pick large is true\n" in ran.out
    suite.write_text(ran.out)
    assert coverage(run, policy)["percent"] == 100


def test_what_no_request_can_bring_about_is_said(run: Run) -> None:
    policy = Path("acme.yaml")
    policy.write_text(UNREACHABLE)
    found = suggested(run, str(policy))
    never = {(it["kind"], it["name"], it.get("text", ""), it["outcome"]) for it in found["never"]}
    assert ("entry", "other", "", "selected") not in never  # a wish may name it
    assert {
        ("pick", "other", "", "true"),
        ("allow", "large", "", "false"),
        ("leaf", "other: pick", 'task.kind == "chat"', "true"),
    } <= never
    assert found["undecided"] == []
    assert "# never: " in run("test", str(policy), "--suggest").out


def test_the_assumptions_of_the_suite_hold_in_each_test(run: Run) -> None:
    policy, suite = Path("acme.yaml"), Path("acme_test.yaml")
    policy.write_text(STRICT)
    test = "tests:\n  - {name: x, request: {}, expect: {entry: small}}\n"
    suite.write_text(test)
    outcome = ("allow", "large", "false")
    free = suggested(run, str(policy))
    assert free["assumptions"] == []
    assert outcome in {(it["kind"], it["name"], it["outcome"]) for it in covered(free)}
    suite.write_text(f"assume: [parent.depth < 2]\n{test}")
    found = suggested(run, str(policy))
    assert found["assumptions"] == ["parent.depth < 2"]
    assert outcome in {(it["kind"], it["name"], it["outcome"]) for it in found["never"]}
    assert "\n# assumed: parent.depth < 2\n" in run("test", str(policy), "--suggest").out


def test_a_change_is_shown_by_no_request_that_the_suite_rules_out(run: Run) -> None:
    Path("acme.yaml").write_text(STRICT)
    test = "tests:\n  - {name: x, request: {task: {kind: coding}}, expect: {entry: large}}\n"
    for assumed, said in (
        ("", "shown by {call: {model: large}, parent: {depth: 2}}"),
        (
            "assume: [parent.depth < 2]\n",
            "no request that is as assumed has another target or other fallbacks by it",
        ),
    ):
        Path("acme_test.yaml").write_text(f"{assumed}{test}")
        ran = run("test", "acme.yaml", "--mutate", "--prove")
        (line,) = re.findall(r"allow of large: removed\n +(.*)", ran.out)
        assert line == said


def test_names_of_tests_that_there_are_are_not_used_again(run: Run) -> None:
    policy = Path("acme.yaml")
    policy.write_text(STRICT)
    first = suggested(run, str(policy))["tests"][0]["name"]
    policy.with_name("acme_test.yaml").write_text(
        f"tests:\n  - {{name: {json.dumps(first)}, skip: later, expect: {{entry: small}}}}\n"
    )
    assert suggested(run, str(policy))["tests"][0]["name"] == f"{first} (2)"


def test_a_failure_is_said_and_suites_with_errors_are_left_out(run: Run) -> None:
    for name, test in (("a", "{name: x, expect: {entry: large}}"), ("b", "{name: x}")):
        Path(f"{name}.yaml").write_text(STRICT)
        Path(f"{name}_test.yaml").write_text(f"tests:\n  - {test}\n")
    ran = run("test", "a.yaml", "b.yaml", "--suggest")
    assert ran.code == 1
    assert "a_test.yaml: 1 test failed" in ran.err
    assert "b_test.yaml:2:6: error[" in ran.err
    assert ran.out.startswith("# a.yaml: ")
    assert "b.yaml" not in ran.out


@pytest.mark.parametrize(
    "words", [("--mutate",), ("--threshold", "5"), ("--format", "junit"), ("--format", "github")]
)
def test_what_does_not_go_with_it_is_wrong_usage(words: tuple[str, ...], run: Run) -> None:
    Path("acme.yaml").write_text(STRICT)
    ran = run("test", "acme.yaml", "--suggest", *words)
    assert (ran.code, ran.out) == (2, "")
    assert "--suggest" in ran.err


def check_random(seed: int) -> int:
    """Decide random requests, and see that nothing proved comes about; return how much is."""
    maker = maker_of(seed)
    policy = made(maker)
    found = suggest(policy, Coverage(policy).report(), now=NOW, seconds=20)
    seen = Coverage(policy)
    for test in found.tests:
        seen.note(Request.from_mapping(test.record.request), test.record)
    report = seen.report()
    assert report.total - report.covered == len(found.never) + len(found.undecided)
    for _ in range(60):
        request = maker.request()
        try:
            record = decide(policy, request, now=NOW)
        except RequestError:
            continue
        seen.note(Request.from_mapping(record.request), record)
    happened = {
        (it.kind, it.span, word)
        for it in seen.report().items
        for word in it.counts
        if word not in it.missing
    }
    proved = {(it.item.kind, it.item.span, it.outcome) for it in found.never}
    assert not happened & proved
    return len(proved)


@pytest.mark.stress
@pytest.mark.slow
def test_nothing_proved_comes_about() -> None:
    assert check_random(3) + check_random(5) > 0


@pytest.mark.stress
@pytest.mark.timeout(600)
def test_nothing_proved_comes_about_in_many_policies() -> None:
    assert sum(map(check_random, range(100, 106))) > 0


def test_what_takes_too_long_is_undecided() -> None:
    policy = loads(UNREACHABLE)
    found = suggest(policy, Coverage(policy).report(), now=NOW, seconds=0)
    assert found.tests
    assert not found.never
    assert found.undecided
    assert all("time" in str(cause) for _, cause in found.undecided)
