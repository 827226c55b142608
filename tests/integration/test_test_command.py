"""`policy-router test`: policies against their tests, in every format."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.support.commands import NOW, ROOT, STRICT, WRONG, Run

SUITE = """\
tests:
  - name: coding goes to the large one
    request: {task: {kind: coding}}
    expect: {entry: large, level: pool}
  - name: writing, too
    request: {task: {kind: writing}}
    expect: {entry: large, warnings: [outranked]}
  - name: later
    expect: {entry: small}
    skip: waiting for the second provider
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """Stand in a folder with a policy and its tests."""
    (tmp_path / "acme.yaml").write_text(STRICT)
    file = tmp_path / "acme_test.yaml"
    file.write_text(SUITE)
    return file


def good(suite: Path) -> None:
    suite.write_text(SUITE.replace("{entry: large, warnings: [outranked]}", "{entry: small}"))


@pytest.mark.usefixtures("suite")
def test_a_line_a_file_and_for_a_failure_what_differs_and_why(run: Run) -> None:
    ran = run("test")
    assert (ran.code, ran.err) == (1, "")
    lines = ran.out.splitlines()
    assert lines[:6] == [
        "acme_test.yaml: 1 passed, 1 failed, 1 skipped",
        "",
        "  failed writing, too",
        "    acme_test.yaml:7:21",
        "    entry: expected `large`, found `small`",
        "    warnings: expected [`outranked`], found []",
    ]
    assert "      selected  small (small-model at main)" in lines
    assert "      why not `large`" in lines
    assert lines[-1] == "  skipped later: waiting for the second provider"
    assert max(map(len, lines)) <= 80


def test_what_passes_is_quiet(run: Run, suite: Path) -> None:
    good(suite)
    assert run("test", "acme.yaml").out == (
        "acme_test.yaml: 2 passed, 1 skipped\n  skipped later: waiting for the second provider\n"
    )
    assert run("-q", "test", "acme_test.yaml").out == ""
    assert "  passed writing, too\n" in run("-v", "test", "acme_test.yaml").out


def test_a_long_line_is_wrapped(run: Run, suite: Path) -> None:
    suite.write_text(SUITE.replace("waiting for", "waiting " + "and waiting " * 8 + "for"))
    lines = run("test", "-k", "later").out.splitlines()
    assert lines[1].startswith("  skipped later: waiting and waiting")
    assert lines[2].startswith("    ")
    assert max(map(len, lines)) <= 80


def test_several_suites_are_added_up(run: Run, suite: Path) -> None:
    suite.with_name("more_test.yaml").write_text(f"policy: acme.yaml\n{SUITE}")
    assert run("test").out.endswith("2 passed, 2 failed, 2 skipped in 2 suites\n")
    stopped = run("test", "--fail-fast").out
    assert "more_test.yaml" not in stopped
    assert stopped.startswith("acme_test.yaml: 1 passed, 1 failed\n")


@pytest.mark.usefixtures("suite")
def test_some_tests_by_name(run: Run) -> None:
    ran = run("test", "-k", "CODING")
    assert (ran.code, ran.out) == (0, "acme_test.yaml: 1 passed\n")


@pytest.mark.usefixtures("suite")
def test_no_test_is_an_error(run: Run, tmp_path: Path) -> None:
    assert run("test", "-k", "nothing").err == (
        "policy-router: no test with 'nothing' in its name was found in .\n"
    )
    assert run("test", "-k", "nothing").code == 2
    (tmp_path / "empty").mkdir()
    ran = run("test", "empty")
    assert (ran.code, ran.err) == (2, "policy-router: no test was found in empty\n")
    assert run("test", "none").code == 2


def test_a_suite_that_is_wrong_is_told_at_its_line(run: Run, suite: Path) -> None:
    suite.write_text(SUITE.replace("entry:", "enty:"))
    ran = run("test")
    assert ran.code == 1
    assert "acme_test.yaml:4:14: error[PR201]: unknown key `enty`" in ran.out
    assert ran.out.endswith("acme_test.yaml: the tests cannot be run\n")


def test_a_policy_that_is_wrong_is_told(run: Run, suite: Path) -> None:
    suite.with_name("acme.yaml").write_text(WRONG)
    ran = run("test", "--format", "json")
    assert ran.code == 1
    (only,) = json.loads(ran.out)["suites"]
    assert (only["policy"], only["tests"]) == (None, [])
    assert [item["code"] for item in only["diagnostics"]] == ["PR301"]


