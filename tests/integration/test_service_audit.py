"""What auditors ask the service: explanations, the log by its index, replay and what-if."""

from __future__ import annotations

import functools
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from policy_router.log import LogReader, verify
from tests.integration.test_service import POLICY
from tests.support.commands import in_this_process, write
from tests.support.rows import each
from tests.support.service import Service, problem, until

pytestmark = pytest.mark.slow

REQUESTS: list[dict[str, Any]] = [
    {"task": {"kind": "coding"}, "caller": {"id": "ada", "team": "research"}},
    {"task": {"model": "gpt-9"}, "caller": {"id": "bob", "team": "sales"}},
    {"caller": {"id": "ada", "team": "research"}},
    {"task": {"model": "secret"}, "caller": {"id": "cy", "team": "research"}},
    {},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("audit")
    write(made, policy_yaml=POLICY)
    return made


@pytest.fixture(scope="module")
def made(client: httpx.Client) -> list[str]:
    """Return the ids of a few decisions, which the index has."""
    batch = client.post("/v1/decide/batch", json={"requests": REQUESTS}).json()["decisions"]
    ids = [it["decision_id"] for it in batch]
    until(lambda: client.get(f"/v1/decisions/{ids[-1]}").status_code == 200)
    return ids


def listed(client: httpx.Client, **wanted: Any) -> list[str]:
    answer = client.get("/v1/decisions", params=wanted)
    assert answer.status_code == 200, answer.text
    return [line["id"] for line in answer.json()["decisions"]]


def are_listed(client: httpx.Client, ids: list[str]) -> bool:
    """Tell whether decisions are listed by now; at first, there is no index yet."""
    return client.get("/v1/decisions").status_code == 200 and {*ids} <= {*listed(client)}


def test_a_decision_is_found_at_once_and_is_the_line_of_the_log(
    client: httpx.Client, folder: Path
) -> None:
    decision_id = client.post("/v1/decide", json={}).json()["decision_id"]
    shown = client.get(f"/v1/decisions/{decision_id}")
    (line,) = LogReader(folder / "log").about(decision_id)
    assert shown.content == b'{"lines":[' + line.content + b'],"children":[]}'


def test_children_are_shown_with_their_parent(client: httpx.Client) -> None:
    parent = client.post("/v1/decide", json={}).json()["decision_id"]
    header = {"policy-router-parent": parent}
    child = client.post("/v1/decide", json={}, headers=header).json()["decision_id"]

    def children() -> list[str]:
        shown = client.get(f"/v1/decisions/{parent}").json()
        return [line["id"] for line in shown["children"]]

    assert until(children) == [child]


@each(
    "unknown", ["x", "01a22bc5-117d-7fe4-ad55-00dee3480aab", "%2e%2e", "a/b", "'; DROP TABLE words"]
)
def test_an_unknown_id_is_not_found(client: httpx.Client, unknown: str) -> None:
    answer = client.get(f"/v1/decisions/{unknown}")
    assert problem(answer)["code"] == "unknown_decision"


@each(
    ("wanted", "which"),
    [
        ({"caller": "ada"}, [2, 0]),
        ({"caller": "research"}, [3, 2, 0]),
        ({"outcome": "refused"}, [1]),
        ({"outcome": "selected", "caller": "research"}, [3, 2, 0]),
        ({"model": "large-model"}, [0]),
        ({"entry": "secret", "level": "task"}, [3]),
        ({"provider": "main", "caller": "cy"}, [3]),
        ({"code": "outside_pool"}, [1]),
        ({"caller": "nobody"}, []),
        ({"caller": ""}, []),
        ({"code": "nothing"}, []),
        ({"policy": "other"}, []),
        ({"policy": "acme", "caller": "bob"}, [1]),
        ({"since": "1h", "caller": "bob"}, [1]),
        ({"until": "1h"}, []),
        ({"since": "2026-01-31", "until": "2100-01-31T09:00:00Z", "caller": "bob"}, [1]),
    ],
)
def test_the_filters_are_those_of_log_ls(
    client: httpx.Client, folder: Path, made: list[str], wanted: dict[str, str], which: list[int]
) -> None:
    found = [it for it in listed(client, **wanted, limit=1000) if it in made]
    assert found == [made[number] for number in which]
    options = [word for name, value in wanted.items() for word in (f"--{name}", value)]
    words = ("log", "ls", "log", *options, "--limit", "1000", "--format", "json")
    ran = in_this_process(*words, cwd=folder)
    ids = [json.loads(line)["id"] for line in ran.out.splitlines()]
    assert [it for it in ids if it in made] == found


def test_a_revision_is_found_by_its_beginning(client: httpx.Client, made: list[str]) -> None:
    revision = client.get("/livez").headers["policy-router-policy"]
    for text in (revision, revision[:12], revision.removeprefix("sha256:")[:8]):
        assert set(made) <= set(listed(client, policy=text, limit=1000))


def test_a_cursor_goes_through_all_of_them_once(client: httpx.Client, made: list[str]) -> None:
    every = listed(client, limit=1000)
    assert set(made) <= set(every)
    seen: list[str] = []
    wanted: dict[str, Any] = {"limit": 2}
    while True:
        page = client.get("/v1/decisions", params=wanted).json()
        seen += [line["id"] for line in page["decisions"]]
        if page["cursor"] is None:
            break
        wanted["cursor"] = page["cursor"]
    assert seen == every
    assert len(set(seen)) == len(seen)


@each(
    "wanted",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "x"},
        {"limit": "000000100000000"},
        {"limit": "\N{ARABIC-INDIC DIGIT THREE}"},
        {"cursor": "x"},
        {"cursor": f"{10**26}.1"},
        {"cursor": f"1.{10**26}"},
        {"cursor": "1.2.3"},
        {"since": "yesterday"},
        {"callr": "ada"},
    ],
)
def test_a_bad_query_is_refused(client: httpx.Client, wanted: dict[str, Any]) -> None:
    said = problem(client.get("/v1/decisions", params=wanted))
    assert (said["status"], said["path"]) == (400, next(iter(wanted)))


