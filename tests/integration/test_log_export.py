"""`policy-router log export`: a log as tables, held to plain Python and to SQL."""

from __future__ import annotations

import csv
import datetime
import errno
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyarrow import parquet

from benchmarks.audit_log import Planted, write_audit_log
from policy_router import DecisionLog, decide
from policy_router.errors import LogError
from policy_router.log import export_log, log_report
from policy_router.log.entry import Call, Execution
from policy_router.log.export import arrow, exporting
from policy_router.log.export.arrow import DuckDatabase, ParquetFiles
from policy_router.log.export.exporting import CsvFiles, Format
from policy_router.log.export.tables import TABLES
from policy_router.log.export.views import VIEWS
from policy_router.log.replay import chunks
from policy_router.log.report.cost_status import UNKNOWN
from tests.support.commands import ROOT, Run
from tests.support.log_auditing import Clock, history, id_of, policy_of
from tests.support.plain_check import lines_of
from tests.support.rows import each

PAGE = ROOT / "docs" / "audit.md"


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Planted]:
    folder = tmp_path_factory.mktemp("export") / "log"
    return folder, write_audit_log(folder, 500, faults=2)


@pytest.fixture(scope="module", params=exporting.FORMATS)
def base(
    request: pytest.FixtureRequest, audit: tuple[Path, Planted]
) -> Iterator[duckdb.DuckDBPyConnection]:
    """Return what asks an export of each format in SQL."""
    folder, _ = audit
    place = folder.parent / f"export-{request.param}"
    export_log(folder, place, request.param)
    if request.param == "duckdb":
        with duckdb.connect(str(place), read_only=True) as made:
            yield made
        return
    with duckdb.connect() as made:
        made.execute("SET TimeZone = 'UTC'")
        made.execute(f"SET file_search_path = '{place}'")
        made.execute((place / "views.sql").read_text())
        yield made


def rows(base: duckdb.DuckDBPyConnection, text: str) -> list[tuple[Any, ...]]:
    return base.execute(text).fetchall()


# What is in the tables.


def test_every_line_is_a_row_with_its_exact_bytes(
    base: duckdb.DuckDBPyConnection, audit: tuple[Path, Planted]
) -> None:
    folder, planted = audit
    tables = ("decisions", "events", "policies", "others")
    texts = " UNION ALL ".join(f"SELECT writer, seq, line FROM {it}" for it in tables)
    found = {(writer, seq): line for writer, seq, line in rows(base, texts)}
    assert len(found) == planted.lines
    for path in folder.glob("w?/*.jsonl"):
        for content in path.read_bytes().splitlines():
            line = found[path.parent.name, json.loads(content)["seq"]]
            assert (line.encode() if isinstance(line, str) else line) == content


def test_columns_are_those_of_the_lines(
    base: duckdb.DuckDBPyConnection, audit: tuple[Path, Planted]
) -> None:
    folder, _ = audit
    lines = list(lines_of(folder))
    made = {it["id"]: it for it in lines if it["kind"] == "decision"}
    columns = "id, epoch_us(time), parent, root, session, tags, purpose, caller_id, caller_team"
    columns += ", kind, labels, estimated_input_tokens, outcome, rule, code, decided_entry, plan"
    found = rows(base, f"SELECT {columns}, policy, revision FROM decisions")
    assert len(found) == len(made)
    for id_, time, parent, root, session, tags, purpose, caller, team, *rest in found:
        line = made[id_]
        assert time == line["time"]
        assert (parent, root, session) == tuple(map(line.get, ("parent", "root", "session")))
        assert (tags, purpose) == (line.get("tags", []), line.get("purpose"))
        assert {"id": caller, "team": team} == line["caller"]
        kind, labels, tokens, outcome, rule, code, entry, plan, policy, revision = rest
        record = line["record"]
        task, decision = record["request"]["task"], record["decision"]
        assert (kind, labels, tokens) == (task["kind"], task["labels"], task["input_tokens"])
        assert outcome == decision["outcome"]
        assert rule == decision.get("rule", decision.get("refusal", {}).get("rule"))
        assert code == decision.get("refusal", {}).get("code")
        targets = [decision["target"], *decision["fallbacks"]] if "target" in decision else []
        assert entry == (targets[0]["entry"] if targets else None)
        assert plan == [f"{it['model']} at {it['provider']}" for it in targets]
        assert {"name": policy, "revision": revision} == record["policy"]


