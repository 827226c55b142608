"""`policy-router log check`: whether what ran is what was decided."""

from __future__ import annotations

import datetime
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import audit_log
from benchmarks.audit_log import BEGIN, POLICY, Planted, policies, write_audit_log
from policy_router import DecisionLog, Policy, decide
from policy_router.cli import decision_log
from policy_router.log import CheckReport, check_log, prune
from policy_router.log.check import windows
from policy_router.log.check.checking import wrong_with
from policy_router.log.check.findings import Finding
from policy_router.log.entry import Call, Execution, microseconds
from policy_router.log.folder import LogFolder
from policy_router.log.replay.chunks import Job
from tests.support.commands import ROOT, Run
from tests.support.log_auditing import PRICED, SIGNER, Clock, id_of, policy_of, sign_log
from tests.support.plain_check import Wrong, lines_of, plain_check

END = datetime.datetime(2026, 11, 2, tzinfo=datetime.UTC)
HOUR = 3_600_000_000
ENTRIES = {"large": "coder", "small": "small"}


def told(report: CheckReport) -> Wrong:
    found: Wrong = {}
    for it in report.findings:
        found.setdefault(it.kind.value, {})[it.detail] = list(it.ids)
        assert it.count == len(it.ids)
    return found


def planted_in(planted: Planted) -> Wrong:
    return {
        kind: {what: sorted(ids) for what, ids in each.items()}
        for kind, each in planted.faults.items()
    }


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Planted]:
    """Return a small log of three months, and what is planted in it."""
    folder = tmp_path_factory.mktemp("audit") / "log"
    return folder, write_audit_log(folder, 600, faults=2)


# The generated log.


