"""What works without the extra `run`, what says that it needs it, and what the extras name."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

from tests.support.commands import STRICT, Ran, in_process_of_its_own, write

NEEDED: Final = "calling a model needs the extra `run`: pip install 'policy-router[run]'"
BLOCKED: Final = (
    *("openai", "httpx", "httpx2", "httpcore", "httpcore2"),
    *("anyio", "h11", "jiter", "pydantic", "sniffio"),
)
"""What the extra brings, with the one SDK or the other."""

WITHOUT_RUN: Final = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""
COMMANDS: Final = f"""{WITHOUT_RUN}
from policy_router.cli import main

sys.exit(max(main(command.split()) for command in sys.argv[1:]))
"""
LIBRARY: Final = f"""{WITHOUT_RUN}
import asyncio
from policy_router import DecisionLog, Delegator, Executor, decide, load
from policy_router.log import LogReader

policy = load("home.yaml")
record = decide(policy, {{}}, now="2026-11-22T11:33:00Z")
asked = {{"goal": "Fix the test."}}

def attempt(call):
    try:
        print(call())
    except ModuleNotFoundError as problem:
        print(problem)

with Executor(policy) as executor:
    attempt(lambda: executor.run(record, "Fix the test."))
    attempt(lambda: asyncio.run(executor.run_async(record, "Fix the test.")))
    attempt(lambda: executor.client("home"))
with DecisionLog("log") as log, Delegator(policy, log=log) as delegator:
    attempt(lambda: delegator.delegate(asked))
    attempt(lambda: asyncio.run(delegator.delegate_async(asked)))
    attempt(lambda: delegator.plan(asked).status)
    attempt(lambda: delegator.delegate({{**asked, "model": "none"}}).status)
with Delegator(policy, run_child=lambda target, task: "done") as delegator:
    attempt(lambda: delegator.delegate(asked).status)
"""
HOME: Final = """\
version: 1
model: m
provider: home
providers: {home: {base_url: "http://127.0.0.1:9/v1"}}
pool: [{model: m, pick: "true"}]
precedence: strict
"""


def brought_by(extra: str) -> set[str]:
    """Return the names of the packages that an extra installs."""
    requires = map(Requirement, importlib.metadata.requires("policy-router") or [])
    return {it.name for it in requires if it.marker and it.marker.evaluate({"extra": extra})}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, policy_yaml=STRICT, home_yaml=HOME, request_json='{"task": {"kind": "coding"}}')
    return tmp_path


def test_deciding_and_logging_need_no_extra(folder: Path) -> None:
    ran = in_process_of_its_own(
        "check policy.yaml",
        "decide policy.yaml request.json --log log",
        "explain policy.yaml request.json",
        "menu policy.yaml",
        "tool policy.yaml",
        "delegate policy.yaml --goal Fix --kind coding --dry-run",
        "log ls log",
        "log verify log",
        "replay log",
        "replay log --against policy.yaml",
        cwd=folder,
        prefix=("-c", COMMANDS),
    )
    assert (ran.code, "extra" in ran.err) == (0, False)


def test_a_command_that_calls_a_model_names_the_extra_and_logs_nothing(folder: Path) -> None:
    ran = in_process_of_its_own(
        "delegate policy.yaml --goal Fix --kind coding --log log",
        "log ls log --format json",
        cwd=folder,
        prefix=("-c", COMMANDS),
    )
    nothing = "policy-router: the log log: there is no decision log here"
    assert ran == Ran(2, "", f"policy-router: {NEEDED}\n{nothing}\n")


def test_what_calls_a_model_in_a_program_names_the_extra(folder: Path) -> None:
    ran = in_process_of_its_own(cwd=folder, prefix=("-c", LIBRARY))
    assert ran.out.splitlines() == [*[NEEDED] * 5, "decided", "refused", "completed"]
    assert (ran.code, ran.err) == (0, "")


def test_the_extra_all_has_every_other_one() -> None:
    extras = importlib.metadata.metadata("policy-router").get_all("Provides-Extra") or []
    assert {"run", "sign", "all"} <= set(extras)
    assert set().union(*map(brought_by, extras)) == brought_by("all")
