"""The pages of a service that lacks something: a log, one rule file, an answer that is ready."""

from __future__ import annotations

import datetime
import fcntl
import re
import shutil
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from policy_router import DecisionLog, decide, load
from policy_router.files.ids import uuid7
from policy_router.server.follower import Follower
from tests.pages.conftest import until_indexed
from tests.support.service import Service, until
from tests.support.year import END, POLICY, write_policy, write_year

pytestmark = [pytest.mark.slow, pytest.mark.stress]
_FORM = re.compile('name="form_value" value="([0-9a-f]+)"')


def test_a_service_without_a_log_says_so_and_has_a_playground(tmp_path: Path) -> None:
    policy = write_policy(tmp_path)
    with Service(tmp_path) as service:
        client = service.client(follow_redirects=True)
        for name in (
            "",
            "pages/decisions",
            "pages/what-if",
            "pages/spend",
            "pages/compliance",
            "pages/log",
        ):
            assert "There is no decision log" in client.get(f"/{name}").text
        page = client.get("/pages/playground").text
        assert "coder" in page
        assert policy.revision[7:19] in client.get("/pages/policies").text
        assert (
            "personal-data-stays-home" in client.get(f"/pages/policies/{policy.revision[7:]}").text
        )
        found = _FORM.search(page)
        assert found
        for path in ("/pages/what-if", "/pages/log"):
            assert client.post(path, data={"form_value": found[1]}).status_code == 404
        assert client.get("/pages/decisions/x").status_code == 404
        assert client.get("/pages/decisions.csv").status_code == 404
        assert client.get(f"/pages/policies/{'0' * 64}").status_code == 404


