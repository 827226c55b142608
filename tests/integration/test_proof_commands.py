"""`analyze`, `prove` and `compare` as users see them, and assertions in suites of tests."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jsonschema
import pytest

from policy_router.files.loader import schema
from tests.support.commands import Run, in_process_of_its_own, write

NOW = "--now=2026-01-31T09:00:00Z"
HOME = """\
version: 1
name: home
model: far
provider: p
providers: {p: {base_url: "https://p.example"}, q: {base_url: "https://q.example"}}
pool:
  - {model: far, fallback: [near]}
  - {model: near, provider: q, pick: 'task.kind == "math"'}
  - {name: twin, model: near, provider: q, pick: 'task.kind == "math"'}
forbid:
  - {id: stay, when: '"pii" in task.labels && target.provider == "q"'}
precedence: [{use: task}, {use: pool}, {use: config}]
assume: [parent.depth >= 0]
assert:
  - {id: pii-stays, never: '"pii" in task.labels && target.provider == "q"'}
  - {id: all-far, always: target.provider == "p"}
"""
HOLDS = HOME.replace('  - {id: all-far, always: target.provider == "p"}\n', "")
OPEN = """\
version: 1
model: m
provider: p
providers: {p: {base_url: "https://p.example"}}
pool: [{model: m}]
precedence: [{use: config}]
assert:
  - id: odd
    never: has(budget.spent_usd) && budget.spent_usd * budget.spent_usd == 2.0
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write(tmp_path, home_yaml=HOME, holds_yaml=HOLDS, open_yaml=OPEN)
    return tmp_path


def test_analyze_shows_findings_and_counts_the_rest(run: Run, home: Path) -> None:
    assert home.exists()
    ran = run("analyze", "home.yaml", NOW, "-q")
    assert (ran.code, ran.err) == (
        0,
        "policy-router: 1 warning; see: policy-router check home.yaml\n",
    )
    assert ran.out == (
        "never     `pick` of entry `twin` wins\n"
        "          home.yaml:9:50\n"
        "the same  entry `twin` is the same as entry `near`\n"
        "          home.yaml:9:5\n"
    )


def test_analyze_shows_all_answers_if_it_is_asked_to(run: Run, home: Path) -> None:
    assert home.exists()
    ran = run("analyze", "home.yaml", NOW, "-v")
    assert "can       entry `near` is selected\n          by task, pool\n" in ran.out
    assert "request {task: {kind: math}}" in ran.out
    assert ran.out.splitlines()[-1].endswith("0 undecided; 2 findings")
    assert max(map(len, ran.out.splitlines())) <= 80


def test_long_texts_and_lists_of_a_request_are_cut_for_people(run: Run, tmp_path: Path) -> None:
    condition = "task.labels.all(x, caller.roles.all(y, y != x))"
    base = OPEN.partition("assert:")[0].replace("use: config", f'use: config, when: "{condition}"')
    write(tmp_path, long_yaml=base)
    for format_ in ("human", "markdown"):
        ran = run("analyze", "long.yaml", NOW, "-v", f"--format={format_}")
        assert " items)" in ran.out
        assert len(ran.out) < 4_000
    whole = json.loads(run("analyze", "long.yaml", NOW, "--format=json").out)
    failing = [it for it in whole["answers"] if "cannot be evaluated" in it["text"]]
    request = failing[0]["example"]["request"]
    assert max(len(request["task"]["labels"]), len(request["caller"]["roles"])) > 20


def test_prove_exits_with_1_where_an_assertion_is_violated(run: Run, home: Path) -> None:
    assert home.exists()
    ran = run("prove", "home.yaml", NOW)
    assert ran.code == 1
    assert ran.out == (
        'holds     `pii-stays`: never "pii" in task.labels && target.provider == "q"\n'
        'violated  `all-far`: always target.provider == "p"\n'
        "          home.yaml:16:5\n"
        "          request {}\n"
        "          at 2026-01-31T09:00:00Z\n"
        "          far at p by rule config, fallbacks near\n"
        "assumed   parent.depth >= 0\n"
        "2 assertions: 1 hold, 1 violated, 0 undecided\n"
    )


def test_prove_exits_with_0_or_6_where_none_is_violated(run: Run, home: Path) -> None:
    assert home.exists()
    assert run("prove", "holds.yaml", NOW).code == 0
    ran = run("prove", "open.yaml", NOW)
    assert ran.code == 6
    assert "because of budget.spent_usd * budget.spent_usd == 2.0, open.yaml:9:" in ran.out
    assert run("prove", "open.yaml", NOW, "--allow-undecided").code == 0
    ran = run("prove", "policy.yaml", NOW)
    assert (ran.code, ran.err.splitlines()[-1]) == (
        2,
        "policy-router: there is no assertion: write one under `assert`",
    )


def test_unchanged_is_seen_from_the_file_of_the_assertion(run: Run, home: Path) -> None:
    folder = home / "below"
    folder.mkdir()
    write(folder, old_yaml=HOLDS)
    new = HOLDS.replace("assert:", "assert:\n  - {id: same, unchanged: old.yaml}", 1)
    write(folder, new_yaml=new)
    ran = run("prove", "below/new.yaml", NOW)
    assert ran.code == 0
    assert "holds     `same`: unchanged old.yaml\n" in ran.out
    write(folder, old_yaml=HOLDS.replace("q, pick", "p, pick"))
    assert run("prove", "below/new.yaml", NOW).code == 1


