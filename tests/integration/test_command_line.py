"""Every command of the command line, as users have it."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from jsonschema import Draft7Validator

from policy_router import Request, check, decide, load
from policy_router.cli import main
from policy_router.cli.explain import page_of
from policy_router.diagnostics.codes import Code
from tests.support.commands import (
    NOW,
    ROOT,
    STRICT,
    WRONG,
    Ran,
    Run,
    in_process_of_its_own,
    write,
)
from tests.support.rows import each

CODING = '{"task": {"kind": "coding"}}'
OUTSIDE = '{"task": {"model": "gpt-9"}}'
AT = ("--now", NOW)
LIMITED = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}));"
    "from policy_router.cli import main; sys.exit(main())"
)


def says_no(ran: Ran, *words: str) -> None:
    """Assert that a command ended as usage does: one line on stderr, nothing on stdout."""
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.startswith("policy-router: ")
    assert ran.err.count("\n") == 1
    for word in words:
        assert word in ran.err


# check


def test_check_says_what_a_good_policy_holds_and_what_to_do_next(run: Run) -> None:
    assert run("check", "policy.yaml") == Ran(
        0,
        "policy.yaml: policy small, 2 entries, 0 forbid rules, 5 precedence rules\n"
        "no problems found; next: policy-router menu policy.yaml\n",
        "",
    )


def test_check_says_that_it_proves_no_assertion(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "asserting.yaml"
    text = "{model: a, provider: zai, assert: [{never: 'target.model == \"a\"'}]}"
    path.write_text(text, encoding="utf-8")
    first, last = run("check", "asserting.yaml").out.splitlines()
    assert first.endswith(", 5 precedence rules, 1 assertion (not proved here)")
    assert last == "no problems found; next: policy-router prove asserting.yaml"


def test_check_shows_an_error_with_its_line_and_a_caret(run: Run) -> None:
    ran = run("check", "wrong.yaml")
    assert ran.code == 1
    assert ran.err == ""
    lines = ran.out.splitlines()
    assert lines[0].startswith("wrong.yaml:4:22: error[PR301]: unknown name `tsk`")
    assert lines[1] == "   |   - {model: m, pick: tsk.kind == 'x'}"
    assert lines[2].endswith("^^^")
    assert "   = help: did you mean `task`?" in lines
    assert lines[-1] == "1 error, 0 warnings"


def test_check_lets_a_warning_pass_unless_strict(run: Run) -> None:
    ran = run("check", "warns.yaml")
    assert ran.code == 0
    assert "warning[PR410]" in ran.out
    assert run("check", "warns.yaml", "--strict").code == 1


def test_check_in_json_holds_diagnostics_and_counts_alone(run: Run) -> None:
    found = json.loads(run("check", "wrong.yaml", "--format", "json").out)
    assert found.keys() == {"diagnostics", "errors", "warnings", "hints"}
    assert (found["errors"], found["warnings"], found["hints"]) == (1, 0, 0)
    (only,) = found["diagnostics"]
    assert list(only) == [
        *("code", "severity", "message", "file", "line", "column"),
        *("end_line", "end_column", "path", "help"),
    ]
    assert (only["file"], only["line"], only["column"]) == ("wrong.yaml", 4, 22)
    assert (only["end_line"], only["end_column"]) == (4, 25)
    assert only["path"] == "$.pool[0].pick"


def test_check_in_json_of_a_good_policy_is_empty(run: Run) -> None:
    ran = run("check", "policy.yaml", "--format", "json")
    assert json.loads(ran.out) == {"diagnostics": [], "errors": 0, "warnings": 0, "hints": 0}


def test_check_adds_up_over_several_paths(run: Run) -> None:
    words = ("check", "policy.yaml", "warns.yaml", "wrong.yaml")
    assert run(*words).out.splitlines()[-1] == "1 error, 1 warning"
    ran = run(*words, "--format", "json")
    found = json.loads(ran.out)
    assert ran.code == 1
    assert [item["code"] for item in found["diagnostics"]] == ["PR410", "PR301"]
    assert (found["errors"], found["warnings"]) == (1, 1)


def test_the_same_path_twice_is_counted_as_it_is_listed(run: Run) -> None:
    found = json.loads(run("check", "wrong.yaml", "wrong.yaml", "--format", "json").out)
    assert len(found["diagnostics"]) == found["errors"]
    assert "omitted" not in found


def test_check_reads_a_folder_as_one_policy(run: Run, tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    write(rules, base_yaml="version: 1\nname: b\nmodel: m\nprovider: zai\nprecedence: strict\n")
    write(rules, pool_yaml="pool: [{model: m}]\n")
    (rules / "pool_test.yaml").write_text("nonsense: [")
    ran = run("check", "rules")
    assert ran.code == 0
    assert ran.out.startswith("rules: policy b, 1 entry, 0 forbid rules, 5 precedence rules")


def test_check_of_a_folder_without_rules_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran = run("check", "empty")
    assert ran.code == 1
    assert "empty:1:1: error[PR114]: the folder holds no rule files" in ran.out


@pytest.mark.parametrize("command", ["check", "menu", "decide", "explain"])
def test_a_path_that_is_not_there_is_a_usage_error(run: Run, command: str) -> None:
    words = (command, "nowhere.yaml") if command == "check" else (command, "nowhere.yaml", "-")
    says_no(run(*words, stdin=CODING), "there is no file or folder nowhere.yaml")


def test_check_reports_every_path_even_if_one_is_missing(run: Run) -> None:
    ran = run("check", "nowhere.yaml", "wrong.yaml", "policy.yaml", "neither.yaml")
    assert ran.code == 2
    assert "error[PR301]" in ran.out
    assert "policy.yaml: policy small" in ran.out
    assert ran.err == (
        "policy-router: there is no file or folder nowhere.yaml\n"
        "policy-router: there is no file or folder neither.yaml\n"
    )


def test_check_reads_standard_input(run: Run) -> None:
    ran = run("check", "-", stdin=WRONG)
    assert ran.code == 1
    assert ran.out.startswith("standard input:4:22: error[PR301]")
    good = run("check", "-", stdin=STRICT)
    assert (good.code, good.out.partition(":")[0]) == (0, "-")


def test_check_as_annotations(run: Run) -> None:
    ran = run("check", "wrong.yaml", "warns.yaml", "policy.yaml", "--format", "github")
    assert ran.code == 1
    lines = ran.out.splitlines()
    assert lines[1].startswith("::error file=wrong.yaml,line=4,col=22,endLine=4,endColumn=25,")
    assert lines[0].startswith("::warning file=warns.yaml,line=5,")
    assert len(lines) == 2


def test_check_as_junit(run: Run) -> None:
    ran = run("check", "wrong.yaml", "warns.yaml", "--format", "junit")
    wrong, warns = ET.fromstring(ran.out)  # noqa: S314 - it is our own
    assert (wrong.attrib["name"], wrong.attrib["failures"]) == ("wrong.yaml", "1")
    assert (warns.attrib["name"], warns.attrib["failures"]) == ("warns.yaml", "0")
    strict = ET.fromstring(run("check", "warns.yaml", "--strict", "--format", "junit").out)  # noqa: S314
    assert strict[0].attrib["failures"] == "1"


def test_check_as_sarif(run: Run) -> None:
    ran = run("check", "wrong.yaml", "warns.yaml", "--format", "sarif")
    assert ran.code == 1
    log = json.loads(ran.out)
    (only,) = log["runs"]
    assert (log["version"], only["columnKind"]) == ("2.1.0", "unicodeCodePoints")
    assert [rule["id"] for rule in only["tool"]["driver"]["rules"]] == ["PR301", "PR410"]
    warning, error = only["results"]
    assert (warning["level"], error["level"]) == ("warning", "error")
    assert (error["ruleId"], error["ruleIndex"]) == ("PR301", 0)
    assert "did you mean `task`?" in error["message"]["text"]
    (place,) = error["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "wrong.yaml"},
        "region": {"startLine": 4, "startColumn": 22, "endLine": 4, "endColumn": 25},
    }
    assert place["logicalLocations"] == [{"fullyQualifiedName": "$.pool[0].pick"}]


def test_check_quiet_prints_problems_alone(run: Run) -> None:
    assert run("check", "policy.yaml", "-q") == Ran(0, "", "")
    assert "error[PR301]" in run("check", "wrong.yaml", "-q").out


def test_check_verbose_tells_the_revision(run: Run) -> None:
    assert f"revision {load('policy.yaml').revision}" in run("check", "policy.yaml", "-v").out


def test_check_verbose_lists_the_files_that_were_read(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    write(folder, a_yaml="model: m\nprovider: p\n", b_yaml="name: two\n", b_test_yaml="x: 1\n")
    ran = run("check", "rules", "-v")
    assert [line for line in ran.out.splitlines() if line.startswith("  read ")] == [
        "  read rules/a.yaml",
        "  read rules/b.yaml",
    ]


USES = [
    ("decide", "warns.yaml", "request.json"),
    ("explain", "warns.yaml", "request.json"),
    ("menu", "warns.yaml"),
    ("tool", "warns.yaml"),
    ("delegate", "warns.yaml", "--goal", "x", "--dry-run"),
    ("replay", "log", "--against", "warns.yaml"),
]


@pytest.mark.parametrize("words", USES, ids=lambda words: words[0])
@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_every_command_says_how_many_warnings_a_policy_has(
    run: Run, tmp_path: Path, words: tuple[str, ...], quiet: tuple[str, ...]
) -> None:
    good = "model: m\nprovider: openai\npool: [{model: m}]\nprecedence: [{use: config}]\n"
    warns = good.replace("[{model: m}]", "[]")
    write(tmp_path, request_json=CODING, warns_yaml=warns, good_yaml=good)
    run("decide", "good.yaml", "request.json", "--log", "log")
    ran = run(*words, *quiet)
    assert ran.err.splitlines()[0] == (
        "policy-router: 1 warning; see: policy-router check warns.yaml"
    )
    strict = run(*words, *quiet, "--strict")
    assert (strict.code, strict.out) == (1, "")
    assert "warning[PR410]" in strict.err
    assert strict.err.splitlines()[-1] == (
        "policy-router: the policy has warnings, and is refused with --strict"
    )
    of_good = [word.replace("warns.yaml", "good.yaml") for word in words]
    assert "warning" not in run(*of_good, *quiet, "--strict").err


def test_windows_line_ends_change_nothing_but_the_file(run: Run, tmp_path: Path) -> None:
    write(tmp_path, crlf_yaml=STRICT.replace("\n", "\r\n"))
    assert run("check", "crlf.yaml", "--strict").code == 0
    assert load("crlf.yaml").revision == load("policy.yaml").revision
    write(tmp_path, r_json='{"task":\r\n {"kind":\r\n "a"}}\r\n', r_yaml="task:\r\n  kind: a\r\n")
    assert run("decide", "crlf.yaml", "r.json").code == 0
    assert run("decide", "crlf.yaml", "r.yaml").code == 0
    assert run("decide", "crlf.yaml", "-", stdin=f"{CODING}\r\n{CODING}\r\n").code == 0


# decide


def test_decide_prints_a_table(run: Run) -> None:
    batch = f'[{CODING}, {OUTSIDE}, {{"call": {{"model": "small", "provider": "main"}}}}]'
    ran = run("decide", "policy.yaml", "-", stdin=batch)
    assert ran.code == 3
    assert ran.err == ""
    lines = [re.split(" {2,}", line) for line in ran.out.splitlines()]
    assert lines[0] == ["task", "asked for", "outcome", "target", "rule"]
    assert lines[1] == ["0", "-", "selected", "large (large-model at main)", "pool"]
    assert lines[2] == ["1", "gpt-9 (task)", "refused", "-", "task"]
    assert lines[3][1].startswith("outside_pool: ")  # the note has no room beside the row
    assert lines[4] == ["", "small, large"]
    assert lines[5][1:3] == ["small at main (call)", "selected"]
    assert max(map(len, ran.out.splitlines())) <= 80


def test_decide_ends_with_0_where_all_are_selected_and_3_where_one_is_refused(run: Run) -> None:
    assert run("decide", "policy.yaml", "-", stdin=CODING).code == 0
    assert run("decide", "policy.yaml", "-", stdin=OUTSIDE).code == 3
    assert run("decide", "policy.yaml", "-", stdin=f"[{CODING}, {OUTSIDE}]").code == 3


def test_decide_ends_with_1_where_the_policy_has_errors(run: Run) -> None:
    ran = run("decide", "wrong.yaml", "-", stdin=CODING)
    assert (ran.code, ran.out) == (1, "")
    assert "error[PR301]" in ran.err
    assert ran.err.endswith("policy-router: the policy has errors and cannot be used\n")


def test_decide_in_json_gives_the_library_s_bytes(run: Run, tmp_path: Path) -> None:
    requests: list[dict[str, Any]] = [
        {"task": {"kind": "coding", "labels": ["é", "中", "\U0001f600"]}},
        {"task": {"model": "gpt-9"}},
        {},
    ]
    write(tmp_path, batch_json=json.dumps(requests))
    ran = run("decide", "policy.yaml", "batch.json", *AT, "--format", "json")
    policy = load("policy.yaml")
    expected = [decide(policy, request, now=NOW).to_json().decode() for request in requests]
    assert ran.out == "".join(f"{line}\n" for line in expected)
    assert ran.code == 3


def test_decide_takes_yaml(run: Run, tmp_path: Path) -> None:
    write(tmp_path, one_yaml="task: {kind: coding}\n", more_yml="- task: {model: gpt-9}\n- {}\n")
    assert "large" in run("decide", "policy.yaml", "one.yaml").out
    assert run("decide", "policy.yaml", "more.yml").code == 3
    assert "large" in run("decide", "policy.yaml", "-", stdin="task: {kind: coding}\n").out


def test_decide_takes_one_json_object_a_line(run: Run) -> None:
    ran = run("decide", "policy.yaml", "-", "-q", stdin=f"{CODING}\n\n{OUTSIDE}\n")
    assert ran == Ran(3, "large (large-model at main)\n-\n", "")


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c"])
def test_records_of_odd_line_ends_can_be_read_back(run: Run, odd: str) -> None:
    requests = json.dumps([{"task": {"labels": [f"a{odd}b"]}}, {}])
    records = run("decide", "policy.yaml", "-", "--format", "json", stdin=requests).out
    ran = run("explain", "policy.yaml", "-", stdin=records)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.count("step by step") == 2


def test_a_line_that_is_no_json_is_told_by_its_number(run: Run) -> None:
    says_no(run("decide", "policy.yaml", "-", stdin="{}\n\n{x}\n"), "line 3")


def test_decide_takes_a_byte_order_mark(run: Run) -> None:
    assert run("decide", "policy.yaml", "-", stdin=b"\xef\xbb\xbf" + CODING.encode()).code == 0


def test_an_empty_batch_decides_nothing(run: Run) -> None:
    assert run("decide", "policy.yaml", "-", "--format", "json", stdin="[]") == Ran(0, "", "")
    assert run("decide", "policy.yaml", "-", "-q", stdin="[]") == Ran(0, "", "")
    assert run("explain", "policy.yaml", "-", stdin="[]") == Ran(0, "", "")


def test_now_is_the_time_of_every_decision_of_a_batch(run: Run) -> None:
    ran = run("decide", "policy.yaml", "-", "--format", "json", stdin=f"[{CODING}, {{}}]")
    times = {json.loads(line)["now"] for line in ran.out.splitlines()}
    assert len(times) == 1
    words = ("--now", "2026-01-31T10:00:00.5+01:00", "--format", "json")
    ran = run("decide", "policy.yaml", "-", *words, stdin="{}")
    assert json.loads(ran.out)["now"] == "2026-01-31T09:00:00.5Z"


@pytest.mark.parametrize("batch", ["{}", "[{}]"])
@pytest.mark.parametrize(
    "time", ["yesterday", "2026-01-31", "2026-01-31T09:00:00", "2026-02-30T00:00:00Z"]
)
def test_a_bad_time_is_a_usage_error(run: Run, batch: str, time: str) -> None:
    for command in ("decide", "explain", "menu"):
        ran = run(command, "policy.yaml", "-", "--now", time, stdin=batch)
        says_no(ran)
        assert ran.err.startswith("policy-router: now: ")


@pytest.mark.parametrize("layout", ["[{}, {}, %s]", "{}\n{}\n%s\n"])
@pytest.mark.parametrize(
    ("bad", "place"),
    [
        ('{"task": {"kind": 3}}', "$[2].task.kind: expected a string, found an int"),
        ('{"tsk": {}}', "$[2].tsk: unknown key `tsk`; did you mean `task`?"),
        ('{"facts": {"region": "eu"}}', "$[2].facts.region: the policy declares no fact"),
        ('{"task": {"labels": ["x", 1]}}', "$[2].task.labels[1]: expected a string, found an int"),
        ("3", "$[2]: expected a mapping, found an int"),
    ],
)
def test_a_bad_request_in_a_batch_tells_its_index(
    run: Run, layout: str, bad: str, place: str
) -> None:
    for words in (("decide",), ("decide", "--format", "json"), ("explain",)):
        if layout.startswith("{}") and bad == "3":
            continue
        command, *options = words
        says_no(run(command, "policy.yaml", "-", *options, stdin=layout % bad), place)


def test_a_request_that_cannot_be_read_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    says_no(run("decide", "policy.yaml", "nowhere.json"), "nowhere.json", "no such file")
    says_no(run("decide", "policy.yaml", "folder"), "folder", "is a directory")


def test_decide_verbose_explains_each_decision(run: Run) -> None:
    ran = run("decide", "policy.yaml", "-", "-v", stdin=f"[{CODING}, {OUTSIDE}]")
    assert ran.out.count("step by step") == 2
    assert "allow is" not in ran.out
    assert "allow is" in run("decide", "policy.yaml", "-", "-vv", stdin=CODING).out


# explain


def test_explain_says_the_same_of_a_request_and_of_its_record(run: Run, tmp_path: Path) -> None:
    write(tmp_path, request_json=CODING)
    record = run("decide", "policy.yaml", "request.json", *AT, "--format", "json").out
    write(tmp_path, record_json=record)
    of_request = run("explain", "policy.yaml", "request.json", *AT)
    assert of_request.code == 0
    assert of_request.out.startswith("selected  large (large-model at main)\n")
    assert run("explain", "policy.yaml", "record.json") == of_request
    assert run("explain", "policy.yaml", "-", stdin=record) == of_request


def test_explain_a_refusal_is_no_failure(run: Run) -> None:
    ran = run("explain", "policy.yaml", "-", stdin=OUTSIDE)
    assert ran.code == 0
    assert ran.out.startswith("refused  outside_pool")


def test_explain_numbers_the_tasks_of_a_batch(run: Run) -> None:
    ran = run("explain", "policy.yaml", "-", stdin=f"[{CODING}, {OUTSIDE}]")
    assert ran.out.startswith("task 0: selected")
    assert "\n\ntask 1: refused" in ran.out
    one = run("explain", "policy.yaml", "-", "--task", "1", stdin=f"[{CODING}, {OUTSIDE}]")
    assert one.out.startswith("task 1: refused")
    says_no(run("explain", "policy.yaml", "-", "--task", "2", stdin="[{}]"), "there is no task 2")
    says_no(run("explain", "policy.yaml", "-", "--task", "-1", stdin="[{}]"), "there is no task -1")


def test_explain_takes_a_batch_of_records(run: Run) -> None:
    records = run("decide", "policy.yaml", "-", "--format", "json", stdin=f"[{CODING}, {OUTSIDE}]")
    ran = run("explain", "policy.yaml", "-", stdin=records.out)
    assert [line for line in ran.out.splitlines() if line.startswith("task")] == [
        "task 0: selected  large (large-model at main)",
        "task 1: refused  outside_pool: the task asks for a model outside the pool",
    ]


def test_explain_shows_the_condition_that_stood_in_the_way(run: Run) -> None:
    request = '{"task": {"model": "large"}, "parent": {"depth": 2}}'
    ran = run("explain", "policy.yaml", "-", "--why-not", "large", stdin=request)
    assert "why not `large`" in ran.out
    assert "allow is false   policy.yaml:11:12" in ran.out
    assert "parent.depth < 2   false   parent.depth = 2" in ran.out


def test_explain_suggests_a_name_for_one_that_is_no_entry(run: Run) -> None:
    ran = run("explain", "policy.yaml", "-", "--why-not", "lrge", stdin=CODING)
    assert "`lrge` is not an entry of the pool\n  did you mean `large`?" in ran.out


def test_asking_why_not_nothing_is_no_entry_either(run: Run) -> None:
    ran = run("explain", "policy.yaml", "-", "--why-not", "", stdin=CODING)
    assert "small-model at main" not in ran.out


def test_explain_verbose_gives_the_account_of_every_entry(run: Run) -> None:
    ran = run("explain", "policy.yaml", "-", "-v", stdin=CODING)
    assert "small   policy.yaml:6:5" in ran.out
    assert "allow is true" in ran.out


def test_a_record_of_another_revision_is_an_error_not_a_guess(run: Run, tmp_path: Path) -> None:
    record = run("decide", "policy.yaml", "-", "--format", "json", stdin=CODING).out
    write(tmp_path, other_yaml=STRICT.replace("depth < 2", "depth < 3"))
    says_no(run("explain", "other.yaml", "-", stdin=record), "the record is of the policy `small`")


def edited(record: str, path: str, value: Any) -> str:
    """Return a record with one value replaced, or taken away where the new one is None."""
    decoded = json.loads(record)
    *parents, last = path.split(".")
    place = decoded
    for part in parents:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return json.dumps(decoded)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", "policy-router/record/v2"),
        ("policy", None),
        ("steps", []),
        ("steps", [{"rule": "call", "level": "call", "result": "no_proposal"}] * 6),
        ("now", "yesterday"),
        ("request", {"tsk": {}}),
        ("request", {"facts": {"region": "eu"}}),
        ("request", {"task": {"kind": 3}}),
        ("decision.outcome", "perhaps"),
        ("decision.target", None),
        ("decision.level", "other"),
    ],
)
def test_a_record_that_was_tampered_with_is_an_error(run: Run, path: str, value: Any) -> None:
    record = run("decide", "policy.yaml", "-", "--format", "json", stdin=CODING).out
    says_no(run("explain", "policy.yaml", "-", stdin=edited(record, path, value)))


def test_a_record_is_no_request(run: Run) -> None:
    record = run("decide", "policy.yaml", "-", "--format", "json", stdin=CODING).out
    says_no(run("decide", "policy.yaml", "-", stdin=record))


# menu


def test_menu_lists_what_may_be_asked_for(run: Run) -> None:
    assert run("menu", "policy.yaml") == Ran(
        0,
        "name   model        provider  $ in  $ out  strengths\n"
        "small  small-model  main      -     -      quick tasks, writing\n"
        "large  large-model  main      3     15     coding, analysis\n"
        "prices: US dollars per million tokens\n",
        "",
    )


def test_menu_for_a_request_lists_what_that_request_may_ask_for(run: Run) -> None:
    ran = run("menu", "policy.yaml", "-", "-q", stdin='{"parent": {"depth": 2}}')
    assert [line.split()[0] for line in ran.out.splitlines()] == ["name", "small"]


def test_menu_in_json(run: Run) -> None:
    found = json.loads(run("menu", "policy.yaml", "--format", "json").out)
    assert found["restricted"] is True
    assert found["entries"][1] == {
        "name": "large",
        "model": "large-model",
        "provider": "main",
        "strengths": ["coding", "analysis"],
        "price": {"input": 3.0, "output": 15.0},
    }


def test_menu_without_a_pool(run: Run, tmp_path: Path) -> None:
    write(tmp_path, free_yaml="version: 1\nname: free\nmodel: m\nprovider: zai\n")
    assert run("menu", "free.yaml").out == "there is no pool: any model may be asked for\n"
    found = json.loads(run("menu", "free.yaml", "--format", "json").out)
    assert found == {"restricted": False, "entries": None}


def test_menu_of_an_empty_pool(run: Run) -> None:
    assert run("menu", "warns.yaml").out == "nothing may be asked for\n"
    found = json.loads(run("menu", "warns.yaml", "--format", "json").out)
    assert found == {"restricted": True, "entries": []}


def test_menu_takes_one_request(run: Run) -> None:
    says_no(run("menu", "policy.yaml", "-", stdin="[{}, {}]"), "one request, not a batch")


def test_menu_of_one_name_at_two_providers_lists_the_one_that_may_be_used(
    run: Run, tmp_path: Path
) -> None:
    near, far = "{model: m, provider: near, allow: parent.depth < 1}", "{model: m, provider: far}"
    write(tmp_path, two_yaml=f"version: 1\nname: two\npool:\n  - {near}\n  - {far}\n")
    words = ("two.yaml", "-", "--format", "json")
    for depth, providers in ((1, ["far"]), (0, ["near", "far"])):
        found = json.loads(run("menu", *words, stdin=f'{{"parent": {{"depth": {depth}}}}}').out)
        assert [entry["provider"] for entry in found["entries"]] == providers


# explain CODE


def test_explain_prints_the_page_of_a_code(run: Run) -> None:
    ran = run("explain", "pr306")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("# PR306: ")
    assert "](" not in ran.out
    assert "   = path: $.precedence[0].when\n" in ran.out


@each("code", [code.value for code in Code])
def test_the_page_of_each_code_is_shown_in_eighty_columns(code: str) -> None:
    page = page_of(code)
    assert page is not None
    fenced = re.split(r"^```.*$", page, flags=re.MULTILINE)
    for part in fenced[::2]:
        for line in part.splitlines():
            assert len(line) <= 80 or line.startswith("|") or " " not in line[80:]


def test_a_code_that_is_none_gets_a_suggestion(run: Run) -> None:
    ran = run("explain", "PR331")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("policy-router: there is no code PR331; did you mean `PR3")
    for words in ("PR999", "pr-999", "PR9", "PR9990"):
        code = words.upper().replace("-", "")
        assert run("explain", words).err == f"policy-router: there is no code {code}\n"


def test_explain_wants_a_request_where_it_has_no_code(run: Run) -> None:
    assert run("explain", "policy.yaml").err == (
        "policy-router: expected a request or a record, or in place of the policy a code such as"
        " PR306\n"
    )


# schema, init


@pytest.mark.parametrize("name", ["policy", "policy-test", "request", "record", "log"])
def test_schema_prints_the_published_file(run: Run, name: str) -> None:
    ran = run("schema", name)
    assert ran == Ran(0, (ROOT / "schemas" / f"{name}.schema.json").read_text("utf-8"), "")
    schema = json.loads(ran.out)
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    Draft7Validator.check_schema(schema)


def test_init_writes_a_policy_that_checks_clean(run: Run, tmp_path: Path) -> None:
    ran = run("init", "new/rules")
    assert (ran.code, ran.err) == (0, "")
    assert "next: edit it, then policy-router check new/rules/policy.yaml" in ran.out
    assert {file.name for file in (tmp_path / "new/rules").iterdir()} == {
        "policy.yaml",
        "policy_test.yaml",
        "policy.schema.json",
    }
    first = (tmp_path / "new/rules/policy.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=./policy.schema.json"
    assert run("check", "new/rules", "--strict").code == 0
    assert run("check", "new/rules/policy.yaml", "--strict").code == 0
    assert run("decide", "new/rules", "-", stdin=CODING).code == 0
    assert run("test", "new/rules").out == "new/rules/policy_test.yaml: 12 passed\n"


@pytest.mark.parametrize("name", ["canary", "by-team"])
def test_init_writes_an_example_with_its_tests(run: Run, name: str) -> None:
    ran = run("init", "new", "--example", name)
    assert (ran.code, ran.err) == (0, "")
    policy = ran.out.splitlines()[1].rpartition(" ")[2]
    assert run("check", policy, "--strict").code == 0
    assert run("test", "new", "--threshold", "100").code == 0
    assert run("decide", policy, f"new/{name}.requests.json", "--now", NOW).code in {0, 3}


def test_init_knows_its_examples(run: Run) -> None:
    says_no(run("init", "--example", "canry"), "there is no example canry; did you mean `canary`?")
    says_no(run("init", "--example", "../starter"), "known: by-team, canary, ")


def test_init_writes_the_schema_that_schema_prints(run: Run, tmp_path: Path) -> None:
    run("init", "new", "-q")
    assert (tmp_path / "new/policy.schema.json").read_text("utf-8") == run("schema", "policy").out


@pytest.mark.parametrize("name", ["policy.yaml", "policy_test.yaml", "policy.schema.json"])
def test_init_never_overwrites(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / name).write_text("mine")
    says_no(run("init", "new"), f"new/{name}", "is there already")
    assert {file.name for file in (tmp_path / "new").iterdir()} == {name}
    assert (tmp_path / "new" / name).read_text() == "mine"


def test_init_does_not_follow_a_link_to_nowhere(run: Run, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new/policy.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    says_no(run("init", "new"), "policy.yaml")
    assert not (tmp_path / "elsewhere.yaml").exists()
    assert not (tmp_path / "new/policy.schema.json").exists()


def test_init_into_a_file_says_so(run: Run) -> None:
    says_no(run("init", "policy.yaml"), "policy.yaml")
    says_no(run("init", "policy.yaml/below"), "policy.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_init_into_a_folder_that_cannot_be_written_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    says_no(run("init", "closed"), "closed", "permission denied")


@pytest.mark.parametrize("size", [1000, 5000])
def test_init_on_a_full_disk_leaves_nothing_half_written(tmp_path: Path, size: int) -> None:
    script = ("-c", LIMITED.format(size=size))
    ran = in_process_of_its_own("init", "new", cwd=tmp_path, prefix=script, measured=False)
    says_no(ran, "new")
    assert list((tmp_path / "new").iterdir()) == []
    assert in_process_of_its_own("init", "new", cwd=tmp_path).code == 0


# options, streams and processes


def test_what_is_said_to_be_next_can_be_run(run: Run, tmp_path: Path) -> None:
    write(tmp_path, r_json=CODING)
    (tmp_path / "my rules.yaml").write_text(STRICT)
    for words in (("check", "my rules.yaml"), ("decide", "my rules.yaml", "r.json")):
        (line,) = [n for n in run(*words).out.splitlines() if "next: policy-router " in n]
        command = shlex.split(line.partition("next: policy-router ")[2])
        assert run(*command).code == 0
    assert "next:" not in run("decide", "policy.yaml", "-", stdin=CODING).out


def test_a_command_and_its_words_are_wanted(run: Run) -> None:
    for words in ((), ("frob",), ("check",), ("decide", "policy.yaml"), ("schema", "x")):
        ran = run(*words)
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith("usage: policy-router")
    ran = run("check", "policy.yaml", "--format", "xml")
    assert ran.code == 2
    assert "--format" in ran.err


def test_a_misspelt_command_gets_a_suggestion(run: Run) -> None:
    assert run("chekc", "policy.yaml").err.endswith("; did you mean `check`?\n")
    assert run("log", "stat", "log").err.endswith("; did you mean `stats`?\n")
    assert run("check", "policy.yaml", "--format", "jsn").err.endswith("; did you mean `json`?\n")
    assert run().err.endswith("; policy-router --help lists them\n")
    assert run("log").err.endswith("; policy-router log --help lists them\n")
    assert "did you mean" not in run("frobnicate").err


def test_the_hooks_for_pre_commit_are_well_formed() -> None:
    words = ("-m", "pre_commit", "validate-manifest", str(ROOT / ".pre-commit-hooks.yaml"))
    done = in_process_of_its_own(cwd=ROOT, prefix=words, measured=False)
    assert (done.code, done.out) == (0, "")


@pytest.mark.parametrize("command", ["check", "decide", "explain", "menu", "schema", "init"])
def test_every_command_has_help_with_the_exit_codes(run: Run, command: str) -> None:
    ran = run(command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"usage: policy-router {command}")
    codes = "exit codes: 0 success, 1 the policy has errors, a test fails, an assertion is violated"
    assert codes in " ".join(ran.out.split())


def test_help_names_every_command(run: Run) -> None:
    ran = run("--help")
    assert ran.code == 0
    for command in ("check", "decide", "explain", "menu", "schema", "init"):
        assert f"\n    {command} " in ran.out


def test_version(run: Run) -> None:
    ran = run("--version")
    assert ran.code == 0
    assert re.fullmatch(r"policy-router \d+\.\d+\.\d+\S*\n", ran.out)


def test_main_takes_the_words_of_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["policy-router", "schema", "record"])
    assert main() == 0
    assert json.loads(capsys.readouterr().out)


def test_the_module_is_an_entry_point(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml=STRICT)
    ran = in_process_of_its_own(
        *("decide", "policy.yaml", "-", *AT, "--format", "json"),
        cwd=tmp_path,
        stdin=CODING.encode(),
    )
    policy = load(tmp_path / "policy.yaml")
    record = decide(policy, Request.from_json(CODING), now=NOW)
    assert ran == Ran(0, record.to_json().decode() + "\n", "")
    assert in_process_of_its_own("frob", cwd=tmp_path).code == 2


def test_no_traceback_where_the_disk_is_full_of_output(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    write(tmp_path, policy_yaml=STRICT)
    for words in (("check", "policy.yaml"), ("schema", "policy")):
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(  # noqa: S603 - the words are the test's own
                [sys.executable, "-m", "policy_router.cli", *words],
                stdout=full,
                stderr=subprocess.PIPE,
                cwd=tmp_path,
                check=False,
                timeout=60,
            )
        assert done.returncode == 2
        assert b"no space left" in done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="this system has no shell")
def test_an_output_that_is_closed_is_an_error(tmp_path: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m policy_router.cli schema policy"
    for closing, said in ((">&-", b"standard output: it is closed"), ("2>&-", b"")):
        done = subprocess.run(  # noqa: S602 - the words are the test's own
            f"{command} {closing}",
            shell=True,
            cwd=tmp_path,
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, b"Traceback" in done.stderr) == (2 if said else 0, False)
        assert said in done.stderr


@pytest.mark.parametrize("words", [(), ("--format", "json"), ("-v",)])
def test_a_reader_that_goes_away_is_no_failure(tmp_path: Path, words: tuple[str, ...]) -> None:
    write(tmp_path, policy_yaml=STRICT, batch_json=f"[{', '.join([CODING] * 2000)}]")
    with subprocess.Popen(  # noqa: S603 - the words are the test's own
        [sys.executable, "-m", "policy_router.cli", "decide", "policy.yaml", "batch.json", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


def test_a_reader_that_goes_away_does_not_hide_what_was_found(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml="\n".join(f"k{number}: 1" for number in range(5000)))
    with subprocess.Popen(
        [sys.executable, "-m", "policy_router.cli", "check", "policy.yaml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 1


def on_a_terminal(folder: Path, *words: str, **environment: str) -> str:
    """Run a command with a terminal as its standard output, and return what it showed."""
    ours, theirs = pty.openpty()
    env = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "TERM"}}
    with subprocess.Popen(  # noqa: S603 - the words are the test's own
        [sys.executable, "-m", "policy_router.cli", *words],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env={**env, "TERM": "xterm", **environment},
    ):
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # the terminal is closed on the other side
                break
            if not shown:
                break
    os.close(ours)
    return shown.decode()


def test_colours_appear_on_a_terminal_alone(tmp_path: Path) -> None:
    write(tmp_path, wrong_yaml="version: 1\nmodle: m\n", policy_yaml=STRICT, r_json=CODING)
    assert "\x1b[31m" in on_a_terminal(tmp_path, "check", "wrong.yaml")
    assert "\x1b[32m" in on_a_terminal(tmp_path, "explain", "policy.yaml", "r.json")
    assert "\x1b" not in on_a_terminal(tmp_path, "check", "wrong.yaml", NO_COLOR="1")
    assert "\x1b" not in on_a_terminal(tmp_path, "check", "wrong.yaml", TERM="dumb")
    assert "\x1b" not in on_a_terminal(tmp_path, "check", "wrong.yaml", "--format", "json")


WIDE = STRICT.replace("coding, analysis", "中文, naïve, \U0001f600").replace("name: small\n", "")
ASCII = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}


def test_a_locale_without_these_characters_still_prints(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml=WIDE, wrong_yaml="version: 1\nnäme: 中\n")
    ran = in_process_of_its_own("menu", "policy.yaml", cwd=tmp_path, environment=ASCII)
    assert ran.code == 0
    assert "\\u4e2d\\u6587, na\\xefve, \\U0001f600" in ran.out
    ran = in_process_of_its_own("check", "wrong.yaml", cwd=tmp_path, environment=ASCII)
    assert ran.code == 1
    assert "n\\xe4me" in ran.out
    assert ran.err == ""


@pytest.mark.parametrize("words", [("menu", "policy.yaml"), ("check", "wrong.yaml")])
def test_json_is_json_in_any_locale(tmp_path: Path, words: tuple[str, ...]) -> None:
    write(tmp_path, policy_yaml=WIDE, wrong_yaml="version: 1\nnäme: 中\n")
    ran = in_process_of_its_own(*words, "--format", "json", cwd=tmp_path, environment=ASCII)
    text = json.dumps(json.loads(ran.out), ensure_ascii=False)
    assert "naïve" in text or "näme" in text


def test_records_are_utf_8_in_any_locale(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml=STRICT)
    request = json.dumps({"task": {"labels": ["naïve", "中"]}}, ensure_ascii=False).encode()
    words = ("decide", "policy.yaml", "-", "--format", "json")
    ran = in_process_of_its_own(*words, cwd=tmp_path, stdin=request, environment=ASCII)
    assert json.loads(ran.out)["request"]["task"]["labels"] == ["naïve", "中"]


def test_wide_characters_keep_the_columns_of_a_table(run: Run, tmp_path: Path) -> None:
    pool = "pool:\n  - {model: 中文, strengths: a}\n  - {model: abcd, strengths: b}\n"
    write(tmp_path, wide_yaml=f"version: 1\nname: w\nprovider: p\n{pool}")
    lines = run("menu", "wide.yaml").out.splitlines()
    assert lines[1] == "中文  中文   p         -     -      a"
    assert lines[2] == "abcd  abcd   p         -     -      b"


def test_what_a_terminal_would_act_on_is_not_printed(run: Run) -> None:
    request = json.dumps({"task": {"model": "\x1b[31mred\x07"}})
    for words in (("decide",), ("decide", "-v"), ("explain",), ("explain", "--why-not", "\x1b[0m")):
        command, *options = words
        ran = run(command, "policy.yaml", "-", *options, stdin=request)
        assert "\x1b" not in ran.out + ran.err
        assert "\x07" not in ran.out + ran.err
    says_no(run("decide", "policy.yaml", "-", stdin='{"\\u001b[31m": {}}'))
    assert "\x1b" not in run("check", "\x1b[31m.yaml").err


# severities and this machine

A_HINT = """\
version: 1
name: hints
model: m
provider: main
providers: {main: {base_url: "https://llm.example.com/v1", api_key: env:A_KEY_OF_THE_TESTS}}
pool:
  - {model: m, allow: 'now < timestamp("2026-06-30T00:00:00Z")'}