def test_a_policy_of_several_files_decides_where_no_rules_are_typed(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    head, _, forbid = POLICY.replace("{strict}", "strict").partition("forbid:")
    (rules / "a.yaml").write_text(head)
    (rules / "b.yaml").write_text(f"forbid:{forbid}")
    with Service(tmp_path, policy="rules") as service:
        page = service.client().get("/pages/playground").text
        assert "several files" in page
        assert "coder" in page


def test_what_if_without_rules_says_what_is_wanted(tmp_path: Path) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    head, _, forbid = POLICY.replace("{strict}", "strict").partition("forbid:")
    (rules / "a.yaml").write_text(head)
    (rules / "b.yaml").write_text(f"forbid:{forbid}")
    with Service(tmp_path, "--log", "log", policy="rules") as service:
        client = service.client()
        until(lambda: client.get("/pages/what-if").status_code == 200)
        page = client.get("/pages/what-if").text
        assert "those of the service are several files" in page
        found = _FORM.search(page)
        assert found
        answer = client.post("/pages/what-if", data={"form_value": found[1], "policy": "  "})
        assert answer.status_code == 400
        assert "take a revision above" in answer.text


def test_a_log_without_a_decision_says_what_to_do(tmp_path: Path) -> None:
    write_policy(tmp_path)
    with Service(tmp_path, "--log", "log") as service:
        client = service.client()
        until(lambda: "Nothing was decided yet" in client.get("/pages/decisions").text)
        assert "No decision fits" in client.get("/pages/decisions?caller=ada").text
        until(lambda: "Rules by hits" in client.get("/pages/compliance").text)
        assert re.search(r'class="badge warn">not known<', client.get("/pages/compliance").text)


def test_an_index_that_is_not_complete_is_said_to_be_so(tmp_path: Path) -> None:
    write_year(tmp_path, 900)
    index = tmp_path / "log.index"
    Follower(str(tmp_path / "log"), str(index)).close()
    with ExitStack() as held:
        other = held.enter_context(Path(f"{index}.lock").open("a"))
        fcntl.flock(other, fcntl.LOCK_EX)
        with Service(tmp_path, "--log", "log") as service:
            client = service.client()
            for name in ("decisions", "policies", "spend", "compliance", "log"):
                text = client.get(f"/pages/{name}").text
                assert "The log is still being read: 0 %" in text, name
            assert "still being read" not in client.get("/pages/playground").text
            held.close()
            until(lambda: "Decisions <small>900<" in client.get("/pages/decisions").text)
            assert "still being read" not in client.get("/pages/decisions").text


def test_a_decision_is_shown_when_what_is_around_it_is_gone(tmp_path: Path) -> None:
    write_year(tmp_path, 10)
    log, now = tmp_path / "log", END - datetime.timedelta(hours=2)
    rules = f"{POLICY.replace('{strict}', 'delegation')}facts: {{risk: {{type: int}}}}\n"
    (tmp_path / "other.yaml").write_text(rules)
    policy = load(tmp_path / "other.yaml")
    record = decide(policy, {"facts": {"risk": 1}}, now=now)
    gone = uuid7(now)
    with DecisionLog(log, writer="odd", clock=lambda: now) as written:
        decision_id = written.decision(policy, record, parent_id=gone)
    for path in log.glob(f"policies/*{policy.revision[7:]}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with Service(tmp_path, "--log", "log") as service:
        client = service.client()
        until_indexed(client, 11)
        text = client.get(f"/pages/decisions/{decision_id}?again=now").text
        assert f"Its parent <code>{gone}</code> is not in the log" in text
        assert "There is no explanation with values" in text
        assert text.count('<li class="rung') == 5
        assert "(request does not fit)" in text
        assert f"/pages/policies/{policy.revision[7:]}" in text
        for segment in log.glob("odd/*.jsonl"):
            segment.unlink()
        until(lambda: client.get(f"/pages/decisions/{decision_id}").status_code == 404)
        assert client.get(f"/pages/decisions/{decision_id}/proof.txt").status_code == 404


def test_what_is_wrong_with_a_question_is_said(tmp_path: Path) -> None:
    ids = write_year(tmp_path, 10)
    with Service(tmp_path, "--log", "log") as service:
        client = service.client()
        until_indexed(client, 10)
        for path, status in (
            ("decisions?since=yesterday", 400),
            ("decisions?cursor=x", 400),
            ("decisions?colour=red", 400),
            ("spend?rows=colour", 400),
            (f"decisions/{ids[0]}/nothing", 404),
            ("policies/x", 404),
            (f"what-if/{'0' * 32}", 404),
            ("log?work=x", 404),
        ):
            answer = client.get(f"/pages/{path}")
            assert answer.status_code == status, path
            assert answer.headers["content-type"] == "text/html; charset=utf-8"
        found = _FORM.search(client.get("/pages/log").text)
        assert found
        for path, place in (
            ("policies/test", "policies"),
            ("playground/try", "playground"),
            ("playground/place", "playground"),
            ("sign-out", "decisions"),
        ):
            assert client.get(f"/pages/{path}").headers["location"] == f"/pages/{place}"
        odd = {"form_value": found[1], "colour": "red"}
        assert client.post("/pages/playground", data=odd).status_code == 400
        assert (
            client.post("/pages/playground/place", data={"form_value": found[1]}).status_code == 400
        )
        first = client.get("/pages/spend.csv?since=2026-01-01")
        assert first.status_code == 503
        until(lambda: client.get("/pages/spend.csv?since=2026-01-01").status_code == 200)


def test_a_version_that_is_rejected_is_shown_to_administrators(tmp_path: Path) -> None:
    write_year(tmp_path, 10)
    socket = tmp_path / "socket"
    with Service(tmp_path, "--log", "log", listen=f"unix:{socket}") as service:
        transport = httpx.HTTPTransport(uds=str(socket))
        with httpx.Client(base_url="http://localhost", transport=transport, timeout=30) as client:
            until(lambda: client.get("/pages/policies").status_code == 200)
            (tmp_path / "policy.yaml").write_text("version: 1\npool: [{mdel: a}]\n")
            until(lambda: "A newer version is not used" in client.get("/pages/policies").text)
            assert "unknown key" in client.get("/pages/policies").text
    assert service.process.poll() is not None
