"""`policy-router log report`: spend, refusals, wishes, rules, models, callers, and one total."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.audit_log import BEGIN, Planted, write_audit_log
from policy_router import DecisionLog, decide
from policy_router.errors import LogError, RequestError
from policy_router.log import LogReport, check_log, log_report
from policy_router.log.entry import ACCESS, Execution, Gap, Kind, microseconds
from policy_router.log.replay import chunks
from policy_router.log.report import cases as cases_module
from policy_router.log.report import pending, reporting
from policy_router.log.report.dimensions import DIMENSIONS, Filter
from policy_router.log.report.kinds import KINDS
from policy_router.log.write.drafts import Decided, Draft
from tests.support.commands import Run
from tests.support.log_auditing import (
    NOW,
    PRICED,
    Clock,
    finished,
    history,
    id_of,
    lines_of,
    policy_of,
    put_lines,
    segments,
)
from tests.support.plain_report import (
    Table,
    plain_cases,
    plain_parts,
    plain_table,
    plain_total,
    plain_wishes,
)

CODING = {"task": {"kind": "coding"}}
NEW_FIELDS = ("root", "session", "tags", "parent")


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Planted]:
    """Return a small log of three months, and what is planted in it."""
    folder = tmp_path_factory.mktemp("report") / "log"
    return folder, write_audit_log(folder, 700, faults=2)


def table_of(report: LogReport) -> Table:
    return {row.key: Counter(row.counts) for row in report.rows}


def without_zeros(counts: dict[str, int]) -> dict[str, int]:
    return {name: number for name, number in counts.items() if number}


def same(found: Table, wanted: Table) -> bool:
    return {key: without_zeros(it) for key, it in found.items()} == {
        key: without_zeros(it) for key, it in wanted.items()
    }


# The figures.


@pytest.mark.parametrize(
    ("kind", "by"),
    [
        ("spend", ("team", "model")),
        ("spend", ("month", "provider", "kind")),
        ("spend", ("entry", "rule")),
        ("models", ("decided", "sent", "served")),
        ("callers", ("team", "caller")),
        ("callers", ("session", "label")),
        ("spend", ()),
    ],
)
def test_plain_python_counts_the_same(
    audit: tuple[Path, Planted], kind: str, by: tuple[str, ...]
) -> None:
    cases, _ = plain_cases(audit[0])
    report = log_report(audit[0], kind, by=by)
    assert same(table_of(report), plain_table(cases, by))


def test_every_report_has_one_total_to_the_nano_dollar(audit: tuple[Path, Planted]) -> None:
    folder, planted = audit
    wanted = without_zeros(plain_total(folder))
    for kind in KINDS:
        assert without_zeros(log_report(folder, kind).total) == wanted
    assert wanted["measured_nano_usd"] + wanted.get("orphan_nano_usd", 0) == planted.billionths
    assert wanted["orphans"] == len(planted.faults["no_decision"]["id"])
    rows = log_report(folder, "spend").rows
    assert (
        sum(row.counts.get("measured_nano_usd", 0) for row in rows) == wanted["measured_nano_usd"]
    )
    assert sum(row.counts["decisions"] for row in rows) == wanted["decisions"]
    assert planted.decisions == wanted["decisions"] + 3  # that only ask whether it is allowed


def test_stats_have_the_same_total(audit: tuple[Path, Planted], run: Run) -> None:
    found = json.loads(run("log", "stats", str(audit[0]), "--format", "json").out)
    assert found["total"] == log_report(audit[0], "rules").total
    nano = found["total"]["measured_nano_usd"] + found["total"]["orphan_nano_usd"]
    assert round(found["cost_usd"] * 1_000_000_000) == nano
    assert found["input_tokens"] == found["total"]["input_tokens"]


def test_refusals_are_counted_with_what_was_against_them(audit: tuple[Path, Planted]) -> None:
    cases, _ = plain_cases(audit[0])
    refused = [case for case in cases if case.target is None]
    rows = table_of(log_report(audit[0], "refusals"))
    by_code: Counter[str] = Counter()
    for (code, _rule, forbid), counts in rows.items():
        by_code[code] += counts["decisions"]
        assert (forbid == "-") == (code != "forbidden")
    assert by_code == Counter(case.decision["refusal"]["code"] for case in refused)
    assert len(refused) > 10


def test_wishes_are_granted_overridden_or_refused(audit: tuple[Path, Planted]) -> None:
    cases, _ = plain_cases(audit[0])
    rows = table_of(log_report(audit[0], "wishes"))
    assert same(rows, plain_wishes(cases))
    became = sum(rows.values(), Counter[str]())
    assert all(became[it] > 0 for it in ("granted", "overridden", "refused"))
    assert became["decisions"] == sum(became[it] for it in ("granted", "overridden", "refused"))


def test_rules_and_entries_that_never_fired_are_told(audit: tuple[Path, Planted]) -> None:
    cases, _ = plain_cases(audit[0])
    report = log_report(audit[0], "rules")
    found = {key: counts for key, counts in table_of(report).items() if sum(counts.values())}
    plain = plain_parts(cases)
    for counts in found.values():
        counts.pop("decisions", None)
    assert same(found, plain)
    assert ("entry", "archive") in report.never_fired
    assert ("rule", "call") in report.never_fired
    fired = {key for key, it in plain.items() if sum(it.values()) > it["passed"]}
    assert not fired & set(report.never_fired)
    assert report.never_fired == log_report(audit[0], "rules", by=("team",)).never_fired


def test_what_ran_outside_the_plan_is_no_fallback(audit: tuple[Path, Planted]) -> None:
    rows = table_of(log_report(audit[0], "rules"))
    planted = audit[1].faults["outside_plan"]
    wanted = {name.partition(" ")[0]: len(ids) for name, ids in planted.items()}
    wanted["home"] -= 1  # a call that failed: what ran at last was in the plan
    assert wanted == {name: it["outside"] for (_, name), it in rows.items() if it["outside"]}
    assert rows["entry", "home"]["fallback"] == 0


def test_who_used_a_canary_is_a_filter(audit: tuple[Path, Planted]) -> None:
    cases, _ = plain_cases(audit[0])
    where = Filter((("entry", "chat-next"),))
    report = log_report(audit[0], "callers", by=("caller",), where=where)
    users = Counter(it.value("caller") for it in cases if it.value("entry") == "chat-next")
    assert {row.key[0]: row.counts["decisions"] for row in report.rows} == users
    assert users
    assert report.total["decisions"] == sum(users.values())


# Pieces, processes and old logs.


@pytest.mark.slow
@pytest.mark.parametrize(("size", "most"), [(9_000, 50_000), (9_000, 60), (100_000, 50_000)])
def test_how_a_log_is_cut_changes_nothing(
    audit: tuple[Path, Planted], monkeypatch: pytest.MonkeyPatch, size: int, most: int
) -> None:
    whole = {kind: log_report(audit[0], kind).to_json() for kind in ("spend", "rules")}
    monkeypatch.setattr(cases_module, "MOST_CHOICES", 3)
    monkeypatch.setattr(chunks, "_CHUNK", size)
    monkeypatch.setattr(pending, "MOST_PENDING", most)
    for kind, content in whole.items():
        assert log_report(audit[0], kind).to_json() == content


@pytest.mark.stress
def test_several_processes_count_the_same(
    audit: tuple[Path, Planted], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = log_report(audit[0], "models", workers=1).to_json()
    monkeypatch.setattr(chunks, "_SMALL", 0)
    assert log_report(audit[0], "models", workers=2).to_json() == one


def test_a_log_of_the_first_edition_says_what_it_knows(
    audit: tuple[Path, Planted], tmp_path: Path
) -> None:
    """Lines without the newer fields give the same total: what is missing is unknown, not zero."""
    old = tmp_path / "old"
    shutil.copytree(audit[0], old)
    (old / "heads").rename(old / ".heads")
    for path in old.glob("w?/*.jsonl"):
        lines = [json.loads(line) for line in lines_of(path)]
        lines = [line for line in lines if line["kind"] != "policy"]
        for line in lines:
            for name in NEW_FIELDS:
                line.pop(name, None)
            line.get("execution", {}).pop("cost_status", None)
        put_lines(path, [msgspec.json.encode(line, order="sorted") for line in lines])
    assert log_report(old, "spend").total == log_report(audit[0], "spend").total
    assert table_of(log_report(old, "spend", by=("session",))).keys() == {("-",)}


def test_an_end_is_found_whichever_writer_wrote_it(tmp_path: Path) -> None:
    rules = policy_of()
    history(tmp_path, rules, [CODING, {}], writer="a")
    with DecisionLog(tmp_path, writer="b", clock=Clock()) as log:
        log.execution(id_of(0), finished(10, 10, 0.25))
        log.execution(id_of(9), finished(10, 10, 0.5))
        log.flush()
    total = log_report(tmp_path, "spend").total
    assert (total["measured"], total["measured_nano_usd"]) == (1, 250_000_000)
    assert (total["never_ended"], total["orphans"], total["orphan_nano_usd"]) == (
        *(1, 1),
        500_000_000,
    )


def test_an_id_that_two_decisions_have_ends_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = policy_of()
    for writer in ("a", "b"):
        history(tmp_path, rules, [{}], writer=writer)
    history(tmp_path, rules, [], {0: finished(1, 1, 0.25)}, writer="c")
    for size in (8 << 20, 300):
        monkeypatch.setattr(chunks, "_CHUNK", size)
        total = log_report(tmp_path, "spend").total
        assert (total["measured"], total["never_ended"]) == (1, 1)
        assert total["measured_nano_usd"] == 250_000_000


# How costs are known.


def total_of(folder: Path, *ends: Execution, task: dict[str, Any] | None = None) -> dict[str, int]:
    rules = policy_of(PRICED + "parameters: {max_tokens: 100}\n")
    history(folder, rules, [{"task": task or {}}])
    with DecisionLog(folder, clock=Clock()) as log:
        for end in ends:
            log.execution(id_of(0), end)
        log.flush()
    total = log_report(folder, "spend").total
    return without_zeros({name: total[name] for name in reporting_names()})


def reporting_names() -> list[str]:
    return [
        *("free", "measured", "upper_bound", "estimated", "no_price", "no_usage", "failed"),
        *("mismatch", "never_ended", "measured_nano_usd", "estimated_nano_usd", "denied"),
    ]


def end(**fields: Any) -> Execution:
    return Execution("finished", **({"provider": "main", "model": "small"} | fields))


DONE = {"status": "completed"}


@pytest.mark.parametrize(
    ("ends", "wanted"),
    [
        ((), {"never_ended": 1}),
        ((end(**DONE, cost_usd=0.5),), {"measured": 1, "measured_nano_usd": 500_000_000}),
        (
            (end(**DONE, cost_usd=0.5, cost_status="upper_bound"),),
            {"upper_bound": 1, "measured_nano_usd": 500_000_000},
        ),
        ((end(**DONE, input_tokens=5, output_tokens=5),), {"no_price": 1}),
        ((end(**DONE, input_tokens=5),), {"no_usage": 1}),
        ((end(**DONE, served_model="other"),), {"mismatch": 1}),
        ((end(**DONE, cost_status="no_price"),), {"no_price": 1}),
        ((end(status="failed", error="timeout"),), {"failed": 1}),
        ((end(status="cancelled"),), {"failed": 1}),
        ((end(status="cancelled", cost_status="free"),), {"free": 1}),
        ((end(status="refused", error="budget_exceeded"),), {"free": 1, "denied": 1}),
        ((Execution("finished", status="failed"),), {"free": 1}),
        ((end(**DONE, cost_usd=float("1e300")),), {"no_usage": 1}),
        (
            (end(status="failed"), end(**DONE, cost_usd=0.25)),
            {"failed": 1, "measured_nano_usd": 250_000_000},
        ),
    ],
)
def test_a_cost_is_known_or_unknown_for_a_cause(
    tmp_path: Path, ends: tuple[Execution, ...], wanted: dict[str, int]
) -> None:
    assert total_of(tmp_path, *ends) == wanted


def test_what_nobody_counted_is_estimated_by_the_most_that_it_cost(tmp_path: Path) -> None:
    found = total_of(tmp_path, end(**DONE), task={"input_tokens": 1000})
    assert found == {"estimated": 1, "estimated_nano_usd": 1000 * 1000 + 100 * 2000}


def test_without_its_policy_nothing_is_estimated(tmp_path: Path) -> None:
    history(tmp_path, policy_of(), [{}], {0: end(**DONE, served_model="small")})
    shutil.rmtree(tmp_path / "policies")
    report = log_report(tmp_path, "rules")
    assert (report.total["no_usage"], report.never_fired) == (1, ())


# What counts.


def test_times_and_values_say_what_counts(audit: tuple[Path, Planted]) -> None:
    cases, _ = plain_cases(audit[0])
    start = microseconds(BEGIN)
    since, until = start + 20 * 86_400_000_000, start + 60 * 86_400_000_000
    where = Filter((("team", "legal"), ("label", "internal")))
    report = log_report(audit[0], "spend", by=("model",), since=since, until=until, where=where)
    wanted = [
        case
        for case in cases
        if since <= case.line["time"] < until
        and case.value("team") == "legal"
        and "internal" in case.request["task"]["labels"]
    ]
    assert same(table_of(report), plain_table(wanted, ("model",)))
    assert report.total["orphans"] == 0  # nothing is known of them that a value could be
    assert report.first == min(it.line["time"] for it in wanted)
    assert report.last == max(it.line["time"] for it in wanted)


def test_what_only_asks_whether_something_is_allowed_costs_nothing(tmp_path: Path) -> None:
    rules = policy_of()
    with DecisionLog(tmp_path, clock=Clock()) as log:
        record = decide(rules, {}, now=NOW)
        log.decisions(rules, [Decided(record, id_of(1), purpose=ACCESS)])
        log.execution(id_of(1), finished(1, 1, 1.0))
        log.flush()
    total = log_report(tmp_path, "spend").total
    assert (total["decisions"], total["orphans"], total["measured_nano_usd"]) == (0, 0, 0)


def test_what_cannot_be_read_and_what_was_not_logged_are_told(tmp_path: Path, run: Run) -> None:
    history(tmp_path / "log", policy_of(), [{}, {}])
    with DecisionLog(tmp_path / "log", writer="b", clock=Clock()) as log:
        log.act(Draft(Kind.GAP, 1, gap=Gap("unlogged", 3)))
    (path,) = segments(tmp_path / "log", "w1")
    odd = b'{"execution":{"event":1,"status":"x"},"id":"a","kind":"execution","prev":"",%b'
    odd %= b'"seq":1,"time":1}'
    put_lines(path, [*lines_of(path), b"{", odd])
    out = run("log", "report", "spend", "log").out
    assert "\nunlogged     3 decisions not in the log\n" in out
    assert "\nunread       2 lines: of a newer version" in out


@pytest.mark.slow
def test_each_dimension_tells_something(audit: tuple[Path, Planted]) -> None:
    for name in DIMENSIONS:
        report = log_report(audit[0], "spend", by=(name,))
        assert sum(row.counts["decisions"] for row in report.rows) == 697


@pytest.mark.slow
def test_what_was_called_outside_the_plan_is_told_apart(audit: tuple[Path, Planted]) -> None:
    folder, _ = audit
    report = log_report(folder, "spend", by=("plan",))
    rows = {it.key[0]: it.counts["decisions"] for it in report.rows}
    found = check_log(folder, workers=1).findings
    outside = sum(it.count for it in found if it.kind == "outside_plan")
    assert 0 < rows["outside"] <= outside
    assert rows["inside"] > rows["outside"]


def test_a_report_with_too_many_rows_is_refused(
    audit: tuple[Path, Planted], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting, "MOST_ROWS", 10)
    with pytest.raises(LogError, match="more than 10 rows: group it by less"):
        log_report(audit[0], "callers")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("spend", "log", "--by", "teem"), "--by: `teem` is not one of month, day, caller, team"),
        (("spend", "log", "--by", "team,team"), "--by: `team` is given twice"),
        (("spend", "log", "--where", "team"), "--where: expected NAME=VALUE"),
        (("spend", "log", "--where", "x=y"), "--where: `x` is not one of"),
        (
            ("spend", "log", "--where", "cost=unknown"),
            "cost `unknown` is not one of free, measured",
        ),
        (("spend", "log", "--where", "outcome=ok"), "outcome `ok` is not one of selected, refused"),
        (("spend", "log", "--where", "level=rule"), "level `rule` is not one of call, task, pool"),
        (("spend", "log", "--since", "x"), "--since: expected a day"),
        (("spend", "log", "--since", "1h", "--until", "2h"), "--until: it is before --since"),
        (("nothing", "log"), "invalid choice: 'nothing'"),
    ],
)
def test_what_cannot_be_reported_is_an_error(
    tmp_path: Path, run: Run, words: tuple[str, ...], reason: str
) -> None:
    history(tmp_path / "log", policy_of(), [{}])
    ran = run("log", "report", *words)
    assert (ran.code, reason in ran.err, ran.out) == (2, True, "")


def test_a_kind_that_is_none_is_refused(tmp_path: Path) -> None:
    history(tmp_path, policy_of(), [{}])
    with pytest.raises(RequestError, match="`spent` is not one of spend, refusals"):
        log_report(tmp_path, "spent")


# How it is shown.


@pytest.mark.stress
@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_report_fits_80_columns(audit: tuple[Path, Planted], run: Run, kind: str) -> None:
    for more in ((), ("--by", "team,kind,model,month,caller,decided"), ("--top", "3")):
        out = run("log", "report", kind, str(audit[0]), *more).out
        assert max(map(len, out.splitlines())) <= 80
        assert "\ntotal        697 decisions: " in out


def test_a_person_gets_a_table_and_the_total(tmp_path: Path, run: Run) -> None:
    requests = [CODING, {"task": {"model": "gpt-9"}}, {}]
    requests = [it | {"caller": {"id": "ada", "team": "research"}} for it in requests]
    ends = {0: end(**DONE, model="large", entry="coder", served_model="large", cost_usd=0.0123456)}
    history(tmp_path / "log", policy_of(), requests, ends)
    out = run("log", "report", "models", "log", "--top", "1").out.splitlines()
    assert out[2].split() == [
        "decided",
        "sent",
        "served",
        "decisions",
        "cost",
        "estimated",
        "unknown",
    ]
    assert out[3].split() == ["coder", "coder", "large", "1", "$0.012346", "-", "0"]
    assert out[4].split() == ["(others)", "2", "-", "-", "1"]
    assert out[6:] == [
        "total        3 decisions: 2 selected, 1 refused",
        "cost         $0.012345600 measured, of 1",
        "             unknown of 1: 1 never ended",
        "             nothing of 1: refused, or answered with an error",
    ]


def test_a_spreadsheet_gets_sums_that_agree(audit: tuple[Path, Planted], run: Run) -> None:
    out = run("log", "report", "spend", str(audit[0]), "--format", "csv").out
    *rows, total = list(csv.DictReader(io.StringIO(out)))
    assert total["team"] == "(total)"
    for name in ("decisions", "measured_nano_usd", "never_ended", "free", "input_tokens"):
        assert sum(int(row[name]) for row in rows) == int(total[name])
    out = run("log", "report", "rules", str(audit[0]), "--format", "csv").out
    assert list(csv.reader(io.StringIO(out)))[-1] == ["(total)", *[""] * 7]


def test_no_cell_is_a_formula(tmp_path: Path, run: Run) -> None:
    history(tmp_path / "log", policy_of(), [{"caller": {"id": "=1+1", "team": "-x"}}])
    out = run("log", "report", "callers", "log", "--format", "csv").out
    assert "'-x,'=1+1,1," in out


def test_no_cell_is_a_command_to_a_terminal(tmp_path: Path, run: Run) -> None:
    caller = {"id": "\x1b]0;t\x07\u202ea\tb", "team": "\uff1d1+1"}
    history(tmp_path / "log", policy_of(), [{"caller": caller}, {"caller": {"id": "-"}}])
    out = run("log", "report", "callers", "log", "--format", "csv").out
    assert "'\uff1d1+1,\ufffd]0;t\ufffd\ufffda\ufffdb,1," in out
    assert "\n-,-,1," in out
    assert "'\uff1d1+1" in run("log", "ls", "log", "--format", "csv").out


def test_a_row_of_many_names_goes_on_below(audit: tuple[Path, Planted], run: Run) -> None:
    by = "team,model,rule,entry,provider,month"
    out = run("log", "report", "spend", str(audit[0]), "--by", by, "--top", "2").out
    report = log_report(audit[0], "spend", by=by.split(","))
    head, *rows = [" / ".join(it) for it in (report.columns, *(row.key for row in report.rows[:2]))]
    table = out.split("\n\n")[1]
    texts = re.sub(r"\n  ", " ", re.sub(r"(?m)   +\S.*$", "", table))
    assert [re.sub(" +", " ", it) for it in texts.splitlines()[:3]] == [head, *rows]
    assert max(map(len, out.splitlines())) <= 80


def test_a_program_gets_whole_numbers(audit: tuple[Path, Planted], run: Run) -> None:
    found = json.loads(run("log", "report", "callers", str(audit[0]), "--format", "json").out)
    assert found["total"]["decisions"] == 697
    assert all(isinstance(row["measured_nano_usd"], int) for row in found["rows"])
    assert set(found["rows"][0]["key"]) == {"team", "caller"}
    found = json.loads(run("log", "report", "rules", str(audit[0]), "--format", "json").out)
    assert {"part": "entry", "name": "archive"} in found["never_fired"]


def test_a_letter_gets_markdown(tmp_path: Path, run: Run) -> None:
    odd = "<b>|@team"
    history(tmp_path / "log", policy_of(), [{"caller": {"id": "a", "team": odd}}] * 2)
    out = run("log", "report", "spend", "log", "--format", "markdown").out
    assert r"| `<b>\|@team` | `small` | 2 | - | - | 2 |" in out
    assert "```text\ntotal        2 decisions: 2 selected, 0 refused\n" in out


def test_an_empty_log_has_an_empty_report(tmp_path: Path, run: Run) -> None:
    (tmp_path / "log/heads").mkdir(parents=True)
    for words in ((), ("--format", "markdown")):
        out = run("log", "report", "spend", "log", *words).out
        assert "spend: no decisions found" in out
        assert "0 decisions" in out


def test_what_a_budget_denied_and_much_that_never_fired_is_told(tmp_path: Path, run: Run) -> None:
    many = "".join(f"  - {{model: spare-{number}}}\n" for number in range(30))
    text = PRICED.replace("precedence:", f"{many}precedence:").replace("pool:\n", "pool:\n", 1)
    denied = Execution("finished", status="refused", error="budget_exceeded")
    history(tmp_path / "log", policy_of(text), [{}, {"call": {"model": "small"}}], {0: denied})
    out = run("log", "report", "rules", "log").out
    assert "selected and denied by a budget" in " ".join(out.split())
    assert "more (--format json)" in " ".join(out.split())
    out = run("log", "report", "refusals", "log", "--by", "code").out
    assert "\nbudget_exceeded          1\n" in out
    assert "\nsmall  -" in run("log", "report", "wishes", "log").out


def test_what_is_estimated_is_shown_as_the_most_that_it_cost(tmp_path: Path, run: Run) -> None:
    rules = policy_of(PRICED + "parameters: {max_tokens: 100}\n")
    ends = {0: end(**DONE, cost_usd=0.5, cost_status="upper_bound"), 1: end(**DONE)}
    history(tmp_path / "log", rules, [{"task": {"input_tokens": 1000}}] * 2, ends)
    out = run("log", "report", "spend", "log").out
    assert "$0.500000000 measured, of 1; 1 of them cost that at most\n" in out
    assert "$0.001200000 at most, estimated, of 1\n" in out
    assert run("log", "ls", "log", "--where", "cost=upper_bound", "-q").out.count("\n") == 2
