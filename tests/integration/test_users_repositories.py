"""What runs in the repositories of users: the hooks of pre-commit, and the action of GitHub.

The action is run by a small runner of its steps: it does what GitHub does with `run`, `env` and
`inputs`, in a real git repository with a base branch, and answers as GitHub's API on loopback.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from policy_router import Router, loads
from policy_router.log import DecisionLog
from tests.support.commands import ROOT, STRICT, Ran

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")
SUITE = "tests:\n  - {name: coding, request: {task: {kind: coding}}, expect: {entry: large}}\n"
TOKEN = "the-token-of-the-run"  # noqa: S105 - no real one

BASE, LOG = "Compare with the base branch", "Decide the log again"


def environment(folder: Path) -> dict[str, str]:
    """Return what programs get: our own command line, and a git that nobody has set up."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    command = programs / "policy-router"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m policy_router.cli "$@"\n')
    command.chmod(0o755)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        **{
            f"GIT_{who}_{what}": "a@b.example"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }


def ran(*words: str, cwd: Path, env: Mapping[str, str]) -> Ran:
    done = subprocess.run(  # noqa: S603 - git, bash and pre-commit, with our own words
        words, cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def committed(folder: Path, env: Mapping[str, str], message: str = "x") -> None:
    for words in (("add", "-A"), ("commit", "-q", "--no-verify", "-m", message)):
        done = ran("git", *words, cwd=folder, env=env)
        assert done.code == 0, done


# pre-commit


@pytest.mark.stress
def test_the_hooks_check_lay_out_and_test_a_whole_folder(tmp_path: Path) -> None:
    env = environment(tmp_path) | {"PRE_COMMIT_HOME": str(tmp_path / "cache")}
    hooks, own = tmp_path / "hooks", tmp_path / "own"
    for folder in (hooks, own):
        folder.mkdir()
        assert ran("git", "init", "-q", "-b", "main", cwd=folder, env=env).code == 0
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks)
    committed(hooks, env)
    revision = ran("git", "rev-parse", "HEAD", cwd=hooks, env=env).out.strip()
    ids = [it["id"] for it in yaml.safe_load((hooks / ".pre-commit-hooks.yaml").read_text())]
    assert ids == ["policy-router-check", "policy-router-fmt", "policy-router-test"]
    # The installed program stands in for the one that pre-commit would install.
    chosen = [{"id": it, "args": ["rules"], "language": "unsupported"} for it in ids]
    repos = [{"repo": str(hooks), "rev": revision, "hooks": chosen}]
    (own / ".pre-commit-config.yaml").write_text(json.dumps({"repos": repos}))
    rules = own / "rules"
    rules.mkdir()
    (rules / "policy.yaml").write_text(STRICT)
    (rules / "policy_test.yaml").write_text("policy: policy.yaml\n" + SUITE)

    def hooked() -> dict[str, str]:
        assert ran("git", "add", "-A", cwd=own, env=env).code == 0
        words = (sys.executable, "-m", "pre_commit", "run", "--all-files")
        done = ran(*words, cwd=own, env=env)
        assert done.err == ""
        names = zip(("check", "fmt", "test"), re.findall(r"(Passed|Failed)", done.out), strict=True)
        assert done.code == ("Failed" in done.out)
        return dict(names)

    assert hooked() == {"check": "Passed", "fmt": "Passed", "test": "Passed"}
    (rules / "policy.yaml").write_text(STRICT.replace("pool:", "pool:\n\n\n"))
    assert hooked() == {"check": "Passed", "fmt": "Failed", "test": "Passed"}
    assert hooked() == {"check": "Passed", "fmt": "Passed", "test": "Passed"}  # it is mended now
    (rules / "policy.yaml").write_text(STRICT.replace('"coding"', '"math"'))
    assert hooked() == {"check": "Passed", "fmt": "Passed", "test": "Failed"}
    (rules / "policy.yaml").write_text(STRICT.replace("task.kind", "tsk.kind"))
    assert hooked()["check"] == "Failed"


# action.yml


@dataclass
class GitHub:
    """The comments of one pull request, and who asked for them."""

    url: str = ""
    comments: dict[int, str] = field(default_factory=dict)
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    refuses: bool = False