def test_money_is_in_whole_nano_dollars(
    base: duckdb.DuckDBPyConnection, audit: tuple[Path, Planted]
) -> None:
    folder, planted = audit
    ((total,),) = rows(base, "SELECT sum(cost_nano_usd) FROM ends")
    assert total == planted.billionths
    known = Counter(dict(rows(base, "SELECT cost_status, count(*) FROM ends GROUP BY 1")))
    assert known == planted.costs
    plain = Counter[tuple[str, str | None]]()
    for line in lines_of(folder):
        for call in line.get("execution", {}).get("calls", ()):
            plain[call["model"], call.get("failure")] += 1
    texts = "SELECT sent_model, failure, count(*) FROM calls GROUP BY ALL"
    assert {(model, failure): n for model, failure, n in rows(base, texts)} == dict(plain)


def test_the_views_answer_as_the_check_does(
    base: duckdb.DuckDBPyConnection, audit: tuple[Path, Planted]
) -> None:
    _, planted = audit

    def ids(kind: str) -> set[str]:
        return {it for each in planted.faults[kind].values() for it in each}

    def of(view: str) -> set[str]:
        return {it for (it,) in rows(base, f"SELECT DISTINCT id FROM {view}")}

    assert of("outside_plan") == ids("outside_plan")
    assert of("orphans") == ids("no_decision")
    assert of("never_ended") == ids("never_ended")
    assert of("other_models") == ids("other_model")
    personal = "labelled_runs WHERE label = 'pii' AND sent_provider = 'cloud-us'"
    assert of(personal) == set(planted.faults["forbidden"]["personal-data-stays"])


@each("view", VIEWS)
def test_every_view_can_be_asked(base: duckdb.DuckDBPyConnection, view: str) -> None:
    assert rows(base, f"SELECT count(*) FROM {view}")[0][0] > 0


def test_spend_adds_up_to_what_each_case_cost(base: duckdb.DuckDBPyConnection) -> None:
    ((spent, decisions),) = rows(base, "SELECT sum(cost_nano_usd), sum(decisions) FROM spend")
    assert rows(base, "SELECT sum(cost_nano_usd), count(*) FROM cases") == [(spent, decisions)]
    trees = "SELECT sum(cost_nano_usd), sum(decisions) FROM trees"
    assert rows(base, trees) == [(spent, decisions)]


def test_cases_are_those_of_reports_to_the_nano_dollar(
    base: duckdb.DuckDBPyConnection, audit: tuple[Path, Planted]
) -> None:
    folder, planted = audit
    assert planted.faults["ended_twice"]
    total = log_report(folder, "spend").total
    names = "cost_nano_usd", "input_tokens", "output_tokens"
    sums = rows(base, f"SELECT {', '.join(f'sum({it})' for it in names)} FROM cases")
    assert sums == [tuple(total[it] for it in ("measured_nano_usd", *names[1:]))]
    for status, count in rows(base, "SELECT cost_status, count(*) FROM cases GROUP BY 1"):
        assert total[status] == count
    unknown = sum(total[it.value] for it in UNKNOWN)
    assert rows(base, "SELECT sum(unknown) FROM spend") == [(unknown,)]
    assert rows(base, "SELECT sum(decisions) FROM unknown_costs") == [(unknown,)]


def test_months_are_those_of_reports_in_every_time_zone(
    base: duckdb.DuckDBPyConnection, audit: tuple[Path, Planted]
) -> None:
    found = log_report(audit[0], "spend", by=["month"]).rows
    months = {it.key[0]: it.counts["decisions"] for it in found}
    text = "SELECT strftime(month, '%Y-%m'), sum(decisions) FROM spend GROUP BY 1"
    for zone in ("Pacific/Kiritimati", "America/Los_Angeles", "UTC"):  # which is left set
        base.execute(f"SET TimeZone = '{zone}'")
        assert dict(rows(base, text)) == months


def test_a_decision_of_several_runs_has_the_last_target_and_what_is_known_least(
    tmp_path: Path,
) -> None:
    policy, clock = policy_of(), Clock()
    runs = (
        Execution("reported", "main", "small", attempt=1, status="failed", cost_status="failed"),
        Execution(
            *("reported", "main", "large"),
            attempt=2,
            status="completed",
            cost_usd=0.25,
            cost_status="measured",
            input_tokens=3,
        ),
    )
    with DecisionLog(tmp_path / "log", clock=clock) as log:
        record = decide(policy, {"task": {"kind": "coding"}}, now=clock())
        log.decision(policy, record, decision_id=id_of(1))
        for run in runs:
            log.execution(id_of(1), run)
    export_log(tmp_path / "log", tmp_path / "made", "duckdb")
    with duckdb.connect(str(tmp_path / "made"), read_only=True) as made:
        columns = "sent_model, status, input_tokens, cost_nano_usd, cost_status"
        found = rows(made, f"SELECT {columns} FROM cases")
        assert found == [("large", "completed", 3, 250_000_000, "failed")]
        assert rows(made, "SELECT cost_nano_usd, unknown FROM spend") == [(250_000_000, 1)]