def test_compare_names_each_way_and_what_it_is_due_to(run: Run, home: Path) -> None:
    write(
        home, new_yaml=HOME.replace("{id: stay, when: '", "{id: stay, when: 'parent.depth > 0 && ")
    )
    ran = run("compare", "home.yaml", "new.yaml", NOW)
    assert ran.code == 0
    assert "can       a request has another target\n" in ran.out
    assert "          due to no longer forbid rule `stay`\n" in ran.out
    assert "          old: far at p by rule config" in ran.out
    assert "assumed   parent.depth >= 0\n" in ran.out
    assert run("compare", "home.yaml", "new.yaml", NOW, "--fail-on", "moved").code == 1
    assert run("compare", "home.yaml", "new.yaml", NOW, "--fail-on", "newly-refused").code == 0


def test_compare_says_that_policies_are_equivalent(run: Run, home: Path) -> None:
    write(home, new_yaml=HOME.replace('task.kind == "math"', '"math" == task.kind'))
    ran = run("compare", "home.yaml", "new.yaml", NOW, "-q")
    assert ran.out.count("never") == 5
    assert (
        "equivalent: no request is decided differently\n"
        in run("compare", "home.yaml", "new.yaml", NOW).out
    )


@pytest.mark.parametrize(
    "words",
    [("analyze", "home.yaml"), ("prove", "home.yaml"), ("compare", "home.yaml", "holds.yaml")],
)
def test_each_command_has_four_formats(run: Run, home: Path, words: tuple[str, ...]) -> None:
    assert home.exists()
    found = json.loads(run(*words, NOW, "--format", "json").out)
    jsonschema.Draft7Validator(dict(schema("analysis"))).validate(found)
    assert found["command"] == words[0]
    sarif = json.loads(run(*words, NOW, "--format", "sarif").out)
    assert sarif["version"] == "2.1.0"
    markdown = run(*words, NOW, "--format", "markdown").out
    assert markdown.startswith(f"### policy-router {words[0]}: home\n")


def test_sarif_and_markdown_show_findings_at_their_place(run: Run, home: Path) -> None:
    assert home.exists()
    (run_,) = json.loads(run("prove", "home.yaml", NOW, "--format", "sarif").out)["runs"]
    (result,) = run_["results"]
    assert (result["ruleId"], result["level"]) == ("prove", "error")
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "home.yaml"
    assert place["region"] == {"startLine": 16, "startColumn": 5}
    markdown = run("prove", "home.yaml", NOW, "--format", "markdown").out
    assert '| violated | `all-far`: always target.provider == "p" | ' in markdown
    undecided = run("prove", "open.yaml", NOW, "--format", "markdown").out
    assert "because of `budget.spent_usd * budget.spent_usd == 2.0`" in undecided
    alike = run("analyze", "home.yaml", NOW, "--format", "markdown").out
    assert "- entry `twin` is the same as entry `near`" in alike


def test_a_command_names_the_extra_that_it_needs(home: Path) -> None:
    blocked = (
        "import sys; sys.modules['pysat'] = None; sys.modules['pysat.solvers'] = None\n"
        "from policy_router.cli import main\nsys.exit(main(['analyze', 'home.yaml']))"
    )
    ran = in_process_of_its_own(cwd=home, prefix=("-c", blocked))
    wanted = "policy-router: proofs need the extra `prove`: pip install 'policy-router[prove]'"
    assert (ran.code, ran.err.splitlines()[-1]) == (2, wanted)
    assert sys.version_info >= (3, 11)


# Assertions and tests.

SUITE = """\
policy: holds.yaml
assume: [task.kind != "math"]
assert:
  - {id: never-near, never: target.model == "near"}
requests:
  wants-near: {task: {model: near}}
tests:
  - {name: the default, expect: {entry: far}}
"""


def test_assertions_of_a_suite_are_tried_on_its_requests(run: Run, home: Path) -> None:
    (home / "holds_test.yaml").write_text(SUITE)
    ran = run("test", "holds_test.yaml")
    assert ran.code == 1
    assert "assertions on wants-near" in ran.out
    assert 'assert never-near: expected never: target.model == "near"' in ran.out


def test_assertions_of_a_suite_are_proved_with_its_assumptions(run: Run, home: Path) -> None:
    (home / "holds_test.yaml").write_text(SUITE)
    ran = run("prove", "holds.yaml", NOW)
    assert ran.code == 1
    assert 'violated  `never-near`: never target.model == "near"\n' in ran.out
    assert 'assumed   task.kind != "math"\n' in ran.out


def test_a_wrong_assertion_in_a_suite_is_an_error_with_its_place(run: Run, home: Path) -> None:
    (home / "holds_test.yaml").write_text(SUITE.replace("target.model ==", "targt.model =="))
    for words in (("test", "holds_test.yaml"), ("prove", "holds.yaml", NOW)):
        ran = run(*words)
        assert ran.code == 1
        assert "holds_test.yaml:4:" in ran.out + ran.err
        assert "did you mean `target`?" in ran.out + ran.err


def test_assertions_of_a_policy_are_tried_by_its_tests(run: Run, home: Path) -> None:
    test = "{name: math, request: {task: {kind: math}}, expect: {entry: near}}"
    (home / "home_test.yaml").write_text(f"tests:\n  - {test}\n")
    ran = run("test", "home_test.yaml")
    assert ran.code == 1
    assert 'assert all-far: expected always: target.provider == "p"' in ran.out