@pytest.mark.stress
def test_the_index_is_made_anew_where_it_is_lost_or_damaged(folder: Path) -> None:
    write(folder, other_yaml=POLICY)
    with Service(folder, "--log", "other", policy="other.yaml") as service:
        ids = [service.client().post("/v1/decide", json={}).json()["decision_id"] for _ in "abc"]
        until(lambda: are_listed(service.client(), ids))
    index = folder / "other.index"
    assert index.exists()
    index.write_bytes(b"not a database" * 1000)
    with Service(folder, "--log", "other", policy="other.yaml") as service:
        until(lambda: service.client().get("/v1/decisions").status_code == 200)
        until(lambda: are_listed(service.client(), ids))
    assert verify(folder / "other").is_whole
    with sqlite3.connect(index) as base:  # what it says is not believed about the lines themselves
        base.execute("UPDATE shapes SET outcome = (SELECT min(number) FROM words)")
    base.close()
    assert verify(folder / "other").is_whole


# Explanations.


def test_a_request_a_record_and_a_decision_are_explained_alike(
    client: httpx.Client, made: list[str]
) -> None:
    answer = client.post("/v1/decide", json=REQUESTS[0]).json()
    record = answer["record"]
    asked: list[dict[str, Any]] = [
        {"request": REQUESTS[0], "now": record["now"]},
        {"record": record},
        {"decision_id": answer["decision_id"]},
    ]
    texts = set()
    for body in asked:
        told = client.post("/v1/explain", json={**body, "why_not": "small"}).json()
        assert told["record"] == record
        assert told["why_not"]["name"] == "small"
        texts.add(told["text"])
    (text,) = texts
    assert text.startswith("selected  large (large-model at main)")
    assert "never picked unasked" in text
    full = client.post("/v1/explain", json={"decision_id": made[1], "full": True}).json()
    assert [entry["entry"] for entry in full["entries"]] == ["small", "large", "secret"]
    allow = full["entries"][1]["conditions"][0]
    assert (allow["title"], allow["value"]) == ("allow", "true")


def test_a_decision_comes_with_its_explanation(client: httpx.Client) -> None:
    told = client.post("/v1/decide?explain=true", json={}).json()
    assert told["explanation"]["text"].startswith("selected  small")
    assert told["explanation"]["record"] == told["record"]
    assert problem(client.post("/v1/decide?explain=yes", json={}))["path"] == "explain"


@each(
    "body",
    [
        {},
        {"request": {}, "decision_id": "x"},
        {"request": 5},
        {"request": {"tsk": {}}},
        {"request": {}, "now": "yesterday"},
        {"request": {}, "why": "x"},
        {"record": {}},
        {"record": {"schema": "policy-router/record/v9"}},
    ],
)
def test_what_cannot_be_explained_is_refused(client: httpx.Client, body: dict[str, Any]) -> None:
    assert problem(client.post("/v1/explain", json=body))["status"] == 422


def test_a_record_that_was_changed_is_not_explained(client: httpx.Client) -> None:
    record = client.post("/v1/decide", json={}).json()["record"]
    record["decision"]["target"]["model"] = "other"
    assert problem(client.post("/v1/explain", json={"record": record}))["code"] == "bad_record"


# Replay and what-if.


