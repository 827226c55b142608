"""Every decision of a log is made again, under its own policy or by another one, and compared."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from policy_router import DecisionLog, decide
from policy_router.decision.record import Target
from policy_router.decision.replay import Outcome
from policy_router.log.entry import ACCESS, Close, Execution, Kind
from policy_router.log.folder import LogFolder
from policy_router.log.integrity.verify import verify
from policy_router.log.replay import chunks as chunks_module
from policy_router.log.replay import decisions as decisions_module
from policy_router.log.replay import replaying, what_if_groups, what_if_report
from policy_router.log.replay.chunks import Chunk
from policy_router.log.replay.replaying import ReplayReport, replay_log
from policy_router.log.replay.what_if import what_if
from policy_router.log.replay.what_if_money import Money
from policy_router.log.replay.what_if_report import WhatIf, ordered
from policy_router.log.write.drafts import Decided, Draft
from tests.support.commands import Run
from tests.support.log_auditing import (
    CHEAP,
    NOW,
    PRICED,
    Clock,
    Plain,
    finished,
    history,
    id_of,
    lines_of,
    policy_of,
    put_lines,
    rewritten,
    segments,
    with_record,
)

RULES, OTHER = policy_of(PRICED), policy_of(CHEAP)
CODING, WRITING, ODD = ({"task": {"kind": kind}} for kind in ("coding", "writing", "odd"))
REQUESTS: list[Plain] = [{}, CODING, WRITING, ODD, CODING]
AT_NIGHT = PRICED.replace('task.kind == "coding"', "now.getHours() < 6")
WISHES = PRICED.replace("precedence: strict", "precedence: [task, pool, config]")
Change = Callable[[Plain], None]
UNREADABLE = next(Path("/sys/bus").glob("*/uevent"), None)
"""A file with a size that only takes what is written, even for root."""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return a log of a few decisions."""
    history(tmp_path / "log", RULES, REQUESTS)
    return tmp_path / "log"


def counted(report: ReplayReport) -> dict[str, int]:
    """Return what a replay came to, without zeros."""
    return {str(outcome): count for outcome, count in report.counts.items() if count}


def another_version(plain: Plain) -> None:
    """Let a record be of another version."""
    plain["engine"] = {"version": "0.0.1"}


def skipped(plain: Plain) -> None:
    """Let a record have another step."""
    plain["steps"][1]["result"] = "skipped"


# Under its own policy.


def test_what_nobody_touched_is_identical(log: Path, run: Run) -> None:
    report = replay_log(log)
    assert (counted(report), report.total, report.decided) == ({"identical": 5}, 5, 4)
    ran = run("replay", "log")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "outcome         decisions\n"
        "identical       5\n"
        "changed         0\n"
        "engine drift    0\n"
        "not replayable  0\n"
        "all 5 decisions are identical\n"
    )
    assert run("-q", "replay", "log").out == "all 5 decisions are identical\n"


def test_a_replay_is_told_in_json(log: Path, run: Run) -> None:
    ran = run("replay", str(log), "--format", "json")
    assert ran.code == 0
    assert json.loads(ran.out) == {
        "counts": {"identical": 5, "changed": 0, "engine_drift": 0, "not_replayable": 0},
        "reasons": {},
        "deviations": [],
        "unreadable": 0,
        "total": 5,
        "identical": True,
    }


def test_decisions_of_several_policies_are_each_replayed_under_their_own(tmp_path: Path) -> None:
    history(tmp_path, RULES, REQUESTS, writer="a")
    history(tmp_path, OTHER, REQUESTS, writer="b", first=10)
    assert counted(replay_log(tmp_path)) == {"identical": 10}


def test_refusals_and_decisions_with_warnings_are_identical(tmp_path: Path) -> None:
    warning = PRICED.replace('task.kind == "coding"', "1 / task.index == 1")
    history(tmp_path, policy_of(warning), [{"task": {"model": "gpt-9"}}, CODING])
    assert counted(replay_log(tmp_path)) == {"identical": 2}


def test_a_log_without_decisions_replays_nothing_and_says_so(tmp_path: Path, run: Run) -> None:
    (tmp_path / "empty/.heads").mkdir(parents=True)
    said = "no decision was replayed: the log holds none that is asked for\n"
    ran = run("-q", "replay", "empty")
    assert (ran.code, ran.out, ran.err) == (0, said, "")
    (tmp_path / "rules.yaml").write_text(PRICED)
    ran = run("-q", "replay", "empty", "--against", "rules.yaml")
    assert (ran.code, ran.err) == (0, "")
    assert "nothing to decide again: the log holds no decision that is meant" in ran.out


def test_a_record_whose_steps_were_changed_is_changed(log: Path, run: Run) -> None:
    with_record(log, 2, skipped)
    assert verify(log).is_whole
    ran = run("replay", "log")
    assert ran.code == 4
    reason = "first difference: rule `task`: skipped became no_proposal"
    assert ran.out.splitlines()[2:] == [
        "changed         1",
        "engine drift    0",
        "not replayable  0",
        f"1 x changed: {reason}",
        f"next: policy-router log show log {id_of(2)}",
    ]
    found = json.loads(run("replay", "log", "--format", "json").out)
    assert found["deviations"] == [
        {"decision_id": id_of(2), "outcome": "changed", "reason": reason}
    ]
    assert (found["identical"], found["counts"]["changed"]) == (False, 1)


def test_a_decision_that_was_changed_is_changed(log: Path) -> None:
    with_record(log, 1, lambda plain: plain["decision"]["target"].update(model="other"))
    (it,) = replay_log(log).deviations
    words = "first difference: the same steps, and another decision of them"
    assert (it.outcome, it.reason) == (Outcome.CHANGED, words)


def test_a_difference_by_another_version_is_engine_drift(log: Path, run: Run) -> None:
    with_record(log, 2, skipped)
    with_record(log, 2, another_version)
    assert counted(replay_log(log)) == {"identical": 4, "engine_drift": 1}
    ran = run("replay", "log")
    assert ran.code == 4
    assert "1 x engine_drift: first difference: rule `task`: skipped became" in ran.out


def test_the_same_decision_by_another_version_is_identical(log: Path) -> None:
    with_record(log, 2, another_version)
    assert counted(replay_log(log)) == {"identical": 5}


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain["decision"].pop("fallbacks"),
        lambda plain: plain["decision"].update(mood="good"),
        lambda plain: plain["steps"][0].update(mood="good"),
    ],
    ids=["an optional field less", "a field more", "a field more of a step"],
)
def test_the_words_of_another_version_may_be_others(log: Path, run: Run, change: Change) -> None:
    with_record(log, 2, change)
    (it,) = replay_log(log).deviations
    assert it.outcome is Outcome.CHANGED
    assert it.reason == "the record is not as any version writes it"
    with_record(log, 2, another_version)
    assert counted(replay_log(log)) == {"identical": 5}
    assert run("log", "show", "log", id_of(2)).code == 0