@pytest.mark.parametrize("size", [8 << 20, 100_000, 5_000])
def test_each_planted_fault_is_found_and_nothing_else(
    audit: tuple[Path, Planted], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    folder, planted = audit
    monkeypatch.setattr(windows, "WINDOW_BYTES", size)
    report = check_log(folder, clock=lambda: END)
    assert told(report) == planted_in(planted)
    assert (report.decisions, report.pruned, report.silent) == (600, 0, False)
    assert not report.is_clean


@pytest.mark.parametrize("size", [8 << 20, 20_000])
@pytest.mark.parametrize("days", [(0, 400), (40, 400), (80, 400), (200, 400), (0, 40), (30, 60)])
def test_plain_python_finds_the_same(
    audit: tuple[Path, Planted], monkeypatch: pytest.MonkeyPatch, days: tuple[int, int], size: int
) -> None:
    folder, _ = audit
    monkeypatch.setattr(windows, "WINDOW_BYTES", size)
    since, until = (microseconds(BEGIN + datetime.timedelta(days=it)) for it in days)
    report = check_log(folder, clock=lambda: END, since=since, until=until)
    plain = plain_check(folder, ended_by=microseconds(END) - HOUR, since=since, until=until)
    assert told(report) == plain
    lines = [*lines_of(folder)]
    decided: dict[str, int] = {it["id"]: it["time"] for it in lines if it["kind"] == "decision"}
    events = [it for it in lines if it["kind"] == "execution"]
    times = [decided.get(it["id"]) or int(it["time"]) for it in events]
    counted = [sum(since <= it < until for it in each) for each in (decided.values(), times)]
    assert [report.decisions, report.executions] == counted


def test_one_decision_is_told_what_the_check_finds_of_it(
    audit: tuple[Path, Planted], run: Run
) -> None:
    folder, _ = audit
    kinds = {"no_decision", "never_ended", "no_parent"}  # need other lines than its own
    expected: dict[str, set[tuple[str, str]]] = {}
    for it in check_log(folder, clock=lambda: END).findings:
        for id_ in it.ids if it.kind not in kinds else ():
            expected.setdefault(id_, set()).add((it.kind, it.detail))
    job, about = Job.of(LogFolder(folder)), dict[str, list[bytes]]()
    for line in lines_of(folder):
        about.setdefault(line.get("id", ""), []).append(json.dumps(line).encode())
    found = {id_: set(wrong_with(job, lines)) for id_, lines in about.items() if id_}
    assert {id_: it for id_, it in found.items() if it} == expected
    (first, *_), detail = next((it.ids, it.detail) for it in forbidden_in(folder))
    out = run("log", "show", str(folder), first).out
    assert f"\nwrong       a forbid rule is against what ran: {detail}\n" in out


def forbidden_in(folder: Path) -> list[Finding]:
    return [it for it in check_log(folder, clock=lambda: END).findings if it.kind == "forbidden"]


def test_every_kind_is_planted(audit: tuple[Path, Planted]) -> None:
    _, planted = audit
    assert set(planted.faults) == {
        *("outside_plan", "forbidden", "no_decision", "never_ended", "ended_twice"),
        *("other_model", "unexplained_cost", "no_parent", "before_decision"),
    }
    assert set(planted.faults["forbidden"]) == {
        *("personal-data-stays", "legal-stays-in-the-eu", "budget-spent"),
    }
    assert {"measured", "no_price", "no_usage", "free", "mismatch"} <= planted.costs.keys()


def test_the_same_seed_gives_the_same_log(audit: tuple[Path, Planted], tmp_path: Path) -> None:
    folder, planted = audit
    assert write_audit_log(tmp_path / "again", 600, faults=2) == planted
    for path in folder.glob("w?/*.jsonl"):
        assert (tmp_path / "again" / path.relative_to(folder)).read_bytes() == path.read_bytes()


def test_the_generated_log_is_whole_and_replays(audit: tuple[Path, Planted], run: Run) -> None:
    folder, _ = audit
    assert run("log", "verify", str(folder)).code == 0
    assert run("replay", str(folder)).code == 0
    assert [len(it.forbid) for it in policies()] == [POLICY.count("\n    when:")] * 2


@pytest.mark.stress
@pytest.mark.slow
def test_several_processes_find_the_same(tmp_path: Path) -> None:
    planted = write_audit_log(tmp_path / "log", 15_000, faults=5)
    report = check_log(tmp_path / "log", clock=lambda: END, workers=2)
    assert told(report) == planted_in(planted)


# One fault at a time.


class Child:
    """A log with one decision, and what a test says came of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.policy = folder, policy_of()

    def __call__(self, *events: Execution, policy: Policy | None = None) -> Wrong:
        policy = policy or self.policy
        shutil.rmtree(self.folder, ignore_errors=True)
        clock = Clock()
        with DecisionLog(self.folder, clock=clock) as log:
            record = decide(policy, {"task": {"kind": "coding"}}, now=clock())
            log.decision(policy, record, decision_id=id_of(1))
            for event in events:
                log.execution(id_of(1), event)
            log.execution(id_of(2), Execution("started"))
        found = told(check_log(self.folder, clock=lambda: END))
        assert found.pop("no_decision") == {"id": [id_of(2)]}
        return found


@pytest.fixture
def child(tmp_path: Path) -> Child:
    return Child(tmp_path / "log")


def finished(model: str = "large", *, provider: str | None = "main", **more: Any) -> Execution:
    named = {"provider": provider, "model": model, "entry": ENTRIES.get(model)}
    return Execution("finished", **{"status": "completed", **named, **more})


def test_what_ran_as_decided_is_no_finding(child: Child) -> None:
    assert child(finished()) == {}
    assert child(finished(served_model="large-2026-01-31")) == {}
    assert child(Execution("started", provider="main", model="large"), finished()) == {}
    paid: Any = {"input_tokens": 1_000_000, "output_tokens": 0}
    assert child(finished(**paid, cost_usd=10.0)) == {}
    assert child(finished(**paid, cost_usd=0.0)) == {}


def test_a_call_that_was_sent_has_to_be_in_the_plan(child: Child) -> None:
    calls = (Call(1, "main", "small", "small", "timeout"), Call(2, "main", "large", "coder"))
    assert child(finished(calls=calls)) == {"outside_plan": {"small at main": [id_of(1)]}}
    unsent = (Call(1, "main", "small", "small", "no_credential", is_sent=False), *calls[1:])
    assert child(finished(calls=unsent)) == {}
    assert child(finished("other")) == {"outside_plan": {"other at main": [id_of(1)]}}
    assert child(finished(provider=None)) == {"outside_plan": {"coder (large)": [id_of(1)]}}


def test_ends_are_told_apart_by_their_event_and_by_the_attempt_of_a_report(child: Child) -> None:
    assert child(finished(), finished()) == {"ended_twice": {"finished": [id_of(1)]}}
    reports = [Execution("reported", status="failed", attempt=it) for it in (1, 2)]
    assert child(*reports) == {}
    assert child(*reports, reports[1]) == {"ended_twice": {"reported": [id_of(1)]}}


def test_a_cost_is_explained_by_tokens_prices_and_the_cache(child: Child) -> None:
    paid: Any = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}
    wrong = {"unexplained_cost": {"coder (large at main)": [id_of(1)]}}
    assert child(finished(**paid, cost_usd=30.0)) == {}
    assert child(finished(**paid, cost_usd=30.000_000_001)) == wrong
    assert child(finished(**paid, cost_usd=1e300)) == wrong
    assert child(finished(cost_usd=30.0)) == wrong
    nowhere = Execution("finished", status="completed", cost_usd=1.0)
    assert child(nowhere) == {"unexplained_cost": {"where it ran is not said": [id_of(1)]}}
    cached = policy_of(PRICED.replace("output: 20", "output: 20, cache_read: 1"))
    assert child(finished(**paid, cost_usd=29.0, cached_tokens=111_111), policy=cached) == {
        "unexplained_cost": {"coder (large at main)": [id_of(1)]}
    }
    assert child(finished(**paid, cost_usd=29.1, cached_tokens=100_000), policy=cached) == {}
    assert child(finished(**paid, cost_usd=25.0), policy=cached) == {}  # nothing says how many
    assert child(finished(**paid, cost_usd=20.0), policy=cached) == wrong


def test_a_model_that_an_entry_serves_is_no_other_model(child: Child) -> None:
    assert child(finished(served_model="tiny")) == {"other_model": {"tiny for large": [id_of(1)]}}
    serves = policy_of(PRICED.replace("name: coder", "name: coder, serves: [tiny]"))
    assert child(finished(served_model="tiny"), policy=serves) == {}
    assert child(finished(served_model="tiny", entry=None), policy=serves) == {}


RULES = """\
model: small
provider: main
pool: [{model: small}, {model: large, pick: task.kind == "coding"}]
forbid:
  - {id: by-day, when: 'now > timestamp("2026-01-01T00:00:00Z") && target.model == "small"'}
  - {id: fails, when: 'target.model == "other" && [1][size(target.model)] == 1'}
  - {id: warns, when: target.model == "large", enforce: false}
precedence: strict
"""


def test_rules_are_evaluated_as_at_the_decision_and_an_error_never_admits(child: Child) -> None:
    rules = policy_of(RULES)
    assert child(finished(entry="large"), policy=rules) == {}
    assert child(finished("small"), policy=rules) == {
        "outside_plan": {"small at main": [id_of(1)]},
        "forbidden": {"by-day": [id_of(1)]},
    }
    assert child(finished("other"), policy=rules) == {
        "outside_plan": {"other at main": [id_of(1)]},
        "forbidden": {"fails": [id_of(1)]},
    }


def test_without_its_policy_a_decision_cannot_be_checked_and_that_is_told(child: Child) -> None:
    child(finished(served_model="tiny"))
    for path in (child.folder / "policies").glob("*.json"):
        path.unlink()
    revision = child.policy.revision
    assert told(check_log(child.folder, clock=lambda: END)) == {
        "no_decision": {"id": [id_of(2)]},
        "other_model": {"tiny for large": [id_of(1)]},
        "no_policy": {revision: [id_of(1)]},
    }


def test_lines_that_cannot_be_read_are_told(child: Child) -> None:
    child(finished())
    path = next((child.folder / "w1").glob("*.jsonl"))
    content = (
        path.read_bytes()
        .replace(b'"outcome":"selected"', b'"outcome":7')
        .replace(b'"event":"started"', b'"event":5')
    )
    path.write_bytes(content + b"no line\n")
    report = check_log(child.folder, clock=lambda: END)
    found = {(it.detail, it.count, it.ids) for it in report.findings if it.kind == "unreadable"}
    assert found == {("line", 1, ()), ("record", 1, (id_of(1),)), ("execution", 1, (id_of(2),))}


# Time, retention, and hosts that report nothing.


def test_a_child_may_take_as_long_as_the_grace(tmp_path: Path) -> None:
    clock, policy = Clock(), policy_of()
    with DecisionLog(tmp_path, clock=clock) as log:
        for number in (1, 2):
            record = decide(policy, {}, now=clock())
            log.decision(policy, record, decision_id=id_of(number))
        log.execution(id_of(1), Execution("started", provider="main", model="small"))
    for grace, found in ((0, {"no end": [id_of(1)], "no event": [id_of(2)]}), (3600, {})):
        report = check_log(tmp_path, grace=grace, clock=clock)
        assert told(report) == ({"never_ended": found} if found else {})
    with pytest.raises(ValueError, match="grace"):
        check_log(tmp_path, grace=-1)


def test_where_no_child_is_logged_nothing_is_said_of_them(tmp_path: Path, run: Run) -> None:
    run("decide", "policy.yaml", "-", "--log", str(tmp_path / "log"), stdin="{}")
    ran = run("log", "check", str(tmp_path / "log"), "--grace", "0s")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "checked  1 decision, 0 events of their children",
        "note: no event of any child is in the log, so what ran is not known",
        "all that ran is as decided, as far as the log tells",
    ]


def id_at(moment: datetime.datetime, number: int) -> str:
    digits = f"{microseconds(moment) // 1000:012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-{number:012d}"


def test_what_was_pruned_is_told_apart_from_what_never_was(tmp_path: Path) -> None:
    clock, policy = Clock(), policy_of()
    old, never = id_at(clock.now, 1), id_at(END, 2)
    with DecisionLog(tmp_path, clock=clock, segment_bytes=1, writer="a") as log:
        log.decision(policy, decide(policy, {}, now=clock()), decision_id=old)
    clock.now += datetime.timedelta(days=30)
    with DecisionLog(tmp_path, clock=clock, writer="b") as log:
        log.execution(old, Execution("finished", status="completed"))
        for number, parent in enumerate((old, never), 5):
            record = decide(policy, {"task": {"kind": "odd"}}, now=clock())
            log.decision(policy, record, decision_id=id_of(number), parent_id=parent)
            log.execution(id_of(number), Execution("finished", status="completed"))
    sign_log(tmp_path)
    before = microseconds(clock.now - datetime.timedelta(days=1))
    assert prune(tmp_path, before, SIGNER).segments
    report = check_log(tmp_path, clock=lambda: END)
    assert told(report) == {"no_parent": {"parent": [id_of(6)]}}
    assert report.pruned == 1


def test_a_log_of_the_first_edition_is_checked(run: Run, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tests/golden/first-edition-log", tmp_path / "log")
    ran = run("log", "check", str(tmp_path / "log"), "--format", "json")
    assert json.loads(ran.out)["decisions"] > 0
    assert {it["kind"] for it in json.loads(ran.out)["findings"]} <= {"never_ended"}


# The command.


def test_the_command_names_each_fault_within_80_columns(
    audit: tuple[Path, Planted], run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, planted = audit
    monkeypatch.chdir(folder.parent)
    ran = run("log", "check", "log")
    assert (ran.code, ran.err) == (1, "")
    assert max(map(len, ran.out.splitlines())) <= 80
    for kind, each in planted.faults.items():
        assert f"\n{kind}: " in ran.out
        for what, ids in each.items():
            assert f"\n{len(ids):>7}  {what}\n         {min(ids)}\n" in ran.out
    plain = json.loads(run("log", "check", "log", "--format", "json").out)
    assert plain["clean"] is False
    kinds: dict[str, dict[str, list[str]]] = {}
    for it in plain["findings"]:
        kinds.setdefault(it["kind"], {})[it["detail"]] = it["ids"]
    assert kinds == planted_in(planted)
    since = run("log", "check", "log", "--since", "2026-12-01", "--format", "json")
    assert (since.code, json.loads(since.out)["findings"]) == (0, [])


def _events(folder: Path) -> Iterator[str]:
    for path in folder.glob("*/*.jsonl"):
        yield from path.read_text().splitlines()


def test_the_generator_is_a_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["audit_log", str(tmp_path / "log"), "--decisions", "80", "--faults", "1"]
    monkeypatch.setattr("sys.argv", words)
    audit_log.main()
    plain = json.loads(capsys.readouterr().out)
    assert plain["decisions"] == sum('"kind":"decision"' in it for it in _events(tmp_path / "log"))
    assert plain["lines"] == sum(1 for _ in _events(tmp_path / "log"))


# What the commands that decide write.


def test_a_command_logs_tags_the_commit_and_its_user(tmp_path: Path, run: Run) -> None:
    words = ("decide", "policy.yaml", "-", "--log", "log", "--tag", "project:a", "--tag", "night")
    assert run(*words, "--origin-commit", "4f2a91c", stdin="{}").code == 0
    policy, decision, *_ = map(json.loads, _events(tmp_path / "log"))
    assert policy["policy"]["origin_commit"] == "4f2a91c"
    assert policy["policy"]["loaded_by"]
    assert decision["tags"] == ["project:a", "night"]
    assert run("log", "check", "log").code == 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--tag", "x" * 101), "--tag: a decision has up to 8 tags"),
        (("--origin-commit", "a b"), "--origin-commit: expected 1 to 200 letters"),
    ],
)
def test_what_no_line_can_have_is_an_error(run: Run, words: tuple[str, ...], reason: str) -> None:
    ran = run("decide", "policy.yaml", "-", "--log", "log", *words, stdin="{}")
    assert (ran.code, ran.out) == (2, "")
    assert reason in ran.err


def test_a_system_without_a_name_for_its_user_says_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise OSError("no username set in the environment")

    monkeypatch.setattr("getpass.getuser", unknown)
    assert decision_log.whose() is None