@pytest.fixture
def github() -> Iterator[GitHub]:
    """Answer as GitHub's API does about the comments of a pull request."""
    state = GitHub()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = int(re.search(r"&page=(\d+)", self.path)[1])  # type: ignore[index]
            items = [{"id": id_, "body": body} for id_, body in state.comments.items()]
            self.answer(items[100 * (page - 1) : 100 * page])

        def do_POST(self) -> None:
            state.comments[len(state.comments) + 1] = self.body()
            self.answer({})

        def do_PATCH(self) -> None:
            state.comments[int(self.path.rpartition("/")[2])] = self.body()
            self.answer({})

        def body(self) -> str:
            length = int(self.headers["Content-Length"])
            return str(json.loads(self.rfile.read(length))["body"])

        def answer(self, value: Any) -> None:
            path = self.path.partition("?")[0]
            state.asked.append((self.command, path, self.headers["Authorization"]))
            content = json.dumps(value).encode()
            self.send_response(403 if state.refuses else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join(10)
    server.server_close()


class Repository:
    """A clone with a base branch, in which the action runs."""

    def __init__(self, folder: Path, github: GitHub, *, base: str | None = STRICT) -> None:
        self.env = environment(folder)
        self.folder, self.temp, self.github = folder / "clone", folder / "temp", github
        origin = folder / "origin"
        (origin / "rules").mkdir(parents=True)
        self.temp.mkdir()
        (origin / "README").write_text("")
        if base is not None:
            (origin / "rules" / "policy.yaml").write_text(base)
        assert ran("git", "init", "-q", "-b", "main", cwd=origin, env=self.env).code == 0
        committed(origin, self.env)
        words = ("git", "clone", "-q", f"file://{origin}", str(self.folder))
        assert ran(*words, cwd=folder, env=self.env).code == 0
        (self.folder / "rules").mkdir(exist_ok=True)

    def write(self, policy: str, suite: str = SUITE) -> None:
        (self.folder / "rules" / "policy.yaml").write_text(policy)
        (self.folder / "rules" / "policy_test.yaml").write_text("policy: policy.yaml\n" + suite)

    def act(self, only: str | None = None, *, number: str = "7", **inputs: str) -> Ran:
        """Run the steps of the action as far as one fails; or one, and what is around the parts."""
        action = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
        assert action["runs"]["using"] == "composite"
        context = {
            "github.base_ref": "main",
            "github.token": TOKEN,
            "github.action_path": str(ROOT),
            "github.repository": "acme/rules",
            "github.event.pull_request.number": number,
        }
        named = {name.replace("_", "-"): value for name, value in inputs.items()}
        assert named.keys() <= action["inputs"].keys()
        for name, about in action["inputs"].items():
            context[f"inputs.{name}"] = named.get(name, filled(about["default"], context))
        files = {"GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY"}
        env = {
            **self.env,
            "RUNNER_TEMP": str(self.temp),
            "GITHUB_WORKSPACE": str(self.folder),
            "GITHUB_API_URL": self.github.url,
            **{name: str(self.temp / name) for name in files},
        }
        out = ""
        first, *parts, report, last = action["runs"]["steps"]
        parts = [it for it in parts if only in {None, it["name"]}]
        assert parts
        for step in (first, *parts, report, last):
            assert step["shell"] == "bash"
            assert "${{" not in step["run"]  # values come as variables: nothing is pasted in
            script = self.temp / "step.sh"
            script.write_text(step["run"])
            given = {key: filled(value, context) for key, value in step.get("env", {}).items()}
            words = ("bash", "--noprofile", "--norc", "-eo", "pipefail", str(script))
            done = ran(*words, cwd=self.folder, env=env | given)
            out += done.out + done.err
            if done.code:
                return Ran(done.code, out, step["name"])
        return Ran(0, out, "")

    @property
    def report(self) -> str:
        return (self.temp / "policy-router" / "report.md").read_text(encoding="utf-8")


def filled(text: str, context: Mapping[str, str]) -> str:
    return re.sub(r"\$\{\{ (.+?) \}\}", lambda it: context[it[1]], text)


@pytest.mark.stress
@pytest.mark.slow
def test_a_change_is_checked_tested_compared_and_reported(tmp_path: Path, github: GitHub) -> None:
    repository = Repository(tmp_path, github)
    repository.write(STRICT.replace("parent.depth < 2", "parent.depth < 3"))
    done = repository.act()
    assert (done.code, done.err) == (0, ""), done.out
    report = repository.report
    assert report.startswith("<!-- policy-router: rules -->\n## policy-router: `rules`\n")
    assert "### ✅ Check\n\n    rules: policy " in report
    assert "### ✅ Tests\n\n    rules/policy_test.yaml: 1 passed\n" in report
    assert "### What changes\n\n    changed" in report
    assert "What if" not in report
    assert (tmp_path / "temp" / "GITHUB_STEP_SUMMARY").read_text(encoding="utf-8") == report
    output = (tmp_path / "temp" / "GITHUB_OUTPUT").read_text()
    assert output == f"report={tmp_path}/temp/policy-router/report.md\n"
    assert github.comments == {1: report}
    assert {token for *_, token in github.asked} == {f"Bearer {TOKEN}"}
    assert TOKEN not in done.out
    assert (
        ran("git", "worktree", "list", cwd=repository.folder, env=repository.env).out.count("\n")
        == 1
    )


@pytest.mark.stress
def test_there_is_one_comment_however_often_it_runs(tmp_path: Path, github: GitHub) -> None:
    github.comments = dict.fromkeys(range(1, 151), "somebody else's")
    repository = Repository(tmp_path, github)
    repository.write(STRICT)
    assert repository.act("Check").code == 0
    repository.write(STRICT.replace("small", "tiny"))
    assert repository.act("Check").code == 0
    assert len(github.comments) == 151
    assert github.comments[151] == repository.report
    assert [method for method, *_ in github.asked] == ["GET", "GET", "POST", "GET", "GET", "PATCH"]


@pytest.mark.stress
def test_without_a_pull_request_or_the_right_there_is_no_comment(
    tmp_path: Path, github: GitHub
) -> None:
    repository = Repository(tmp_path, github)
    repository.write(STRICT)
    assert repository.act(BASE, number="").code == 0
    assert "### What changes\n\nNo rule changes.\n" in repository.report
    assert repository.act("Check", comment="false").code == 0
    assert github.asked == []
    github.refuses = True
    done = repository.act("Check")
    assert done.code == 0
    assert "::notice::the report cannot be a comment" in done.out


@pytest.mark.stress
@pytest.mark.parametrize(
    ("policy", "inputs", "failed"),
    [
        (STRICT.replace("task.kind", "tsk.kind"), {}, ["1-check", "2-test", "3-change"]),
        (STRICT.replace('"coding"', '"math"'), {}, ["2-test"]),
        (STRICT, {"threshold": "100"}, ["2-test"]),
        (STRICT, {"base": "no-such-branch"}, ["3-change"]),
        (STRICT, {"log": "no-such-log"}, ["4-what-if"]),
    ],
    ids=["error", "failure", "coverage", "no base", "no log"],
)
def test_a_part_that_fails_is_in_the_report_and_fails_the_run(
    policy: str, inputs: dict[str, str], failed: list[str], tmp_path: Path, github: GitHub
) -> None:
    repository = Repository(tmp_path, github)
    repository.write(policy)
    done = repository.act(**inputs)
    assert (done.code, done.err) == (1, "Fail if a part did")
    assert re.findall(r"^failed: (.+)$", done.out, re.MULTILINE) == failed
    assert len(github.comments) == 1  # the report is there all the same


@pytest.mark.stress
def test_annotations_are_printed_for_the_lines(tmp_path: Path, github: GitHub) -> None:
    repository = Repository(tmp_path, github)
    repository.write(STRICT.replace("task.kind", "tsk.kind"))
    assert "::error file=rules/policy.yaml,line=10," in repository.act("Check").out


@pytest.mark.stress
def test_a_new_policy_is_compared_with_nothing(tmp_path: Path, github: GitHub) -> None:
    repository = Repository(tmp_path, github, base=None)
    repository.write(STRICT)
    assert repository.act(BASE).code == 0
    assert "### What changes\n\nThe policy is new.\n" in repository.report


@pytest.mark.stress
@pytest.mark.parametrize(
    ("ways", "code"), [("", 0), ("newly-refused", 0), ("dearer newly-allowed", 1)]
)
def test_what_a_change_comes_to_can_fail_the_run(
    ways: str, code: int, tmp_path: Path, github: GitHub
) -> None:
    pytest.importorskip("pysat")
    repository = Repository(tmp_path, github)
    repository.write(STRICT.replace("parent.depth < 2", "parent.depth < 3"))
    assert repository.act(BASE, fail_on=ways).code == code
    assert "policy-router compare" in repository.report
    assert "| can | a request has a target that was refused" in repository.report


@pytest.mark.stress
def test_what_if_over_a_log(tmp_path: Path, github: GitHub) -> None:
    repository = Repository(tmp_path, github)
    with DecisionLog(repository.folder / "log") as log:
        router = Router(loads(STRICT), log=log)
        for kind in ("coding", "writing", "coding"):
            router.decide({"task": {"kind": kind}})
    repository.write(STRICT.replace('"coding"', '"math"'), SUITE.replace("coding}", "math}"))
    done = repository.act(LOG, log="log")
    assert (done.code, done.err) == (0, ""), done.out
    assert "### What if\n" in repository.report
    assert "2 of 3" in repository.report
    assert repository.act(LOG, log="log", fail_over="2").code == 0
    done = repository.act(LOG, log="log", fail_over="1")
    assert (done.code, done.err) == (1, "Fail if a part did")
    assert "### ❌ What if\n" in repository.report


@pytest.mark.stress
def test_what_a_policy_says_stays_text_in_the_report(tmp_path: Path, github: GitHub) -> None:
    repository = Repository(tmp_path, github)
    odd = STRICT.replace("quick tasks", "```\\n# not a heading @everybody <b>")
    repository.write(
        odd.replace("name: small\n", "name: small\ndescription: '$(touch seen) `x`'\n", 1)
    )
    assert repository.act(tests="none").code == 0
    assert "### ✅ Tests" not in repository.report
    assert not (repository.folder / "seen").exists()
    assert re.findall(r"^#+ (?!What|policy|. Check)", repository.report, re.MULTILINE) == []