def test_a_record_without_its_policy_is_not_replayable(log: Path, run: Run) -> None:
    shutil.rmtree(log / "policies")
    ran = run("replay", "log")
    assert ran.code == 4
    words = f"the policy {RULES.revision[:19]} is not kept: no such file or directory"
    assert f"\n5 x not_replayable: {words}\n" in ran.out


def test_a_record_whose_policy_was_changed_is_not_replayable(log: Path, run: Run) -> None:
    (path,) = (log / "policies").glob("*.json")
    path.write_bytes(path.read_bytes().replace(b"coding", b"coping"))
    words = f"the policy {RULES.revision[:19]} is not what it was: its file was changed"
    assert replay_log(log).reasons == {f"not_replayable: {words}": 5}
    assert run("replay", "log").code == 4


def test_a_record_whose_policy_has_errors_is_not_replayable(log: Path) -> None:
    broken = b'{"version":1,"precedence":"nonsense"}'
    revision = f"sha256:{sha256(broken).hexdigest()}"
    (log / f"policies/{revision}.json").write_bytes(broken)
    with_record(log, 1, lambda plain: plain["policy"].update(revision=revision))
    words = f"the policy {revision[:19]} cannot be used: this version finds errors in it"
    assert replay_log(log).reasons == {f"not_replayable: {words}": 1}


@pytest.mark.parametrize("revision", ["", "../../secret", "sha256:", "x" * 300, "\x00"])
def test_a_record_that_names_no_policy_is_not_replayable(log: Path, revision: str) -> None:
    with_record(log, 1, lambda plain: plain["policy"].update(revision=revision))
    words = "the record names no revision of a policy"
    assert replay_log(log).reasons == {f"not_replayable: {words}": 1}


def test_a_record_of_a_newer_schema_is_not_replayable(log: Path, run: Run) -> None:
    with_record(log, 1, lambda plain: plain.update(schema="policy-router/record/v9"))
    ran = run("replay", "log")
    assert ran.code == 4
    assert (
        "1 x not_replayable: this is not a record of the schema policy-router/record/v1;"
        " a newer version may read it"
    ) in ran.out
    assert "a newer version may read it" in run("log", "show", "log", id_of(1)).out


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda plain: plain.update(request={"task": {"kind": 1}}),
            "$.task.kind: expected a string",
        ),
        (lambda plain: plain.update(request=[]), "not a decision record: "),
        (lambda plain: plain.update(decision={}), "not a decision record: "),
        (lambda plain: plain.pop("steps"), "not a decision record: "),
        (lambda plain: plain.clear(), "not a decision record: "),
    ],
    ids=["request", "no request", "decision", "no steps", "nothing"],
)
def test_a_record_that_does_not_fit_is_not_replayable(
    log: Path, change: Change, reason: str
) -> None:
    with_record(log, 1, change)
    report = replay_log(log)
    assert counted(report) == {"identical": 4, "not_replayable": 1}
    (found,) = report.reasons
    assert reason in found


def test_a_decision_without_a_record_is_not_replayable(tmp_path: Path) -> None:
    with DecisionLog(tmp_path) as log:
        log.act(Draft(Kind.DECISION, 1, id_of(1), close=Close("end")))
    assert counted(replay_log(tmp_path)) == {"not_replayable": 1}


def test_what_is_wrong_with_one_record_is_not_told_of_its_equals(tmp_path: Path) -> None:
    history(tmp_path, RULES, [{}] * 3)
    with_record(tmp_path, 0, lambda plain: plain.update(now="nonsense"))
    assert counted(replay_log(tmp_path)).get("changed", 0) == 0
    assert what_if(tmp_path, RULES).unfit <= 1


def test_lines_that_cannot_be_read_are_counted(log: Path, run: Run) -> None:
    path = segments(log, "w1")[0]
    put_lines(path, [b"nonsense", *lines_of(path), b"\xff", b'{"kind":1}'])
    ran = run("replay", "log")
    assert ran.code == 4
    assert "\n3 lines cannot be read: policy-router log verify log\n" in ran.out
    assert "next:" not in ran.out
    assert json.loads(run("replay", "log", "--format", "json").out)["unreadable"] == 3
    against = run("replay", "log", "--against", "policy.yaml")
    assert (against.code, "3 lines cannot be read" in against.out) == (0, True)


def without_engine(plain: Plain) -> None:
    del plain["record"]["engine"]


def without_policy_name(plain: Plain) -> None:
    del plain["record"]["policy"]["name"]


@pytest.mark.parametrize(
    ("change", "unreadable"),
    [
        (lambda plain: plain.update(kind="later"), True),
        (lambda plain: plain.pop("id"), True),
        (without_engine, False),
        (without_policy_name, False),
    ],
    ids=["kind", "id", "engine", "name"],
)
def test_what_the_reader_of_a_log_cannot_read_is_not_identical(
    log: Path, run: Run, tmp_path: Path, change: Change, *, unreadable: bool
) -> None:
    rewritten(log, "w1", partial(on_decision_line, 1, change))
    assert verify(log).is_whole
    report = replay_log(log)
    assert not report.is_identical
    assert (report.unreadable, report.counts["not_replayable"]) == (
        (1, 0) if unreadable else (0, 1)
    )
    assert run("replay", "log").code == 4
    (tmp_path / "same.yaml").write_text(PRICED)
    assert what_if(log, RULES).unreadable == 1
    assert run("replay", "log", "--against", "same.yaml", "--fail-over", "0").code == 4
    assert "1 line cannot be read: of a newer version" in run("log", "ls", "log").err


def on_decision_line(number: int, change: Change, plain: Plain) -> None:
    """Change the line of one decision of five."""
    if plain.get("id") == id_of(number) and plain["kind"] == "decision":
        change(plain)


def test_a_line_that_is_being_written_is_not_there_yet(log: Path, run: Run) -> None:
    with segments(log, "w1")[0].open("ab") as stream:
        stream.write(b'{"kind":"decision"')
    assert run("replay", "log").code == 0


def test_of_very_many_deviations_the_first_are_told(tmp_path: Path) -> None:
    history(tmp_path, RULES, [{"caller": {"id": f"c{number}"}} for number in range(60)])
    (tmp_path / f"policies/{RULES.revision}.json").unlink()
    report = replay_log(tmp_path)
    assert report.counts == {"not_replayable": 60}
    assert [it.decision_id for it in report.deviations] == [id_of(number) for number in range(20)]


def test_memory_for_decisions_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions_module, "MOST_KEPT", 2)
    monkeypatch.setattr(what_if_groups, "MOST_KEPT", 2)
    history(tmp_path, RULES, [{"caller": {"id": f"c{number % 5}"}} for number in range(20)])
    report = replay_log(tmp_path)
    assert (counted(report), report.decided) == ({"identical": 20}, 20)
    assert summary(what_if(tmp_path, OTHER))["decisions"] == 20


