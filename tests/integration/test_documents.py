"""What the documents show runs, and prints what they say it prints."""

from __future__ import annotations

import inspect
import io
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from contextlib import redirect_stdout
from enum import StrEnum
from pathlib import Path

import msgspec
import pytest
import yaml
from jsonschema import Draft7Validator
from msgspec import UnsetType

import policy_router
from policy_router import Delegator, Executor, Router, check, decide, load, log
from policy_router.calls import results
from policy_router.calls.child_task import EventKind
from policy_router.calls.failing import Failing
from policy_router.calls.results import Delegation, Ran, Status, TaskError
from policy_router.cli import main as command_line
from policy_router.decision.record import ReasonCode, Result
from policy_router.domain import Dialect
from policy_router.files.rule_files import is_suite
from policy_router.hosts import HostPlan, Leg, PolicyHost, Refused
from policy_router.policy.known_providers import KNOWN_PROVIDERS
from tests.support.commands import NOW, ROOT
from tests.support.provider import Provider
from tests.support.rows import each

README = ROOT / "README.md"
EXAMPLES = [it for it in sorted((ROOT / "rules" / "examples").glob("*.yaml")) if not is_suite(it)]
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """Return the code blocks of a language on a page."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def executed(code: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Execute the code of a page, and return what it prints."""
    exec(compile(code, "page", "exec"), {"__name__": "__main__"})  # noqa: S102 - our own page
    return capsys.readouterr().out


