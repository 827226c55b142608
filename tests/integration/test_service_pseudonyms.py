"""A service with pseudonyms names no person: in no line, no index and no budget file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from policy_router.hosts import Pseudonyms
from policy_router.log import replay_log
from tests.integration.test_service_credentials import new_token
from tests.support.commands import in_this_process, write
from tests.support.service import Service, lines_of, problem

pytestmark = pytest.mark.slow

POLICY: Final = """\
version: 1
name: acme
model: small-model
provider: main
providers: {main: {base_url: "https://llm.example.com/v1"}}
facts: {owner: {type: string}, readers: {type: list}}
pool:
  - {name: small, model: small-model}
  - {name: large, model: large-model, allow: "has(facts.owner) && caller.id == facts.owner"}
precedence: strict
"""
KEY: Final = "0123456789abcdef" * 4
PEOPLE: Final = (b"ada-lovelace", b"bob-builder", b"eve-dropper")
SETUP: Final = {
    "log": "log",
    "tokens": "tokens.jsonl",
    "budgets": {"file": "money.db", "callers": {"ada-lovelace": 0.5}},
    "pseudonyms": {"key": "pseudonyms.key", "facts": ["owner", "readers"]},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, policy_yaml=POLICY, pseudonyms_key=KEY, serve_json=json.dumps(SETUP))
    ada = new_token(tmp_path, "--id", "ada-lovelace", "--fact", 'owner="ada-lovelace"')
    write(tmp_path, ada_token=ada, host_token=new_token(tmp_path, "--id", "h", "--role", "host"))
    return tmp_path


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    with Service(folder, "--config", "serve.json") as it:
        yield it


def client(service: Service, folder: Path, who: str) -> httpx.Client:
    return service.client((folder / f"{who}.token").read_text())


def request_in(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["record"]["request"]
    return found


def test_a_pseudonym_stands_for_a_caller_whoever_states_it(service: Service, folder: Path) -> None:
    names = Pseudonyms(KEY.encode())
    ada, host = client(service, folder, "ada"), client(service, folder, "host")
    first = ada.post("/v1/decide", json={"task": {"model": "large"}})
    assert first.json()["record"]["decision"]["outcome"] == "selected"
    assert request_in(first)["caller"] == {"id": names.of("ada-lovelace")}
    assert request_in(first)["facts"] == {"owner": names.of("ada-lovelace")}
    stated = {
        "caller": {"id": "ada-lovelace", "team": "t"},
        "facts": {"owner": "bob-builder", "readers": ["eve-dropper", "ada-lovelace"]},
    }
    second = request_in(host.post("/v1/decide", json=stated))
    assert second["caller"] == {"id": names.of("ada-lovelace"), "team": "t"}
    assert second["facts"]["readers"] == [names.of("eve-dropper"), names.of("ada-lovelace")]
    assert (
        request_in(first)["budget"]
        == second["budget"]
        == {
            "remaining_usd": 0.5,
            "spent_usd": 0.0,
        }
    )
    # What compares callers compares pseudonyms on both sides.
    header = {"policy-router-parent": first.json()["decision_id"]}
    task = {"task": {"kind": "x"}}
    assert request_in(ada.post("/v1/decide", json=task, headers=header))["parent"]["model"]
    assert host.post("/v1/decide", json=stated, headers=header).status_code == 200
    other = {"caller": {"id": "bob-builder"}}
    assert problem(host.post("/v1/decide", json=other, headers=header))["code"] == "not_verified"


def test_other_words_for_a_decision_name_nobody_either(service: Service, folder: Path) -> None:
    ada, host = client(service, folder, "ada"), client(service, folder, "host")
    asked = {
        "subject": {"type": "agent", "id": "ada-lovelace"},
        "action": {"name": "use"},
        "resource": {"type": "model", "id": "large"},
    }
    mine = ada.post("/access/v1/evaluation", json=asked)
    assert (mine.status_code, mine.json()["decision"]) == (200, True)
    theirs = {**asked, "subject": {"type": "agent", "id": "bob-builder"}}
    assert ada.post("/access/v1/evaluation", json=theirs).status_code != 200
    facts = {"context": {"facts": {"owner": "bob-builder"}}}
    assert host.post("/access/v1/evaluation", json={**theirs, **facts}).json()["decision"] is True
    found = ada.post("/access/v1/search/resource", json={**asked, "resource": {"type": "model"}})
    assert [it["id"] for it in found.json()["results"]] == ["small", "large"]
    said = {"policy-router-facts": json.dumps({"caller": {"id": "eve-dropper"}})}
    made = host.post("/v1/plan", json={"goal": "Fix it."}, headers=said)
    assert made.status_code == 200, made.text
    batch = {"requests": [{"caller": {"id": "bob-builder"}}, {"caller": {"id": "eve-dropper"}}]}
    assert host.post("/v1/decide/batch", json=batch).status_code == 200
    service.stop()
    assert len(lines_of(folder / "log")) >= 6
    _has_no_person(folder)
    assert replay_log(folder / "log").is_identical


def _has_no_person(folder: Path) -> None:
    for path in (folder / "log").rglob("*"):
        assert not path.is_file() or not any(it in path.read_bytes() for it in PEOPLE), path
    for path in (folder / "log.index", folder / "money.db"):
        with closing(sqlite3.connect(path)) as base:
            content = "\n".join(base.iterdump()).encode()
        assert not any(it in content for it in PEOPLE), path


def test_a_fact_that_no_pseudonym_can_stand_for_is_told(service: Service, folder: Path) -> None:
    host = client(service, folder, "host")
    said = problem(host.post("/v1/decide", json={"facts": {"owner": 7}}))
    assert (said["status"], said["path"]) == (422, "$.facts.owner")
    assert said["detail"].startswith("expected a text, or a list of texts")


def test_a_service_does_not_start_without_its_key(folder: Path) -> None:
    (folder / "pseudonyms.key").unlink()
    ran = in_this_process("serve", "policy.yaml", "--config", "serve.json", cwd=folder)
    assert (ran.code, ran.out) == (2, "")
    assert "pseudonyms.key: cannot be read: no such file or directory" in ran.err


def test_a_token_with_a_fact_that_cannot_be_replaced_is_none(folder: Path) -> None:
    new_token(folder, "--id", "bob", "--fact", "owner=7")
    ran = in_this_process("serve", "policy.yaml", "--config", "serve.json", cwd=folder)
    assert ran.code == 2
    assert "line 3 is not a token: $.facts.owner: expected a text, or a list of texts" in ran.err