def test_a_policy_that_looks_at_the_time_is_replayed_at_each_time(tmp_path: Path) -> None:
    policy = policy_of(AT_NIGHT)
    for number, now in enumerate(("2026-01-31T02:00:00Z", "2026-01-31T12:00:00Z")):
        history(tmp_path, policy, [{}] * 3, first=10 * number, now=now)
    report = replay_log(tmp_path)
    assert (counted(report), report.decided) == ({"identical": 6}, 2)
    with_record(tmp_path, 0, lambda plain: plain.update(now="2026-01-31T12:00:00Z"))
    (it,) = replay_log(tmp_path).deviations
    assert (it.decision_id, it.outcome) == (id_of(0), Outcome.CHANGED)


# By another policy.


def summary(report: WhatIf) -> Plain:
    """Return a report as plain data."""
    plain: Plain = json.loads(report.to_json())
    return plain


def matrix(report: WhatIf) -> dict[tuple[str, str], int]:
    return dict(report.matrix)


def test_what_only_asks_whether_something_is_allowed_is_replayed_and_no_more(
    tmp_path: Path,
) -> None:
    history(tmp_path, RULES, [CODING])
    with DecisionLog(tmp_path) as log:
        made = [decide(RULES, it, now=NOW) for it in (CODING, ODD)]
        log.decisions(
            RULES, [Decided(it, id_of(9 + n), purpose=ACCESS) for n, it in enumerate(made)]
        )
    assert counted(replay_log(tmp_path)) == {"identical": 3}
    assert what_if(tmp_path, OTHER).total == 1
    verify(tmp_path)


def test_the_same_policy_changes_nothing(log: Path, run: Run) -> None:
    report = what_if(log, RULES)
    assert (report.total, report.flips, report.otherwise) == (5, 0, 0)
    ran = run("replay", "log", "--against", next((log / "policies").glob("*.json")).as_posix())
    assert ran.code == 0
    assert ran.out == (
        "policy priced: 0 of 5 decisions (0.00 %) would differ; 0 refusals gained, 0 lost\n"
        "\ncost: unknown for all 5 decisions\n"
    )


def test_flips_are_counted_from_target_to_target(log: Path) -> None:
    report = what_if(log, OTHER)
    small, large = "small at main", "coder (large at main)"
    assert matrix(report) == {
        (small, small): 1,
        (large, small): 2,
        (small, large): 1,
        ("odd at main", "odd at main"): 1,
    }
    assert report.causes == {"rule `pool`": 3}
    assert (report.gained, report.lost, report.unfit, report.otherwise) == (0, 0, 0, 0)
    assert [(it.count, it.decision_id) for it in report.most_frequent()] == [
        (2, id_of(1)),
        (1, id_of(2)),
    ]
    assert (report.total, report.flips) == (5, 3)
    assert (report.policy, report.revision) == ("cheap", OTHER.revision)


def test_refusals_gained_and_lost_are_counted(tmp_path: Path) -> None:
    forbidding = policy_of(
        PRICED + 'forbid: [{id: no-large, when: target.model == "large", message: "No."}]\n'
    )
    wish = {"task": {"model": "coder"}}
    history(tmp_path / "log", RULES, [wish, CODING, {}])
    report = what_if(tmp_path / "log", forbidding)
    assert (report.gained, report.lost) == (1, 0)
    assert matrix(report)["coder (large at main)", "(refused)"] == 1
    assert report.causes["forbid rule `no-large`"] == report.flips
    history(tmp_path / "back", forbidding, [wish, CODING, {}])
    report = what_if(tmp_path / "back", RULES)
    assert (report.gained, report.lost) == (0, 1)
    assert report.causes["no longer forbid rule `no-large`"] == report.flips


def test_the_same_target_by_another_rule_is_counted_apart(tmp_path: Path, run: Run) -> None:
    history(tmp_path / "log", RULES, [{"task": {"model": "small"}}])
    (tmp_path / "other.yaml").write_text(PRICED + "parameters: {max_tokens: 5}\n")
    ran = run("replay", "log", "--against", "other.yaml")
    words = "1 end alike, and differ in rule, parameters, fallbacks or warnings"
    assert f"; {words}" in ran.out.replace("\n", " ")
    assert ran.code == 0


def test_a_request_that_does_not_fit_is_a_flip(tmp_path: Path, run: Run) -> None:
    with_risk = policy_of(PRICED + "facts: {risk: {type: int}}\n")
    history(tmp_path / "log", with_risk, [{"facts": {"risk": 1}}, {}])
    (tmp_path / "other.yaml").write_text(PRICED + "facts: {risk: {type: string}}\n")
    found = json.loads(run("replay", "log", "--against", "other.yaml", "--format", "json").out)
    assert (found["unfit"], found["flips"], found["decisions"]) == (1, 1, 2)
    assert found["refusals"] == {"gained": 0, "lost": 0}
    (example,) = found["examples"]
    assert example == {
        "count": 1,
        "id": id_of(0),
        "before": "small at main",
        "after": "(request does not fit)",
        "rule": "the request does not fit the policy",
    }
    ran = run("replay", "log", "--against", "other.yaml", "--fail-over", "0")
    assert (ran.code, "1 request does not fit it" in ran.out) == (4, True)


def test_a_refusal_that_does_not_fit_is_not_lost(tmp_path: Path) -> None:
    with_risk = policy_of(PRICED + "facts: {risk: {type: int}}\n")
    history(tmp_path, with_risk, [{"task": {"model": "gpt-9"}, "facts": {"risk": 1}}])
    report = what_if(tmp_path, policy_of(PRICED + "facts: {risk: {type: string}}\n"))
    assert (report.unfit, report.lost, report.gained) == (1, 0, 0)


def test_a_policy_that_looks_at_the_time_decides_at_each_time(tmp_path: Path) -> None:
    for number, hour in enumerate(("02", "12", "02")):
        now = f"2026-01-31T{hour}:00:00Z"
        history(tmp_path, RULES, [{}] * 2, first=10 * number, now=now)
    report = what_if(tmp_path, policy_of(AT_NIGHT))
    assert matrix(report)["small at main", "coder (large at main)"] == 4
    assert (report.flips, report.decided) == (4, 2)


def test_records_that_cannot_be_read_are_left_out(log: Path) -> None:
    with_record(log, 0, lambda plain: plain.update(schema="policy-router/record/v9"))
    with_record(log, 1, lambda plain: plain.clear())
    with_record(log, 2, lambda plain: plain["decision"].pop("outcome"))
    report = what_if(log, OTHER)
    assert (report.unreadable, report.total) == (3, 2)


# Lines that nobody would write.