@pytest.mark.usefixtures("suite")
def test_as_json(run: Run) -> None:
    found = json.loads(run("test", "--format", "json").out)
    (only,) = found.pop("suites")
    assert found == {"passed": 1, "failed": 1, "skipped": 1}
    assert (only["file"], only["policy"], only["failed"]) == ("acme_test.yaml", "small", 1)
    assert only["tests"][1] == {
        "name": "writing, too",
        "status": "failed",
        "line": 5,
        "differences": [
            {"key": "entry", "expected": "`large`", "found": "`small`"},
            {"key": "warnings", "expected": "[`outranked`]", "found": "[]"},
        ],
    }
    assert only["tests"][2]["skip"] == "waiting for the second provider"


def test_as_junit(run: Run, suite: Path) -> None:
    suite.write_text(SUITE + '  - {name: "<odd> & \\"\\u0007\\"", expect: {entry: small}}\n')
    suite.with_name("wrong_test.yaml").write_text("tests: 5\n")
    ran = run("test", "--format", "junit")
    root = ET.fromstring(ran.out)  # noqa: S314 - it is our own
    first, wrong = root
    assert first.attrib == {
        "name": "acme_test.yaml",
        "tests": "4",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    names = [case.attrib["name"] for case in first]
    assert names[-1] == '<odd> & "\ufffd"'
    failure = first[1].find("failure")
    assert failure is not None
    assert failure.attrib["message"] == "entry: expected `large`, found `small`"
    assert "step by step" in (failure.text or "")
    assert wrong[0].attrib["name"] == "the suite"


def test_as_annotations(run: Run, suite: Path) -> None:
    suite.with_name("wrong_test.yaml").write_text("tets: []\n")
    ran = run("test", "--format", "github")
    assert ran.code == 1
    assert ran.out.splitlines() == [
        (
            "::error file=acme_test.yaml,line=7,col=21,endLine=7,endColumn=26,"
            "title=failed%3A writing%2C too::entry: expected `large`, found `small`"
            "%0Awarnings: expected [`outranked`], found []"
        ),
        "acme_test.yaml: 1 passed, 1 failed, 1 skipped",
        (
            "::error file=wrong_test.yaml,line=1,col=1,endLine=1,endColumn=5,"
            "title=PR201%3A $.tets::unknown key `tets`%0Ahelp: did you mean `tests`?"
        ),
        "wrong_test.yaml: 0 passed",
    ]
    suite.write_text(SUITE.replace("name: writing, too", 'name: "odd\\e[31m"'))
    assert "title=failed%3A odd\ufffd[31m::" in run("test", "acme.yaml", "--format", "github").out
    good(suite)
    assert run("-q", "test", "acme.yaml", "--format", "github").out == ""


# --coverage


def test_what_no_test_looks_at_is_listed(run: Run, suite: Path) -> None:
    good(suite)
    ran = run("-q", "test", "acme.yaml", "--coverage")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "acme.yaml: 83.3 % covered, 5 of 6 outcomes\n"
        "  acme.yaml:11:12: allow large is never false\n"
    )


def test_a_part_of_a_condition_is_shown_with_its_text(run: Run, suite: Path) -> None:
    rules = STRICT.replace("parent.depth < 2", "parent.depth < 2 || caller.team == 'a'")
    suite.with_name("acme.yaml").write_text(rules)
    assert run("-q", "test", "acme.yaml", "--coverage").out.endswith(
        "  acme.yaml:11:12: allow large is never false\n"
        "  acme.yaml:11:12: part of large: allow is never false\n"
        "    parent.depth < 2\n"
        "  acme.yaml:11:32: part of large: allow is never true and false\n"
        "    caller.team == 'a'\n"
    )


def test_too_little_coverage_is_a_failure(run: Run, suite: Path) -> None:
    good(suite)
    assert run("test", "--threshold", "83.3").code == 0
    ran = run("-q", "test", "--threshold", "90", "--format", "github")
    assert (ran.code, ran.err) == (
        1,
        "policy-router: acme.yaml: the tests cover 83.3 %, which is less than 90 %\n",
    )
    for wrong in ("101", "x", "-1"):
        assert run("test", f"--threshold={wrong}").code == 2


def test_coverage_as_json(run: Run, suite: Path) -> None:
    good(suite)
    found = json.loads(run("test", "acme.yaml", "--coverage", "--format", "json").out)
    (policy,) = found["coverage"]
    items = policy.pop("items")
    assert policy == {"file": "acme.yaml", "percent": 83.333, "covered": 5, "total": 6}
    assert {
        "kind": "allow",
        "name": "large",
        "file": "acme.yaml",
        "line": 11,
        "column": 12,
        "counts": {"true": 1, "false": 0},
    } in items
    assert "coverage" not in json.loads(run("test", "acme.yaml", "--format", "json").out)


# --mutate


