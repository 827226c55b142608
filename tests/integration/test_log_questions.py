"""What auditors ask of one decision, of a tree, of changes of the policy, and what if."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from benchmarks.audit_log import BEGIN, POLICY, Planted, policies, write_audit_log
from policy_router import DecisionLog, Policy, decide, loads
from policy_router.decision.compare import named
from policy_router.errors import RequestError
from policy_router.log import Filter, FlipRow, live_policies, policy_changes, prune, what_if
from policy_router.log.entry import Execution, microseconds
from policy_router.log.replay import chunks, what_if_report
from policy_router.log.report import live, tree
from tests.support.commands import Run
from tests.support.log_auditing import (
    CHEAP,
    NOW,
    PRICED,
    SEGMENT_BYTES,
    SIGNER,
    Clock,
    finished,
    history,
    id_of,
    lines_of,
    policy_of,
    put_lines,
    segments,
    sign_log,
)
from tests.support.plain_report import PlainCase, plain_cases

DAY = 86_400_000_000
START = microseconds(BEGIN)
JSON = ("--format", "json")


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Planted]:
    """Return a small log of three months, and what is planted in it."""
    folder = tmp_path_factory.mktemp("questions") / "log"
    return folder, write_audit_log(folder, 500, faults=1)


@pytest.fixture(scope="module")
def cases(audit: tuple[Path, Planted]) -> list[PlainCase]:
    return plain_cases(audit[0])[0]


def listed(run: Run, folder: Path, *words: str) -> list[dict[str, str]]:
    out = run("log", "ls", str(folder), "-n", "1000", "--format", "csv", *words).out
    rows = csv.DictReader(io.StringIO(out))
    return [row for row in rows if row["purpose"] != "access"]


# Listing.


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        (("--label", "pii"), lambda it: "pii" in it.request["task"]["labels"]),
        (("--kind", "chat"), lambda it: it.value("kind") == "chat"),
        (("--rule", "pool"), lambda it: it.value("rule") == "pool"),
        (("--ran-on", "frontier"), lambda it: "frontier (" in it.value("sent")),
        (("--ran-on", "chat-4"), lambda it: "chat-4 at" in it.value("sent")),
        (("--served", "chat-mini"), lambda it: it.value("served") == "chat-mini"),
        (("--cost-over", "0.1"), lambda it: it.costs[1] > 100_000_000),
        (("--where", "status=failed"), lambda it: (it.last or {}).get("status") == "failed"),
        (("--tag", "project:a"), lambda it: "project:a" in it.line.get("tags", [])),
        (
            ("--kind", "analysis", "--cost-over", "0.05", "--where", "team=research"),
            lambda it: (
                it.value("kind") == "analysis"
                and it.costs[1] > 50_000_000
                and it.value("team") == "research"
            ),
        ),
    ],
)
@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_decisions_are_found_by_what_they_are_and_what_came_of_them(
    audit: tuple[Path, Planted],
    run: Run,
    words: tuple[str, ...],
    fits: Any,
    order: str,
) -> None:
    cases, _ = plain_cases(audit[0])
    wanted = sorted((it.line["time"], it.line["id"]) for it in cases if fits(it))
    found = [it["id"] for it in listed(run, audit[0], *words, "--order", order)]
    assert found
    assert sorted(found) == sorted(decision_id for _, decision_id in wanted)
    first = min(wanted) if order == "oldest" else max(wanted)
    assert found[0] == first[1]


def test_a_session_and_a_tree_are_found(
    audit: tuple[Path, Planted], cases: list[PlainCase], run: Run
) -> None:
    child = next(it for it in cases if it.line.get("root", it.line["id"]) != it.line["id"])
    for name in ("root", "session"):
        value = child.line[name]
        found = {row["id"] for row in listed(run, audit[0], f"--{name}", value)}
        assert found == {it.line["id"] for it in cases if it.line.get(name) == value}
    beginning = child.line["root"][:18]
    found = {row["id"] for row in listed(run, audit[0], "--root", beginning)}
    assert found == {it.line["id"] for it in cases if it.line["root"].startswith(beginning)}
    assert listed(run, audit[0], "--root", "") == []


def test_a_list_is_a_table_of_whole_numbers(
    audit: tuple[Path, Planted], cases: list[PlainCase], run: Run
) -> None:
    rows = {row["id"]: row for row in listed(run, audit[0], "--order", "oldest")}
    assert len(rows) == len(cases)
    for case in cases:
        row, (cost, nano) = rows[case.line["id"]], case.costs
        assert (row["cost"], int(row["measured_nano_usd"])) == (cost, nano)
        assert row["decided"] == case.name(case.target)
        assert row["parent"] == case.line.get("parent", "")


def test_the_oldest_are_listed_first(tmp_path: Path, run: Run) -> None:
    history(tmp_path / "log", policy_of(), [{}] * 5)
    lines = run("log", "ls", "log", "--order", "oldest", "-n", "2", *JSON).out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [id_of(0), id_of(1)]


@pytest.mark.parametrize("amount", ["x", "-1", "nan", "inf", "1e30"])
def test_an_amount_that_is_none_is_refused(tmp_path: Path, run: Run, amount: str) -> None:
    history(tmp_path / "log", policy_of(), [{}])
    ran = run("log", "ls", "log", f"--cost-over={amount}")
    assert (ran.code, "expected an amount in US dollars" in ran.err) == (2, True)


def test_no_line_of_a_decision_is_longer_than_80_columns(
    audit: tuple[Path, Planted], cases: list[PlainCase], run: Run
) -> None:
    wishes = [it.line["id"] for it in cases if it.decision["warnings"]][:5]
    for decision_id in wishes:
        out = run("log", "show", str(audit[0]), decision_id).out
        assert max(map(len, out.splitlines())) <= 80
    told = "asked for `gpt-unknown`: outside the pool; the next\n                           rule is"
    assert any(told in run("log", "show", str(audit[0]), it).out for it in wishes)
    folded = run("log", "ls", str(audit[0]), "-n", "1000", "-q").out.splitlines()
    assert max(map(len, folded)) <= 80


# One decision, and its tree.


def test_a_decision_is_shown_beside_its_default(tmp_path: Path, run: Run) -> None:
    asked = {"id": "ada", "team": "research"}
    request = {"task": {"kind": "coding", "labels": ["pii"]}, "caller": asked}
    end = Execution(
        "finished",
        provider="main",
        model="large",
        status="completed",
        served_model="large-1",
        input_tokens=1000,
        output_tokens=100,
        cost_usd=0.012,
    )
    history(tmp_path / "log", policy_of(), [request], {0: end})
    out = run("log", "show", "log", id_of(0)).out
    assert "\nasked by ada, team research, kind coding, label pii\n" in out
    assert (
        "\nresult      completed on coder (large at main), answered by large-1\n"
        "cost        $0.012000\n"
        "            on the default, small at main: $0.001200\n"
    ) in out


@pytest.mark.parametrize(
    ("request_", "end", "words"),
    [
        ({"task": {"model": "gpt-9"}}, None, "nothing ran, and nothing was paid"),
        ({}, None, "the log has no end of it, and so no cost"),
        ({}, finished(5), "cost        unknown: no usage"),
        ({}, Execution("finished", status="failed"), "cost        $0.000000\n"),
    ],
)
def test_what_came_of_it_is_told(
    tmp_path: Path, run: Run, request_: dict[str, Any], end: Execution | None, words: str
) -> None:
    history(tmp_path / "log", policy_of(), [request_], {} if end is None else {0: end})
    assert words in run("log", "show", "log", id_of(0)).out


def test_a_policy_without_a_default_has_nothing_to_compare_with(tmp_path: Path, run: Run) -> None:
    text = PRICED.replace("model: small\nprovider", "provider").replace("strict", "strict", 1)
    history(tmp_path / "log", policy_of(text), [{"task": {"kind": "coding"}}], {0: finished(1, 1)})
    out = run("log", "show", "log", id_of(0)).out
    assert "the policy has no default to compare it with" in out


def below(cases: list[PlainCase], top: str) -> list[PlainCase]:
    """Return a decision and all below it."""
    of, by_id = defaultdict(list), {it.line["id"]: it for it in cases}
    for it in cases:
        of[it.line.get("parent")].append(it.line["id"])
    found, waiting = [], [top]
    while waiting:
        found.append(waiting.pop())
        waiting += of[found[-1]]
    return [by_id[it] for it in found]


def test_a_tree_has_subtotals_to_any_depth(
    audit: tuple[Path, Planted], cases: list[PlainCase], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tops = Counter(it.line.get("root", "") for it in cases)
    known = {it.line["id"] for it in cases}
    top = next(it for it, _ in tops.most_common() if it in known)
    monkeypatch.setattr(chunks, "_CHUNK", 50_000)
    found = json.loads(run("log", "show", str(audit[0]), top, "--tree", *JSON).out)
    assert {it["id"] for it in found} == {it.line["id"] for it in below(cases, top)}
    assert max(it["depth"] for it in found) > 1
    for node in found:
        inside = below(cases, node["id"])
        assert node["total_nano_usd"] == sum(it.costs[1] for it in inside)
        assert node["decisions_below"] == len(inside) - 1
    out = run("log", "show", str(audit[0]), top, "--tree").out
    assert max(map(len, out.splitlines())) <= 80
    assert f"\n{len(found)} decisions, $" in out


def test_a_deep_tree_and_a_circle_end(tmp_path: Path, run: Run) -> None:
    rules = policy_of()
    with DecisionLog(tmp_path / "log", clock=Clock()) as log:
        record = decide(rules, {}, now=NOW)
        for number in range(14):
            above = id_of(number - 1) if number else id_of(13)
            log.decision(rules, record, decision_id=id_of(number), parent_id=above)
    out = run("log", "show", "log", id_of(0), "--tree").out
    assert "\n14 decisions, $0.000000000; unknown of 14\n" in out
    assert "(13)" in out
    assert max(map(len, out.splitlines())) <= 80


def test_below_what_is_not_there_nothing_stands(tmp_path: Path, run: Run) -> None:
    history(tmp_path / "log", policy_of(), [], {4: finished(1, 1)})
    ran = run("log", "show", "log", id_of(4), "--tree")
    assert (ran.code, "nothing stands below it" in ran.err) == (2, True)


def test_an_orphan_never_was(tmp_path: Path, run: Run) -> None:
    history(tmp_path / "log", policy_of(), [{}], {4: finished(1, 1)})
    ran = run("log", "show", "log", id_of(4))
    assert (ran.code, "never was in this log" in ran.out) == (1, True)
    assert run("log", "show", "log", id_of(4), *JSON).code == 1


def test_what_was_pruned_is_no_orphan(tmp_path: Path, run: Run) -> None:
    rules = policy_of()
    clock = Clock()
    with DecisionLog(tmp_path, writer="a", segment_bytes=SEGMENT_BYTES, clock=clock) as log:
        for number in range(12):
            log.decision(rules, decide(rules, {}, now=NOW), decision_id=id_of(number))
        log.flush()
    before = microseconds(clock())
    late = "ffffffff-0000-7000-8000-000000000000"
    with DecisionLog(tmp_path, writer="b", clock=clock) as log:
        log.execution(late, finished(1, 1))
        log.execution(id_of(11), finished(1, 1))
        log.decision(rules, decide(rules, {}, now=NOW), decision_id=id_of(77), parent_id=id_of(0))
        log.decision(rules, decide(rules, {}, now=NOW), decision_id=id_of(78), parent_id=late)
    sign_log(tmp_path)
    prune(tmp_path, before, SIGNER)
    assert not (tmp_path / "a/00000001.jsonl").exists()
    ran = run("log", "show", str(tmp_path), id_of(0))
    assert (ran.code, "with this id: it may have been pruned" in ran.err) == (2, True)
    ran = run("log", "show", str(tmp_path), id_of(11))
    assert (ran.code, "is not here: it may have been pruned" in ran.out) == (0, True)
    ran = run("log", "show", str(tmp_path), late.replace("fff-0", "ffe-0"))
    assert (ran.code, ran.err.endswith("there is no decision with this id\n")) == (2, True)
    ran = run("log", "show", str(tmp_path), late)
    assert (ran.code, "never was in this log" in ran.out) == (1, True)
    for number, words in ((77, "may have been pruned"), (78, "never was in this log")):
        out = run("log", "show", str(tmp_path), id_of(number)).out
        assert words in " ".join(out.split())


# When the policy changed.


def test_it_is_told_when_which_revision_was_live(
    audit: tuple[Path, Planted], cases: list[PlainCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "_CHUNK", 30_000)
    spans = live_policies(audit[0])
    made = Counter((it.writer, it.record["policy"]["revision"]) for it in cases)
    found = Counter({(it.writer, it.revision): it.decisions for it in spans})
    access = sum(found.values()) - sum(made.values())
    assert access == audit[1].decisions - len(cases)
    assert found.keys() == made.keys()
    changes = policy_changes(spans)
    assert sorted(it.writer for it in changes) == sorted({it.writer for it in spans})
    assert [it.time for it in changes] == sorted(it.time for it in changes)
    before, after = policies()
    assert {(it.before, it.after) for it in changes} == {(before.revision, after.revision)}


def test_a_change_is_told_in_words_with_who_was_affected(
    audit: tuple[Path, Planted], cases: list[PlainCase], run: Run
) -> None:
    out = run("log", "policies", str(audit[0]), "--diff", "--affected", "14d").out
    assert max(map(len, out.splitlines())) <= 80
    assert "  added    entry chat-next\n" in out
    assert out.count("  the same differences as above\n") == 2
    words = ("log", "policies", str(audit[0]), "--diff", "--affected", "14d", *JSON)
    found = json.loads(run(*words).out)
    before, after = policies()
    for change in found["changes"]:
        inside = [
            case
            for case in cases
            if case.writer == change["writer"]
            and change["time"] <= case.line["time"] < change["time"] + 14 * DAY
            and case.record["policy"]["revision"] == after.revision
        ]
        flips = sum(changed(before, case) for case in inside)
        assert (change["affected"]["decisions"], change["affected"]["flips"]) == (
            *(len(inside), flips),
        )
        assert change["differences"]


def changed(policy: Policy, case: PlainCase) -> bool:
    """Tell whether a policy decides a request otherwise than the log has it."""
    made = decide(policy, case.request, now=case.record["now"])
    return named(made.decision) != case.name(case.target)


def test_two_policies_at_once_are_one_span_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run
) -> None:
    monkeypatch.setattr(live, "MOST_SPANS", 6)
    one, other = policy_of(), policy_of(CHEAP)
    with DecisionLog(tmp_path / "log", writer="w1", clock=Clock()) as log:
        for _ in range(10):
            for policy in (one, other):
                log.decision(policy, decide(policy, {}, now=NOW))
    assert len(live_policies(tmp_path / "log")) <= 7
    out = run("log", "policies", "log").out
    assert out.startswith("writer  from ")
    assert f"{one.revision[:19]}  policy priced\n" in out


def test_a_policy_that_is_gone_is_told(tmp_path: Path, run: Run) -> None:
    history(tmp_path / "log", policy_of(), [{}], writer="a")
    history(tmp_path / "log", policy_of(CHEAP), [{}], writer="a", first=1)
    (tmp_path / f"log/policies/{policy_of().revision}.json").unlink()
    out = run("log", "policies", "log", "--diff").out
    assert f"the policy {policy_of().revision[:19]} is not kept" in out
    (change,) = json.loads(run("log", "policies", "log", "--diff", *JSON).out)["changes"]
    assert "is not kept" in change["reason"]
    (path,) = segments(tmp_path / "log", "a")[:1]
    put_lines(path, [*lines_of(path), b"{"])
    assert run("log", "policies", "log").code == 0


def test_a_log_without_decisions_has_no_policies(tmp_path: Path, run: Run) -> None:
    (tmp_path / "log/heads").mkdir(parents=True)
    assert run("log", "policies", "log").out == "no decisions found\n"


# What if.

OTHER = (
    POLICY.replace("CANARY\n", "")
    .replace("WISHES", "next")
    .replace('&& caller.team == "research"', '&& caller.team == "legal"')
    .replace("input: 2.0, output: 8.0", "input: 3.0, output: 8.0")
)


@pytest.fixture(scope="module")
def other() -> Policy:
    return loads(OTHER, name="other")


def test_only_what_is_asked_for_is_decided_again(
    audit: tuple[Path, Planted], cases: list[PlainCase], other: Policy
) -> None:
    since, until = START + 10 * DAY, START + 70 * DAY
    where = Filter((("team", "research"), ("kind", "analysis")))
    report = what_if(audit[0], other, since=since, until=until, where=where)
    inside = [
        case
        for case in cases
        if since <= case.line["time"] < until
        and (case.value("team"), case.value("kind")) == ("research", "analysis")
    ]
    assert (report.total, report.flips) == (
        *(len(inside), sum(changed(other, case) for case in inside)),
    )
    assert report.flips > 0
    assert {name: it.flips for name, it in report.teams.items()} == {"research": report.flips}
    assert sum(it.flips for it in report.callers.values()) == report.flips


@pytest.mark.parametrize("size", [8 << 20, 5_000])
def test_each_flip_is_listed_with_its_money(
    audit: tuple[Path, Planted],
    cases: list[PlainCase],
    other: Policy,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    monkeypatch.setattr(chunks, "_CHUNK", size)
    rows: list[FlipRow] = []
    report = what_if(audit[0], other, on_flip=rows.append)
    wanted = {case.line["id"]: case for case in cases if changed(other, case)}
    assert {row.decision_id for row in rows} == wanted.keys()
    assert len(rows) == report.flips == len(wanted)
    for work, known in report.work:
        money, mine = (
            report.work[work, known],
            [it for it in rows if (it.work, it.known) == (work, known)],
        )
        if work in {"moved", "refused", "allowed"}:
            assert money.decisions == len(mine)
            assert money.before == sum(it.before_nano_usd or 0 for it in mine)
            assert money.after == sum(it.after_nano_usd or 0 for it in mine)
    for row in rows:
        case = wanted[row.decision_id]
        assert (row.team, row.caller) == (case.value("team"), case.value("caller"))
        if row.known == "measured" and len(case.ends) == 1:
            assert row.before_nano_usd == case.costs[1]


def test_money_is_split_by_what_becomes_of_the_work(
    audit: tuple[Path, Planted], other: Policy
) -> None:
    report = what_if(audit[0], other)
    works = {work for work, _ in report.work}
    assert {"moved", "re-priced", "as before"} <= works
    assert sum(it.decisions for it in report.work.values()) == report.total
    assert sum(it.before for it in report.work.values()) == report.money.before
    assert sum(it.after for it in report.work.values()) == report.money.after
    same = [it for (work, _), it in report.work.items() if work == "as before"]
    assert sum(it.before - it.after for it in same) == 0


def test_work_is_refused_or_allowed(tmp_path: Path) -> None:
    asked: list[dict[str, Any]]
    asked = [{"task": {"model": "gpt-9", "input_tokens": 5}}, {"task": {"input_tokens": 5}}]
    history(tmp_path, policy_of(PRICED + "parameters: {max_tokens: 10}\n"), asked)
    open_pool = PRICED.replace("model: odd", "model: gpt-9")
    closed = (
        open_pool
        + 'parameters: {max_tokens: 10}\nforbid: [{id: x, when: target.name == "small"}]\n'
    )
    report = what_if(tmp_path, loads(closed))
    assert {work: it.decisions for work, it in report.work.items()} == {
        ("allowed", "unknown"): 1,
        ("refused", "estimated"): 1,
    }
    refused = report.work["refused", "estimated"]
    assert (refused.before, refused.after) == (5_000 + 20_000, 0)


def test_equal_requests_are_grouped_without_what_no_condition_reads(tmp_path: Path) -> None:
    """The money that is left differs each time, and no condition reads it."""
    asked: list[dict[str, Any]] = [
        {"task": {"kind": "coding"}, "budget": {"remaining_usd": float(number)}}
        for number in range(5)
    ]
    history(tmp_path / "a", policy_of(), asked)
    (example,) = what_if(tmp_path / "a", policy_of(CHEAP)).most_frequent()
    assert (example.count, example.decision_id) == (5, id_of(0))
    reading = CHEAP.replace(
        '"writing"', '"writing" && (!has(budget.remaining_usd) || budget.remaining_usd < 9.0)'
    )
    assert len(what_if(tmp_path / "a", policy_of(reading)).most_frequent()) == 5


def test_flips_are_written_to_a_file(audit: tuple[Path, Planted], run: Run, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(OTHER)
    words = ("--against", "other.yaml", "--since", "2026-09-01", "--until", "2026-10-01")
    ran = run("replay", str(audit[0]), *words, "--list", "flips.csv")
    assert ran.code == 0
    assert max(map(len, ran.out.splitlines()[:-1])) <= 80
    assert "budgets are not simulated" in ran.out
    rows = list(csv.DictReader(io.StringIO((tmp_path / "flips.csv").read_text())))
    found = json.loads(run("replay", str(audit[0]), *words, *JSON).out)
    assert len(rows) == found["flips"] > 0
    assert all("2026-09-01" <= row["time"] < "2026-10-01" for row in rows)
    assert found["budgets"] == "not simulated"


def test_a_list_that_cannot_be_written_is_not_the_logs_fault(
    audit: tuple[Path, Planted], run: Run, tmp_path: Path
) -> None:
    (tmp_path / "other.yaml").write_text(OTHER)
    words = ("replay", str(audit[0]), "--against", "other.yaml", "--list")
    ran = run(*words, "nowhere/flips.csv")
    assert (ran.code, ran.out) == (2, "")
    assert "--list: `nowhere/flips.csv` cannot be written: no such file" in ran.err
    if Path("/dev/full").exists():  # more than the file keeps back, and less
        for window in ((), ("--since", "2026-10-31")):
            ran = run(*words, "/dev/full", *window)
            assert (ran.code, ran.out) == (2, "")
            assert "--list: `/dev/full` cannot be written: no space left" in ran.err


def test_what_came_of_a_decision_chooses_no_replay(
    audit: tuple[Path, Planted], other: Policy, run: Run, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match="`served` is about what came of a decision"):
        what_if(audit[0], other, where=Filter((("served", "x"),)))
    for words in (("--where", "team=x"), ("--list", "x.csv")):
        ran = run("replay", str(audit[0]), *words)
        assert (ran.code, "it needs --against POLICY" in ran.err) == (2, True)
    assert not (tmp_path / "x.csv").exists()


def test_a_replay_has_its_times(audit: tuple[Path, Planted], run: Run) -> None:
    words = ("--since", "2026-10-01", "--until", "2026-10-02", *JSON)
    found = json.loads(run("replay", str(audit[0]), *words).out)
    assert (found["identical"], 0 < found["total"] < 30) == (True, True)


# At the edges.


def test_a_tree_that_is_too_large_is_refused(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "MOST_OF_A_TREE", 2)
    rules = policy_of()
    with DecisionLog(tmp_path / "log", clock=Clock()) as log:
        for number in range(3):
            above = {"parent_id": id_of(0)} if number else {}
            log.decision(rules, decide(rules, {}, now=NOW), decision_id=id_of(number), **above)
    ran = run("log", "show", "log", id_of(0), "--tree")
    assert (ran.code, "the tree has more than 2 decisions" in ran.err) == (2, True)


def test_of_very_many_callers_those_with_the_most_flips_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(what_if_report, "_MOST_ASKERS", 5)
    coding: dict[str, Any] = {"task": {"kind": "coding"}}
    rare = [{**coding, "caller": {"id": f"c{number}"}} for number in range(30)]
    history(tmp_path, policy_of(), [*[{**coding, "caller": {"id": "often"}}] * 3, *rare])
    report = what_if(tmp_path, policy_of(CHEAP))
    assert report.callers["often"].flips == 3
    assert len(report.callers) <= 10


def test_what_cannot_be_read_is_left_out_of_lists_and_told(tmp_path: Path, run: Run) -> None:
    history(tmp_path / "log", policy_of(), [{}, {}])
    (path,) = segments(tmp_path / "log", "w1")
    lines = [
        line.replace(b'"schema":"policy-router/record/v1"', b'"schema":"x"')
        for line in lines_of(path)
    ]
    put_lines(path, [*lines_of(path), *lines])
    for order in ("newest", "oldest"):
        ran = run("log", "ls", "log", "--order", order, "--format", "csv")
        assert (ran.out.count("\n"), "2 lines cannot be read" in ran.err) == (3, True)


def test_who_loaded_a_policy_is_told_once(tmp_path: Path, run: Run) -> None:
    rules = policy_of()
    with DecisionLog(tmp_path / "log", clock=Clock()) as log:
        log.decision(rules, decide(rules, {}, now=NOW))
    (path,) = segments(tmp_path / "log", "w1")
    lines = lines_of(path)
    odd = [line.replace(b'"policy":{"annotations"', b'"policy":{"other"') for line in lines]
    put_lines(path, [lines[0].replace(b'"digest":"', b'"digest":1,"x":"'), *odd])
    assert run("log", "policies", "log").code == 0