@pytest.mark.parametrize("depth", [600, 1000, 5000, 100_000])
def test_a_line_of_any_depth_is_told_and_harms_no_reader(
    log: Path, run: Run, tmp_path: Path, depth: int
) -> None:
    (path,) = segments(log, "w1")
    deep = b"[" * depth + b"]" * depth
    lines = [line.replace(b'"kind":"writing"', b'"kind":' + deep) for line in lines_of(path)]
    put_lines(path, lines)
    (tmp_path / "same.yaml").write_text(PRICED)
    asked = [("log", "verify"), ("log", "ls"), ("log", "tail"), ("log", "stats"), ("replay",)]
    for words in asked:
        ran = run(*words, "log")
        assert ran.code == {"verify": 1, "replay": 4}.get(words[-1], 0)
    ran = run("replay", "log", "--against", "same.yaml", "--format", "json")
    assert (ran.code, json.loads(ran.out)["unreadable"]) == (0, 1)
    assert run("log", "show", "log", id_of(2)).code in {0, 2}


def test_a_time_that_is_none_is_told_wherever_it_stands(log: Path) -> None:
    def timeless(plain: Plain) -> None:
        plain["now"] = "yesterday"

    with_record(log, 4, timeless)  # an equal request was decided before it
    assert counted(replay_log(log)) == {"identical": 4, "not_replayable": 1}
    assert what_if(log, OTHER).unreadable == 1


def test_a_segment_that_is_pruned_meanwhile_is_passed_over(log: Path) -> None:
    (path,) = segments(log, "w1")
    (piece,) = chunks_module.chunks(LogFolder(log))
    path.unlink()
    assert list(piece.lines()) == []


# What it costs.

LONG = "parameters: {max_tokens: 100}\n"
"""Lets a task have an estimate: at most so many tokens come out."""


def sized(kind: str, tokens: int) -> Plain:
    return {"task": {"kind": kind, "input_tokens": tokens}}


def test_cost_is_measured_by_the_tokens_that_were_used(tmp_path: Path, run: Run) -> None:
    history(tmp_path / "log", RULES, [CODING], {0: finished(1000, 100)})
    (tmp_path / "cheap.yaml").write_text(CHEAP)
    found = json.loads(run("replay", "log", "--against", "cheap.yaml", "--format", "json").out)
    assert found["cost_usd"] == {
        "before": 0.012,  # 1000 tokens at $10 and 100 at $20, a million
        "after": 0.0012,
        "delta": -0.0108,
        "measured": 1,
        "estimated": 0,
        "unknown": 0,
    }
    words = run("replay", "log", "--against", "cheap.yaml").out.replace("\n", " ")
    assert (
        " cost: $0.012000 before, $0.001200 after, -0.010800; 1 measured, 0 estimated, 0 unknown "
    ) in words


def test_a_cost_that_was_recorded_is_not_worked_out_anew(tmp_path: Path) -> None:
    history(tmp_path, RULES, [CODING], {0: finished(1000, 100, 0.5)})
    money = what_if(tmp_path, OTHER).money
    assert (money.before, money.after) == (500_000_000, 1_200_000)


def test_cost_is_estimated_where_nothing_was_used(tmp_path: Path) -> None:
    history(tmp_path, policy_of(PRICED + LONG), [sized("coding", 1000), sized("writing", 10)])
    money = what_if(tmp_path, policy_of(CHEAP + LONG)).money
    assert (money.measured, money.estimated, money.unknown) == (0, 2, 0)
    assert money.before == 12_000_000 + 210_000
    assert money.after == 1_200_000 + 2_100_000


def test_cost_that_nobody_knows_is_counted_and_in_no_sum(tmp_path: Path) -> None:
    used = {
        0: finished(1000, 100),  # the model `odd` has no price
        1: finished(cost=0.5),  # by how many tokens?
        2: finished(1000),
        3: Execution("finished", status="failed"),
    }
    history(tmp_path, RULES, [ODD, CODING, CODING, CODING, {}], used)
    money = what_if(tmp_path, OTHER).money
    assert (money.measured, money.estimated, money.unknown) == (0, 0, 5)
    assert (money.before, money.after) == (0, 0)


FALLBACK = PRICED.replace(
    'pick: task.kind == "coding"', 'pick: task.kind == "coding", fallback: [odd]'
)


def ended_at(model: str, tokens: int, cost: float | None = None) -> Execution:
    return replace(finished(tokens, 0, cost), provider="main", model=model, entry=model)


def test_what_ran_is_priced_and_not_what_was_decided(tmp_path: Path) -> None:
    policy = policy_of(FALLBACK)
    history(tmp_path, policy, [CODING], {0: ended_at("odd", 1000)})
    assert what_if(tmp_path, OTHER).money == Money(unknown=1)
    assert what_if(tmp_path, policy).money == Money(unknown=1)


def test_the_same_target_costs_the_same(tmp_path: Path) -> None:
    priced = policy_of(FALLBACK.replace("model: odd,", "model: odd, price: {input: 5, output: 5},"))
    used = {0: ended_at("odd", 1000), 1: ended_at("odd", 1000, 0.25)}
    history(tmp_path, priced, [CODING, CODING], used)
    money = what_if(tmp_path, priced).money
    assert (money.before, money.after, money.measured) == (255_000_000, 255_000_000, 2)
    dearer = policy_of(FALLBACK.replace("model: odd,", "model: odd, price: {input: 7, output: 5},"))
    money = what_if(tmp_path, dearer).money
    assert (money.before, money.after) == (255_000_000, 14_000_000)


def test_two_runs_of_which_one_is_unknown_are_unknown(tmp_path: Path) -> None:
    with DecisionLog(tmp_path) as log:
        log.decision(RULES, decide(RULES, CODING, now=NOW), decision_id=id_of(0))
        log.execution(id_of(0), finished(1000, 100, 0.5))
        log.execution(id_of(0), finished(1000))
    assert what_if(tmp_path, RULES).money == Money(unknown=1)


@pytest.mark.parametrize("used", [finished(10**400, 1), finished(-1, 1), finished(1, 1, 1.5e308)])
def test_what_cannot_be_is_unknown(tmp_path: Path, used: Execution) -> None:
    history(tmp_path, RULES, [CODING], {0: used})
    assert what_if(tmp_path, OTHER).money == Money(unknown=1)


def test_a_refusal_costs_nothing(tmp_path: Path) -> None:
    wish = {"task": {"model": "gpt-9", "input_tokens": 1000}}
    free = policy_of(PRICED.replace("precedence: strict", "precedence: [{use: config}]") + LONG)
    history(tmp_path / "log", policy_of(PRICED + LONG), [wish])
    money = what_if(tmp_path / "log", free).money
    assert (money.before, money.after, money.estimated) == (0, 1_200_000, 1)
    history(tmp_path / "back", free, [wish], {0: finished(1000, 100)})
    money = what_if(tmp_path / "back", policy_of(PRICED + LONG)).money
    assert (money.before, money.after, money.measured) == (1_200_000, 0, 1)


def test_without_the_policy_that_decided_its_prices_are_unknown(tmp_path: Path) -> None:
    history(tmp_path, policy_of(PRICED + LONG), [sized("coding", 10)] * 2, {0: finished(10, 10)})
    shutil.rmtree(tmp_path / "policies")
    report = what_if(tmp_path, policy_of(CHEAP + LONG))
    assert (report.flips, report.money.unknown) == (2, 2)