def test_changes_that_no_test_notices_are_listed(run: Run, suite: Path) -> None:
    good(suite)
    ran = run("-q", "test", "acme.yaml", "--mutate")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "acme.yaml: the tests notice 4 of 7 changes\n"
        "  acme.yaml:11:12: allow of large: removed\n"
        "  acme.yaml:11:12: allow of large: `<` is `<=` in parent.depth < 2\n"
        "  acme.yaml:11:27: allow of large: 2 is 3\n"
    )
    assert " of 2 changes\n" in run("test", "acme.yaml", "--mutate", "2", "--seed", "7").out
    found = json.loads(run("test", "acme.yaml", "--mutate", "--format", "json").out)
    (only,) = found["mutation"]
    assert (only["file"], only["changes"], len(only["unnoticed"])) == ("acme.yaml", 7, 3)
    assert only["unnoticed"][0] == {
        "name": "allow of large",
        "change": "removed",
        "place": "acme.yaml:11:12",
    }


def test_a_change_that_no_test_notices_is_shown_by_a_request(run: Run, suite: Path) -> None:
    good(suite)
    words = ("test", "acme.yaml", "--mutate", "--prove", "--now", "2026-01-31T09:00:00Z")
    ran = run("-q", *words)
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    place = lines.index("  acme.yaml:11:27: allow of large: 2 is 3")
    assert lines[place + 1].startswith("    shown by {")
    (only,) = json.loads(run(*words, "--format", "json").out)["mutation"]
    assert all(it["shown_by"].startswith("shown by {") for it in only["unnoticed"])


@pytest.mark.usefixtures("suite")
def test_nothing_is_changed_where_a_test_fails(run: Run) -> None:
    ran = run("test", "acme.yaml", "--mutate")
    assert ran.code == 1
    assert "the tests notice" not in ran.out
    assert ran.err == "policy-router: acme.yaml: no change is tried, since a test fails\n"


# --new


def test_a_request_becomes_a_test(run: Run, suite: Path) -> None:
    requests = ROOT / "rules" / "examples" / "hermes.requests.json"
    ran = run("test", "acme.yaml", "--new", str(requests), "--now", NOW)
    assert ran.code == 0
    suite.write_text(ran.out)
    assert run("test").out == "acme_test.yaml: 4 passed\n"


def test_a_logged_decision_becomes_a_test(run: Run, suite: Path) -> None:
    decided = run("decide", "acme.yaml", "-", "--log", "log", stdin='{"task": {"kind": "coding"}}')
    assert decided.code == 0
    listed = run("log", "ls", "log", "--format", "json")
    (line,) = (
        json.loads(listed.out)["lines"]
        if listed.out.startswith('{"lines')
        else [json.loads(listed.out.splitlines()[0])]
    )
    ran = run("test", "--new", line["id"], "--log", "log")
    assert ran.code == 0
    suite.write_text(ran.out)
    assert run("test").out == "acme_test.yaml: 1 passed\n"
    # By a policy: what it decides today.
    suite.with_name("acme.yaml").write_text(STRICT.replace('"coding"', '"cooking"'))
    again = run("test", "acme.yaml", "--new", line["id"], "--log", "log")
    suite.write_text(again.out)
    assert "entry: small" in again.out
    assert run("test").out == "acme_test.yaml: 1 passed\n"


@pytest.mark.usefixtures("suite")
def test_new_tests_want_one_policy_or_a_log(run: Run) -> None:
    assert run("test", "--log", "log").err == (
        "policy-router: --log needs --new and the id of a decision\n"
    )
    ran = run("test", "--now", "2026-01-31T09:00:00Z")
    assert ran.code == 2
    assert "--now needs --new, --prove or --suggest: tests have a `now` of their own\n" in ran.err
    assert run("test", "a.yaml", "b.yaml", "--new", "x").err == (
        "policy-router: --new is about one policy\n"
    )
    assert run("test", "--new", "x", "--log", "none").code == 2
    assert run("decide", "acme.yaml", "-", "--log", "log", stdin="{}").code == 0
    assert run("test", "--new", "0" * 8, "--log", "log").code == 2


def test_mutants_are_tried_on_from_a_file(run: Run, suite: Path, tmp_path: Path) -> None:
    good(suite)
    first = run("test", "acme.yaml", "--mutate", "--resume", "kept", "--workers", "1")
    assert first.code == 0
    lines = (tmp_path / "kept").read_text().splitlines()
    assert len(lines) > 3
    (tmp_path / "kept").write_text("\n".join(lines[:2]) + "\n")
    again = run("test", "acme.yaml", "--mutate", "--resume", "kept")
    assert again.out == first.out
    assert again.err == f"policy-router: 2 of {len(lines)} changes were tried before\n"
    assert (tmp_path / "kept").read_text().splitlines() == lines
    for option in ("--resume", "--workers"):
        ran = run("test", "acme.yaml", option, "7")
        assert (ran.code, "need --mutate" in ran.err) == (2, True)
