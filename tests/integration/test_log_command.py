"""`policy-router log`, and `--log` of the commands that decide."""

from __future__ import annotations

import contextlib
import datetime
import io
import itertools
import json
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pytest
from jsonschema import Draft7Validator

from policy_router import DecisionLog, decide
from policy_router.cli import terminal
from policy_router.errors import LogError
from policy_router.files.loader import schema
from policy_router.log.damage import Damage, NotWholeError
from policy_router.log.entry import ACCESS, Execution, Gap, Kind, LogEntry, microseconds
from policy_router.log.folder import LogFolder
from policy_router.log.integrity import prune as prune_module
from policy_router.log.integrity.prune import prune
from policy_router.log.integrity.verify import verify
from policy_router.log.read.reading import Line, LogReader
from policy_router.log.sign.checkpoints import keep, verify_growth
from policy_router.log.sign.notes import Checkpoint, InclusionProof, sign, text_of
from policy_router.log.sign.proving import prove_growth
from policy_router.log.write import decision_log
from policy_router.log.write.drafts import Decided, Draft
from policy_router.server.follower import Follower
from tests.support.commands import Ran, Run, write
from tests.support.log_auditing import (
    MOMENT,
    NOW,
    SECOND,
    SIGNER,
    STRANGER,
    UNREADABLE,
    Clock,
    audited,
    finished,
    id_of,
    lines_of,
    policy_of,
    put_lines,
    rewritten,
    segments,
    seq_of,
    sign_log,
    with_record,
)
from tests.support.provider import KEYS, Provider, chain, policy_text

pytestmark = pytest.mark.usefixtures("counted_lines")