def test_the_recipes_of_the_page_run(base: duckdb.DuckDBPyConnection) -> None:
    recipes = re.findall(
        r"^```sql\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert len(recipes) >= 5
    for recipe in recipes:
        assert rows(base, recipe)


# The files themselves.


def test_parquet_has_the_types_that_are_promised(audit: tuple[Path, Planted]) -> None:
    folder, _ = audit
    place = folder.parent / "typed"
    export_log(folder, place)
    types = {
        "text": "string",
        "texts": "list<element: string>",
        "int": "int64",
        "float": "double",
        "bool": "bool",
        "time": "timestamp[us, tz=UTC]",
        "bytes": "binary",
    }
    for table in TABLES:
        schema = parquet.read_schema(place / f"{table.name}.parquet")
        found = [(it.name, str(it.type)) for it in schema]
        assert found == [(it.name, types[it.type]) for it in table.columns]


def test_csv_can_be_read_by_anybody(audit: tuple[Path, Planted], tmp_path: Path) -> None:
    folder, planted = audit
    export_log(folder, tmp_path / "plain", "csv")
    with (tmp_path / "plain/events.csv").open(encoding="utf-8", newline="") as file:
        events = list(csv.DictReader(file))
    costs = [int(it["cost_nano_usd"]) for it in events if it["cost_nano_usd"]]
    assert sum(costs) == planted.billionths
    assert all(json.loads(it["line"])["time"] for it in events)
    moment = datetime.datetime.fromisoformat(events[0]["time"])
    assert moment.timestamp() == pytest.approx(json.loads(events[0]["line"])["time"] / 1e6)


def test_texts_that_csv_has_in_quotes_come_back_as_they_were(tmp_path: Path) -> None:
    history(tmp_path / "log", policy_of(), [{}], {0: Execution("finished")})
    odd = ("a,b", 'say "hi"', "two\nlines", "a\rb", "é", "日本", "\0", "back\\slash", "", " ")
    with DecisionLog(tmp_path / "log", writer="w2", clock=Clock()) as log:
        for text in odd:
            calls = (Call(1, text, text, duration_seconds=0.5), Call(2, "p", "m"))
            log.execution(id_of(0), Execution(text, model=text, attempt=0, calls=calls))
    path = next((tmp_path / "log/w2").glob("*.jsonl"))
    lines = b'no line\nno, line\n\xff\n\n\r\n{"kind":"x,\xc3\xa9","seq":1,"time":-2}\n'
    path.write_bytes(path.read_bytes() + lines)
    for to in ("csv", "parquet"):
        export_log(tmp_path / "log", tmp_path / to, to)
    for table in TABLES:
        with (tmp_path / f"csv/{table.name}.csv").open(encoding="utf-8", newline="") as file:
            found = list(csv.DictReader(file, strict=True))
        made = parquet.read_table(tmp_path / f"parquet/{table.name}.parquet").to_pylist()
        assert found == [{name: _in_csv(it) for name, it in row.items()} for row in made]
        written = io.StringIO(newline="")
        writer = csv.DictWriter(written, [it.name for it in table.columns])
        writer.writeheader()
        writer.writerows(found)
        assert (tmp_path / f"csv/{table.name}.csv").read_bytes() == written.getvalue().encode()


def _in_csv(cell: Any) -> str:
    """Return what a cell is in CSV, before it is put in quotes."""
    if isinstance(cell, datetime.datetime):
        return f"{cell:%Y-%m-%dT%H:%M:%S.%f}Z"
    if isinstance(cell, list):
        return json.dumps(cell, ensure_ascii=False)
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, bytes):
        return cell.decode(errors="replace")
    return "" if cell is None else str(cell)


def test_what_is_missing_is_null_and_what_is_no_line_is_kept(tmp_path: Path) -> None:
    history(tmp_path / "log", policy_of(), [{}], {0: Execution("finished")})
    with DecisionLog(tmp_path / "log", writer="w2", clock=Clock()) as log:
        log.execution(id_of(0), Execution("finished", cost_usd=1e300, attempt=2**70))
        log.execution(id_of(0), Execution("finished", calls=(Call(1, "p", "m"),)))
    path = next((tmp_path / "log/w2").glob("*.jsonl"))
    odd = b'no line\n{"kind":"x","seq":1,"time":2}\n'
    odd += b'{"kind":"decision","record":{"decision":1,"policy":{"name":"p","revision":"r"}}'
    path.write_bytes(path.read_bytes() + odd + b',"seq":1,"time":2}\n')
    exported = export_log(tmp_path / "log", tmp_path / "base", "duckdb")
    assert exported.rows == {"decisions": 1, "events": 3, "calls": 1, "policies": 1, "others": 5}
    with duckdb.connect(str(tmp_path / "base")) as base:
        nothing = "cost_nano_usd, attempt, input_tokens, cost_status, status"
        assert set(rows(base, f"SELECT {nothing} FROM events")) == {(None,) * 5}
        assert rows(base, "SELECT kind FROM others ORDER BY ALL") == [
            *(("close",), ("close",), ("unreadable",), ("unreadable",), ("x",)),
        ]
        assert rows(base, "SELECT cost_status FROM cases") == [("never_ended",)]


