"""A client in another language: `fetch` of Node."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.integration.test_service import POLICY
from tests.integration.test_service_credentials import new_token
from tests.support.commands import ROOT, write
from tests.support.service import Service, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed"),
]
PAGE: Final = ROOT / "docs" / "service.md"
PROGRAM: Final = """
const [url, agent, auditor] = process.argv.slice(1);
const headers = {"content-type": "application/json"};
const ask = (path, content, token, more) => fetch(url + path, {
    method: content === undefined ? "GET" : "POST",
    headers: {...(content === undefined ? {} : headers), authorization: `Bearer ${token}`, ...more},
    body: content === undefined ? undefined : JSON.stringify(content),
});
const said = async (answer) => ({
    status: answer.status,
    id: answer.headers.get("policy-router-decision-id"),
    ...(await answer.json()),
});
"""
"""What each program begins with: `ask`, and `said` of what is answered."""
Served = tuple[Service, list[str]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("node")
    write(folder, policy_yaml=POLICY)
    tokens = [new_token(folder, "--id", role, "--role", role) for role in ("agent", "auditor")]
    with Service(folder, "--tokens", "tokens.jsonl", "--log", "log") as made:
        yield made, tokens


def node(program: str, *words: str, **variables: str) -> str:
    """Return what a program prints."""
    ran = subprocess.run(  # noqa: S603 - our own program
        [shutil.which("node") or "", "--input-type=module", "-e", program, *words],
        capture_output=True,
        check=False,
        timeout=50,
        env={**os.environ, **variables},
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout.decode()


def run(served: Served, program: str) -> Any:
    """Return what a program prints, which is JSON."""
    service, tokens = served
    return json.loads(node(PROGRAM + program, service.url, *tokens))


def test_the_page_s_example_runs(served: Served) -> None:
    service, (agent, _) = served
    example = PAGE.read_text().partition("```js\n")[2].partition("```")[0]
    program = example.replace("http://127.0.0.1:8080", service.url)
    assert program != example
    assert node(program, POLICY_ROUTER_TOKEN=agent).split() == ["selected", "large-model"]


def test_an_agent_asks_and_its_child_asks(served: Served) -> None:
    first, child = run(
        served,
        """
        const first = await said(await ask("/v1/decide", {task: {kind: "coding"}}, agent));
        const above = {"policy-router-parent": first.id};
        const child = await said(await ask("/v1/decide", {}, agent, above));
        console.log(JSON.stringify([first, child]));
        """,
    )
    assert (first["status"], child["status"]) == (200, 200)
    assert first["id"] == first["decision_id"]
    assert first["record"]["decision"]["target"]["model"] == "large-model"
    assert child["record"]["request"]["parent"]["model"] == "large-model"
    assert child["record"]["request"]["caller"] == {"id": "agent"}


def test_problems_say_what_to_do(served: Served) -> None:
    text, nobody, role, stated = run(
        served,
        """
        const post = (more) => fetch(url + "/v1/decide", {method: "POST", body: "{}", ...more});
        const text = {headers: {authorization: `Bearer ${agent}`}};
        console.log(JSON.stringify([
            await said(await post(text)),  // a text has another type unless it is named
            await said(await post({headers})),
            await said(await ask("/v1/decisions", undefined, agent)),
            await said(await ask("/v1/decide", {caller: {id: "root"}}, agent)),
        ]));
        """,
    )
    codes = [(it["status"], it["code"]) for it in (text, nobody, role, stated)]
    assert codes == [
        (415, "unsupported_type"),
        (401, "unknown_credential"),
        (403, "role_needed"),
        (403, "not_verified"),
    ]
    assert all(it["help"] for it in (text, nobody, role, stated))


def test_a_body_too_long_is_answered_and_not_reset(served: Served) -> None:
    program = """
    const statuses = [];
    for (let size = 1.1e6; size < 2e7; size *= 2) {
        const body = " ".repeat(size);
        const more = {headers: {...headers, authorization: `Bearer ${agent}`}};
        statuses.push((await fetch(url + "/v1/decide", {method: "POST", body, ...more})).status);
    }
    console.log(JSON.stringify(statuses));
    """
    assert set(run(served, program)) == {413}


def test_many_ask_at_a_time_and_a_list_is_read_line_by_line(served: Served) -> None:
    statuses, last = run(
        served,
        """
        const many = Array.from({length: 100}, () => ask("/v1/decide", {}, agent));
        const statuses = (await Promise.all(many)).map((answer) => answer.status);
        const answer = await ask("/v1/replay", {}, auditor);
        let text = "";
        for await (const part of answer.body.pipeThrough(new TextDecoderStream())) text += part;
        const lines = text.trim().split("\\n").map((line) => JSON.parse(line));
        console.log(JSON.stringify([statuses, lines.at(-1)]));
        """,
    )
    assert statuses == [200] * 100
    assert last["report"]["identical"] is True
    assert last["report"]["total"] >= 100


def test_a_client_that_hangs_up_leaves_the_service_well(served: Served) -> None:
    service, _ = served
    before = len(service.said)
    statuses = run(
        served,
        """
        const requests = Array.from({length: 1000}, () => ({task: {kind: "coding"}}));
        for (let wait = 0; wait < 20; wait += 2) {
            const signal = AbortSignal.timeout(wait);
            const more = {method: "POST", headers: {...headers, authorization: `Bearer ${agent}`}};
            const body = JSON.stringify({requests});
            await fetch(url + "/v1/decide/batch", {...more, body, signal})
                .then((answer) => answer.text()).catch(() => null);
        }
        console.log(JSON.stringify([(await ask("/v1/menu", undefined, agent)).status]));
        """,
    )
    assert statuses == [200]
    until(lambda: service.client().get("/readyz").status_code == 200)
    assert service.said[before:] == []