def test_what_does_not_fit_costs_nobody_knows_what(tmp_path: Path) -> None:
    with_risk = policy_of(PRICED + "facts: {risk: {type: int}}\n")
    history(tmp_path, with_risk, [{"facts": {"risk": 1}}], {0: finished(10, 10)})
    report = what_if(tmp_path, policy_of(PRICED + "facts: {risk: {type: string}}\n"))
    assert (report.unfit, report.money.unknown) == (1, 1)


def test_what_came_of_no_decision_that_is_there_is_left_out(tmp_path: Path) -> None:
    history(tmp_path, RULES, [CODING], {7: finished(1000, 100)})
    money = what_if(tmp_path, OTHER).money
    assert (money.measured, money.unknown) == (0, 1)


# However the work is divided.


def worked(folder: Path) -> None:
    """Log what has everything: several policies and writers, children, and what cannot be read."""
    kinds = ("coding", "writing", "odd", "", "coding")
    for writer, policy in (("a", RULES), ("b", policy_of(PRICED + LONG)), ("c", OTHER)):
        first = 1000 * (ord(writer) - ord("a"))
        requests = [
            {**sized(kinds[number % 5], number % 3), "caller": {"id": f"c{number % 4}"}}
            for number in range(60)
        ]
        requests[7] = {"task": {"model": "gpt-9"}}
        used = {first + number: finished(number, 2 * number) for number in range(0, 60, 2)}
        history(folder, policy, requests, used, writer=writer, first=first)
    path = segments(folder, "a")[0]
    put_lines(path, [*lines_of(path)[:30], b"nonsense", *lines_of(path)[30:]])


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("big")
    worked(folder)
    return folder


AGAINST = policy_of(CHEAP + LONG)


def by_hand(folder: Path) -> Plain:
    """Return matrix and money as they are worked out by hand, decision by decision."""
    lines = [
        json.loads(line)
        for path in sorted(folder.glob("*/*.jsonl"))
        for line in lines_of(path)
        if line != b"nonsense"
    ]
    used = {it["id"]: it["execution"] for it in lines if it["kind"] == "execution"}
    flips: Counter[tuple[str, str]] = Counter()
    money: Counter[str] = Counter()
    prices = {"small": (1, 2), "large": (10, 20)}

    def paid(model: str | None, tokens: tuple[int | None, int | None]) -> int | None:
        if model is None:
            return 0
        if model not in prices or None in tokens:
            return None
        return sum(
            1000 * each * (count or 0) for each, count in zip(prices[model], tokens, strict=True)
        )

    for line in lines:
        if line["kind"] != "decision":
            continue
        record = line["record"]
        made = decide(AGAINST, record["request"], now=record["now"]).decision
        was = record["decision"].get("target")
        now = made.target if isinstance(made.target, Target) else None
        models = (was and was["model"], now and now.model)
        flips[str(models[0]), str(models[1])] += 1
        task = record["request"]["task"]
        guess = task.get("input_tokens")
        longest = was and was["parameters"].get("max_tokens")
        tokens = [(guess, longest), (guess, 100)]
        if line["id"] in used:
            it = used[line["id"]]
            tokens = [(it["input_tokens"], it["output_tokens"])] * 2
        sums = [paid(model, each) for model, each in zip(models, tokens, strict=True)]
        if None in sums:
            money["unknown"] += 1
        else:
            money["measured" if line["id"] in used else "estimated"] += 1
            money["before"] += sums[0] or 0
            money["after"] += sums[1] or 0
    return {"flips": flips, "money": dict(money)}


def as_by_hand(report: WhatIf) -> Plain:
    names = {"small at main": "small", "coder (large at main)": "large", "odd at main": "odd"}
    named = {**names, "(refused)": "None"}
    flips = Counter({(named[a], named[b]): n for (a, b), n in report.matrix.items()})
    money = {key: count for key, count in msgspec.to_builtins(report.money).items() if count}
    return {"flips": flips, "money": money}


def test_a_report_is_what_one_gets_by_hand(big: Path) -> None:
    report = what_if(big, AGAINST, workers=1)
    assert as_by_hand(report) == by_hand(big)
    assert report.unreadable == 1
    kinds = (report.money.measured, report.money.estimated, report.money.unknown)
    assert all(kinds), kinds