def test_rows_are_written_many_at_a_time(
    audit: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, planted = audit
    monkeypatch.setattr(arrow, "GROUP_ROWS", 50)
    monkeypatch.setattr(chunks, "_BLOCK", 40_000)
    done: list[tuple[int, int]] = []
    exported = export_log(folder, tmp_path / "x", "parquet", progress=lambda *it: done.append(it))
    assert exported.rows["decisions"] == planted.decisions
    assert parquet.read_metadata(tmp_path / "x/decisions.parquet").num_row_groups in range(3, 11)
    assert done[-1][0] == done[-1][1]


# The command.


def test_the_command_exports_and_says_what_is_next(
    audit: tuple[Path, Planted], run: Run, tmp_path: Path
) -> None:
    folder, planted = audit
    ran = run("log", "export", str(folder), "out.duckdb", "--to", "duckdb")
    assert (ran.code, ran.err) == (0, "")
    assert f"exported  {planted.lines:,} lines to out.duckdb\n" in ran.out
    assert ran.out.endswith("next: duckdb out.duckdb -c 'FROM spend'\n")
    plain = json.loads(run("log", "export", "--log", str(folder), "x", "--format", "json").out)
    assert plain["lines"] == planted.lines
    assert (tmp_path / "x/views.sql").is_file()
    ran = run("log", "export", str(folder), "x")
    assert (ran.code, "it is there already" in ran.err) == (2, True)
    assert run("log", "export", str(folder)).code == 2
    assert run("log", "export", str(folder), "none/of/x.duckdb", "--to", "duckdb").code == 2
    assert not list(tmp_path.glob("*.part"))


def test_a_destination_that_cannot_be_written_is_an_error(
    audit: tuple[Path, Planted], tmp_path: Path
) -> None:
    folder, _ = audit
    (tmp_path / "file").write_text("")
    with pytest.raises(LogError):
        export_log(folder, tmp_path / "file/x", "csv")


@pytest.mark.parametrize("to", exporting.FORMATS)
def test_a_full_disk_is_no_fault_of_the_log_and_leaves_nothing(
    audit: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: Format
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    writer = {"csv": CsvFiles, "parquet": ParquetFiles, "duckdb": DuckDatabase}[to]
    monkeypatch.setattr(writer, "put", fails)
    with pytest.raises(LogError, match="made: it cannot be written: full"):
        export_log(audit[0], tmp_path / "made", to)
    assert not list(tmp_path.iterdir())


def test_lines_that_take_much_memory_are_exported_too(
    audit: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, planted = audit
    monkeypatch.setitem(arrow.FRUGAL, "memory_limit", "2MB")
    exported = export_log(folder, tmp_path / "made", "duckdb")
    assert exported.lines == planted.lines
    with duckdb.connect(str(tmp_path / "made"), read_only=True) as made:
        assert rows(made, "SELECT count(*) FROM decisions") == [(planted.decisions,)]
    assert [it.name for it in tmp_path.iterdir()] == ["made"]


def test_a_database_that_cannot_be_ended_leaves_nothing(
    audit: tuple[Path, Planted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrow, "statements", lambda: ["nonsense"])
    with pytest.raises(LogError, match="made: it cannot be written: parser error"):
        export_log(audit[0], tmp_path / "made", "duckdb")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("to", "missing"), [("parquet", "pyarrow"), ("duckdb", "duckdb")])
def test_without_the_extra_it_is_named_and_csv_works(
    audit: tuple[Path, Planted], run: Run, monkeypatch: pytest.MonkeyPatch, to: str, missing: str
) -> None:
    folder, _ = audit
    monkeypatch.setitem(sys.modules, missing, None)
    ran = run("log", "export", str(folder), "x", "--to", to)
    assert ran.code == 2
    assert "needs the extra `export`: pip install 'policy-router[export]'" in ran.err
    assert run("log", "export", str(folder), "y", "--to", "csv").code == 0