RULES = policy_of()
RECORD = decide(RULES, {}, now=NOW)
SHAPE = Draft7Validator(schema("log"))
JSON = ("--format", "json")
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def logged(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a log in the order of time, as plain data."""
    return [json.loads(line.content) for line in LogReader(folder).lines()]


def of_kind(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [line for line in logged(folder) if line["kind"] == kind]


# Writing, with `decide`.


@pytest.fixture
def decided(run: Run, tmp_path: Path) -> Run:
    """Run `policy-router decide` on a batch of two requests."""
    requests = [{"task": {"kind": "coding"}, "caller": {"id": "ada"}}, {}]
    write(tmp_path, requests_json=json.dumps(requests))

    def decided(*words: str, stdin: str | bytes = b"") -> Ran:
        return run("decide", "policy.yaml", "requests.json", "--now", NOW, *words, stdin=stdin)

    return decided


def test_decide_logs_what_it_prints(decided: Run, tmp_path: Path) -> None:
    ran = decided("--log", "log", *JSON)
    assert (ran.code, ran.err) == (0, "")
    lines = of_kind(tmp_path / "log", "decision")
    assert [line["record"] for line in lines] == [json.loads(it) for it in ran.out.splitlines()]
    assert all(UUID7.fullmatch(line["id"]) for line in lines)
    assert [line.get("caller") for line in lines] == [{"id": "ada"}, None]
    assert verify(tmp_path / "log").is_whole


def test_the_log_changes_nothing_that_decide_prints(decided: Run) -> None:
    assert decided("--log", "log") == decided()


def test_a_second_command_goes_on_with_the_log(decided: Run, tmp_path: Path) -> None:
    decided("--log", "log")
    decided("--log", "log", "--parent-id", id_of(1))
    assert [line["kind"] for line in logged(tmp_path / "log")] == [
        *("decision", "decision", "close"),
        *("decision", "decision", "close"),
    ]
    parents = [line.get("parent") for line in of_kind(tmp_path / "log", "decision")]
    assert parents == [None, None, id_of(1), id_of(1)]
    assert verify(tmp_path / "log").writers == 1


def test_a_decision_that_cannot_be_logged_is_not_printed(decided: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = decided("--log", "file")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == f"policy-router: the log {tmp_path / 'file'}: not a directory\n"
    assert decided("--log", "file/log", "--on-log-failure", "deny").code == 3


@pytest.mark.parametrize(
    ("requests", "words"), [([{}], "1 decision is"), ([{}, {}], "2 decisions are")]
)
def test_a_decision_that_is_made_without_a_log_says_so(
    run: Run, tmp_path: Path, requests: list[Any], words: str
) -> None:
    write(tmp_path, requests_json=json.dumps(requests), file_x="")
    without = run("decide", "policy.yaml", "requests.json", "--now", NOW)
    ran = run(
        *("decide", "policy.yaml", "requests.json", "--now", NOW),
        *("--log", "file.x", "--on-log-failure", "allow_unlogged"),
    )
    assert (ran.code, ran.out) == (0, without.out)
    assert ran.err == f"policy-router: {words} not in the log file.x\n"


def test_what_is_refused_is_logged_too(run: Run, tmp_path: Path) -> None:
    write(tmp_path, request_json='{"task": {"model": "gpt-9"}}')
    assert run("decide", "policy.yaml", "request.json", "--log", "log").code == 3
    (line,) = of_kind(tmp_path / "log", "decision")
    assert line["record"]["decision"]["outcome"] == "refused"


@pytest.mark.parametrize("parent", ["a b", "x" * 201, "\n"])
def test_a_parent_that_is_no_id_is_an_error(decided: Run, parent: str) -> None:
    ran = decided("--log", "log", "--parent-id", parent)
    assert (ran.code, ran.out) == (2, "")
    assert "the id of a decision" in ran.err


def test_a_bad_request_is_not_logged(run: Run, tmp_path: Path) -> None:
    write(tmp_path, request_json='{"task": 1}')
    assert run("decide", "policy.yaml", "request.json", "--log", "log").code == 2
    assert not (tmp_path / "log").exists()


# Writing, with `delegate`.


@pytest.fixture
def delegate(peer: Provider, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `policy-router delegate` with a policy of two models: the first has a price."""
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    first, second = chain("near", "far", price={"input": 3.0, "output": 15.0})
    write(tmp_path, peers_json=policy_text(peer, first, second, precedence="strict"))

    def delegate(*words: str, stdin: str | bytes = b"") -> Ran:
        return run("delegate", "peers.json", *words, stdin=stdin)

    return delegate


def test_delegate_logs_decisions_and_what_came_of_them(
    peer: Provider, delegate: Run, run: Run, tmp_path: Path
) -> None:
    peer.fail(503, "m0")
    ran = delegate("--goal", "my secret goal", "--log", "log", "--parent-id", id_of(1), *JSON)
    assert ran.code == 0
    (result,) = json.loads(ran.out)["results"]
    lines = logged(tmp_path / "log")
    (decision,) = of_kind(tmp_path / "log", "decision")
    assert (decision["id"], decision["parent"]) == (result["decision_id"], id_of(1))
    events = [line["execution"] for line in lines if line["kind"] == "execution"]
    assert [it["event"] for it in events] == ["started", "attempt", "attempt", "finished"]
    end = events[-1]
    assert (end["status"], end["model"], end["provider"]) == ("completed", "m1", "far")
    assert end["input_tokens"] == result["tokens"]["input"]
    assert [call.get("status") for call in end["calls"]] == [503, 200]
    written = b"".join(path.read_bytes() for path in (tmp_path / "log").rglob("*.jsonl"))
    assert b"secret" not in written
    assert not any(key.encode() in written for key in KEYS.values())
    assert verify(tmp_path / "log").is_whole
    assert [problem for line in lines for problem in SHAPE.iter_errors(line)] == []
    shown = run("log", "show", "log", decision["id"])
    assert shown.code == 0
    assert f"\nparent   {id_of(1)}\n" in shown.out
    assert "\nexecution\n" in shown.out
    assert "m1 at far, attempt 2" in shown.out
    assert run("replay", "log").code == 0


def test_what_is_only_planned_is_not_logged(delegate: Run, tmp_path: Path) -> None:
    assert delegate("--goal", "x", "--log", "log", "--dry-run").code == 0
    assert not (tmp_path / "log").exists()


def test_nobody_is_called_for_a_task_that_cannot_be_logged(
    peer: Provider, delegate: Run, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    ran = delegate("--goal", "x", "--log", "file")
    assert (ran.code, ran.out, peer.models()) == (3, "", [])
    assert "not a directory" in ran.err
    ran = delegate("--goal", "x", "--log", "file", "--on-log-failure", "allow_unlogged")
    assert (ran.code, peer.models()) == (0, ["m0"])
    assert ran.err.endswith("policy-router: 1 decision is not in the log file\n")


def test_a_parent_of_a_delegated_task_that_is_no_id_is_an_error(
    peer: Provider, delegate: Run
) -> None:
    ran = delegate("--goal", "x", "--log", "log", "--parent-id", "a b")
    assert (ran.code, ran.out, peer.models()) == (2, "", [])
    assert "the id of a decision" in ran.err


# Listing.

TWO_PROVIDERS = """\
name: two
model: small
provider: main
pool:
  - {model: small}
  - {model: large, name: coder, provider: far, pick: task.kind == "coding"}
  - {model: odd, pick: 1 / task.index == 1}
precedence: strict
"""


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Return a log of three writers and two policies, of which some decisions are refused."""
    folder, clock = tmp_path / "log", Clock()
    two = policy_of(TWO_PROVIDERS)
    requests: list[tuple[str, Any, dict[str, Any]]] = [
        ("a", RULES, {"caller": {"id": "ada", "team": "research"}}),
        ("b", RULES, {"caller": {"id": "bob", "team": "research"}, "task": {"kind": "coding"}}),
        ("a", RULES, {"task": {"model": "gpt-9"}}),
        ("b", two, {"caller": {"id": "ada"}}),
        ("c", two, {"task": {"kind": "coding", "index": 1}}),
        ("a", RULES, {"task": {"model": "small"}}),
    ]
    with contextlib.ExitStack() as stack:
        logs = {
            name: stack.enter_context(DecisionLog(folder, writer=name, clock=clock))
            for name in ("a", "b", "c")
        }
        for number, (writer, policy, request) in enumerate(requests):
            record = decide(policy, request, now=NOW)
            logs[writer].decision(policy, record, decision_id=id_of(number))
        logs["a"].execution(id_of(0), finished(1, 2))
    return folder


def numbers(ran: Ran) -> list[int]:
    """Return the numbers of the decisions that were listed, in their order."""
    assert ran.code == 0, ran.err
    return [int(json.loads(line)["id"][-12:]) for line in ran.out.splitlines()]


LISTED = [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ((), LISTED),
        (("-n", "2"), [5, 4]),
        (("--limit", "1000000000"), LISTED),
        (("--outcome", "refused"), [2]),
        (("--outcome", "selected"), [5, 4, 3, 1, 0]),
        (("--level", "pool"), [4, 1]),
        (("--level", "config"), [3, 0]),
        (("--level", "task"), [5]),
        (("--level", "parent"), []),
        (("--entry", "coder"), [4, 1]),
        (("--entry", "large"), []),
        (("--model", "large"), [4, 1]),
        (("--provider", "far"), [4]),
        (("--provider", "main"), [5, 3, 1, 0]),
        (("--caller", "ada"), [3, 0]),
        (("--caller", "research"), [1, 0]),
        (("--caller", "None"), []),
        (("--code", "outside_pool"), [2]),
        (("--code", "pick_error"), [3]),
        (("--policy", "two"), [4, 3]),
        (("--policy", RULES.revision), [5, 2, 1, 0]),
        (("--policy", RULES.revision[7:19]), [5, 2, 1, 0]),
        (("--policy", "none"), []),
        (("--policy", "sha"), []),
        (("--policy", "sha256:"), []),
        (("--since", "2026-01-31"), LISTED),
        (("--since", "2026-02-01"), []),
        (("--until", "2026-01-31"), []),
        (("--until", "2026-02-01"), LISTED),
        (("--caller", "ada", "--provider", "main", "--policy", "priced"), [0]),
        (("--since", "1h"), []),
        (("--until", "1h"), LISTED),
        (("--until", "2w"), LISTED),
    ],
)
def test_decisions_are_listed_as_the_filters_say(
    listed: Path, run: Run, words: tuple[str, ...], wanted: list[int]
) -> None:
    assert numbers(run("log", "ls", str(listed), *words, *JSON)) == wanted
    shown = run("log", "ls", str(listed), *words).out
    assert shown.count("\n2026-01-31 09:00:") == len(wanted)


def test_a_time_is_a_bound_to_the_microsecond(listed: Path, run: Run) -> None:
    times = {line["id"]: line["time"] for line in of_kind(listed, "decision")}
    moment = MOMENT + (times[id_of(3)] - microseconds(MOMENT)) * datetime.timedelta(microseconds=1)
    text = moment.isoformat()
    assert numbers(run("log", "ls", "log", "--since", text, *JSON)) == [5, 4, 3]
    assert numbers(run("log", "ls", "log", "--until", text, *JSON)) == [2, 1, 0]


def test_an_age_is_counted_from_now(tmp_path: Path, run: Run) -> None:
    old = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=3)
    with DecisionLog(tmp_path / "log", clock=Clock(old)) as log:
        log.decision(RULES, RECORD, decision_id=id_of(1))
    with DecisionLog(tmp_path / "log") as log:
        log.decision(RULES, RECORD, decision_id=id_of(2))
    for age in ("10000s", "120m", "2h"):
        assert numbers(run("log", "ls", "log", "--since", age, *JSON)) == [2]
        assert numbers(run("log", "ls", "log", "--until", age, *JSON)) == [1]
    assert numbers(run("log", "ls", "log", "--since", "1d", *JSON)) == [2, 1]


def test_a_clock_that_went_back_hides_nothing(tmp_path: Path, run: Run) -> None:
    times = itertools.chain([3, 3, 1, 2], itertools.repeat(9))
    with DecisionLog(tmp_path / "log", clock=lambda: MOMENT + next(times) * SECOND) as log:
        for number in (0, 1, 2):
            log.decision(RULES, RECORD, decision_id=id_of(number))
    since = (MOMENT + 2 * SECOND).isoformat()
    assert sorted(numbers(run("log", "ls", "log", "--since", since, *JSON))) == [0, 2]


def test_a_person_gets_a_table(tmp_path: Path, run: Run) -> None:
    first, second, third = (
        "01a18978-a095-72ef-8b87-c44c78f37d5c",
        "01a18978-a095-72ef-9b87-c44c78f37d5c",
        "01a18979-a095-72ef-8b87-c44c78f37d5c",
    )
    wish = {"caller": {"id": "ada"}, "task": {"model": "none"}}
    with DecisionLog(tmp_path / "log", clock=Clock(MOMENT)) as log:
        log.decision(RULES, RECORD, decision_id=first)
        log.decision(RULES, decide(RULES, wish, now=NOW), decision_id=second)
        log.decision(RULES, RECORD, decision_id=third)
    ran = run("log", "ls", "log")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "time                 id                    target   rule    caller  note\n"
        "2026-01-31 09:00:04  01a18979-a095-72e     small …  config  -\n"
        "2026-01-31 09:00:03  01a18978-a095-72ef-9  (refus…  task    ada     outside_pool\n"
        "2026-01-31 09:00:01  01a18978-a095-72ef-8  small …  config  -\n"
        f"next: policy-router log show {tmp_path.as_posix()}/log {third}\n"
    )
    assert run("log", "show", "log", "01a18979-a095-72e").out.startswith(f"decision {third} ")
    assert run("log", "ls", "log", "--entry", "none").out == "no decisions found\n"
    assert run("-q", "log", "ls", "log", "--entry", "none").out == ""


def test_the_lines_are_listed_as_they_are_stored(listed: Path, run: Run) -> None:
    stored = {line.content for line in LogReader(listed).lines()}
    ran = run("log", "ls", "--log", "log", *JSON)
    assert len(ran.out.splitlines()) == 6
    assert {line.encode() for line in ran.out.splitlines()} <= stored


def test_what_cannot_be_read_is_counted(listed: Path, run: Run) -> None:
    path = segments(listed)[0]
    put_lines(path, [*lines_of(path), b"nonsense"])
    rewritten_record(listed, "b", schema="policy-router/record/v9")
    ran = run("log", "ls", "log")
    assert ran.err == f"policy-router: 3 lines {ODD}\n"
    assert numbers(run("log", "ls", "log", *JSON)) == [5, 4, 2, 0]
    assert run("log", "stats", "log").out.endswith(f"3 lines {ODD}\n")
    assert "a newer version may read it" in " ".join(run("log", "tail", "log").out.split())
    assert run("log", "tail", "log").code == 0


def rewritten_record(folder: Path, writer: str, **changes: Any) -> None:
    """Change every record of a writer; the log is whole after it."""

    def change(plain: dict[str, Any]) -> None:
        if "record" in plain:
            plain["record"].update(changes)

    rewritten(folder, writer, change)


@pytest.mark.parametrize("request_", [{"caller": []}, {"caller": 1}, {"caller": {"id": [1]}}])
def test_a_record_that_somebody_changed_harms_no_reader(
    listed: Path, run: Run, request_: dict[str, Any]
) -> None:
    rewritten_record(listed, "b", request=request_)
    for words in (("ls", "log"), ("ls", "log", "--caller", "x"), ("tail", "log")):
        assert run("log", *words).code == 0
    assert run("log", "stats", "log").code == 0
    assert run("log", "show", "log", id_of(3)).code == 0
    assert run("replay", "log").code == 4


def test_no_id_writes_to_the_terminal_what_it_pleases(listed: Path, run: Run) -> None:
    (listed.parent / "other.yaml").write_text("model: m0\nprovider: main\nprecedence: strict\n")
    hostile = "\x1b]0;x\x07"
    rewritten(listed, "b", lambda plain: plain.update(id=hostile) if "id" in plain else None)
    for words in (
        ("log", "ls", "log"),
        ("log", "tail", "log"),
        ("log", "show", "log", "\\u001b"),
        ("replay", "log"),
        ("replay", "log", "--against", "other.yaml"),
        ("replay", "log", "--against", "other.yaml", "--format", "markdown"),
    ):
        ran = run(*words)
        assert "\x1b" not in ran.out + ran.err


# One decision.


@pytest.fixture
def family(tmp_path: Path) -> Path:
    """Return a log of a decision with events and children."""
    folder = tmp_path / "log"
    with DecisionLog(folder, writer="w1", clock=Clock()) as log:
        log.decision(RULES, decide(RULES, {"task": {"kind": "coding"}}, now=NOW), decision_id="aa1")
        log.execution("aa1", Execution("started", provider="main", model="large"))
        log.execution("aa1", Execution("waiting", provider="main", attempt=2, seconds=1.5))
        log.execution("aa1", Execution("finished", status="failed", error="timeout"))
        log.execution("aa1", finished(1234, 5, 0.25))
        log.flush()
        for number in (1, 2):
            log.decision(RULES, RECORD, decision_id=id_of(number), parent_id="aa1")
    return folder


def test_a_decision_that_was_pruned_is_missed(family: Path, run: Run) -> None:
    path = segments(family, "w1")[0]
    put_lines(path, lines_of(path)[1:])
    ran = run("log", "show", "log", "aa1")
    assert ran.code == 1
    never = "is not here, and nothing as old as it was pruned: it never was in this log"
    assert ran.out.startswith(f"decision aa1 {never}\n")
    assert "\nexecution\n" in ran.out


def test_a_folder_with_the_name_of_a_decision_is_no_log(
    family: Path, run: Run, tmp_path: Path
) -> None:
    assert family.is_dir()
    (tmp_path / "aa1").mkdir()
    assert run("log", "show", "log", "aa1").code == 0
    assert run("log", "show", "aa1", "--log", "log").code == 0


def test_what_cannot_be_read_is_told_whatever_is_asked_for(family: Path, run: Run) -> None:
    path = segments(family, "w1")[0]
    put_lines(path, [*lines_of(path), b'{"id":"aa1"}', b'{"kind":"decision"'])
    for words in (("ls",), ("tail",), ("tail", "-n", "100")):
        for form in ("human", "json"):
            ran = run("log", *words, "log", "--format", form)
            assert ran.code == 0
            assert ran.err == f"policy-router: 2 lines {ODD}\n"
    for form in ("human", "json"):
        ran = run("log", "show", "log", "aa1", "--format", form)
        assert ran.err == f"policy-router: 1 line {ODD}\n"


def test_a_decision_is_shown_with_what_came_of_it(family: Path, run: Run) -> None:
    assert family.is_dir()
    ran = run("log", "show", "log", "aa1")
    assert (ran.code, ran.err) == (0, "")
    (source,) = (family / "policies" / RULES.revision).glob("*/*")
    short = f"policies/{RULES.revision[:19]}*/{source.parent.name[:8]}*"
    assert list(family.glob(short)) == [source.parent]
    assert ran.out == (
        "decision aa1   2026-01-31T09:00:01Z\n"
        "place    w1/1, line 1\n"
        "asked by nobody who was named, kind coding\n"
        "\n"
        "selected  coder (large at main)\n"
        f"  rule        pool   rules/precedence/strict.yaml:8:5\n"
        f"  entry       {source.name}:6:5\n"
        "  parameters  none\n"
        "  fallbacks   none\n"
        f"  policy priced, {RULES.revision[:19]}, at {NOW}\n"
        "\n"
        "step by step\n"
        "  call    nothing asked\n"
        "  task    nothing asked\n"
        "  pool    coder selected\n"
        "  config  not reached\n"
        "  parent  not reached\n"
        f"  rule files  {short}\n"
        "\n"
        "result      completed\n"
        "cost        $0.250000\n"
        "            on the default, small at main: $0.001244\n"
        "wrong       ended more than once: finished\n"
        "wrong       a cost that no price explains: where it ran is not said\n"
        "\n"
        "execution\n"
        "time                         event     what\n"
        "2026-01-31T09:00:03.000000Z  started   large at main\n"
        "2026-01-31T09:00:04.000000Z  waiting   main, attempt 2, 1.5 s\n"
        "2026-01-31T09:00:05.000000Z  finished  failed, timeout\n"
        "2026-01-31T09:00:06.000000Z  finished  completed, 1,234 tokens in, 5 tokens out,\n"
        "                                       $0.250000\n"
        "\n"
        "decisions of its child\n"
        "id                                    target         rule    note\n"
        f"{id_of(1)}  small at main  config\n"
        f"{id_of(2)}  small at main  config\n"
    )
    shown = run("log", "show", "log", id_of(1)).out
    assert "\nparent   aa1\n" in shown
    assert "what" not in shown
    assert len(run("-v", "log", "show", "log", "aa1").out) > len(ran.out)


@pytest.mark.parametrize(
    "words", [("log", "aa1"), ("aa1", "log"), ("aa1", "--log", "log"), ("--log", "log", "a")]
)
def test_log_and_id_may_come_in_any_order(family: Path, run: Run, words: tuple[str, ...]) -> None:
    assert family.is_dir()
    assert run("log", "show", *words).out.startswith("decision aa1 ")


def test_a_program_gets_the_lines_of_a_decision(family: Path, run: Run) -> None:
    found = json.loads(run("log", "show", str(family), "aa1", *JSON).out)
    assert [line["kind"] for line in found["lines"]] == ["decision", *["execution"] * 4]
    assert [line["id"] for line in found["children"]] == [id_of(1), id_of(2)]
    assert found["lines"] == logged(family)[:5]


def test_a_whole_id_is_meant_where_another_begins_so(tmp_path: Path, run: Run) -> None:
    with DecisionLog(tmp_path / "log") as log:
        for name in ("task-1", "task-10"):
            log.decision(RULES, RECORD, decision_id=name)
    assert run("log", "show", "log", "task-1").out.startswith("decision task-1 ")
    assert run("log", "show", "log", "task-").err.endswith(
        ": 2 decisions have an id that begins so, such as task-1, task-10\n"
    )


def test_what_cannot_be_explained_is_shown_as_it_is(family: Path, run: Run) -> None:
    (path,) = (family / "policies").glob("*.json")
    path.unlink()
    ran = run("log", "show", "log", "aa1")
    assert ran.code == 0
    assert f"it cannot be explained: the policy {RULES.revision[:19]} is not kept" in ran.out
    assert '"schema":"policy-router/record/v1"' in ran.out
    assert "\nexecution\n" in ran.out


def test_where_the_rule_files_are_gone_the_canonical_form_explains(family: Path, run: Run) -> None:
    shutil.rmtree(family / "policies" / RULES.revision)
    assert f"{RULES.revision}.json:1:" in run("log", "show", "log", "aa1").out


def test_a_decision_without_a_record_is_shown(tmp_path: Path, run: Run) -> None:
    with DecisionLog(tmp_path / "log") as log:
        log.act(Draft(Kind.DECISION, 1, "x"))
    ran = run("log", "show", "log", "x")
    assert (ran.code, ran.out.count("\n")) == (0, 4)
    assert "it cannot be explained: the line has no decision record" in ran.out


def test_a_child_whose_record_cannot_be_read_hides_nothing(family: Path, run: Run) -> None:
    with_record(family, 1, lambda plain: plain.update(schema="policy-router/record/v9"))
    ran = run("log", "show", "log", "aa1")
    assert ran.code == 0
    assert id_of(2) in ran.out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("log",), "LOG ID: expected a log folder and the id of a decision"),
        (("log", "a", "b"), "LOG ID: expected a log folder and the id of a decision"),
        (("log", "a", "--log", "log"), "LOG ID: expected a log folder and the id of a decision"),
        (("log", "none"), "there is no decision with this id"),
        (("log", "\udcff"), "there is no decision with this id"),
        (("log", 'x"y'), "there is no decision with this id"),
        (("log", "x" * 300), "there is no decision with this id"),
        (("none", "aa1"), "the log none: there is no decision log here"),
    ],
)
def test_what_cannot_be_shown_is_an_error(
    family: Path, run: Run, words: tuple[str, ...], reason: str
) -> None:
    assert family.is_dir()
    for command in ("show", "prove"):
        if command == "prove" and len(words) > 2:
            continue  # it takes several ids
        ran = run("log", command, *words)
        assert (ran.code, ran.out) == (2, "")
        assert reason in ran.err


# The last lines, and those that come.


def test_the_last_lines_are_shown(family: Path, run: Run) -> None:
    with DecisionLog(family, writer="w2", clock=Clock(MOMENT + 20 * SECOND)) as log:
        log.act(Draft(Kind.GAP, microseconds(MOMENT + 20 * SECOND), gap=Gap("torn_tail", bytes=3)))
    ran = run("log", "tail", "log", "-n", "5")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        f"2026-01-31 09:00:07  decision   {id_of(1)}  small at\n"
        "                     main  config\n"
        f"2026-01-31 09:00:08  decision   {id_of(2)}  small at\n"
        "                     main  config\n"
        "2026-01-31 09:00:09  close                         reason end\n"
        "2026-01-31 09:00:20  gap                           reason torn_tail, bytes 3\n"
        "2026-01-31 09:00:22  close                         reason end\n"
    )
    assert "finished  failed, timeout\n" in run("log", "tail", "log").out
    assert all(terminal.width(it) <= 80 for it in run("log", "tail", "log").out.splitlines())
    everything = [line.content.decode() for line in LogReader(family).lines()]
    assert run("log", "tail", "log", "-n", "3", *JSON).out.splitlines() == everything[-3:]


def test_the_last_lines_fit_whatever_they_say(tmp_path: Path, run: Run) -> None:
    ids = [f"019ff280-949c-73f6-8fa1-3d31c5680{number:03}" for number in range(2)]
    ids += ["01a0df0d-f938-728b-88c4-5e42a7ebf480", "01a0df0e-0000-728b-88c4-5e42a7ebf480"]
    wide = "日本語のとても長い名前のモデル"
    with DecisionLog(tmp_path / "log", writer="w1", clock=Clock(MOMENT)) as log:
        for ident in ids:
            log.execution(ident, Execution("started", provider=wide, model=wide))
    shown = run("log", "tail", "log", "-n", "5").out.splitlines()
    assert all(terminal.width(it) <= 80 for it in shown)
    assert [it[32:].split("  ")[0] for it in shown if it.startswith("2026")] == [
        *ids[:2],
        "01a0df0d-f938-728",
        "01a0df0e-0000-728",
        "",
    ]
    assert sum(it.count("語") for it in shown) == 2 * len(ids)
    beside_a_line_without_id = run("log", "tail", "log", "-n", "2").out
    assert beside_a_line_without_id[32:].startswith("01a0df0e-0000-728  ")


class Following:
    """`log tail -f` in a process of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - the words are the test's own
            [sys.executable, "-m", "policy_router.cli", "log", "tail", "-f", str(folder), *words],
            cwd=folder.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def read(self, count: int) -> list[str]:
        assert self.process.stdout is not None
        return [self.process.stdout.readline().decode() for _ in range(count)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.kill()
        self.process.communicate(timeout=20)


@pytest.mark.usefixtures("interrupts")
def test_lines_are_followed_as_they_come_until_an_interrupt(tmp_path: Path) -> None:
    with DecisionLog(tmp_path / "log", writer="w1") as log:
        log.decision(RULES, RECORD, decision_id=id_of(1))
        with Following(tmp_path / "log", "-n", "1") as following:
            assert id_of(1)[:17] in following.read(1)[0]
            time.sleep(0.05)  # until it looks for new lines
            log.decision(RULES, RECORD, decision_id=id_of(2))
            with DecisionLog(tmp_path / "log") as second:
                second.decision(RULES, RECORD, decision_id=id_of(3))
                found = following.read(4)  # what tells the ids from each other is at their ends
                assert sorted(id_of(n) in "".join(found) for n in (2, 3)) == [True, True]
                following.process.send_signal(signal.SIGINT)
                out, err = following.process.communicate(timeout=20)
            assert (following.process.returncode, out, err) == (130, b"", b"")
        log.decision(RULES, RECORD, decision_id=id_of(4))
    assert verify(tmp_path / "log").is_whole


def test_following_ends_when_nobody_reads_any_more(tmp_path: Path) -> None:
    with (
        DecisionLog(tmp_path / "log", writer="w1") as log,
        Following(tmp_path / "log", *JSON) as following,
    ):
        log.decision(RULES, RECORD, decision_id=id_of(1))
        log.flush()
        assert following.process.stdout is not None
        assert id_of(1) in following.read(1)[0]
        following.process.stdout.close()
        deadline = time.monotonic() + 20
        while following.process.poll() is None and time.monotonic() < deadline:
            log.decision(RULES, RECORD)
            time.sleep(0.05)
        assert following.process.poll() is not None


def test_no_line_is_lost_between_the_last_ones_and_those_that_come(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DecisionLog(tmp_path / "log", writer="w1") as log:
        log.decision(RULES, RECORD, decision_id=id_of(1))
        newest = LogReader.newest_first

        def newest_first(self: LogReader, *, acknowledged: bool) -> Iterator[Line]:
            lines = list(newest(self, acknowledged=acknowledged))
            log.decision(RULES, RECORD, decision_id=id_of(2))
            return iter(lines)

        def interrupt(_seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(LogReader, "newest_first", newest_first)
        monkeypatch.setattr(time, "sleep", interrupt)
        ran = run("log", "tail", "-f", "log", *JSON)
    assert ran.code == 130
    assert numbers(Ran(0, ran.out, "")) == [1, 2]


def test_no_line_is_shown_twice(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with DecisionLog(tmp_path / "log", writer="w1") as log:
        log.decision(RULES, RECORD, decision_id=id_of(1))
        newest = LogReader.newest_first

        def newest_first(self: LogReader, *, acknowledged: bool) -> Iterator[Line]:
            log.decision(RULES, RECORD, decision_id=id_of(2))
            return newest(self, acknowledged=acknowledged)

        def interrupt(_seconds: float) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(LogReader, "newest_first", newest_first)
        monkeypatch.setattr(time, "sleep", interrupt)
        ran = run("log", "tail", "-f", "log", *JSON)
    assert numbers(Ran(0, ran.out, "")) == [1, 2]


# Numbers.


def test_a_log_is_counted(family: Path, run: Run) -> None:
    with DecisionLog(family, writer="w2", clock=Clock(MOMENT + 20 * SECOND)) as log:
        refused = decide(RULES, {"task": {"model": "gpt-9"}}, now=NOW)
        log.decision(RULES, refused, decision_id=id_of(9))
        log.execution(id_of(9), finished(1, 2))
        log.act(Draft(Kind.GAP, microseconds(MOMENT + 21 * SECOND), gap=Gap("unlogged", 1200)))
    ran = run("log", "stats", "log")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "from 2026-01-31T09:00:01Z to 2026-01-31T09:00:24Z\n"
        "\nlines\ncount  name\n5      execution\n4      decision\n2      close\n1      gap\n"
        "\nwriters\ncount  name\n8      w1\n4      w2\n"
        "\ndecisions\ncount  name\n3      selected\n1      refused\n"
        "\nlevels\ncount  name\n2      config\n1      pool\n"
        "\ntargets\ncount  name\n2      small at main\n1      (refused)\n"
        "1      coder (large at main)\n"
        "\ncodes\ncount  name\n1      outside_pool\n"
        f"\npolicies\ncount  name\n4      priced {RULES.revision}\n"
        "\nchildren\ncount  name\n2      completed\n1      failed\n"
        "\n1,235 tokens in, 7 out\n"
        "\ntotal        4 decisions: 3 selected, 1 refused\n"
        "cost         $0.250000000 measured, of 1\n"
        "             unknown of 3: 1 no usage, 2 never ended\n"
        "made without being logged: 1,200 decisions\n"
    )
    found = json.loads(run("log", "stats", "log", *JSON).out)
    assert (found["outcomes"], found["unlogged"]) == ({"refused": 1, "selected": 3}, 1200)
    assert (found["first"], found["unreadable"]) == (microseconds(MOMENT + SECOND), 0)


def test_of_what_there_is_none_nothing_is_counted(tmp_path: Path, run: Run) -> None:
    with DecisionLog(tmp_path / "log", clock=Clock()) as log:
        log.decision(RULES, RECORD)
    out = run("log", "stats", "log").out
    assert "\ndecisions\ncount  name\n1      selected\n" in out
    assert not {"codes", "children"} & set(out.splitlines())
    assert "tokens" not in out


def test_what_only_answered_a_question_is_left_out_and_said_to_be_so(
    tmp_path: Path, run: Run
) -> None:
    with DecisionLog(tmp_path / "log", clock=Clock()) as log:
        asked = Decided(RECORD, id_of(1), purpose=ACCESS)
        log.decisions(RULES, [asked])
    out = run("log", "stats", "log").out
    assert out.startswith("left out: 1 decision that only answer")
    assert json.loads(run("log", "stats", "log", *JSON).out)["access"] == 1


def test_a_log_without_lines_has_nothing_to_show(tmp_path: Path, run: Run) -> None:
    (tmp_path / "log/.heads").mkdir(parents=True)
    assert run("log", "stats", "log").out == "the log has no lines\n"
    assert run("log", "ls", "log").out == "no decisions found\n"
    assert run("log", "tail", "log").out == ""
    ran = run("log", "verify", "log")
    assert (ran.code, ran.out.splitlines()[0]) == (
        0,
        "integrity     whole        0 lines in 0 segments of 0 writers",
    )
    assert run("replay", "log").code == 0


# What is no log, and what is asked for in no known way.

ODD = "cannot be read: of a newer version, or damaged: see log verify"
READING = ("verify", "ls", "tail", "stats")


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize("name", ["none", "policy.yaml", "empty"])
def test_what_is_no_log_is_an_error(tmp_path: Path, run: Run, command: str, name: str) -> None:
    (tmp_path / "empty").mkdir()
    ran = run("log", command, name)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == f"policy-router: the log {name}: there is no decision log here\n"
    assert sorted(it.name for it in (tmp_path / "empty").iterdir()) == []


@pytest.mark.parametrize("command", READING)
def test_a_name_that_no_folder_can_have_is_an_error(run: Run, command: str) -> None:
    ran = run("log", command, "x" * 300)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith(f"{'x' * 300}: it cannot be read: file name too long\n")


@pytest.mark.parametrize("command", [*READING, "checkpoint", "prune"])
def test_one_log_is_wanted(listed: Path, run: Run, command: str) -> None:
    assert listed.is_dir()
    more = {"checkpoint": ["--key", "k"], "prune": ["--before", "1d", "--key", "k"]}
    for words in ((), ("log", "--log", "log")):
        ran = run("log", command, *words, *more.get(command, []))
        assert (ran.code, ran.out) == (2, "")
        assert ran.err == "policy-router: LOG: expected one log folder\n"


@pytest.mark.skipif(not UNREADABLE.exists(), reason="this system has no such file")
def test_a_policy_that_cannot_be_read_was_not_changed(listed: Path, run: Run) -> None:
    for path in (listed / "policies").glob("*.json"):
        path.unlink()
        path.symlink_to(UNREADABLE)
    ran = run("log", "verify", "log")
    assert (ran.code, ran.out) == (2, "")
    assert "cannot be read: " in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("verify", "log", "--key", "odd"),
        ("checkpoint", "log", "--key", "odd"),
        ("verify-proof", "odd", "--key", "odd"),
        ("prune", "log", "--before", "1d", "--key", "odd"),
    ],
)
def test_a_key_that_is_none_is_told_by_its_name(
    listed: Path, run: Run, words: tuple[str, ...]
) -> None:
    (listed.parent / "odd").write_text("nonsense")
    ran = run("log", *words)
    assert ran.code == 2
    assert ran.err.startswith("policy-router: odd: ")


@pytest.mark.parametrize(
    "words", [("verify", "log"), ("prune", "log", "--before", "1d"), ("checkpoint", "log")]
)
def test_a_key_without_a_name_is_not_no_key(listed: Path, run: Run, words: tuple[str, ...]) -> None:
    assert listed.is_dir()
    ran = run("log", *words, "--key", "")
    assert (ran.code, ran.out) == (2, "")


@pytest.mark.skipif(not UNREADABLE.exists(), reason="this system has no such file")
@pytest.mark.parametrize("command", READING[1:])
def test_a_segment_that_cannot_be_read_is_an_error(listed: Path, run: Run, command: str) -> None:
    for writer in ("a", "b", "c"):
        (path,) = segments(listed, writer)
        path.unlink()
        path.symlink_to(UNREADABLE)
    ran = run("log", command, "log")
    assert ran.code == 2
    assert "/log: it cannot be read: " in ran.err
    assert "standard output" not in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("ls", "log", "--outcome", "other"),
        ("ls", "log", "--level", "other"),
        ("ls", "log", "-n", "0"),
        ("ls", "log", "-n", "1000000001"),
        ("tail", "log", "-n", "-1"),
        ("tail", "log", "-n", "x"),
        ("ls", "log", "--format", "xml"),
        ("tail", "log", "-n", "1.5"),
        ("prune", "log"),
        ("checkpoint", "log"),
        ("verify-proof", "one.proof"),
        ("none",),
        (),
    ],
)
def test_what_is_asked_for_in_no_known_way_is_an_error(
    listed: Path, run: Run, words: tuple[str, ...]
) -> None:
    assert listed.is_dir()
    ran = run("log", *words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("usage: policy-router log")


@pytest.mark.parametrize(
    "text", ["", "x", "2026-13-01", "2026-01-31T09:00:00", "1y", "-1d", "999999999w", "9" * 30]
)
def test_what_is_no_time_is_an_error(listed: Path, run: Run, text: str) -> None:
    for option in ("--since", "--until"):
        ran = run("log", "ls", str(listed), f"{option}={text}")
        assert (ran.code, ran.out) == (2, "")
        assert ran.err.startswith(f"policy-router: {option}: expected a day (2026-01-31), a time")
    assert run("log", "prune", str(listed), f"--before={text}", "--key", "k").code == 2


# Keys, checkpoints and proofs.


@pytest.fixture
def keyed(tmp_path: Path, run: Run) -> Path:
    """Return a log of several writers and segments, beside a key `auditor`."""
    audited(tmp_path / "log")
    assert run("-q", "log", "keygen", "auditor", "--name", "example.com/log").out == ""
    return tmp_path / "log"


def test_a_key_is_made_that_nobody_else_reads(run: Run, tmp_path: Path) -> None:
    ran = run("log", "keygen", "keys/auditor")
    assert ran == Ran(
        0,
        "wrote keys/auditor, which nobody else may read, and keys/auditor.pub for auditors\n"
        "next: policy-router log checkpoint LOG --key keys/auditor --first\n",
        "",
    )
    private, public = tmp_path / "keys/auditor", tmp_path / "keys/auditor.pub"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert private.read_text().startswith("PRIVATE+KEY+policy-router+")
    assert re.fullmatch(r"policy-router\+[0-9a-f]{8}\+\S+\n", public.read_text())


@pytest.mark.parametrize("there", ["auditor", "auditor.pub"])
def test_a_key_that_is_there_is_left_as_it_is(run: Run, tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("mine")
    ran = run("log", "keygen", "auditor")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith(f"{there}: it is there already and is left as it is\n")
    assert (tmp_path / there).read_text() == "mine"
    assert len(list(tmp_path.glob("auditor*"))) == 1


def test_a_key_that_cannot_be_made_is_an_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run("log", "keygen", "file/auditor").err == "policy-router: file/auditor: file exists\n"
    ran = run("log", "keygen", "auditor", "--name", "a b")
    assert (ran.code, "the name of a key" in ran.err) == (2, True)
    assert not (tmp_path / "auditor").exists()


def test_a_checkpoint_is_made_and_told(keyed: Path, run: Run) -> None:
    ran = run("log", "checkpoint", "log", "--key", "auditor", "--first")
    path = keyed / "tree/checkpoints/000000000044.txt"
    assert ran == Ran(
        0,
        f"signed 44 lines, 44 of them new: {path}\n"
        "next: keep a copy of it where nobody who writes the log can change it\n",
        "",
    )
    lines = path.read_text().split("\n")
    assert lines[:2] == ["example.com/log", "44"]
    assert lines[3] == ""
    assert all(line.startswith("\u2014 example.com/log ") for line in lines[4:6])
    assert (keyed / "tree/checkpoint").read_text() == path.read_text()
    ran = run("-q", "log", "checkpoint", "log", "--key", "auditor")
    assert ran == Ran(0, f"signed 44 lines, 0 of them new: {path}\n", "")
    ran = run("log", "verify", "log", "--key", "auditor.pub")
    assert (ran.code, ran.err) == (0, "")
    # The second signing makes a checkpoint of its own where its second is another one.
    assert ran.out.replace("2 checkpoints", "1 checkpoint").startswith(
        "integrity     whole        44 lines in 8 segments of 2 writers\n"
        "completeness  whole        every line that was acknowledged\n"
        "authenticity  verified     1 checkpoint, the last one over 44 of 44 lines\n"
        "meaning       not checked  what the lines say: see log check\n"
        "signed        log example.com/log\n"
        "              key example.com/log+"
    )


def test_checkpoints_go_on_where_the_last_one_ended(keyed: Path, run: Run) -> None:
    words = ("log", "checkpoint", "log", "--key", "auditor")
    assert json.loads(run(*words, "--first", "--origin", "my log", *JSON).out) == {
        "path": str(keyed / "tree/checkpoints/000000000044.txt"),
        "origin": "my log",
        "lines": 44,
        "new_lines": 44,
        "left_out": {},
    }
    audited(keyed, each=2, writers=["c", "a"])
    found = json.loads(run(*words, *JSON).out)
    assert (found["origin"], found["lines"], found["new_lines"]) == ("my log", 51, 7)
    assert "next" not in run("-q", *words).out
    assert verify(keyed).checkpoints == 2
    assert "the last one over 51 of 51 lines" in run("log", "verify", "log").out


def test_a_checkpoint_with_a_new_time_is_still_one(keyed: Path) -> None:
    clock = Clock()
    for _ in range(3):
        assert sign_log(keyed, clock=clock).checkpoint.size == 44
    first, newest = keyed / "tree/checkpoints/000000000044.txt", keyed / "tree/checkpoint"
    assert first.read_text() != newest.read_text()
    assert verify(keyed).checkpoints == 1


def test_what_is_not_whole_is_signed_up_to_there(keyed: Path, run: Run) -> None:
    path = segments(keyed)[1]
    put_lines(path, lines_of(path)[2:])
    words = ("-q", "log", "checkpoint", "log", "--key", "auditor", "--first")
    ran = run(*words)
    seq = seq_of(lines_of(path)[0]) - 2
    told = f"policy-router: a is not signed to its end: line {seq} does not continue what comes"
    assert (ran.code, ran.err) == (1, f"{told} before it\n")
    # The line before may be the one that was changed: only a line after it would show that.
    assert f"signed {22 + seq - 2} lines" in ran.out
    assert run("log", "verify", "log", "--key", "auditor.pub").code == 1


def test_what_was_signed_stays_signed_where_a_head_is_behind(tmp_path: Path) -> None:
    folder = tmp_path / "log"
    with DecisionLog(folder, writer="a") as one, DecisionLog(folder, writer="b") as two:
        one.decision(RULES, RECORD)
        behind = (folder / "heads/a").read_bytes()
        for log in (one, one, two):
            log.decision(RULES, RECORD)
        first = sign_log(folder)
        assert first is not None
        (folder / "heads/a").write_bytes(behind)
        assert sign_log(folder).new_lines == 0
        two.decision(RULES, RECORD)
        two.decision(RULES, RECORD)
        second = sign_log(folder)
        assert second is not None
        assert (first.checkpoint.size, second.checkpoint.size, second.new_lines) == (4, 6, 2)
        assert verify(folder, verifier=SIGNER.verifier()).is_whole


def test_a_checkpoint_is_never_written_over(keyed: Path) -> None:
    log, checkpoint = LogFolder(keyed), Checkpoint("x", 44, bytes(32))
    there = keep(log, checkpoint, "note")
    assert there == keyed / "tree/checkpoints/000000000044.txt"
    keep(log, checkpoint, "other")
    assert (there.read_text(), (keyed / "tree/checkpoint").read_text()) == ("note", "other")


def test_only_one_process_makes_a_checkpoint(keyed: Path, run: Run) -> None:
    (keyed / "tree").mkdir()
    holding = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.flock(f, 2); print(); input()"
    with subprocess.Popen(  # noqa: S603 - the words are the test's own
        [sys.executable, "-c", holding, str(keyed / "tree/.lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        ran = run("log", "checkpoint", "log", "--key", "auditor")
        process.kill()
    assert (ran.code, ran.out) == (2, "")
    assert "another process signs or prunes it" in ran.err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--key", "auditor.pub"), "not a private key"),
        (("--key", "none"), "none: cannot be read: no such file or directory"),
        (("--key", "nu\0l"), "cannot be read: no file can have this name"),
        (("--key", "auditor", "--first", "--origin", "a\nb"), "malformed checkpoint"),
    ],
)
def test_what_cannot_be_signed_is_an_error(
    keyed: Path, run: Run, words: tuple[str, ...], reason: str
) -> None:
    ran = run("log", "checkpoint", str(keyed), *words)
    assert (ran.code, ran.out) == (2, "")
    assert reason in ran.err


def test_a_folder_that_cannot_be_written_is_an_error(keyed: Path, run: Run) -> None:
    (keyed / "tree").write_text("")
    ran = run("log", "checkpoint", "log", "--key", "auditor")
    assert (ran.code, ran.out) == (2, "")
    assert "standard output" not in ran.err


def test_one_decision_is_proved_to_who_has_nothing_but_the_key(
    keyed: Path, run: Run, tmp_path: Path
) -> None:
    run("log", "checkpoint", "log", "--key", "auditor", "--first")
    audited(keyed, each=3, writers=["a", "c"])
    run("log", "checkpoint", "log", "--key", "auditor")
    whole = {it["id"]: it for it in of_kind(keyed, "decision")}
    for number in (0, 7, 17, 100, 117):
        ran = run("log", "prove", "log", id_of(number), "--output", "one.proof")
        assert ran == Ran(
            0,
            "wrote one.proof\n"
            "completeness: not proved; --key KEY states that there are no more lines\n"
            "next: policy-router log verify-proof one.proof --key FILE\n",
            "",
        )
        assert run("log", "prove", id_of(number), "--log", "log").out == (
            (tmp_path / "one.proof").read_text()
        )
        found = json.loads(
            run("log", "verify-proof", "one.proof", "--key", "auditor.pub", *JSON).out
        )
        assert (found["proved"], found["id"]) == (True, id_of(number))
        assert found["entry"] == whole[id_of(number)] or number % 100 < 3
        assert (found["origin"], found["lines"]) == ("example.com/log", 53)
    keyed.rename(tmp_path / "gone")
    ran = run("log", "verify-proof", "one.proof", "--key", "auditor.pub")
    assert ran.code == 0
    assert re.fullmatch(
        r"proved    1 decision of example\.com/log\n"
        r"          signed by example\.com/log\+[0-9a-f]{8}, over 53 lines\n"
        r"completeness: not proved; there may be more lines of these decisions\n"
        r"rules     not proved: no line names the rule files of sha256:[0-9a-f]{12}\n"
        rf"\ndecision  {id_of(117)}\n"
        r"  here    b, line \d+, 2026-01-31T\S+Z\n"
        r"  decided odd at main\n"
        r"  by      priced, sha256:[0-9a-f]{12}\n"
        r"  there   no line says what came of it\n",
        ran.out,
    )
    proof = (tmp_path / "one.proof").read_bytes()
    assert run("log", "verify-proof", "-", "--key", "auditor.pub", stdin=proof).code == 0
    assert run("-q", "log", "prove", "gone", id_of(117), "--output", "x").out == ""


def test_a_proof_by_an_index_reads_no_other_line(
    keyed: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("log", "checkpoint", "log", "--key", "auditor", "--first")
    whole = run("log", "prove", "log", id_of(7)).out
    with closing(Follower(str(keyed), str(tmp_path / "log.index"))) as follower:
        follower.catch_up()
    with monkeypatch.context() as patch:
        patch.setattr("policy_router.log.sign.lines_proof.lines_of", None)
        assert run("log", "prove", "log", id_of(7)).out == whole
        assert run("log", "prove", "log/", id_of(7), "--index", "log.index").out == whole
    # An index that is of no use is as none.
    assert run("log", "prove", "log", id_of(7)[:-1]).code == 2
    assert run("log", "prove", "log", "none").code == 2
    with closing(sqlite3.connect(tmp_path / "log.index")) as base:
        base.execute("UPDATE decisions SET id = 'x' WHERE id = ?", [id_of(8)])
        base.execute("UPDATE decisions SET id = ? WHERE id = ?", [id_of(8), id_of(7)])
        base.commit()
    assert run("log", "prove", "log", id_of(7)).out == whole
    proved = run(
        "log",
        "verify-proof",
        "-",
        "--key",
        "auditor.pub",
        stdin=run("log", "prove", "log", id_of(8)).out,
    )
    assert id_of(8) in proved.out
    (tmp_path / "log.index").write_bytes(b"no database, and long enough to be told from one" * 99)
    assert run("log", "prove", "log", id_of(7)).out == whole
    ran = run("log", "prove", "log", id_of(7), "--index", "none.index")
    assert ran == Ran(2, "", "policy-router: --index: there is no index at none.index\n")


@pytest.fixture
def proof(keyed: Path, run: Run, tmp_path: Path) -> Path:
    run("log", "checkpoint", "log", "--key", "auditor", "--first")
    run("log", "prove", str(keyed), id_of(7), "--output", "one.proof")
    return tmp_path / "one.proof"


@pytest.fixture
def grown(keyed: Path, run: Run, tmp_path: Path) -> Path:
    """Return a log that grew since a checkpoint `kept.txt`, and is gone but for `growth.proof`."""
    words = ("-q", "log", "checkpoint", "log", "--key", "auditor")
    run(*words, "--first")
    (kept,) = (keyed / "tree/checkpoints").glob("*.txt")
    shutil.copy(kept, tmp_path / "kept.txt")
    for writers in (["a", "c"], ["b"]):
        audited(keyed, each=3, writers=writers)
        run(*words)
    ran = run("log", "prove", "log", "--since", "kept.txt", "--output", "growth.proof")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[1] == (
        "next: policy-router log verify-proof growth.proof --key FILE --since kept.txt"
    )
    keyed.rename(tmp_path / "gone")
    return tmp_path / "growth.proof"


CHECKING = ("log", "verify-proof", "growth.proof", "--key", "auditor.pub", "--since", "kept.txt")


def test_a_log_is_proved_to_have_only_grown(grown: Path, run: Run, tmp_path: Path) -> None:
    assert run(*CHECKING).out == (
        "proved  example.com/log has the first 44 lines as they were, and 14 lines since\n"
    )
    assert json.loads(run(*CHECKING, *JSON).out) == {
        "proved": True,
        "old_lines": 44,
        "lines": 58,
        "origin": "example.com/log",
    }
    last = max((tmp_path / "gone/tree/checkpoints").glob("*.txt"))
    same = run("log", "prove", "--log", "gone", "--since", str(last)).out
    assert same == f"old 58\n\n{last.read_text()}"
    assert run("log", "prove", "gone", "--since", "kept.txt").out == grown.read_text()


def test_a_growth_that_was_not_is_not_proved(grown: Path, run: Run, tmp_path: Path) -> None:
    there = grown.read_text()
    assert there.startswith("old 44\n")
    lines = there.splitlines(keepends=True)
    first = (tmp_path / "kept.txt").read_text()
    stranger = sign(text_of(there.partition("\n\n")[2]), STRANGER)
    other = sign(text_of(first).replace("example.com", "example.org"), STRANGER)
    bad = {
        "old 43\n" + "".join(lines[1:]): "it does not have all that the older checkpoint covers",
        "".join([lines[0], *lines[2:]]): "it does not have all that the older checkpoint covers",
        f"old 44\n\n{first}{lines[1]}": "malformed signature",
        there.partition("\n\n")[0] + f"\n\n{stranger}": "the note has no signature by",
        "": "malformed proof",
        "old 44\nx\n\n" + first: "malformed proof",
        "old 44\nAAAA\n\n" + first: "malformed proof",
    }
    for content, reason in bad.items():
        grown.write_text(content)
        ran = run(*CHECKING)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.startswith("policy-router: not proved: ")
        assert reason in ran.err
    grown.write_text(there)
    (tmp_path / "kept.txt").write_text(other)
    assert run(*CHECKING).code == 1


def test_two_logs_do_not_prove_each_other(tmp_path: Path) -> None:
    notes = []
    for name in ("one", "two"):
        audited(tmp_path / name)
        made = sign_log(tmp_path / name, origin=name)
        assert made is not None
        notes.append(made.path.read_text())
    proof = prove_growth(tmp_path / "two", tmp_path / "two/tree/checkpoints/000000000044.txt")
    assert verify_growth(proof, notes[1], SIGNER.verifier()).size == 44
    with pytest.raises(LogError, match="of another log"):
        verify_growth(proof, notes[0], SIGNER.verifier())


def test_what_no_checkpoint_covers_is_not_proved_to_have_grown(keyed: Path, run: Run) -> None:
    audited(keyed.parent / "more", each=30)
    run("log", "checkpoint", "log", "--key", "auditor", "--first")
    other = ("--origin", "other", "--first")
    assert run("log", "checkpoint", "more", "--key", "auditor", *other).code == 0
    (larger,) = (keyed.parent / "more/tree/checkpoints").glob("*.txt")
    ran = run("log", "prove", "log", "--since", str(larger))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith("no checkpoint covers as much\n")
    for words in (("--since", "none"), ("--since", "auditor.pub")):
        assert run("log", "prove", "log", *words).code == 2
    assert run("log", "prove", "log", id_of(1), "--since", str(larger)).code == 2


def changed_line(proof: InclusionProof) -> InclusionProof:
    return InclusionProof(
        proof.index, proof.hashes, proof.checkpoint, proof.extra.replace(b"7", b"8", 1)
    )


def changed_index(proof: InclusionProof) -> InclusionProof:
    return InclusionProof(proof.index + 1, proof.hashes, proof.checkpoint, proof.extra)


def fewer_hashes(proof: InclusionProof) -> InclusionProof:
    return InclusionProof(proof.index, proof.hashes[1:], proof.checkpoint, proof.extra)


@pytest.mark.parametrize("change", [changed_line, changed_index, fewer_hashes])
def test_a_proof_that_was_changed_proves_nothing(proof: Path, run: Run, change: Any) -> None:
    proof.write_text(change(InclusionProof.from_text(proof.read_text())).to_text())
    ran = run("log", "verify-proof", "one.proof", "--key", "auditor.pub")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("policy-router: not proved: ")
    assert ran.err.endswith("a, line 9: it is not the line that was signed\n")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff\xfe", b"\x00" * 10])
def test_what_is_no_proof_proves_nothing(proof: Path, run: Run, content: bytes) -> None:
    proof.write_bytes(content)
    ran = run("log", "verify-proof", "one.proof", "--key", "auditor.pub")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("policy-router: not proved: ")


def test_a_proof_by_somebody_else_proves_nothing(proof: Path, run: Run, tmp_path: Path) -> None:
    assert proof.is_file()
    (tmp_path / "stranger.pub").write_text(STRANGER.verifier().encoded())
    ran = run("log", "verify-proof", "one.proof", "--key", "stranger.pub")
    assert (ran.code, ran.out) == (1, "")
    assert "not proved: it is signed by none of the keys" in ran.err
    assert run("log", "verify-proof", "one.proof", "--key", "none").code == 2
    assert run("log", "verify-proof", "none", "--key", "auditor.pub").code == 2


def test_what_no_checkpoint_covers_is_not_proved(keyed: Path, run: Run) -> None:
    ran = run("log", "prove", str(keyed), id_of(7))
    assert (ran.code, ran.out) == (2, "")
    assert "no checkpoint covers the decision yet: see log checkpoint" in ran.err
    with DecisionLog(keyed) as log:
        log.execution(id_of(500), finished())
    assert "there is no decision with this id" in run("log", "prove", "log", id_of(500)).err


def test_a_damaged_line_is_not_proved_and_stops_no_other_proof(
    proof: Path, keyed: Path, run: Run
) -> None:
    assert proof.is_file()
    path = segments(keyed, "b")[0]
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"small"', b'"smell"', 1))
    assert path.read_bytes() != content
    assert run("log", "prove", "log", id_of(7)).code == 0
    codes = [run("log", "prove", "log", id_of(number)).code for number in range(100, 104)]
    assert sorted(codes) == [0, 0, 0, 1]
    path = keyed / "tree/tile/entries/000.p/44"
    path.write_bytes(path.read_bytes()[:-1])
    ran = run("log", "prove", "log", id_of(7))
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.endswith("tile/entries/000.p/44: it is damaged\n")


def test_a_proof_that_cannot_be_written_is_an_error(proof: Path, run: Run) -> None:
    assert proof.is_file()
    ran = run("log", "prove", "log", id_of(7), "--output", "one.proof/x")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("policy-router: one.proof/x: ")


# Retention.

BEFORE = "2026-01-31T09:00:30Z"
"""A time within the lines of the writer `a`, before all of the writer `b`."""
KEY = ("--key", "auditor")


@pytest.fixture
def old(keyed: Path, run: Run) -> Path:
    """Return the same log, with a checkpoint."""
    ran = run("-q", "log", "checkpoint", "log", "--key", "auditor", "--first")
    assert (ran.code, ran.out.count("\n")) == (0, 1)
    return keyed


def stems(folder: Path, writer: str = "a") -> list[str]:
    return sorted(path.name for path in (folder / writer).iterdir())


def test_old_segments_are_removed_and_their_hashes_are_kept(old: Path, run: Run) -> None:
    run("log", "prove", "log", id_of(0), "--output", "one.proof")
    contents = [path.read_bytes() for path in segments(old)[:2]]
    size, lines = sum(map(len, contents)), sum(it.count(b"\n") for it in contents)
    words = ("log", "prune", "log", "--before", BEFORE, *KEY)
    ran = run(*words, "--dry-run")
    assert ran == Ran(0, f"would remove 2 segments, {lines} lines, {size:,} bytes\n", "")
    assert "prune" not in stems(old, "heads")
    ran = run(*words)
    assert ran == Ran(0, f"removed 2 segments, {lines} lines, {size:,} bytes\n", "")
    assert stems(old) == ["00000003.jsonl", "00000004.jsonl"]
    (act,) = of_kind(old, "prune")
    assert act["prune"] == {
        "before": microseconds(datetime.datetime.fromisoformat(BEFORE)),
        "lines": lines,
        "segments": ["a/1", "a/2"],
    }
    ran = run("log", "verify", "log", "--key", "auditor.pub")
    assert (ran.code, ran.out.splitlines()[0]) == (
        0,
        "integrity     whole        46 lines in 7 segments of 3 writers",
    )
    (statement,) = (old / "tree/statements").iterdir()
    assert ran.out.splitlines()[-5:] == [
        f"pruned        a: segments 1 to 2, lines 1 to {lines}",
        "              from 2026-01-31T09:00:02Z to 2026-01-31T09:00:21Z",
        "              said by prune, line 1",
        f"              signed in tree/statements/{statement.name}",
        "              covered by tree/checkpoints/000000000044.txt",
    ]
    assert run("log", "verify-proof", "one.proof", "--key", "auditor.pub").code == 0
    assert run("log", "prove", "log", id_of(117)).code == 0
    assert run("log", "prove", "log", id_of(0)).err.endswith("there is no decision with this id\n")
    assert run("log", "show", "log", id_of(0)).code == 2
    assert run("replay", "log").code == 0
    assert "segments" in run("log", "tail", "log").out
    assert "('" not in run("log", "tail", "log").out
    assert id_of(0) not in run("log", "ls", "log").out


def test_lines_of_every_kind_have_the_published_shape(
    old: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decision_log, "TELLS_POLICIES", True)
    with (old / "a/00000004.jsonl").open("ab") as file:
        file.write(b"torn")
    with DecisionLog(old, writer="a") as log:
        log.decision(RULES, RECORD, decision_id=id_of(500))
        log.execution(id_of(500), finished(3))
    before = logged(old)
    assert run("log", "checkpoint", "log", "--key", "auditor").code == 0
    assert run("log", "prune", "log", "--before", BEFORE, *KEY).code == 0
    lines = [*before, *logged(old)]
    assert {line["kind"] for line in lines} == set(Kind)
    assert [problem for line in lines for problem in SHAPE.iter_errors(line)] == []
    for line in lines:
        assert not SHAPE.is_valid({key: line[key] for key in ("seq", "prev", "time", "kind")})
        assert not SHAPE.is_valid({**line, "kind": "other"})


def test_the_log_goes_on_after_a_prune(old: Path, run: Run) -> None:
    assert run("log", "prune", "log", "--before", "2026-02-01", *KEY).code == 0
    assert list(old.glob("[ab]/*.jsonl")) == []
    assert run("log", "verify", "log", "--key", "auditor.pub").code == 0
    audited(old, each=6)
    assert "00000005.jsonl" in stems(old)
    assert run("log", "verify", "log", "--key", "auditor.pub").code == 0
    assert run("log", "checkpoint", "log", "--key", "auditor").code == 0
    found = json.loads(run("log", "verify", "log", "--key", "auditor.pub", *JSON).out)
    assert (found["whole"], found["covered"], found["checkpoints"]) == (True, found["lines"], 2)


@pytest.mark.stress
def test_prunes_at_once_harm_nothing(old: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "policy_router.cli", "log", "prune", "log", "--before", BEFORE]
    words += KEY
    with contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(  # noqa: S603 - the words are the test's own
                    words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
                )
            )
            for _ in range(4)
        ]
        ends = [(*process.communicate(timeout=60), process.returncode) for process in running]
    removed = [out for out, _, code in ends if code == 0]
    assert sum(out.startswith(b"removed 2 segments") for out in removed) == 1
    others = [err for _, err, code in ends if code]
    assert all(err.endswith(b": another process signs or prunes it\n") for err in others)
    assert verify(old).is_whole


@pytest.mark.parametrize("torn", [0, 1, 100])
def test_a_writer_that_was_killed_goes_on_after_a_prune(tmp_path: Path, torn: int) -> None:
    killed = tmp_path / "killed"
    with DecisionLog(tmp_path / "log", segment_bytes=1, writer="a", clock=Clock()) as log:
        log.decision(RULES, RECORD)
        behind = (tmp_path / "log/heads/a").read_bytes()
        log.decision(RULES, RECORD)
        shutil.copytree(tmp_path / "log", killed)
    (killed / "heads/a").write_bytes(behind)
    path = segments(killed)[1]
    line = lines_of(path)[0] + b"\n"
    path.write_bytes(line[: len(line) - torn])
    sign_log(killed)
    done = prune(killed, microseconds(MOMENT + datetime.timedelta(days=1)), SIGNER)
    assert done.segments == ("a/1",)
    with DecisionLog(killed, writer="a") as again:
        again.decision(RULES, RECORD)
    assert verify(killed, verifier=SIGNER.verifier()).is_whole
    assert len(of_kind(killed, "decision")) == (1 if torn else 2)
    assert len(of_kind(killed, "gap")) == (1 if torn else 0)


def test_a_dry_run_of_a_prune_holds_no_writer_up(old: Path, run: Run) -> None:
    words = ("log", "prune", "log", "--before", "2026-02-01", "--dry-run", *KEY)
    with DecisionLog(old, writer="a", clock=Clock()) as log:
        log.decision(RULES, RECORD)
        assert "kept  a/4: it is not closed" in run(*words).out
        log.decision(RULES, RECORD)
    assert not (old / "tree/statements").exists()


def test_a_writer_that_lost_its_head_with_all_its_lines_is_told(old: Path, run: Run) -> None:
    assert run("log", "prune", "log", "--before", "2026-02-01", *KEY).code == 0
    (old / "heads/a").unlink()
    report = verify(old)
    assert [it.damage for it in report.completeness.problems] == [Damage.MISSING_WRITER]
    with DecisionLog(old, writer="a") as log:
        log.decision(RULES, RECORD)
    assert not verify(old).is_whole


def test_what_was_pruned_once_is_not_pruned_again(old: Path, run: Run) -> None:
    words = ("log", "prune", "log", "--before", BEFORE, *KEY)
    assert run(*words).out.startswith("removed 2 segments")
    assert run(*words).out == "removed 0 segments, 0 lines, 0 bytes\n"
    assert len(of_kind(old, "prune")) == 1


def test_a_log_can_be_pruned_again(old: Path, run: Run) -> None:
    assert run("log", "prune", "log", "--before", BEFORE, *KEY).code == 0
    ran = run("log", "prune", "log", "--before", "2026-02-01", *KEY, *JSON)
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["segments"] == ["a/3", "a/4", "b/1", "b/2", "b/3", "b/4"]
    assert len(of_kind(old, "prune")) == 2
    assert verify(old).is_whole


def test_a_prune_that_was_interrupted_is_finished_by_the_next(
    old: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def interrupt(path: Path, *, missing_ok: bool = False) -> None:
        if path.suffix == ".jsonl":
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", interrupt)
        assert run("log", "prune", "log", "--before", BEFORE, *KEY).code == 130
    assert stems(old)[:2] == ["00000001.jsonl", "00000002.jsonl"]
    assert verify(old).is_whole
    assert run("log", "prune", "log", "--before", BEFORE, *KEY).out.startswith("removed 2 segments")
    assert verify(old).is_whole


def test_nothing_is_removed_that_cannot_be_told(
    old: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prune_module, "state", full)
    ran = run("log", "prune", "log", "--before", BEFORE, *KEY)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.endswith(": no space left on device\n")
    assert len(segments(old)) == 4
    monkeypatch.undo()
    (old / "prune").write_text("")
    with pytest.raises(LogError):
        prune(old, microseconds(MOMENT + 30 * SECOND), SIGNER)
    assert len(segments(old)) == 4


def test_what_no_checkpoint_covers_is_kept(keyed: Path, run: Run) -> None:
    ran = run("log", "prune", "log", "--before", BEFORE, *KEY)
    assert ran.out == (
        "removed 0 segments, 0 lines, 0 bytes\n"
        "  kept  a/1: no checkpoint covers it\n"
        "  kept  a/2: no checkpoint covers it\n"
    )
    assert "kept" not in run("-q", "log", "prune", "log", "--before", BEFORE, *KEY).out
    found = json.loads(run("log", "prune", "log", "--before", BEFORE, *KEY, *JSON, "--dry-run").out)
    assert found == {
        "dry_run": True,
        "segments": [],
        "lines": 0,
        "bytes": 0,
        "kept_back": [[f"a/{number}", "no checkpoint covers it"] for number in (1, 2)],
    }
    assert len(segments(keyed)) == 4


def test_a_segment_of_which_one_line_is_not_covered_is_kept(tmp_path: Path, run: Run) -> None:
    with DecisionLog(tmp_path / "log", clock=Clock()) as log:
        log.decision(RULES, RECORD)
        made = sign_log(tmp_path / "log")
    assert made is not None
    assert made.checkpoint.size == 1
    (tmp_path / "auditor").write_text(SIGNER.encoded())
    assert run("log", "prune", "log", "--before", "2026-02-01", *KEY).out == (
        "removed 0 segments, 0 lines, 0 bytes\n  kept  w1/1: no checkpoint covers it\n"
    )


def test_what_is_still_written_is_kept(tmp_path: Path, run: Run) -> None:
    with (
        DecisionLog(tmp_path / "log", writer="open", clock=Clock()) as first,
        DecisionLog(tmp_path / "log", writer="shut", clock=Clock(), segment_bytes=1) as second,
    ):
        for log in (first, second):
            log.decision(RULES, RECORD, decision_id=id_of(1))
        second.decision(RULES, RECORD, decision_id=id_of(2))
        sign_log(tmp_path / "log")
        (tmp_path / "auditor").write_text(SIGNER.encoded())
        ran = run("log", "prune", "log", "--before", "2026-02-01", *KEY)
        assert ran.out == (
            f"removed 1 segment, 2 lines, {pruned_bytes(tmp_path)} bytes\n"
            "  kept  open/1: it is not closed\n"
            "  kept  shut/2: its writer is running\n"
        )
        for log in (first, second):
            log.decision(RULES, RECORD, decision_id=id_of(3))
    assert verify(tmp_path / "log", verifier=SIGNER.verifier()).is_whole


def pruned_bytes(tmp_path: Path) -> str:
    """Return how long the segment was that is not there any more: as long as the one after it."""
    (left,) = (tmp_path / "log/shut").glob("*.jsonl")
    return f"{left.stat().st_size:,}"


def test_a_segment_with_any_line_that_is_not_old_is_kept(old: Path, run: Run) -> None:
    last = LogEntry.from_json(lines_of(segments(old)[0])[-1]).time - microseconds(MOMENT)
    for seconds, count in ((0, 0), (1, 1)):
        moment = MOMENT + datetime.timedelta(microseconds=last) + seconds * SECOND
        ran = run("log", "prune", "log", "--before", moment.isoformat(), *KEY, "--dry-run")
        assert ran.out.startswith(f"would remove {count} segment")


@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_what_is_not_as_it_was_signed_is_kept(old: Path, run: Run, words: tuple[str, ...]) -> None:
    path = segments(old)[0]
    put_lines(path, [line.replace(b"small", b"smell") for line in lines_of(path)])
    ran = run("log", "prune", "log", "--before", BEFORE, *KEY, *words)
    assert ran.code == 0
    assert ran.out.splitlines()[1:] == [
        "  kept  a/1: its lines are not those that were signed: see log verify"
    ]
    assert path.exists()
    path = old / "tree/tile/0/000.p/44"
    path.write_bytes(path.read_bytes()[::-1])
    ran = run("log", "prune", "log", "--before", "2026-02-01", *KEY, *words)
    assert (ran.code, ran.out) == (1, "")
    assert "nothing is removed" in ran.err


def test_a_writer_that_never_wrote_holds_nothing_up(old: Path, run: Run) -> None:
    (old / "never").mkdir()
    assert run("log", "prune", "log", "--before", BEFORE, *KEY).out.startswith("removed 2 segments")


def test_the_key_of_somebody_else_removes_nothing(old: Path) -> None:
    with pytest.raises(NotWholeError, match="nothing is removed"):
        prune(old, microseconds(MOMENT + 60 * SECOND), STRANGER)
    assert len(segments(old)) == 4


@pytest.mark.parametrize("name", ["tree/statements", "prune", "heads/prune"])
def test_what_is_left_of_a_prune_is_missed(old: Path, run: Run, name: str) -> None:
    run("log", "prune", "log", "--before", BEFORE, *KEY)
    path = old / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    ran = run("log", "verify", "log", "--key", "auditor.pub")
    assert ran.code == 1
    if name == "tree/statements":
        assert "a/1: lines 1 to 12: removed, and nobody who has the key says so" in ran.out
        assert run("log", "verify", "log").code == 0
        shutil.rmtree(old / "prune")
        assert "missing_segment  a/1" in run("log", "verify", "log").out


# How far it is.


def test_a_terminal_sees_how_far_it_is(
    old: Path, run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            return 2

    assert capsys is not None
    monkeypatch.setattr(terminal, "_BAR_SECONDS", -1)
    monkeypatch.setattr(os, "get_terminal_size", lambda _number: os.terminal_size((80, 24)))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    commands = {
        "verified": ("log", "verify"),
        "writers": ("log", "checkpoint", "--key", "auditor"),
        "replayed": ("replay",),
        "decided": ("replay", "--against", "policy.yaml"),
    }
    made = terminal.Lines.__init__
    for verb, words in commands.items():
        screen = Screen()

        def on_screen(self: Any, _stream: Any, *, is_quiet: bool = False, to: Any = screen) -> None:
            made(self, to, is_quiet=is_quiet)

        monkeypatch.setattr(terminal.Lines, "__init__", on_screen)
        assert run(*words, str(old)).code == 0
        assert f"{verb} 100% [{'#' * 24}] 0 s left" in screen.getvalue()
        assert screen.getvalue().endswith("\r\x1b[J")
        screen.truncate(0)
        assert run("-q", *words, str(old)).code == 0
        assert "left" not in screen.getvalue()


# States, names and kinds that are mistaken.


SIGN = ("log", "checkpoint", "log", "--key", "auditor")


def test_a_state_that_is_not_there_is_told_and_begins_nothing(keyed: Path, run: Run) -> None:
    ran = run(*SIGN, "--state", "other.state")
    assert (ran.code, ran.out) == (2, "")
    assert "--state: there is no other.state" in ran.err
    assert "give --first if the key has never signed this log" in ran.err
    assert run(*SIGN, "--state", "other.state", "--first").code == 0
    assert run(*SIGN, "--state", "other.state").code == 0
    assert run(*SIGN, "--state", "typo.state").code == 2
    assert not (keyed.parent / "typo.state").exists()


def test_a_key_with_a_state_does_not_begin_another_one(keyed: Path, run: Run) -> None:
    assert run(*SIGN, "--first").code == 0
    for more in ((), ("--first",), ("--since", "log/tree/checkpoint")):
        ran = run(*SIGN, "--state", "auditr.state", *more)
        assert (ran.code, ran.out) == (2, "")
        assert "there is no auditr.state, and the key has the state auditor.state" in ran.err
    assert not (keyed.parent / "auditr.state").exists()


def test_a_state_that_begins_at_a_kept_checkpoint_is_told(keyed: Path, run: Run) -> None:
    assert run(*SIGN, "--first").code == 0
    (keyed.parent / "auditor.state").unlink()
    ran = run(*SIGN, "--state", "new.state", "--since", "log/tree/checkpoint")
    assert ran.code == 0
    assert "there is no new.state: a new state begins there" in ran.err


def test_what_is_wrong_with_a_state_is_said_of_the_state(keyed: Path, run: Run) -> None:
    state = keyed.parent / "auditor.state"
    state.write_text("junk")
    ran = run(*SIGN)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "policy-router: the state auditor.state: it is not what a key remembers\n"
    state.unlink()
    state.mkdir()
    assert run(*SIGN).err.startswith("policy-router: the state auditor.state: ")
    state.rmdir()
    (keyed.parent / "nowhere").write_text("")
    ran = run(*SIGN, "--first", "--state", "nowhere/x.state")
    assert (ran.code, ran.err) == (2, "policy-router: the state nowhere/x.state: file exists\n")


def test_a_log_must_be_the_one_that_is_wanted(keyed: Path, run: Run) -> None:
    check = ("log", "verify", str(keyed), "--origin", "example.com/log")
    ran = run(*check)
    assert ran.code == 1
    assert "no checkpoint says that the log is `example.com/log`" in ran.out
    run(*SIGN, "--first")
    assert run(*check).code == 0
    assert run(*check, "--key", "auditor.pub").code == 0
    ran = run("log", "verify", "log", "--origin", "example.com/other", "--key", "auditor.pub")
    assert ran.code == 1
    words = "it is of the log `example.com/log`, and not of `example.com/other`"
    assert re.search(rf"other_origin +tree/\S+: {re.escape(words)}", ran.out)


def test_a_proof_of_the_other_kind_is_told(proof: Path, run: Run) -> None:
    growth = run("log", "prove", "log", "--since", "log/tree/checkpoint").out
    check = ("log", "verify-proof", "--key", "auditor.pub")
    ran = run(*check, "-", stdin=growth)
    assert (ran.code, ran.out) == (2, "")
    assert "it is a proof of growth, and not of one decision" in ran.err
    assert "give the older checkpoint: --since FILE" in ran.err
    ran = run(*check, str(proof), "--since", "log/tree/checkpoint")
    assert (ran.code, ran.out) == (2, "")
    assert "it is a proof of one decision, and not of growth" in ran.err