@pytest.mark.parametrize("size", [97, 700, 5000, 20_000])
def test_the_size_of_pieces_changes_nothing(
    big: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    whole, again = what_if(big, AGAINST, workers=1), replay_log(big, workers=1)
    monkeypatch.setattr(chunks_module, "_CHUNK", size)
    assert summary(what_if(big, AGAINST, workers=1)) == summary(whole)
    assert replay_log(big, workers=1).counts == again.counts


def test_threads_change_nothing(big: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, again = what_if(big, AGAINST, workers=1), replay_log(big, workers=1)
    monkeypatch.setattr(chunks_module, "_CHUNK", 5000)
    with ThreadPoolExecutor(4) as executor:
        assert summary(what_if(big, AGAINST, executor=executor)) == summary(whole)
        assert replay_log(big, executor=executor).counts == again.counts


def test_threads_that_take_turns_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for writer in ("a", "b"):
        first = 100 * (ord(writer) - ord("a"))
        history(tmp_path, RULES, [CODING, {}] * 10, writer=writer, first=first)
    whole = what_if(tmp_path, OTHER, workers=1)
    turns, lines = threading.Barrier(2), Chunk.lines

    def in_turns(self: Chunk) -> Iterator[bytes]:
        for line in lines(self):
            turns.wait(10)
            yield line

    monkeypatch.setattr(Chunk, "lines", in_turns)
    with ThreadPoolExecutor(2) as executor:
        assert summary(what_if(tmp_path, OTHER, executor=executor)) == summary(whole)


@pytest.mark.skipif(os.name == "nt", reason="its processes are killed otherwise")
def test_a_process_that_is_killed_is_an_error_that_says_what_to_do(
    big: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks_module, "_SMALL", 0)
    monkeypatch.setattr(replaying, "replay_chunk", killed)
    ran = run("replay", str(big), "--workers", "2")
    assert ran.code == 2
    assert "was killed or could not start; one worker needs no other process" in ran.err


def killed(_job: object, _chunk: object) -> None:
    """Be killed, as by a system without memory."""
    os.kill(os.getpid(), 9)


INTERRUPTED = """
import sys
from policy_router.cli import main
from policy_router.log.replay import chunks
chunks._SMALL = 0
if __name__ == "__main__":
    print("begun", flush=True)
    sys.exit(main(["replay", sys.argv[1], "--workers", "2"]))
"""


@pytest.mark.usefixtures("interrupts")
@pytest.mark.skipif(os.name == "nt", reason="it has no groups of processes")
@pytest.mark.parametrize(
    "seconds", [0.25, *(pytest.param(it, marks=pytest.mark.stress) for it in (0.1, 0.4))]
)
def test_an_interrupt_of_all_processes_is_told_by_none(
    big: Path, tmp_path: Path, seconds: float
) -> None:
    (tmp_path / "interrupted.py").write_text(INTERRUPTED)
    with subprocess.Popen(  # noqa: S603 - the words are the test's own
        [sys.executable, "interrupted.py", str(big)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(seconds)
        with suppress(ProcessLookupError):  # it may have been done before
            os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=50)
    assert process.returncode in {0, 4, 130}
    assert b"Traceback" not in err


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="this system has no masks")
def test_an_executor_that_is_passed_in_is_interrupted_as_ever(log: Path) -> None:
    def blocked() -> set[signal.Signals]:
        return set(signal.pthread_sigmask(signal.SIG_BLOCK, ()))  # type: ignore[arg-type]

    with ThreadPoolExecutor(1) as executor:
        replay_log(log, executor=executor)
        assert executor.submit(blocked).result() == blocked() == set()


@pytest.mark.stress
def test_processes_change_nothing(big: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, again = what_if(big, AGAINST, workers=1), replay_log(big, workers=1)
    monkeypatch.setattr(chunks_module, "_SMALL", 0)
    monkeypatch.setattr(chunks_module, "_CHUNK", 40_000)
    seen: list[tuple[int, int]] = []
    report = what_if(big, AGAINST, workers=2, progress=lambda *done: seen.append(done))
    assert summary(report) == summary(whole)
    assert replay_log(big, workers=2).counts == again.counts
    assert (seen[-1][0], sorted(seen)) == (seen[-1][1], seen)


def test_a_report_of_the_same_log_is_the_same_twice(log: Path) -> None:
    first = what_if(log, OTHER)
    assert what_if(log, OTHER).to_json() == first.to_json()
    (path,) = (log / "policies").glob("*.json")
    path.unlink()
    assert what_if(log, OTHER).money.unknown == 5


def test_what_goes_wrong_in_a_piece_ends_the_rest(big: Path) -> None:
    class Broken(ThreadPoolExecutor):
        def submit(self, *_words: Any, **_options: Any) -> Any:
            return super().submit(int, "x")

    with Broken(1) as executor, pytest.raises(ValueError, match="invalid literal"):
        replay_log(big, executor=executor)


def test_an_executor_is_used_as_it_is_passed_in(log: Path) -> None:
    class Counting(ThreadPoolExecutor):
        count = 0

        def submit(self, *words: Any, **options: Any) -> Any:
            self.count += 1
            return super().submit(*words, **options)

    used: Executor
    with Counting(1) as used:
        replay_log(log, executor=used)
        assert used.count == 1
        used.submit(int).result()  # it is not shut down


def test_processes_elsewhere_find_the_log_and_keep_nothing_of_it(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    context, elsewhere = get_context("spawn"), (tmp_path.root,)
    with ProcessPoolExecutor(1, context, os.chdir, elsewhere) as executor:
        assert counted(replay_log("log", executor=executor)) == {"identical": 5}
        assert what_if("log", OTHER, executor=executor).flips == 3
        shutil.rmtree(log / "policies")
        assert counted(replay_log("log", executor=executor)) == {"not_replayable": 5}


def test_progress_is_told_up_to_the_end(big: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks_module, "_CHUNK", 5000)
    seen: list[tuple[int, int]] = []
    replay_log(big, workers=1, progress=lambda *done: seen.append(done))
    size = sum(path.stat().st_size for path in big.glob("*/*.jsonl"))
    assert (seen[-1], sorted(seen)) == ((size, size), seen)
    with ThreadPoolExecutor(2) as executor:
        replay_log(big, executor=executor, progress=lambda *done: seen.append(done))
    assert seen[-1] == (size, size)


def test_what_came_of_a_record_that_cannot_be_read_is_left_out_in_any_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history(tmp_path, RULES, [CODING, CODING], {0: finished(1000, 100), 1: finished(1000, 100)})
    with DecisionLog(tmp_path, writer="w1", clock=Clock()) as log:
        log.execution(id_of(1), Execution("started"))
    with_record(tmp_path, 0, lambda plain: plain.update(schema="policy-router/record/v9"))
    monkeypatch.setattr(chunks_module, "_CHUNK", 100)
    report = what_if(tmp_path, OTHER)
    assert (report.unreadable, report.total, report.money.measured) == (1, 1, 1)
    assert (report.money.before, report.money.unknown) == (12_000_000, 0)


def test_of_very_many_examples_the_frequent_ones_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(what_if_report, "_MOST_EXAMPLES", 12)
    by_caller = PRICED.replace('"coding"', '"coding" && caller.id != "x"')
    rare = [{**CODING, "caller": {"id": f"c{number}"}} for number in range(40)]
    history(tmp_path, policy_of(by_caller), [*[CODING] * 5, *rare])
    report = what_if(tmp_path, OTHER)
    assert len(report.examples) <= 24
    shown = report.most_frequent()
    assert (len(shown), shown[0].count, shown[0].decision_id) == (10, 5, id_of(0))
    assert report.flips == 45


def test_counts_are_ordered_by_size_and_name() -> None:
    assert ordered(Counter(b=1, a=1, c=2)) == [("c", 2), ("a", 1), ("b", 1)]


# On the command line.


@pytest.fixture
def against(log: Path, run: Run, tmp_path: Path) -> Run:
    """Ask what the other policy would have decided."""
    assert log.is_dir()
    (tmp_path / "cheap.yaml").write_text(CHEAP)

    def against(*words: str, stdin: str | bytes = b"") -> Any:
        return run("replay", "log", "--against", "cheap.yaml", *words, stdin=stdin)

    return against


def test_a_person_gets_tables(against: Run) -> None:
    ran = against()
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "policy cheap: 3 of 5 decisions (60.00 %) would differ; 0 refusals gained, 0 lost\n"
        "\n"
        "from target to target\n"
        "decisions  before                 after\n"
        "2          coder (large at main)  small at main\n"
        "1          small at main          coder (large at main)\n"
        "2          (all others)           (as before)\n"
        "\n"
        "due to\n"
        "decisions  rule\n"
        "3          rule `pool`\n"
        "\n"
        "most frequent\n"
        "decisions  example                     before         after          due to\n"
        f"2          {id_of(1)[:25]}…  coder          small at main  rule `pool`\n"
        f"1          {id_of(1)[:25]}…  small at main  coder          rule `pool`\n"
        "\n"
        "by team\n"
        "decisions  refused  team\n"
        "3          0        -\n"
        "\n"
        "by caller\n"
        "decisions  refused  caller\n"
        "3          0        -\n"
        "\n"
        "work and its cost\n"
        "decisions  work       known    before  after\n"
        "2          as before  unknown  -       -\n"
        "3          moved      unknown  -       -\n"
        "\n"
        "cost: unknown for all 5 decisions\n"
        "budgets are not simulated: a request says what was spent when it was decided, so\n"
        "work that moves or is refused changes no later decision here\n"
        f"next: policy-router log show log {id_of(1)}\n"
    )
    assert against("-q").out.count("\n") == 1


def test_a_program_gets_json(against: Run) -> None:
    small, large = "small at main", "coder (large at main)"
    nothing = {"before_nano_usd": 0, "after_nano_usd": 0}
    assert json.loads(against("--format", "json").out) == {
        "policy": {"name": "cheap", "revision": OTHER.revision},
        "decisions": 5,
        "flips": 3,
        "otherwise": 0,
        "refusals": {"gained": 0, "lost": 0},
        "unfit": 0,
        "matrix": [
            {"before": large, "after": small, "count": 2},
            {"before": "odd at main", "after": "odd at main", "count": 1},
            {"before": small, "after": large, "count": 1},
            {"before": small, "after": small, "count": 1},
        ],
        "rules": [{"rule": "rule `pool`", "count": 3}],
        "cost_usd": {
            "before": 0.0,
            "after": 0.0,
            "delta": 0.0,
            "measured": 0,
            "estimated": 0,
            "unknown": 5,
        },
        "work": [
            {"work": it, "known": "unknown", **nothing, "decisions": number}
            for it, number in (("as before", 2), ("moved", 3))
        ],
        "budgets": "not simulated",
        "teams": [{"name": "", "flips": 3, "refusals": 0}],
        "callers": [{"name": "", "flips": 3, "refusals": 0}],
        "examples": [
            {"count": 2, "id": id_of(1), "before": large, "after": small, "rule": "rule `pool`"},
            {"count": 1, "id": id_of(2), "before": small, "after": large, "rule": "rule `pool`"},
        ],
        "unreadable": 0,
    }


def test_a_pull_request_gets_markdown(against: Run) -> None:
    ran = against("--format", "markdown")
    assert ran.code == 0
    assert ran.out == (
        "### What if: policy `cheap`\n"
        "\n"
        "policy `cheap`: 3 of 5 decisions (60.00 %) would differ; 0 refusals gained, 0 lost\n"
        "\n"
        "**from target to target**\n"
        "\n"
        "| decisions | before | after |\n"
        "|---:|---|---|\n"
        "| 2 | `coder (large at main)` | `small at main` |\n"
        "| 1 | `small at main` | `coder (large at main)` |\n"
        "| 2 | `(all others)` | `(as before)` |\n"
        "\n"
        "**due to**\n"
        "\n"
        "| decisions | rule |\n"
        "|---:|---|\n"
        "| 3 | `` rule `pool` `` |\n"
        "\n"
        "**most frequent**\n"
        "\n"
        "| decisions | example | before | after | due to |\n"
        "|---:|---|---|---|---|\n"
        f"| 2 | `{id_of(1)}` | `coder (large at main)` | `small at main` | `` rule `pool` `` |\n"
        f"| 1 | `{id_of(2)}` | `small at main` | `coder (large at main)` | `` rule `pool` `` |\n"
        "\n"
        "**by team**\n"
        "\n"
        "| decisions | refused | team |\n"
        "|---:|---:|---|\n"
        "| 3 | 0 | `-` |\n"
        "\n"
        "**by caller**\n"
        "\n"
        "| decisions | refused | caller |\n"
        "|---:|---:|---|\n"
        "| 3 | 0 | `-` |\n"
        "\n"
        "**work and its cost**\n"
        "\n"
        "| decisions | work | known | before | after |\n"
        "|---:|---|---|---:|---:|\n"
        "| 2 | `as before` | `unknown` | - | - |\n"
        "| 3 | `moved` | `unknown` | - | - |\n"
        "\n"
        "cost: unknown for all 5 decisions\n"
        "\n"
        "budgets are not simulated: a request says what was spent when it was decided, so work"
        " that moves or is refused changes no later decision here\n"
    )


def test_markdown_without_a_flip_has_no_tables(run: Run, log: Path, tmp_path: Path) -> None:
    assert log.is_dir()
    (tmp_path / "same.yaml").write_text(PRICED)
    out = run("replay", "log", "--against", "same.yaml", "--format", "markdown").out
    assert (out.count("\n"), "|" in out) == (5, False)


def test_names_mean_nothing_in_markdown(run: Run, tmp_path: Path) -> None:
    name = "<b>|@team``https://x.y#"
    odd = PRICED.replace("model: small", f'model: "{name}"').replace("coding", "x")
    history(tmp_path / "log", policy_of(odd), [{}, CODING])
    (tmp_path / "cheap.yaml").write_text(CHEAP)
    out = run("replay", "log", "--against", "cheap.yaml", "--format", "markdown").out
    assert r"| ```<b>\|@team``https://x.y# at main``` |" in out
    assert name not in out


def test_what_cannot_be_read_is_told_in_every_form_and_counts_against_the_limit(
    run: Run, log: Path, tmp_path: Path
) -> None:
    (path,) = segments(log, "w1")
    lines = lines_of(path)
    put_lines(path, [b"{" + lines[0], *lines[1:2], b'{"kind":"decision"}'])
    (tmp_path / "same.yaml").write_text(PRICED)
    for form in ("human", "markdown"):
        ran = run("replay", "log", "--against", "same.yaml", "--format", form)
        assert "2 lines cannot be read and are left out" in ran.out
    for limit, code in (("1", 4), ("2", 0)):
        ran = run("replay", "log", "--against", "same.yaml", "--fail-over", limit)
        assert ran.code == code
        told = "policy-router: 0 decisions would differ, 2 cannot be read; at most 1 may\n"
        assert ran.err == (told if code else "")


@pytest.mark.parametrize(
    ("limit", "code"),
    [("0", 4), ("2", 4), ("3", 0), ("59%", 4), ("60%", 0), ("0%", 4), ("59.9%", 4), ("100%", 0)],
)
def test_ci_fails_over_a_number_of_flips(against: Run, limit: str, code: int) -> None:
    for form in ("human", "json", "markdown"):
        ran = against("--fail-over", limit, "--format", form)
        assert ran.code == code
        assert "cheap" in ran.out
        told = "policy-router: 3 decisions would differ; at most"
        assert ran.err.startswith(told) if code else not ran.err


@pytest.mark.parametrize("limit", ["-1", "x", "1.5", "nan", "inf%", "", "%", "1e99"])
def test_what_is_no_limit_is_an_error(against: Run, limit: str) -> None:
    ran = against(f"--fail-over={limit}")
    assert ran.code == 2
    assert "expected a number of decisions, or a percentage" in ran.err


@pytest.mark.parametrize("limit", ["57", "0.57%", "0.570%"])
def test_a_limit_is_met_exactly(run: Run, tmp_path: Path, limit: str) -> None:
    requests = [CODING] * 57 + [{}] * (10_000 - 57)
    with DecisionLog(tmp_path / "log") as log:
        records = [decide(RULES, request, now=NOW) for request in (CODING, {})]
        made = [records[0 if request is CODING else 1] for request in requests]
        log.decisions(RULES, [Decided(it, id_of(n)) for n, it in enumerate(made)])
    (tmp_path / "cheap.yaml").write_text(CHEAP)
    words = ("replay", "log", "--against", "cheap.yaml", "--fail-over")
    assert run(*words, limit).code == 0
    assert run(*words, "56").code == run(*words, "0.5699%").code == 4


def test_equal_requests_are_one_example_whenever_they_were_made(tmp_path: Path) -> None:
    at_night = policy_of(AT_NIGHT)
    for number in range(30):
        now = f"2026-01-31T03:00:00.{number:06d}Z"
        history(tmp_path / "log", RULES, [{}], first=number, now=now, writer="w1")
    history(tmp_path / "log", RULES, [CODING], first=30, now="2026-01-31T09:00:00Z", writer="w1")
    report = what_if(tmp_path / "log", at_night)
    examples = [(it.count, it.decision_id) for it in report.most_frequent()]
    assert examples == [(30, id_of(0)), (1, id_of(30))]


def test_a_report_for_a_pull_request_is_short(run: Run, tmp_path: Path) -> None:
    anything = policy_of("model: m\nprovider: main\nprecedence: [{use: task}, {use: config}]\n")
    history(tmp_path / "log", anything, [{"task": {"model": f"m{n}" * 30}} for n in range(60)])
    (tmp_path / "one.yaml").write_text("model: one\nprovider: main\nprecedence: [{use: config}]\n")
    words = ("replay", "log", "--against", "one.yaml", "--format", "markdown")
    out = run(*words).out
    assert out.count("\n| 1 | ") == 50 + 10  # targets, and examples
    assert "\n\nand 10 more: --format json has all\n\n" in out


def test_very_many_rows_are_cut_off(run: Run, tmp_path: Path) -> None:
    pool = "".join(f'  - {{model: m{n}, pick: task.kind == "k{n}"}}\n' for n in range(15))
    text = f"model: m0\nprovider: main\npool:\n{pool}precedence: strict\n"
    requests = [{"task": {"kind": f"k{number}"}} for number in range(15)]
    history(tmp_path / "log", policy_of(text), requests)
    (tmp_path / "one.yaml").write_text("model: m0\nprovider: main\nprecedence: strict\n")
    ran = run("replay", "log", "--against", "one.yaml")
    assert "and 3 more: --format json has all" in ran.out
    assert (
        len(
            json.loads(run("replay", "log", "--against", "one.yaml", "--format", "json").out)[
                "matrix"
            ]
        )
        == 15
    )


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["log", "--fail-over", "1"], "--fail-over: it needs --against POLICY"),
        (["log", "--format", "markdown"], "--format: markdown needs --against POLICY"),
        (["none"], "none: there is no decision log here"),
        (["none", "--against", "policy.yaml"], "none: there is no decision log here"),
        (["policy.yaml"], "policy.yaml: there is no decision log here"),
        (["log", "--against", "none.yaml"], "none.yaml"),
        (["log", "--workers", "0"], "expected a whole number from 1 on"),
        (["log", "--workers", "x"], "expected a whole number from 1 on"),
        ([], "LOG"),
    ],
)
def test_what_cannot_be_replayed_is_an_error(
    log: Path, run: Run, words: list[str], reason: str
) -> None:
    assert log.is_dir()
    ran = run("replay", *words)
    assert (ran.code, ran.out) == (2, "")
    assert reason in ran.err