def said(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_log_is_replayed_with_progress(client: httpx.Client, made: list[str]) -> None:
    lines = said(client.post("/v1/replay", json={}))
    assert all("progress" in line for line in lines[:-1])
    report = lines[-1]["report"]
    assert report["identical"]
    assert report["total"] >= len(made)
    none = said(client.post("/v1/replay", json={"until": "2026-01-01"}))[-1]["report"]
    assert none["total"] == 0


def test_a_candidate_policy_is_asked_what_it_would_decide(
    client: httpx.Client, made: list[str]
) -> None:
    assert made
    changed = POLICY.replace("large-model", "larger-model")
    body = {"policy": changed, "since": "2026-01-01"}
    report = said(client.post("/v1/what-if", json=body))[-1]["report"]
    assert report["flips"] >= 1
    assert any("larger-model" in it["after"] for it in report["matrix"])
    bad = problem(client.post("/v1/what-if", json={"policy": "pool: [{model: m, pick: tsk}]"}))
    assert (bad["code"], bad["path"]) == ("bad_policy", "$.policy")
    assert problem(client.post("/v1/what-if", json={}))["path"] == "$.policy"
    assert problem(client.post("/v1/replay", json={"policy": "x"}))["path"] == "$.policy"


def test_a_policy_by_http_reads_no_file_and_no_variable(
    client: httpx.Client, made: list[str]
) -> None:
    assert made
    text = "version: 1\nmodel: m\nprovider: p\nproviders: {p: {api_key: file:/etc/hostname}}\n"
    answer = client.post("/v1/what-if", json={"policy": text})
    host = Path("/etc/hostname").read_text().strip() if Path("/etc/hostname").exists() else "?"
    assert answer.status_code == 200
    assert host not in answer.text


def test_a_service_without_a_log_says_so(folder: Path) -> None:
    with Service(folder) as service:
        client = service.client()
        for answer in (
            client.get("/v1/decisions"),
            client.get("/v1/decisions/x"),
            client.post("/v1/replay", json={}),
        ):
            assert problem(answer)["code"] == "no_log"


def is_counted(client: httpx.Client, page: str) -> bool:
    return "<progress" not in client.get(page).text


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.stress)])
def test_a_service_that_has_not_decided_yet_has_an_empty_log(folder: Path, workers: str) -> None:
    with Service(folder, "--log", f"fresh-{workers}/log", "--workers", workers) as service:
        client = service.client()
        for path, body, said in (
            ("replay", {}, {"total": 0}),
            ("what-if", {"policy": POLICY}, {"decisions": 0}),
        ):
            answer = client.post(f"/v1/{path}", json=body)
            assert answer.status_code == 200, answer.text
            report = json.loads(answer.text.splitlines()[-1])["report"]
            assert said.items() <= report.items()
        until(lambda: client.get("/v1/decisions").status_code == 200)
        assert client.get("/v1/decisions").json() == {"decisions": [], "cursor": None}
        for page in ("decisions", "log", "policies"):
            assert client.get(f"/pages/{page}").status_code == 200, page
        for page in ("spend", "compliance"):
            until(functools.partial(is_counted, client, f"/pages/{page}"))
            assert 'class="problem"' not in client.get(f"/pages/{page}").text, page
        until(lambda: client.post("/v1/decide", json={}).status_code == 200)
    assert verify(folder / f"fresh-{workers}" / "log").is_whole


@pytest.mark.stress
def test_helpers_are_few_bounded_in_time_and_end_with_their_client(folder: Path) -> None:
    big = folder / "big"
    words = (*("decide", "policy.yaml", "batch.json", "--log", "big"), "-q")
    write(folder, batch_json=json.dumps([{"task": {"kind": f"k{n}"}} for n in range(3000)]))
    assert in_this_process(*words, cwd=folder).code == 0
    assert big.exists()
    write(folder, brief_json=json.dumps({"helper_seconds": 6}))
    segment = next(big.glob("w1/*.jsonl"))
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:3000]) * 100)  # not whole, and long
    with Service(folder, "--log", "big", "--config", "brief.json") as service:
        began = time.monotonic()
        client = service.client()
        with (
            client.stream("POST", "/v1/replay", json={}) as first,
            service.client().stream("POST", "/v1/replay", json={}) as second,
        ):
            third = service.client().post("/v1/replay", json={})
            assert problem(third)["code"] == "too_many_helpers"
            assert int(third.headers["retry-after"]) >= 1
            assert (first.status_code, second.status_code) == (200, 200)
            first.read()
        assert "too_much" in first.text
        assert time.monotonic() - began < 40
        until(lambda: children_of(service.process.pid) <= 1)  # the index alone


def children_of(pid: int) -> int:
    return len((Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split())
