"""`eval`, `show` and `diff`: what a rule author asks of a policy."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from policy_router import loads
from policy_router.cli.show import shown_form
from policy_router.policy.yaml import block, read_value
from tests.support.commands import NOW, ROOT, STRICT, Run

RULES = """\
version: 1
name: acme
model: small
provider: main
providers:
  main: {base_url: "https://llm.example.com/v1", api_key: env:KEY, headers: {x-team: hunter2}}
facts: {region: {type: string, default: eu}, risk: {type: int}}
tables: {cap: {research: 5.0, ops: 1.0}}
variables:
  european: facts.region == "eu"
  risky: has(facts.risk) && facts.risk > 3
pool:
  - {model: small}
  - {name: large, model: big, allow: caller.team == "research" || "lead" in caller.roles}
  - {name: home, model: open, allow: '!("pii" in task.labels) || task.kind in ["coding", "math"]'}
"""


@pytest.fixture(autouse=True)
def acme(tmp_path: Path, run: Run) -> Path:
    """Stand beside a policy."""
    assert run("--version").code == 0
    file = tmp_path / "acme.yaml"
    file.write_text(RULES)
    return file


# eval


def test_a_condition_is_shown_with_the_values_under_it(run: Run) -> None:
    request = '{"task": {"kind": "coding"}, "parent": {"depth": 3}}'
    ran = run("eval", 'task.kind == "coding" && parent.depth < 2', "-", stdin=request)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "the expression is false   expression:1:1\n"
        '  task.kind == "coding" && parent.depth < 2   false\n'
        '    task.kind == "coding"                     true   task.kind = "coding"\n'
        "    parent.depth < 2                          false   parent.depth = 3\n"
    )


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (("size(task.labels) + 1",), "1"),
        (("now", "--now", NOW), NOW),
        (("1 / 0 == 1",), "cannot be evaluated"),
        (("variables.european && !variables.risky", "--policy", "acme.yaml"), "true"),
        (('tables.cap["ops"]', "--policy", "acme.yaml"), "1.0"),
        (("target.model", "--policy", "acme.yaml", "--target", "large"), '"big"'),
    ],
)
def test_the_value_alone(run: Run, words: tuple[str, ...], value: str) -> None:
    ran = run("-q", "eval", *words)
    assert (ran.code, ran.out, ran.err) == (0, f"{value}\n", "")


def test_a_value_as_json(run: Run) -> None:
    words = ("variables.risky", "--policy", "acme.yaml", "--format", "json")
    found = json.loads(run("eval", *words).out)
    assert (found["value"], found["variables"][0]["title"]) == ("false", "variables.risky")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("tsk.kind",), 1, "expression:1:1: error[PR301]: unknown name `tsk`"),
        (("facts.region == 'eu'",), 1, "policy-router: `facts` is given by --policy"),
        (("facts.risk > 1", "--policy", "acme.yaml"), 1, "error[PR306]"),
        (("target.model",), 1, "policy-router: `target` is given by --target"),
        (("true", "--policy", "acme.yaml", "--target", "lrge"), 2, "did you mean `large`?"),
        (("true", "batch.json"), 2, "eval takes one request, not a batch"),
        (("true", "--policy", "wrong.yaml"), 1, "error[PR301]"),
    ],
)
def test_what_cannot_be_evaluated_says_why(
    run: Run, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    (tmp_path / "batch.json").write_text("[{}, {}]")
    ran = run("eval", *words)
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err


# show


def test_a_policy_is_shown_as_it_decides(run: Run, acme: Path) -> None:
    ran = run("show", "acme.yaml")
    assert ran.code == 0
    lines = ran.out.splitlines()
    policy = loads(RULES, name="acme.yaml")
    assert lines[:3] == ["# policy acme", f"# revision {policy.revision}", "# read acme.yaml"]
    assert "hunter2" not in ran.out
    acme.write_text(ran.out.replace("***", "hunter2"))
    shown = run("-q", "show", "acme.yaml").out
    assert shown == run("-q", "show", "acme.yaml").out
    assert f"# revision {policy.revision}\n" in run("show", "acme.yaml").out
    assert not shown.startswith("#")


def test_all_files_and_warnings_of_a_policy_are_shown(run: Run) -> None:
    folder = ROOT / "rules" / "examples" / "by-team"
    lines = run("show", str(folder)).out.splitlines()
    assert f"# read {folder / 'teams' / 'web.yaml'}" in lines
    found = json.loads(run("show", "warns.yaml", "--format", "json").out)
    assert (found["name"], found["files"], found["policy"]["pool"]) == ("warns", ["warns.yaml"], [])
    assert [item["code"] for item in found["diagnostics"]] == ["PR410"]
    assert "# warns.yaml:5:7: warning[PR410]" in run("show", "warns.yaml").out
    assert run("show", "warns.yaml", "--strict").code == 1
    assert run("show", "wrong.yaml").code == 1


def test_no_secret_is_shown_though_an_address_holds_one(run: Run, acme: Path) -> None:
    address = "https://llm.example.com/v1?api_key=sk-hunter2hunter2hunter2hunter2"
    acme.write_text(RULES.replace("https://llm.example.com/v1", address))
    for words in (("show", "acme.yaml"), ("diff", "policy.yaml", "acme.yaml")):
        ran = run(*words)
        assert "hunter2" not in ran.out + ran.err


def test_who_may_use_what(run: Run) -> None:
    ran = run("show", "acme.yaml", "--matrix")
    assert ran.code == 0
    assert ran.out.splitlines() == [
        "the request    small, home",
        "team research  small, large, home",
        "role lead      small, large, home",
        "kind coding    small, home",
        "kind math      small, home",
        "label pii      small",
    ]
    request = '{"task": {"labels": ["pii"]}}'
    found = json.loads(
        run("show", "acme.yaml", "-", "--matrix", "--format", "json", stdin=request).out
    )
    assert found["matrix"][0] == {"value": "the request", "permitted": ["small"]}
    assert found["matrix"][3] == {"value": "kind coding", "permitted": ["small", "home"]}


def test_who_may_use_what_where_sets_are_closed_or_requests_are_not_enough(
    run: Run, acme: Path
) -> None:
    closed = "teams: [a, b]\nrequire: [caller.team]\n"
    acme.write_text(RULES.replace('"research"', '"a"') + closed)
    assert run("show", "acme.yaml", "--matrix").out.splitlines() == [
        "team a  small, large, home",
        "team b  small, home",
    ]
    acme.write_text(RULES + "require: [caller.id]\n")
    ran = run("show", "acme.yaml", "--matrix")
    assert (ran.code, "$.caller.id" in ran.err) == (2, True)
    acme.write_text("version: 1\nmodel: m\nprovider: p\n")
    assert run("show", "acme.yaml", "--matrix").out == "the request  any model\n"
    acme.write_text("version: 1\nmodel: m\nprovider: p\npool: []\n")
    assert run("show", "acme.yaml", "--matrix").out == "the request  nothing\n"


def test_show_wants_one_request_and_only_for_the_matrix(run: Run, tmp_path: Path) -> None:
    (tmp_path / "batch.json").write_text("[{}, {}]")
    assert run("show", "acme.yaml", "batch.json").err == (
        "policy-router: a request is for --matrix\n"
    )
    assert run("show", "acme.yaml", "batch.json", "--matrix").code == 2


@pytest.mark.parametrize("name", ["forty-models", "three-teams", "canary-ramp", "data-residency"])
def test_what_is_shown_is_the_same_policy(name: str) -> None:
    policy = loads((ROOT / "rules" / "examples" / f"{name}.yaml").read_text(), name=f"{name}.yaml")
    text = "\n".join(block(shown_form(policy)))
    value, problems = read_value("shown", text)
    assert problems == ()
    assert value == shown_form(policy)
    assert loads(text, name=f"{name}.yaml").revision == policy.revision


def test_any_value_is_written_so_that_it_reads_back() -> None:
    value = {
        "words": [
            "no",
            "yes",
            "1e3",
            "010",
            "null",
            "~",
            "",
            "a: b",
            "x#y",
            "it's",
            '"',
            "\x07",
            "é",
        ],
        "numbers": [1, -0.5, 1e300, True, None],
        "nested": [
            {"a": ["x" * 50, {"b": "y" * 50}], "empty": {}, "none": []},
            ["z" * 90],
            "w" * 90,
        ],
        "999999999999999999999999": "999999999999999999999999",
    }
    assert read_value("written", "\n".join(block(value))) == (value, ())


# diff


def test_policies_differ_in_words(run: Run, tmp_path: Path) -> None:
    new = (
        RULES.replace('"research" ||', '"ops" ||')
        .replace("name: home", "name: house")
        .replace("facts.risk > 3", "facts.risk > 4")
        .replace("hunter2", "hunter3")
        .replace("model: small\nprovider", "model: big\nparameters: {top_p: 0.5}\nprovider")
        + "precedence: task-first\nkinds: [coding, math]\n"
        + "forbid: [{id: deep, when: parent.depth > 3}]\n"
    )
    (tmp_path / "new.yaml").write_text(new)
    ran = run("-q", "diff", "acme.yaml", "new.yaml")
    assert ran.code == 0
    lines, words = ran.out.splitlines(), " ".join(ran.out.split())
    for line in (
        "changed  policy: model: small -> big",
        "added    parameter top_p",
        "changed  variable risky: 'has(facts.risk) && facts.risk > 3' -> 'has(facts.risk)",
        "removed  entry home",
        "added    entry house",
        "added    forbid rule deep",
        "moved    precedence rule task",
        "changed  precedence rule call: on_violation: next -> reject",
        "changed  provider main: headers: *** -> ***",
        "added    policy: kinds: [coding, math]",
    ):
        assert " ".join(line.replace("'", '"').split()) in words, line
    assert "hunter" not in ran.out
    assert max(map(len, lines)) <= 80


def test_the_same_policy_in_other_words(run: Run, tmp_path: Path) -> None:
    (tmp_path / "again.yaml").write_text(f"# the same\n{RULES}")
    assert run("diff", "acme.yaml", "again.yaml").out == "they are the same policy\n"


def test_differences_as_json(run: Run, tmp_path: Path) -> None:
    (tmp_path / "new.yaml").write_text(STRICT.replace("parent.depth < 2", "parent.depth < 3"))
    found = json.loads(run("diff", "policy.yaml", "new.yaml", "--format", "json").out)
    assert found["changes"] == [
        {
            "kind": "changed",
            "what": "entry large",
            "key": "allow",
            "before": '"parent.depth < 2"',
            "after": '"parent.depth < 3"',
        }
    ]
    assert found["before"] != found["after"]
    shown = run("diff", "policy.yaml", "new.yaml").out
    assert (
        "1 difference; what they come to:\n  policy-router compare policy.yaml new.yaml\n" in shown
    )


def test_names_that_come_twice_are_told_apart(run: Run, tmp_path: Path) -> None:
    two = "{model: m, provider: a}\n  - {model: m, provider: b}"
    rules = f"version: 1\nname: acme\nmodel: x\nprovider: a\npool:\n  - {two}\n"
    (tmp_path / "two.yaml").write_text(rules)
    (tmp_path / "one.yaml").write_text(rules.partition("\n  - {model: m, provider: b}")[0])
    assert run("-q", "diff", "two.yaml", "one.yaml").out == "removed  entry m (2)\n"
    assert run("-q", "diff", "one.yaml", "two.yaml").out == "added    entry m (2)\n"


# fmt


MESSY = "version:   1\nmodel: m\nprovider: p\npool:\n- model:  m  # the only one\n"
NEAT = "version: 1\nmodel: m\nprovider: p\npool:\n  - model: m  # the only one\n"


def test_fmt_changes_files_in_place_and_check_does_not(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "messy.yaml"
    file.write_text(MESSY)
    file.chmod(0o640)
    ran = run("fmt", "--check", "messy.yaml")
    assert (ran.code, ran.err) == (1, "")
    assert ran.out == "messy.yaml: would change\n1 of 1 file would change\n"
    assert file.read_text() == MESSY
    ran = run("fmt", "messy.yaml")
    assert (ran.code, ran.out, ran.err) == (0, "messy.yaml: changed\n1 of 1 file changed\n", "")
    assert (file.read_text(), file.stat().st_mode & 0o777) == (NEAT, 0o640)
    assert run("fmt", "--check", "messy.yaml").out == "0 of 1 file would change\n"
    assert run("fmt", "-q", "messy.yaml").out == ""
    assert [it.name for it in tmp_path.iterdir() if it.name.startswith(".")] == []


def test_fmt_takes_the_rules_and_the_tests_of_a_folder(tmp_path: Path, run: Run) -> None:
    rules = tmp_path / "rules"
    (rules / "sub").mkdir(parents=True)
    (rules / "a.yaml").write_text(MESSY)
    (rules / "sub" / "a_test.yaml").write_text("tests:\n- name:   x\n  expect: {entry:  m}\n")
    (rules / "notes.txt").write_text("a:   1")
    ran = run("fmt", "rules", "rules/a.yaml")
    assert ran.out.splitlines() == [
        "rules/a.yaml: changed",
        "rules/sub/a_test.yaml: changed",
        "2 of 2 files changed",
    ]
    (rules / "a.yaml").unlink()
    assert run("fmt", "rules").out == "0 of 1 file changed\n"  # only tests are fine too


def test_fmt_of_standard_input_is_standard_output(run: Run) -> None:
    assert run("fmt", "-", stdin=MESSY).out == NEAT
    assert run("fmt", "-", stdin="a: |\n  x").out == "a: |\n  x"
    ran = run("fmt", "--check", "-", stdin=MESSY)
    assert (ran.code, ran.out) == (1, "")
    assert run("fmt", "--check", "-", stdin=NEAT).code == 0


def test_fmt_reports_every_path(tmp_path: Path, run: Run) -> None:
    (tmp_path / "messy.yaml").write_text(MESSY)
    (tmp_path / "broken.yaml").write_text("a: [\n")
    (tmp_path / "empty").mkdir()
    ran = run("fmt", "none.yaml", "broken.yaml", "messy.yaml", "empty", "no-more.yaml")
    assert ran.code == 2
    assert "messy.yaml: changed" in ran.out
    assert "broken.yaml:1:5: error[PR103]" in ran.err
    assert "empty:1:1: error[PR114]" in ran.err
    assert "there is no file or folder none.yaml" in ran.err
    assert "there is no file or folder no-more.yaml" in ran.err
    assert run("fmt", "broken.yaml").code == 1
    assert (tmp_path / "broken.yaml").read_text() == "a: [\n"


def test_fmt_writes_the_file_behind_a_link(tmp_path: Path, run: Run) -> None:
    (tmp_path / "real.yaml").write_text(MESSY)
    (tmp_path / "link.yaml").symlink_to("real.yaml")
    assert run("fmt", "link.yaml").code == 0
    assert (tmp_path / "link.yaml").is_symlink()
    assert (tmp_path / "real.yaml").read_text() == NEAT


def test_fmt_leaves_a_file_that_cannot_be_written(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "messy.yaml"
    file.write_text(MESSY)
    (tmp_path / f".messy.yaml.{os.getpid()}.new").mkdir()  # where it would be written
    ran = run("fmt", "messy.yaml")
    assert (ran.code, file.read_text()) == (2, MESSY)
    assert "messy.yaml" in ran.err


def test_no_control_character_of_a_path_or_a_name_is_printed(run: Run, tmp_path: Path) -> None:
    folder, name = "a b\x1b[31m", "c\x1b[31m\n.yaml"
    started = run("init", folder)
    assert started.code == 0
    assert "policy-router test 'a b\ufffd[31m/policy.yaml'\n" in started.out
    (tmp_path / name).write_text("model: m\nprovider: zai\n")
    (tmp_path / "request.json").write_text("{}")
    for command in ("check", "show", "decide", "menu"):
        ran = run(command, name, *(["request.json"] if command == "decide" else []))
        assert ran.code == 0
        assert "\x1b" not in ran.out + ran.err + started.out