def test_a_policy_with_errors_is_one_here_too(log: Path, run: Run) -> None:
    assert log.is_dir()
    ran = run("replay", "log", "--against", "wrong.yaml")
    assert (ran.code, ran.out) == (1, "")
    assert "the policy has errors and cannot be used" in ran.err


@pytest.mark.skipif(UNREADABLE is None, reason="root reads every file that there is here")
@pytest.mark.parametrize("words", [(), ("--against", "policy.yaml")])
def test_a_segment_that_cannot_be_read_is_an_error(
    log: Path, run: Run, words: Sequence[str]
) -> None:
    assert UNREADABLE is not None
    segments(log, "w1")[0].unlink()
    (log / "w1/00000001.jsonl").symlink_to(UNREADABLE)
    ran = run("replay", "log", *words)
    assert (ran.code, ran.out) == (2, "")
    assert "/log: w1/00000001.jsonl cannot be read: permission denied" in ran.err
    assert "standard output" not in ran.err


def test_the_same_executions_twice_cost_once_each(tmp_path: Path) -> None:
    with DecisionLog(tmp_path, clock=Clock()) as log:
        record = decide(RULES, CODING, now=NOW)
        log.decision(RULES, record, decision_id=id_of(0))
        for _ in range(2):
            log.execution(id_of(0), finished(1000, 100))
    money = what_if(tmp_path, OTHER).money
    assert min(money.measured, money.estimated, money.unknown) >= 0
    assert money.measured + money.estimated + money.unknown == 1