@pytest.fixture
def beside_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder that holds README's policy."""
    (tmp_path / "policy.yaml").write_text(blocks(README, "yaml")[0], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put `policy-router` on the path of the shell."""
    script = tmp_path / "bin" / "policy-router"
    script.parent.mkdir()
    python = shlex.quote(sys.executable)
    script.write_text(f'#!/bin/sh\nexec {python} -m policy_router.cli "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    return script


def in_the_shell(block: str, folder: Path) -> str:
    """Run those lines of a block that are about `policy-router`."""
    lines = [line for line in block.splitlines() if "policy-router " in line]
    done = subprocess.run(  # noqa: S603 - our own page
        ["/bin/sh", "-eu", "-c", "\n".join(lines)],
        capture_output=True,
        cwd=folder,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return done.stdout.decode()


def test_readme_s_rules_check_clean(beside_readme: Path) -> None:
    policy, found = check(beside_readme / "policy.yaml")
    assert policy is not None
    assert found.to_text() == ""


@pytest.mark.usefixtures("beside_readme")
def test_readme_s_python_prints_what_readme_says(capsys: pytest.CaptureFixture[str]) -> None:
    code, printed = blocks(README, "python"), blocks(README, "text")
    assert executed("\n".join(code), capsys) == "".join(printed)


@pytest.mark.usefixtures("shell")
def test_readme_s_commands_run(tmp_path: Path) -> None:
    (installing,) = (block for block in blocks(README, "sh") if "init" in block)
    shown = in_the_shell(installing, tmp_path)
    assert "no problems found" in shown
    assert "selected  large (large-model at main)" in shown


def test_readme_s_targets_are_the_makefile_s() -> None:
    wanted = re.findall(r"\bmake ([a-z]+)\b", "".join(blocks(README, "sh")))
    assert wanted
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in wanted:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_readme_s_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = [row[0].strip("`") for row in rows_of(README, "| extra | what it adds |")]
    assert sorted(named) == sorted(["none", *project["optional-dependencies"]])


@pytest.mark.parametrize("number", range(2))
def test_the_policies_of_the_language_page_check_clean(tmp_path: Path, number: int) -> None:
    text = blocks(ROOT / "docs" / "language.md", "yaml")[number]
    (tmp_path / "acme.yaml").write_text(text, encoding="utf-8")
    policy, found = check(tmp_path / "acme.yaml")
    assert policy is not None
    assert policy.name == "acme"
    assert found.to_text() == ""


def test_the_language_page_knows_every_code() -> None:
    text = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    assert [code for code in ReasonCode if f"`{code}`" not in text] == []


def test_the_language_page_knows_every_key_of_the_schema() -> None:
    text = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    schema = json.loads((ROOT / "schemas" / "policy.schema.json").read_bytes())
    native = schema if "properties" in schema else next(iter(schema["definitions"].values()))
    keys = set(native["properties"]) - {"$schema", "delegation", "reasoning_effort"}
    assert len(keys) > 8
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []


@pytest.mark.usefixtures("shell")
def test_the_testing_page_shows_what_is_printed(
    beside_readme: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ROOT / "docs" / "testing.md"
    (suite, *_), (code,) = blocks(page, "yaml"), blocks(page, "python")
    (beside_readme / "policy.yaml").rename(beside_readme / "acme.yaml")
    (beside_readme / "acme_test.yaml").write_text(suite, encoding="utf-8")
    for block in blocks(page, "console"):
        command, _, printed = block.removeprefix("$ ").partition("\n")
        assert in_the_shell(command, beside_readme) == printed
    assert executed(code, capsys) == ""


def test_the_command_line_page_shows_a_real_matrix(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    shown = [it for it in blocks(ROOT / "docs" / "command-line.md", "console") if "--matrix" in it]
    command, _, printed = shown[0].removeprefix("$ policy-router ").partition("\n")
    assert command_line(shlex.split(command)) == 0
    assert capsys.readouterr().out == printed


def test_the_page_about_proof_shows_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ROOT / "docs" / "proof.md"
    policy = blocks(page, "yaml")[0]
    (tmp_path / "policy.yaml").write_text(policy)
    (tmp_path / "new.yaml").write_text(policy.replace(' && caller.team != "hr"', ""))
    monkeypatch.chdir(tmp_path)
    shown = "".join(blocks(page, "console"))
    for command, output in re.findall(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", shown, re.MULTILINE):
        if command.startswith("policy-router "):
            command_line(shlex.split(command)[1:])
            assert capsys.readouterr().out == output
    assert executed(blocks(page, "python")[0], capsys) == (
        "never `pick` of entry `other` wins\n['violated', 'holds']\nTrue\n"
    )


def test_the_testing_page_knows_every_input_of_the_action_and_the_hooks() -> None:
    text = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
    assert re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)[-10:] == list(action["inputs"])
    recipes = [yaml.safe_load(it) for it in blocks(ROOT / "docs" / "testing.md", "yaml")]
    (github,) = [it for it in recipes if "jobs" in it]
    given = github["jobs"]["policies"]["steps"][-1]["with"]
    assert given.keys() <= action["inputs"].keys()
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    (own,) = [it for it in recipes if "repos" in it]
    assert [it["id"] for it in own["repos"][0]["hooks"]] == [it["id"] for it in hooks]


def test_the_testing_page_knows_every_key_of_a_suite() -> None:
    text = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    schema = json.loads((ROOT / "schemas" / "policy-test.schema.json").read_bytes())
    parts = [schema, *(schema["definitions"][name] for name in ("test", "expect"))]
    keys = [key for part in parts for key in part["properties"]]
    assert len(keys) > 20
    assert [key for key in keys if f"`{key}`" not in text] == []


@pytest.mark.usefixtures("beside_readme")
def test_the_library_page_s_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code, editors = blocks(ROOT / "docs" / "library.md", "python")
    assert executed(code, capsys) == "main large-model {}\n"
    (shown,) = [it for it in blocks(ROOT / "docs" / "library.md", "text") if "parent" in it]
    assert executed(editors, capsys) == shown


def test_the_library_page_knows_every_public_name() -> None:
    text = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
    assert [n for n in policy_router.__all__ if not re.search(rf"\b{n}\b", text)] == []
    for name in re.findall(r"^\| `(\w+)", text, re.MULTILINE):
        assert name in policy_router.__all__


def test_the_record_page_s_example_has_the_published_shape() -> None:
    (text,) = blocks(ROOT / "docs" / "record.md", "json")
    schema = json.loads((ROOT / "schemas" / "record.schema.json").read_bytes())
    example = json.loads(text)
    example["policy"]["revision"] = "sha256:" + "0" * 64
    Draft7Validator(schema).validate(example)


def test_the_record_page_knows_every_result() -> None:
    text = (ROOT / "docs" / "record.md").read_text(encoding="utf-8")
    assert [result for result in Result if f"`{result}`" not in text] == []


@pytest.mark.usefixtures("shell")
def test_the_record_page_s_commands_run(beside_readme: Path) -> None:
    record = decide(load("policy.yaml"), {"task": {"kind": "coding"}}, now=NOW)
    (beside_readme / "record.json").write_bytes(record.to_json())
    (block,) = blocks(ROOT / "docs" / "record.md", "sh")
    assert in_the_shell(block, beside_readme).count("selected  large") == 3


def test_contributing_names_modules_that_there_are() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    places = text[text.index("In `policy.yaml`") : text.index("Only `decision/evaluator.py`")]
    named = {name.rpartition(".")[2] for name in re.findall(r"`([a-z_.]+)`", places)}
    there = {it.stem for it in (ROOT / "policy_router").rglob("*") if it.suffix in {"", ".py"}}
    assert len(named) > 100
    assert sorted(named - there - {"py", "run_child"}) == []


FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def headings(page: Path) -> set[str]:
    """Return what links call the headings of a page, as GitHub makes them."""
    lines = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@each("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_resolves(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", FENCED.sub("", page.read_text("utf-8")))
    for link in links:
        file, _, heading = link.partition("#")
        if not re.match(r"[a-z]+:", link):
            target = page.parent / file if file else page
            assert target.exists(), link
            assert not heading or heading in headings(target), link


@each("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_named_folder_is_there(page: Path) -> None:
    named = re.findall(r"`((?:rules|schemas|docs|tests)/[\w./-]*)`", page.read_text("utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


# the page about the log
LOG = ROOT / "docs" / "log.md"


def test_the_log_page_s_lines_have_the_published_shape() -> None:
    (text,) = blocks(LOG, "json")
    shape = Draft7Validator(json.loads((ROOT / "schemas" / "log.schema.json").read_bytes()))
    lines = [json.loads(line) for line in text.split("\n\n")]
    assert [line["kind"] for line in lines] == ["decision", "execution"]
    for line in lines:
        shape.validate(line)


def test_the_log_page_s_python_runs(
    beside_readme: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, code = blocks(LOG, "python")
    signer = log.new_signer("auditor")
    (beside_readme / "auditor.key.pub").write_text(signer.verifier().encoded())
    with log.DecisionLog("decisions") as decisions:
        Router(load("policy.yaml"), log=decisions).decide({})
    log.make_checkpoint("decisions", signer, memory="auditor.key.state", first=True)
    words = executed(code, capsys).split()
    assert (words[:5], words[6], len(words)) == (["True", "whole", "()", "True", "0"], "close", 11)


def test_the_log_page_knows_what_logs_are_used_with() -> None:
    text = LOG.read_text(encoding="utf-8")
    results = {"DecisionLog", "Line", "LogEntry", "NotWholeError", "ReplayReport"}
    results |= {
        "Exported",
        "Finding",
        "FindingKind",
        "SignatureError",
        "Signer",
        "Verifier",
        "WhatIf",
    }
    assert [n for n in log.__all__ if n not in results and not re.search(rf"\b{n}\b", text)] == []


# the page about delegation

DELEGATION = ROOT / "docs" / "delegation.md"


def rows_of(page: Path, head: str) -> list[list[str]]:
    """Return the cells of the table that begins with a head."""
    text = page.read_text(encoding="utf-8")
    table = text[text.index(head) :].split("\n\n", 1)[0]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table.splitlines()[2:]]


def test_the_delegation_page_lists_the_providers_that_are_known() -> None:
    rows = rows_of(DELEGATION, "| provider | address | key |")
    assert len(rows) == len(KNOWN_PROVIDERS)
    for (name, provider), row in zip(KNOWN_PROVIDERS.items(), rows, strict=True):
        key = f"`{provider.api_key}`" if provider.api_key else "none"
        assert row[:3] == [f"`{name}`", f"`{provider.base_url}`", key]
        dialect = provider.dialect
        words = [dialect.api, dialect.max_tokens, *dialect.unsupported]
        assert [word for word in words if word and word not in row[3]] == []
        assert (row[3] == "usual") == (dialect == Dialect())


def test_the_delegation_page_s_example_has_every_field_of_a_result() -> None:
    text, _ = blocks(DELEGATION, "json")
    example = json.loads(text)
    made = msgspec.convert(example, Delegation, strict=True)
    assert json.loads(made.to_json()) == example


def test_the_delegation_page_s_example_for_a_model_is_what_it_is_told() -> None:
    _, text = blocks(DELEGATION, "json")
    first = results.Result(0, Status.COMPLETED, "…", effective=Ran("small-model", "main", "small"))
    error = TaskError("outside_pool", "…", 1, permitted=("small", "large"))
    second = results.Result(1, Status.REFUSED, error=error)
    made = Delegation(Status.PARTIAL, (first, second))
    assert json.loads(text) == json.loads(made.to_tool_answer())


@each("words", [Failing, Status, EventKind])
def test_the_delegation_page_knows_every_word(words: type[StrEnum]) -> None:
    text = DELEGATION.read_text(encoding="utf-8")
    assert [word for word in words if f"`{word}`" not in text] == []


@pytest.mark.parametrize("kind", [Delegator, Executor])
def test_the_delegation_page_knows_every_option(kind: type) -> None:
    rows = rows_of(DELEGATION, f"| `{kind.__name__}(policy, ...)`")
    known = {name for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    assert known == set(inspect.signature(kind).parameters) - {"policy"}


A_TOOL = """
MY_TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


def run_my_tools(calls):
    return [{"role": "tool", "tool_call_id": call.id, "content": "found"} for call in calls]
"""


@pytest.fixture
def beside_a_provider(peer: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Provider:
    """Stand in a folder with a policy whose provider answers."""
    rules = {
        "model": "small-model",
        "provider": "main",
        "unknown_cost_usd": 0.5,
        "providers": {"main": {"base_url": peer.url("near")}},
    }
    (tmp_path / "policy.yaml").write_text(json.dumps(rules), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return peer


@pytest.mark.usefixtures("beside_a_provider")
def test_the_delegation_page_s_delegation_runs(capsys: pytest.CaptureFixture[str]) -> None:
    made = json.loads(executed(blocks(DELEGATION, "python")[0], capsys))
    assert made["status"] == "completed"
    assert "Fix the test." in made["results"][1]["text"]


def test_the_delegation_page_s_budget_is_kept_in_its_file(
    beside_a_provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    code = blocks(DELEGATION, "python")[1]
    shown = json.loads(executed(f"{code}\nprint(made.to_json().decode())", capsys))
    reserved = [result["reserved_usd"] for result in shown["results"]]
    assert (shown["status"], reserved) == ("completed", [0.5])
    assert len(beside_a_provider.requests()) == 1


def test_the_delegation_page_s_child_calls_its_tools(
    beside_a_provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    code = blocks(DELEGATION, "python")[2]
    shown = executed(f"{A_TOOL}\n{code}\nprint(made.to_json().decode())", capsys)
    (result,) = json.loads(shown)["results"]
    assert (result["status"], result["served_model"]) == ("completed", "small-model")
    assert len(beside_a_provider.requests()) == 2


# the page about the layer for hosts

HOSTS = ROOT / "docs" / "hosts-layer.md"


def test_the_adapter_of_the_page_about_hosts_is_short_and_imports_nothing_else() -> None:
    code = blocks(HOSTS, "python")[0]
    assert len(code.splitlines()) < 100
    ours = [line for line in code.splitlines() if "policy_router" in line and "import" in line]
    assert ours == ["from policy_router.hosts import PolicyHost, Refused"]


def test_the_adapter_of_the_page_about_hosts_runs(
    beside_a_provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    code = blocks(HOSTS, "python")[0]
    made = json.loads(executed(f"{code}\nprint(json.dumps(made))", capsys))
    (result,) = made["results"]
    assert result["status"] == "completed"
    assert "You are a tester. Fix the test." in result["text"]
    (request,) = beside_a_provider.requests()
    assert request["model"] == "small-model"
    entries = [line.entry for line in log.LogReader("decisions").lines()]
    events = [it.execution.event for it in entries if not isinstance(it.execution, UnsetType)]
    assert events == ["started", "attempt", "finished"]


def test_an_adapter_shows_a_refusal_to_its_agent(
    beside_a_provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    code = blocks(HOSTS, "python")[0].replace('"kind": "coding"', '"kindd": "coding"')
    made = json.loads(executed(f"{code}\nprint(json.dumps(made))", capsys))
    assert made["status"] == "refused"
    assert made["error"]["code"] == "bad_request"
    assert beside_a_provider.requests() == []


def test_an_adapter_goes_to_the_next_target(
    beside_a_provider: Provider, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = json.loads((tmp_path / "policy.yaml").read_text(encoding="utf-8"))
    rules["pool"] = [{"model": "m0", "pick": "true", "fallback": ["m1"]}, {"model": "m1"}]
    (tmp_path / "policy.yaml").write_text(json.dumps(rules), encoding="utf-8")
    beside_a_provider.fail(429, "m0")
    code = blocks(HOSTS, "python")[0]
    made = json.loads(executed(f"{code}\nprint(json.dumps(made))", capsys))
    attempts = [(it["model"], it["failure"]) for it in made["results"][0]["attempts"]]
    assert attempts == [("m0", "rate_limited"), ("m1", None)]


@each("kind", [HostPlan, Leg, PolicyHost, Refused])
def test_the_page_about_hosts_knows_every_name(kind: type) -> None:
    text = HOSTS.read_text(encoding="utf-8")
    names = [name for name in vars(kind) if not name.startswith("_")]
    internal = {"target", "endpoint", "wire", "dialect", "slots", "flush", "flush_async"}
    internal |= {"pause", "attempts", "task", "policy", "record", "decision_id", "path", "reasons"}
    assert [it for it in names if it not in internal and not re.search(rf"\b{it}\b", text)] == []


# the command line's page


COMMANDS = ROOT / "docs" / "command-line.md"


def help_of(*words: str) -> str:
    with redirect_stdout(io.StringIO()) as out, pytest.raises(SystemExit):
        command_line([*words, "--help"])
    return out.getvalue()


def commands() -> list[str]:
    return re.findall(r"^    ([a-z]+) ", help_of(), re.MULTILINE)


def options_of(command: str) -> set[str]:
    return set(re.findall(r"^  (?:-\w(?: \w+)?, )?(--[a-z-]+)", help_of(command), re.MULTILINE))


def usage_of(command: str) -> str:
    usage, _, _ = help_of(command).partition("\n\n")
    return usage.partition("policy-router ")[2]


def synopsis() -> dict[str, str]:
    (text,) = blocks(COMMANDS, "text")
    lines = re.sub(r"\n +", " ", text).splitlines()
    return {line.split()[1]: line for line in lines}


def test_the_synopsis_lists_exactly_the_commands_and_options_there_are() -> None:
    assert list(synopsis()) == commands()
    for name in commands():
        common = {"--help", "--verbose", "--quiet"}
        assert set(re.findall(r"--[a-z-]+", synopsis()[name])) == options_of(name) - common


def test_the_synopsis_gives_the_same_words_as_the_help() -> None:
    for name in commands():
        words = re.sub(r"\[--.*?\]", "", synopsis()[name].removeprefix("policy-router "))
        usage = re.sub(r"\[-.*?\]", "", usage_of(name))
        wanted = re.sub(r"[{}\[\].]|, ", "", usage.replace(",", "|"))
        written = words.replace("[", "").replace("]", "").replace(".", "")
        assert sorted(set(written.split())) == sorted(set(wanted.split()))


@pytest.mark.parametrize("group", ["log", "bundle"])
def test_the_page_lists_the_commands_and_options_of_a_group(group: str) -> None:
    text = "".join(blocks(COMMANDS, "console"))
    shown = re.findall(rf"^policy-router {group} .*(?:\n +.*)*", text, re.MULTILINE)
    written = {line.split()[2]: set(re.findall(r"--[a-z-]+", line)) for line in shown}
    names = re.findall(r"^    ([a-z]+(?:-[a-z]+)?)(?= |$)", help_of(group), re.MULTILINE)
    common = {"--help", "--verbose", "--quiet", "--log"}
    real = {
        name: set(re.findall(r"(--[a-z-]+)", help_of(group, name).split("\nexit")[0]))
        for name in names
    }
    assert len(real) >= 2
    for name, options in real.items():
        assert written[name] == options - common, name


def test_the_page_says_what_is_common_to_all_commands() -> None:
    text = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for word in ("`-v`", "`-vv`", "`-q`", "`NO_COLOR`"):
        assert word in text
    for code in ("0", "1", "2", "3"):
        assert re.search(rf"^\| {code} \|", text, re.MULTILINE)


# what a comment in a rule file says


@pytest.mark.usefixtures("shell")
def test_the_commands_in_the_starter_s_comments_run(tmp_path: Path) -> None:
    assert command_line(["init", str(tmp_path), "-q"]) == 0
    text = (tmp_path / "policy.yaml").read_text(encoding="utf-8")
    lines = re.findall(r"^# [A-Z][\w ]+:\s+(.*policy-router .*)$", text, re.MULTILINE)
    assert len(lines) == 3
    shown = in_the_shell("\n".join(lines), tmp_path)
    assert "no problems found" in shown
    assert "selected  large" in shown


@each("file", EXAMPLES, ids=str)
def test_the_command_in_an_example_s_comment_is_about_that_example(file: Path) -> None:
    text, name = file.read_text(encoding="utf-8"), f"rules/examples/{file.stem}"
    if file.stem != "hermes":  # which stands as its host wrote it
        assert f"#   policy-router decide {name}.yaml {name}.requests.json\n" in text
