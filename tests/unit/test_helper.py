"""What a helper does, in this process and in one of its own."""

from __future__ import annotations

import base64
import json
import pickle
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from policy_router import load
from policy_router.log import LogReader
from policy_router.log.entry import Kind
from policy_router.log.replay.what_if import what_if
from policy_router.log.report.log_report import log_report
from policy_router.log.sign.keys import new_signer
from policy_router.server import counting
from policy_router.server.bundles import build
from policy_router.server.counting import Affected, Changed
from policy_router.server.follower import Follower
from policy_router.server.problems import Problem
from policy_router.server.tasks import Task, perform
from tests.support.year import POLICY, write_year

RULES = POLICY.replace("{strict}", "strict")
TEST = """\
tests:
  - name: code
    request: {task: {kind: coding}}
    expect: {entry: coder}
"""
_WRONG = """\
  - name: wrong
    request: {task: {kind: triage}}
    expect: {entry: deep}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("helped")
    write_year(made, 60)
    return made


def done(what: str, **named: Any) -> Any:
    """Return the report of a piece of work, as whoever asked for it reads it."""
    report = perform(Task(what, **named), lambda *_: None)
    return json.loads(msgspec.json.encode(report))


def refused(what: str, **named: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        perform(Task(what, **named), lambda *_: None)
    return caught.value


def revisions(folder: Path) -> list[str]:
    """Return the policies that decided, the first one first."""
    lines = [it.entry for it in LogReader(folder / "log").lines()]
    each = [it.decision_record.policy.revision for it in lines if it.kind is Kind.DECISION]
    return list(dict.fromkeys(each))


def test_a_policy_is_compiled_if_its_tests_pass(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(RULES)
    (tmp_path / "policy_test.yaml").write_text(TEST)
    report = done("compile", path=str(path))
    policy = pickle.loads(base64.b64decode(report["policy"]))  # noqa: S301 - made above
    assert policy.revision == report["revision"]
    (tmp_path / "policy_test.yaml").write_text(TEST.replace("coder", "deep"))
    assert "policy" not in (failed := done("compile", path=str(path)))
    assert "code" in failed["reason"]
    path.write_text(RULES.replace("kind ==", "knd =="))
    assert done("compile", path=str(path))["errors"] > 0


def test_a_policy_with_warnings_is_compiled_unless_that_is_strict(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(RULES.replace("allow: parent.depth < 2", "allow: parent.depth < 0"))
    assert done("compile", path=str(path))["warnings"] > 0
    assert "policy" in done("compile", path=str(path))
    assert "policy" not in done("compile", path=str(path), strict=True)


def test_a_bundle_is_compiled_if_its_key_signed_it(tmp_path: Path) -> None:
    rules, path, signer = tmp_path / "rules", tmp_path / "policy.bundle", new_signer("ops")
    rules.mkdir()
    (rules / "policy.yaml").write_text(RULES)
    path.write_bytes(build(rules, signer, 7))
    key = signer.verifier().encoded()
    report = done("compile", path=str(path), key=key)
    assert report["bundle"]["serial"] == 7
    other = new_signer("ops").verifier().encoded()
    assert refused("compile", path=str(path), key=other).code == "bad_policy"
    (rules / "policy.yaml").write_text("version: 1\npool: [{mdel: a}]\n")
    path.write_bytes(build(rules, signer, 8))
    assert done("compile", path=str(path), key=key)["errors"] > 0


def test_a_text_is_checked_and_tried() -> None:
    assert done("check", text=RULES)["revision"].startswith("sha256:")
    assert done("check", text="version: 1\npool: [{mdel: a}]\n")["errors"] > 0
    tried = done("try", text=RULES, request='{"task": {"kind": "coding"}}', why_not="deep")
    assert tried["explanation"]["record"]["decision"]["target"]["entry"] == "coder"
    assert tried["explanation"]["why_not"]["name"] == "deep"
    assert "entry: coder" in tried["test"]
    assert "unknown key" in done("try", text=RULES, request='{"tsk": {}}')["problem"]
    assert "explanation" not in done("try", text="version: 1\npool: [{mdel: a}]\n")


def test_a_place_says_what_stands_there_and_what_may() -> None:
    text = 'version: 1\npool:\n  - model: a\n    pick: task.kind == "x"\n'
    found = done("place", text=text, line=4, column=17)["found"]
    assert found["name"] == "task.kind"
    assert done("place", text=text, line=1, column=1)["items"]
    assert done("place", text=text, line=99, column=1)["found"] is None


def test_a_policy_beside_a_log_is_described_and_compared(folder: Path) -> None:
    log, (old, new) = str(folder / "log"), revisions(folder)
    shown = done("policy", log=log, revision=new, against=old)
    assert shown["revision"] == new
    assert {it["kind"] for it in shown["changes"]} == {"changed"}
    assert refused("policy", log=log, revision="sha256:none").code == "unknown_policy"


def test_a_record_is_explained_by_its_own_policy(folder: Path) -> None:
    log = str(folder / "log")
    lines = [it.entry for it in LogReader(folder / "log").lines()]
    record = next(it.decision_record for it in lines if it.kind is Kind.DECISION)
    explained = done("explain", log=log, record=record.to_json().decode(), full=True)
    assert len(explained["steps"]) == len(record.steps)
    elsewhere = refused("explain", log=f"{log}.none", record=record.to_json().decode())
    assert elsewhere.code == "not_explainable"


@pytest.mark.slow
def test_the_tests_of_a_policy_are_run_and_it_is_analyzed(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(RULES)
    (tmp_path / "policy_test.yaml").write_text(TEST + _WRONG)
    report = done("test", path=str(tmp_path / "policy.yaml"))
    (suite,) = report["suites"]
    assert (suite["passed"], [it["name"] for it in suite["failed"]]) == (1, ["wrong"])
    assert 0 < report["covered"] < report["total"]
    assert report["answers"]
    (tmp_path / "policy.yaml").write_text("version: 1\npool: [{mdel: a}]\n")
    assert refused("test", path=str(tmp_path / "policy.yaml")).code == "bad_policy"


def test_a_log_is_verified_and_decided_again(folder: Path) -> None:
    log = str(folder / "log")
    assert done("verify", log=log)["whole"]
    assert done("replay", log=log)["total"] == 60
    report = done("what_if", log=log, text=RULES.replace("strict", "delegation"))
    assert report["decisions"] == 60
    assert done("what_if", log=log, revision=revisions(folder)[1])["decisions"] == 60
    assert refused("what_if", log=log, text="version: 1\npool: [{mdel: a}]").code == "bad_policy"
    for what in ("verify", "replay", "what_if", "spend", "compliance"):
        assert refused(what, log=f"{log}.none", text=RULES).code == "log_unavailable"


@pytest.mark.slow
def test_what_is_counted_ends_where_the_window_does(folder: Path) -> None:
    log = folder / "log"
    lines = [it.entry for it in LogReader(log).lines()]
    times = sorted(it.time for it in lines if it.kind is Kind.DECISION)
    window = {"since": times[10], "until": times[40]}
    spend = done("spend", log=str(log), **window)
    assert spend["total"]["decisions"] == 30
    report = done("compliance", log=str(log), **window)
    assert sum(it["decisions"] for it in report["labels"]) == 30
    refusals = log_report(log, "refusals", workers=1, since=times[10], until=times[40])
    assert len(report["refusals"]) == len(refusals.rows)


def test_a_change_of_rules_says_whom_it_affected(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, (old, new) = folder / "log", revisions(folder)
    with closing(Follower(str(log), str(folder / "index"))) as follower:
        follower.catch_up()
    lines = [it.entry for it in LogReader(log).lines() if it.entry.kind is Kind.DECISION]
    first = next(it.time for it in lines if it.decision_record.policy.revision == new)
    monkeypatch.setattr(counting, "AFTER_A_CHANGE", 100 * 86_400_000_000)
    until = first + counting.AFTER_A_CHANGE
    before = load(folder / "before" / "policy.yaml")
    expected = what_if(log, before, since=first, until=until, workers=1)
    assert 0 < expected.flips < expected.total
    changes = (Changed(old, new, first), Changed("sha256:none", old, lines[0].time))
    said: list[tuple[int, int]] = []
    task = Task("compliance", log=str(log), index=str(folder / "index"), changes=changes)
    report = perform(task, lambda *it: said.append(it))
    found = Affected(expected.total, expected.flips, is_cut=False)
    assert report["affected"] == {new: found, old: None}
    assert [it[0] for it in said] == sorted(it[0] for it in said)
    assert all(0 <= done <= total for done, total in said)
    monkeypatch.setattr(counting, "MOST_AFFECTED", 3)
    cut = perform(task, lambda *_: None)["affected"][new]
    assert (cut.decisions, cut.is_cut) == (3, True)


def helped(*tasks: dict[str, Any], words: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return what a helper says about tasks, one after another, until its input ends."""
    made = subprocess.run(  # noqa: S603 - the words are ours
        [sys.executable, "-m", "policy_router.server.helper", *words],
        input=b"".join(msgspec.json.encode(it) + b"\n" for it in tasks),
        stdout=subprocess.PIPE,
        timeout=50,
        check=False,
    )
    return [json.loads(line) for line in made.stdout.splitlines()]


@pytest.mark.slow
def test_a_process_that_helps_says_progress_reports_and_problems(folder: Path) -> None:
    limits = {"seconds": 40, "megabytes": 2048}
    verify = {"what": "verify", "log": str(folder / "log"), **limits}
    nothing = {"what": "verify", "log": str(folder / "none"), **limits}
    said = helped(verify, nothing, verify, words=("--stays",))
    assert [next(iter(it)) for it in said if "progress" not in it] == [
        "report",
        "problem",
        "report",
    ]
    assert any("progress" in it for it in said)
    assert next(it for it in said if "problem" in it)["problem"]["code"] == "log_unavailable"


@pytest.mark.slow
def test_a_process_that_does_one_thing_ends_after_it() -> None:
    command = [sys.executable, "-m", "policy_router.server.helper"]
    task = msgspec.json.encode(Task("check", 40, 2048, text=RULES)) + b"\n"
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as made:  # noqa: S603 - ours
        assert made.stdin is not None
        assert made.stdout is not None
        made.stdin.write(task)
        made.stdin.flush()
        assert json.loads(made.stdout.read())["report"]["errors"] == 0
        assert made.wait(40) == 0