@pytest.mark.parametrize("size", [100, 700, 1500, 3000, 1_000_000])
def test_a_child_that_ended_in_several_pieces_costs_what_it_used_in_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    with DecisionLog(tmp_path, clock=Clock()) as log:
        record = decide(RULES, CODING, now=NOW)
        for number in range(3):
            log.decision(RULES, record, decision_id=id_of(number))
            for _ in range(number):
                log.execution(id_of(number), finished(1000, 100))
            log.flush()
        for number in (2, 1, 2):
            log.execution(id_of(number), finished(1000, 100))
            log.flush()
            log.decision(RULES, record)
    monkeypatch.setattr(chunks_module, "_CHUNK", size)
    money = what_if(tmp_path, OTHER).money
    assert (money.measured, money.estimated, money.unknown) == (2, 0, 4)
    assert (money.before, money.after) == (6 * 12_000_000, 6 * 1_200_000)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda plain: plain["record"]["policy"].update(name="other"),
            "the record names the policy",
        ),
        (
            lambda plain: plain["record"].update(now=f"{plain['record']['now'][:-1]}.000Z"),
            "the record names the policy or the time otherwise",
        ),
        (lambda plain: plain.update(caller={"id": "eve"}), "the line has another caller"),
        (lambda plain: plain.pop("caller"), "the line has another caller"),
    ],
    ids=["policy", "time", "caller", "no caller"],
)
def test_what_a_line_says_beside_the_decision_is_compared_too(
    tmp_path: Path, change: Any, reason: str
) -> None:
    history(tmp_path, policy_of(), [{"caller": {"id": "ada"}}] * 3)
    assert replay_log(tmp_path).is_identical
    rewritten(tmp_path, "w1", lambda plain: change(plain) if plain["seq"] == 2 else None)
    report = replay_log(tmp_path)
    assert (report.counts["changed"], report.counts["identical"]) == (1, 2)
    assert reason in report.deviations[0].reason