"""


def test_hints_are_shown_and_count_with_pedantic_alone(run: Run, tmp_path: Path) -> None:
    write(tmp_path, hints_yaml=A_HINT)
    late = ("check", "hints.yaml", "--now", "2026-07-01T00:00:00Z")
    plain = run(*late)
    assert "hint[PR317]" in plain.out
    assert plain.out.endswith("0 errors, 0 warnings, 1 hint\n")
    codes = [run(*late, *more).code for more in ((), ("--strict",), ("--pedantic",))]
    assert codes == [0, 0, 1]
    assert json.loads(run(*late, "--format", "json").out)["hints"] == 1


def test_what_is_past_goes_by_the_time_that_is_given(run: Run, tmp_path: Path) -> None:
    write(tmp_path, hints_yaml=A_HINT)
    early = run("check", "hints.yaml", "--now", "2026-06-29T00:00:00Z", "--pedantic")
    assert (early.code, "hint[" in early.out) == (0, False)


def test_a_policy_that_is_loaded_has_no_hints(tmp_path: Path) -> None:
    write(tmp_path, kind_yaml=A_HINT.partition("pool:")[0] + ASSERTED)
    policy, found = check(tmp_path / "kind.yaml")
    assert policy is not None
    assert (found.hints, policy.warnings.hints, list(policy.warnings)) == (1, 0, [])


ASSERTED = "pool: [{model: m}, {model: n, allow: 'task.kind == \"coding\"'}]\n"


def test_check_env_looks_for_keys_and_prints_none(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, hints_yaml=A_HINT)
    words = ("check", "hints.yaml", "--env", "--now", "2026-01-01T00:00:00Z")
    monkeypatch.delenv("A_KEY_OF_THE_TESTS", raising=False)
    missing = run(*words)
    assert "the key is missing: env:A_KEY_OF_THE_TESTS is not set" in missing.out
    assert (missing.code, run(*words, "--strict").code) == (0, 1)
    monkeypatch.setenv("A_KEY_OF_THE_TESTS", "hunter2hunter2")
    there = run(*words, "--strict", "--format", "json")
    (target,) = json.loads(there.out)["targets"]
    assert (target["key"], target["problem"], there.code) == ("there", None, 0)
    assert target["address"] == "https://llm.example.com/v1"
    assert "hunter2" not in there.out + run(*words).out


def test_check_env_says_what_is_not_known(run: Run, tmp_path: Path) -> None:
    text = "pool: [{model: a}, {model: b, provider: nowhere}, {model: c, provider: ollama}]\n"
    write(tmp_path, some_yaml=text)
    found = json.loads(run("check", "some.yaml", "--env", "--format", "json").out)["targets"]
    rows = [(it["provider"], it["key"], it["address"], bool(it["problem"])) for it in found]
    assert rows == [
        ("", "unknown", None, False),
        ("nowhere", "unknown", None, True),
        ("ollama", "none", "http://localhost:11434/v1", False),
    ]
    table = run("check", "some.yaml", "--env").out
    assert "(parent's)" in table
