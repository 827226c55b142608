"""OpenID AuthZEN 1.0 at the real service: evaluations, a search, and what is believed."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import jsonschema
import pytest

from policy_router.log import LogReader
from policy_router.log.entry import Kind
from policy_router.server.credentials import MAY
from policy_router.server.openapi import document
from tests.integration.test_service_documents import blocks, masked
from tests.support.commands import ROOT, in_this_process, write
from tests.support.rows import each
from tests.support.service import Service, problem

pytestmark = pytest.mark.slow

POLICY: Final = """\
version: 1
name: acme
model: small-model
provider: main
facts: {risk: {type: int, default: 0}, region: {type: string, default: eu}}
pool:
  - {name: small, model: small-model, aliases: [cheap], strengths: quick tasks}
  - name: large
    model: large-model
    pick: task.kind in ["coding", "pinned"]
    allow: parent.depth < 2
    fallback: [small]
  - {name: secret, model: secret-model, allow: caller.team == "research"}
  - {model: shared}
  - {model: shared, provider: other, allow: task.provider == "other"}
forbid:
  - {id: risky, when: facts.risk > 3, message: Ask the desk before a risky task.}
precedence:
  - {use: pool, when: task.kind == "pinned"}
  - {use: task}
  - {use: pool}
  - {use: config}
providers:
  main: {base_url: "https://llm.example.com/v1"}
  other: {base_url: "https://other.example.com/v1"}
"""
ADA: Final[dict[str, Any]] = {"type": "user", "id": "ada"}
USE: Final[dict[str, Any]] = {"name": "use"}
ROUTE: Final[dict[str, Any]] = {"name": "route"}
TASK: Final[dict[str, Any]] = {"type": "task", "id": "fix-the-test"}
FORGED: Final[dict[str, Any]] = {
    "parent": {"model": "large-model", "provider": "main", "depth": 0},
    "budget": {"remaining_usd": 1e9},
    "facts": {"region": "us"},
    "caller": {"id": "root", "team": "research"},
}


def model(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name}


def use(name: str, subject: dict[str, Any] = ADA, **context: Any) -> dict[str, Any]:
    return {"subject": subject, "action": USE, "resource": model(name), "context": context}


def route(subject: dict[str, Any] = ADA, **context: Any) -> dict[str, Any]:
    return {"subject": subject, "action": ROUTE, "resource": TASK, "context": context}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("authzen")
    write(made, policy_yaml=POLICY)
    return made


def evaluated(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/access/v1/evaluation", json=body)
    assert answer.status_code == 200, answer.text
    said: dict[str, Any] = answer.json()
    return said


def asked(client: httpx.Client, body: Any, path: str = "evaluation") -> dict[str, Any]:
    return problem(client.post(f"/access/v1/{path}", json=body))


def several(client: httpx.Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = client.post("/access/v1/evaluations", json=body)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["evaluations"]
    return found


def searched(client: httpx.Client, subject: dict[str, Any] = ADA, **context: Any) -> list[str]:
    body = {"subject": subject, "action": USE, "resource": {"type": "model"}, "context": context}
    answer = client.post("/access/v1/search/resource", json=body)
    assert answer.status_code == 200, answer.text
    assert all(it["type"] == "model" for it in answer.json()["results"])
    return [it["id"] for it in answer.json()["results"]]


# One evaluation.


@each("name", ["small", "cheap", "small-model", "large", "shared"])
def test_a_model_may_be_used_where_the_task_would_get_it(client: httpx.Client, name: str) -> None:
    said = evaluated(client, use(name))
    assert said["decision"] is True
    assert set(said["context"]) == {"decision_id", "revision"}


@each(
    ("body", "code"),
    [
        # In each of these, the policy selects another model with a warning: that is no yes.
        (use("gpt-9"), "outside_pool"),
        (use("large", parent={"depth": 3}), "not_allowed"),
        (use("secret"), "not_allowed"),
        (use("shared", task={"provider": "nobody"}), "outside_pool"),
        (use("small", task={"kind": "pinned"}), "outranked"),
        (use("large", task={"kind": "pinned"}), "outranked"),
        (use("small", facts={"risk": 5}), "no_target"),
        (route(facts={"risk": 5}), "no_target"),
    ],
)
def test_a_denial_is_an_answer_with_its_reason(
    client: httpx.Client, body: dict[str, Any], code: str
) -> None:
    answer = client.post("/access/v1/evaluation", json=body)
    said = answer.json()
    assert (answer.status_code, said["decision"]) == (200, False)
    context = said["context"]
    assert context["code"] == code
    assert context["reason"]
    assert isinstance(context["permitted"], list)
    assert context["decision_id"] == answer.headers["policy-router-decision-id"]
    assert context["revision"] == answer.headers["policy-router-policy"]
    assert not {"obligations", "target"} & set(context)


def test_a_denial_says_what_the_rule_tells_the_agent(client: httpx.Client) -> None:
    context = evaluated(client, use("small", facts={"risk": 5}))["context"]
    assert context["reason"] == "Ask the desk before a risky task."
    assert context["permitted"] == []


def test_a_task_is_routed_where_something_is_selected(client: httpx.Client) -> None:
    said = evaluated(client, route(task={"kind": "coding"}))
    assert said["decision"] is True
    assert said["context"]["target"] == {
        "model": "large-model",
        "provider": "main",
        "parameters": {},
        "entry": "large",
    }
    wished = evaluated(client, route(task={"model": "shared", "provider": "other"}))
    assert wished["context"]["target"]["provider"] == "other"


def test_the_subject_is_the_caller(client: httpx.Client) -> None:
    properties = {"team": "research", "roles": ["lead"]}
    assert evaluated(client, use("secret", {**ADA, "properties": properties}))["decision"] is True
    assert evaluated(client, use("secret", {**ADA, "type": "service"}))["decision"] is False


@each(("kind", "name"), [("account", "can_read"), ("model", "can_read"), ("task", "use"), ("", "")])
def test_what_is_not_offered_is_denied(client: httpx.Client, kind: str, name: str) -> None:
    body = {"subject": ADA, "action": {"name": name}, "resource": {"type": kind, "id": "small"}}
    said = evaluated(client, body)
    assert (said["decision"], said["context"]["code"]) == (False, "not_offered")


def test_the_first_example_of_the_specification_is_answered(client: httpx.Client) -> None:
    body = {
        "subject": {"type": "user", "id": "alice@example.com"},
        "resource": {"type": "model", "id": "small"},
        "action": {"name": "use", "properties": {"method": "GET"}},
        "context": {"time": "1985-10-26T01:22-07:00"},
    }
    headers = {"x-request-id": "bfe9eb29-ab87-4ca3-be83-a1d5d8305716"}
    answer = client.post("/access/v1/evaluation", json=body, headers=headers)
    assert answer.headers["x-request-id"] == headers["x-request-id"]
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert said["decision"] is True
    assert said["context"]["ignored"] == ["$.action.properties", "$.context.time"]


# What is ignored, and what is an error.


def test_unknown_fields_beside_and_above_our_sections_are_ignored_and_named(
    client: httpx.Client,
) -> None:
    body = {
        **use("small", {**ADA, "properties": {"department": "sales"}, "ip": "10.0.0.1"}),
        "facts": {"risk": 9},
        "call": {"model": "large"},
    }
    body["context"] = {"call": {"model": "large"}, "now": "2020-01-01T00:00:00Z", "odd key": {}}
    said = evaluated(client, body)
    assert said["decision"] is True
    assert said["context"]["ignored"] == [
        "$.subject.properties.department",
        "$.subject.ip",
        "$.context.call",
        "$.context.now",
        '$.context["odd key"]',
        "$.facts",
        "$.call",
    ]


def test_only_the_first_ignored_fields_are_named_and_their_names_are_cut(
    client: httpx.Client,
) -> None:
    context: dict[str, Any] = {"x" * 5000: 1, **{f"f{number}": 1 for number in range(1000)}}
    ignored = evaluated(client, use("small", **context))["context"]["ignored"]
    assert len(ignored) == 20
    assert max(map(len, ignored)) < 200


@each(
    ("body", "path"),
    [
        (use("small", task={"knd": "coding"}), "$.context.task.knd"),
        (use("small", parent={"dpth": 1}), "$.context.parent.dpth"),
        (use("small", budget={"left": 1}), "$.context.budget.left"),
        (use("small", facts={"riks": 5}), "$.context.facts.riks"),
        (use("small", facts={"risk": "5"}), "$.context.facts.risk"),
        (use("small", task=5), "$.context.task"),
        (use("small", task={"model": "large"}), "$.context.task.model"),
        (use("small", caller={"id": "ada"}), "$.context.caller"),
        (use("a\0"), "$.resource.id"),
        (use("small", {**ADA, "properties": {"team": 5}}), "$.subject.properties.team"),
        (use("small", {"type": "user", "id": "a\0"}), "$.subject.id"),
        (use("small", {"type": "user", "id": 5}), "$.subject.id"),
        (use("small", {"type": "user", "id": ""}), "$.subject.id"),
        (use(""), "$.resource.id"),
        (use("small", {"type": "user"}), "$.subject"),
        ({"subject": ADA, "action": USE}, "$"),
        ({"subject": ADA, "action": {}, "resource": model("small")}, "$.action"),
        ({**use("small"), "context": []}, "$.context"),
        (use("small", facts={"risk": 2**70}), "$.context.facts.risk"),
        (use("small", facts={"risk": 2**63}), "$.context.facts.risk"),
        ([], "$"),
    ],
)
def test_what_is_no_evaluation_is_400_with_its_place(
    client: httpx.Client, body: Any, path: str
) -> None:
    said = asked(client, body)
    assert (said["status"], said["path"]) == (400, path)


@each("depth", [100, *range(970, 985), 2000])
@each("path", ["evaluation", "evaluations", "search/resource"])
def test_what_is_nested_deeply_is_400_or_ignored(
    client: httpx.Client, depth: int, path: str
) -> None:
    headers = {"content-type": "application/json"}
    for place in ("task", "other"):
        nested = b"[" * depth + b"]" * depth
        context: dict[str, Any] = {place: "?"}
        body = json.dumps({**use("small", **context), "evaluations": [{}]}).encode()
        body = body.replace(b'"?"', nested)
        answer = client.post(f"/access/v1/{path}", content=body, headers=headers)
        if path == "evaluations" and answer.status_code == 200:
            (said,) = answer.json()["evaluations"]
            assert said["decision"] is (place == "other")
        else:
            assert answer.status_code == 400 or (answer.status_code, place) == (200, "other")


def test_no_value_of_a_fact_is_said(client: httpx.Client) -> None:
    for facts in ({"risk": "hunter2"}, {"hunter2": 5} | {"risk": "hunter2"}):
        answer = client.post("/access/v1/evaluation", json=use("small", facts=facts))
        assert answer.status_code == 400
        assert '"hunter2"' not in answer.text


@each("content", [b"", b"{", b"\xff", b'{"a": 1e999}', b"[" * 100_000])
@each("path", ["evaluation", "evaluations", "search/resource"])
def test_a_body_that_is_not_json_is_400(client: httpx.Client, content: bytes, path: str) -> None:
    headers = {"content-type": "application/json", "x-request-id": "7"}
    answer = client.post(f"/access/v1/{path}", content=content, headers=headers)
    assert problem(answer)["code"] == "not_json"
    assert (answer.status_code, answer.headers["x-request-id"]) == (400, "7")


# Several evaluations.

FOUR: Final = [{"resource": model(it)} for it in ("small", "large", "gpt-9", "shared")]


@each(
    ("semantic", "decisions"),
    [
        (None, [True, True, False, True]),
        ("execute_all", [True, True, False, True]),
        ("deny_on_first_deny", [True, True, False]),
        ("permit_on_first_permit", [True]),
    ],
)
def test_several_evaluations_are_answered_by_the_semantic(
    client: httpx.Client, semantic: str | None, decisions: list[bool]
) -> None:
    body: dict[str, Any] = {"subject": ADA, "action": USE, "evaluations": FOUR}
    if semantic is not None:
        body["options"] = {"evaluations_semantic": semantic}
    assert [it["decision"] for it in several(client, body)] == decisions


def test_a_permission_after_a_denial_ends_it_too(client: httpx.Client) -> None:
    body = {
        "subject": ADA,
        "action": USE,
        "evaluations": FOUR[2:] + FOUR,
        "options": {"evaluations_semantic": "permit_on_first_permit"},
    }
    assert [it["decision"] for it in several(client, body)] == [False, True]


def test_defaults_are_replaced_whole(client: httpx.Client) -> None:
    deep = {"parent": {"depth": 3}}
    body = {
        "subject": ADA,
        "action": USE,
        "resource": model("large"),
        "context": deep,
        "evaluations": [
            {},
            {"context": {}},
            {"context": {"task": {"kind": "coding"}}},
            {"action": ROUTE, "resource": TASK},
            {"resource": model("secret"), "subject": {**ADA, "properties": {"team": "research"}}},
        ],
    }
    made = several(client, body)
    assert [it["decision"] for it in made] == [False, True, True, True, True]
    assert made[3]["context"]["target"]["entry"] is not None


def test_an_error_of_one_evaluation_is_its_own(client: httpx.Client) -> None:
    body = {
        "subject": ADA,
        "action": USE,
        "evaluations": [
            *FOUR[:1],
            {},
            5,
            {"resource": model("small"), "context": {"facts": {"riks": 1}}},
        ],
    }
    made = several(client, body)
    assert [it["decision"] for it in made] == [True, False, False, False]
    for it, place in zip(made[1:], ("$: ", "$: ", "$.context.facts.riks: "), strict=True):
        assert set(it["context"]) == {"error"}
        assert set(it["context"]["error"]) == {"status", "message"}
        assert it["context"]["error"]["status"] == 400
        assert it["context"]["error"]["message"].startswith(place)
    body["options"] = {"evaluations_semantic": "deny_on_first_deny"}
    assert len(several(client, body)) == 2


@each("more", [{}, {"evaluations": []}, {"options": {"other": 1}}])
def test_without_a_list_it_is_one_evaluation(client: httpx.Client, more: dict[str, Any]) -> None:
    answer = client.post("/access/v1/evaluations", json={**use("small"), **more})
    assert answer.status_code == 200
    assert answer.json()["decision"] is True
    assert asked(client, {"subject": ADA, **more}, "evaluations")["status"] == 400


@each(
    "more",
    [
        {"options": {"evaluations_semantic": "any"}},
        {"options": 5},
        {"evaluations": {}},
        {"subject": 5},
        {"evaluations": [{}] * 1001},
    ],
)
def test_an_error_of_the_whole_is_400(client: httpx.Client, more: dict[str, Any]) -> None:
    body = {**use("small"), "evaluations": [{}], **more}
    assert asked(client, body, "evaluations")["status"] == 400


def test_what_the_whole_has_beside_is_named_once(client: httpx.Client) -> None:
    body = {**use("small"), "evaluations": [{}, {"x": 1}], "options": {"other": 1}, "trace": 5}
    answer = client.post("/access/v1/evaluations", json=body).json()
    assert answer["context"] == {"ignored": ["$.options.other", "$.trace"]}
    assert [it["context"].get("ignored") for it in answer["evaluations"]] == [None, ["$.x"]]


def test_defaults_cannot_make_much_of_little(client: httpx.Client) -> None:
    labels = ["x" * 1000] * 100
    body = {**use("small", task={"labels": labels}), "evaluations": [{}] * 1000}
    said = asked(client, body, "evaluations")
    assert (said["status"], said["code"]) == (413, "too_large")


# The search.


@each(
    "context",
    [
        {},
        {"parent": {"depth": 3}},
        {"task": {"kind": "coding"}},
        {"task": {"kind": "pinned"}},
        {"task": {"provider": "other"}},
        {"task": {"provider": "nobody"}},
        {"facts": {"risk": 5}},
        {"task": {"needs": ["vision"]}},
    ],
)
@each("team", [{}, {"properties": {"team": "research"}}])
def test_a_search_finds_what_evaluations_allow(
    client: httpx.Client, context: dict[str, Any], team: dict[str, Any]
) -> None:
    subject = {**ADA, **team}
    body = {"subject": subject, "action": USE, "context": context}
    names = ["small", "large", "secret", "shared"]
    made = several(client, {**body, "evaluations": [{"resource": model(it)} for it in names]})
    allowed = [it for it, said in zip(names, made, strict=True) if said["decision"]]
    assert searched(client, subject, **context) == allowed


def test_a_search_may_name_an_id_and_a_page_which_are_not_needed(client: httpx.Client) -> None:
    body = {
        "subject": ADA,
        "action": USE,
        "resource": {"type": "model", "id": "nothing"},
        "page": {"limit": 1},
    }
    answer = client.post("/access/v1/search/resource", json=body).json()
    assert [it["id"] for it in answer["results"]] == ["small", "large", "shared"]
    assert "page" not in answer
    assert answer["context"] == {"ignored": ["$.page"]}


@pytest.mark.parametrize(
    ("kind", "name", "code"),
    [("task", "route", "not_listed"), ("account", "can_read", "not_offered")],
)
def test_what_cannot_be_listed_has_no_results_and_says_so(
    client: httpx.Client, kind: str, name: str, code: str
) -> None:
    body = {"subject": ADA, "action": {"name": name}, "resource": {"type": kind}}
    answer = client.post("/access/v1/search/resource", json=body)
    assert answer.status_code == 200
    assert answer.json()["results"] == []
    assert answer.json()["context"]["code"] == code


def test_a_search_has_the_errors_of_an_evaluation(client: httpx.Client) -> None:
    body = {"subject": ADA, "action": USE, "resource": {"type": "model"}}
    for context, path in (
        ({"facts": {"riks": 1}}, "$.context.facts.riks"),
        ({"task": {"model": "small"}}, "$.context.task.model"),
    ):
        said = asked(client, {**body, "context": context}, "search/resource")
        assert (said["status"], said["path"]) == (400, path)
    assert asked(client, {"subject": ADA, "action": USE}, "search/resource")["status"] == 400


def test_a_search_states_what_the_policy_requires(tmp_path: Path) -> None:
    required = POLICY.replace("precedence:", "require: [task.model, caller.team]\nprecedence:")
    write(tmp_path, policy_yaml=required)
    with Service(tmp_path) as made:
        client = made.client()
        subject = {**ADA, "properties": {"team": "sales"}}
        assert searched(client, subject) == ["small", "large", "shared"]
        assert evaluated(client, use("large", subject))["decision"] is True
        body = {"subject": ADA, "action": USE, "resource": {"type": "model"}}
        for it, path in ((use("large"), "evaluation"), (body, "search/resource")):
            said = asked(client, it, path)
            assert (said["status"], said["path"]) == (400, "$.subject.properties.team")


def test_without_a_pool_any_model_may_be_used_and_none_is_listed(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml="version: 1\nname: open\nprovider: main\nprecedence: strict\n")
    with Service(tmp_path) as made:
        client = made.client()
        said = evaluated(client, use("anything"))
        assert said["decision"] is True
        assert searched(client) == []
        denied = evaluated(client, route())
        assert denied["decision"] is False
        assert "permitted" not in denied["context"]


# What surrounds it.


@each("path", ["evaluation", "evaluations", "search/resource", "nothing"])
def test_the_request_s_id_is_echoed_in_every_answer(client: httpx.Client, path: str) -> None:
    headers = {"x-request-id": "any string; of 1"}
    for body in (use("small"), {}):
        answer = client.post(f"/access/v1/{path}", json=body, headers=headers)
        assert answer.headers["x-request-id"] == headers["x-request-id"]
    assert "x-request-id" not in client.post(f"/access/v1/{path}", json={}).headers


@each("value", [b"a\tb", b"\xc3\xa9\xff", b"x" * 10_000])
def test_an_odd_id_of_a_request_is_echoed_as_it_is(service: Service, value: bytes) -> None:
    head = b"POST /access/v1/evaluation HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    said = service.raw(head + b"X-Request-ID: " + value + b"\r\nContent-Length: 0\r\n\r\n")
    assert b"\r\nx-request-id: " + value + b"\r\n" in said


@each("value", [b"a\r\n b", b"a\rset-cookie: x", b"a\nset-cookie: x", b"a\0"])
def test_an_id_of_a_request_adds_no_header(service: Service, value: bytes) -> None:
    head = b"POST /access/v1/evaluation HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    said = service.raw(head + b"X-Request-ID: " + value + b"\r\nContent-Length: 0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"set-cookie" not in said


def test_the_configuration_names_only_what_is_offered(
    client: httpx.Client, service: Service
) -> None:
    answer = client.get("/.well-known/authzen-configuration")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "policy_decision_point": service.url,
        "access_evaluation_endpoint": f"{service.url}/access/v1/evaluation",
        "access_evaluations_endpoint": f"{service.url}/access/v1/evaluations",
        "search_resource_endpoint": f"{service.url}/access/v1/search/resource",
    }
    for name in ("subject", "action"):
        assert asked(client, {}, f"search/{name}")["code"] == "no_route"
    assert client.get("/access/v1/evaluation").status_code == 405


@each(
    ("host", "base"),
    [
        ("10.1.2.3:8080", "https://10.1.2.3:8080"),
        ("localhost", "http://localhost"),
        ("[::1]:9", "http://[::1]:9"),
    ],
)
def test_the_configuration_is_at_the_name_that_the_client_uses_over_tls(
    client: httpx.Client, host: str, base: str
) -> None:
    answer = client.get("/.well-known/authzen-configuration", headers={"host": host})
    assert answer.json()["policy_decision_point"] == base


def test_evaluations_are_logged_as_such_and_searches_are_not(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml=POLICY)
    with Service(tmp_path, "--log", "log") as made:
        client = made.client()
        one = evaluated(client, use("small"))["context"]["decision_id"]
        body = {"subject": ADA, "action": USE, "evaluations": [*FOUR, {}]}
        ids = [it["context"].get("decision_id") for it in several(client, body)]
        assert searched(client)
        decided = client.post("/v1/decide", json={}).json()["decision_id"]
    lines = [it for it in LogReader(tmp_path / "log").lines() if it.entry.kind is Kind.DECISION]
    *access, last = lines
    assert [(it.entry.id, it.entry.purpose) for it in access] == [
        (it, "access") for it in (one, *ids[:-1])
    ]
    assert ids[-1] is None
    assert last.entry.id == decided
    assert b"purpose" not in last.content
    ran = in_this_process("log", "stats", "log", "--format", "json", cwd=tmp_path)
    assert json.loads(ran.out)["outcomes"] == {"selected": 1}


def test_an_evaluation_that_cannot_be_logged_is_not_answered(tmp_path: Path) -> None:
    write(tmp_path, policy_yaml=POLICY, log="a file where a folder should be")
    with Service(tmp_path, "--log", "log") as made:
        client = made.client()
        for body in (use("small"), use("gpt-9"), {**use("small"), "evaluations": FOUR}):
            path = "evaluations" if "evaluations" in body else "evaluation"
            said = asked(client, body, path)
            assert (said["status"], said["code"]) == (503, "log_unavailable")
        assert searched(client)


def test_answers_have_the_shapes_of_the_document(client: httpx.Client) -> None:
    whole = json.loads(document())
    body = {**use("small"), "evaluations": FOUR}
    for path, sent, name in (
        ("evaluation", route(), "Evaluation"),
        ("evaluations", body, "Evaluations"),
        ("search/resource", {**use("x"), "resource": {"type": "model"}}, "Search"),
    ):
        ref = {"components": whole["components"], "$ref": f"#/components/schemas/{name}"}
        jsonschema.validate(sent, ref)
        told = whole["paths"][f"/access/v1/{path}"]["post"]["responses"]["200"]["content"]
        shape = told["application/json"]["schema"]
        answer = client.post(f"/access/v1/{path}", json=sent).json()
        jsonschema.validate(answer, {"components": whole["components"], **shape})


def test_the_page_s_commands_print_what_the_page_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "authzen.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    write(tmp_path, policy_yaml=blocks(readme, "yaml")[0])
    shown = [block.rpartition("\n{") for block in blocks(page, "console")]
    assert len(shown) == 4
    with Service(tmp_path) as made:
        for command, brace, printed in shown:
            words = shlex.split(command)
            url = words[3].replace("localhost:8080", made.url)
            answer = httpx.post(url, json=json.loads(words[5]))
            assert masked(answer.text) == masked(brace.strip() + printed.rstrip())


# Who is believed.


@pytest.fixture(scope="module")
def tokens(folder: Path) -> dict[str, str]:
    made = {}
    for role in MAY:
        words = ("token", "new", "--tokens", "tokens.jsonl", "--id", role, "--role", role)
        made[role] = in_this_process(*words, cwd=folder).out.strip()
    words = ("token", "new", "--tokens", "tokens.jsonl", "--id", "ada", "--team", "research")
    more = ("--caller-role", "lead", "--fact", "region=us", "--rate", "20/h")
    made["ada"] = in_this_process(*words, *more, cwd=folder).out.strip()
    return made


@pytest.fixture(scope="module")
def guarded(folder: Path, tokens: dict[str, str]) -> Iterator[Service]:
    assert tokens
    config = {"tokens": "tokens.jsonl", "agent_may_state": ["facts.risk"]}
    write(folder, serve_json=json.dumps(config))
    with Service(folder, "--config", "serve.json", "--log", "guarded") as made:
        yield made


AGENT: Final = {"type": "agent", "id": "agent"}
HOST: Final = {"type": "agent", "id": "host"}


@each("name", FORGED)
@each("path", ["evaluation", "search/resource"])
def test_an_agent_cannot_state_what_only_a_host_may(
    guarded: Service, tokens: dict[str, str], name: str, path: str
) -> None:
    body = {**use("small", AGENT, **{name: FORGED[name]})}
    said = asked(guarded.client(tokens["agent"]), body, path)
    place = "$.context.facts.region" if name == "facts" else f"$.context.{name}"
    assert (said["status"], said["code"], said["path"]) == (403, "not_verified", place)
    if name != "caller":
        answer = guarded.client(tokens["host"]).post(f"/access/v1/{path}", json=body)
        assert answer.status_code == 200


@each(
    "subject",
    [
        {"type": "agent", "id": "root"},
        {**AGENT, "properties": {"team": "research"}},
        {**AGENT, "properties": {"roles": ["lead"]}},
        {**AGENT, "properties": {"team": ""}},
    ],
)
def test_an_agent_cannot_be_another_subject(
    guarded: Service, tokens: dict[str, str], subject: dict[str, Any]
) -> None:
    said = asked(guarded.client(tokens["agent"]), use("secret", subject))
    assert (said["status"], said["code"], said["path"]) == (403, "not_verified", "$.subject")
    assert evaluated(guarded.client(tokens["host"]), use("small", subject))["decision"] is True


def test_an_agent_is_the_caller_of_its_credential(
    guarded: Service, tokens: dict[str, str], folder: Path
) -> None:
    ada = guarded.client(tokens["ada"])
    for subject in (ADA, {**ADA, "properties": {"team": "research", "roles": ["lead"]}}):
        said = evaluated(ada, use("secret", subject, facts={"risk": 1}))
        assert said["decision"] is True
        (line,) = LogReader(folder / "guarded").about(said["context"]["decision_id"])
        request = line.entry.decision_record.request
        assert request["caller"] == {"id": "ada", "team": "research", "roles": ("lead",)}
        assert request["facts"] == {"risk": 1, "region": "us"}


def test_a_host_says_who_the_subject_is(guarded: Service, tokens: dict[str, str]) -> None:
    host = guarded.client(tokens["host"])
    research = {"type": "user", "id": "jo", "properties": {"team": "research"}}
    assert evaluated(host, use("secret", research))["decision"] is True
    assert evaluated(host, use("secret", HOST))["decision"] is False
    said = asked(host, use("small", caller=FORGED["caller"]))
    assert (said["status"], said["code"]) == (400, "stated_twice")


def test_what_is_forged_in_one_evaluation_is_its_own_error(
    guarded: Service, tokens: dict[str, str]
) -> None:
    agent = guarded.client(tokens["agent"])
    items = [{"context": {name: it}} for name, it in FORGED.items()]
    items += [{"subject": {"type": "user", "id": "root"}}, {}]
    made = several(agent, {**use("small", AGENT), "evaluations": items})
    assert [it["decision"] for it in made] == [False] * 5 + [True]
    assert {it["context"]["error"]["status"] for it in made[:5]} == {403}
    made = several(agent, {**use("small", AGENT, **FORGED), "evaluations": [{}, {"context": {}}]})
    assert [it["decision"] for it in made] == [False, True]


def test_headers_and_other_places_state_nothing(guarded: Service, tokens: dict[str, str]) -> None:
    agent = guarded.client(tokens["agent"])
    text = json.dumps(FORGED["caller"])
    headers = {"policy-router-caller": text, "policy-router-facts": "{}", "x-forwarded-user": "r"}
    body = {**use("secret", AGENT), **FORGED}
    answer = agent.post("/access/v1/evaluation", json=body, headers=headers)
    assert (answer.status_code, answer.json()["decision"]) == (200, False)
    assert answer.json()["context"]["ignored"] == [f"$.{name}" for name in FORGED]


def test_a_parent_is_believed_by_the_decision_that_it_runs_by(
    guarded: Service, tokens: dict[str, str]
) -> None:
    agent = guarded.client(tokens["agent"])
    first = agent.post("/v1/decide", json={}).json()["decision_id"]
    second = agent.post("/v1/decide", json={}, headers={"policy-router-parent": first}).json()
    headers = {"policy-router-parent": second["decision_id"]}
    answer = agent.post("/access/v1/evaluation", json=use("large", AGENT), headers=headers)
    assert answer.json()["context"]["code"] == "not_allowed"
    other = {"policy-router-parent": first}
    host = guarded.client(tokens["host"])
    answer = host.post("/access/v1/evaluation", json=use("large", HOST), headers=other)
    assert problem(answer)["code"] == "not_verified"


@each("path", ["evaluation", "evaluations", "search/resource"])
def test_who_is_not_known_or_no_agent_is_turned_away(
    guarded: Service, tokens: dict[str, str], path: str
) -> None:
    headers = {"x-request-id": "1"}
    for token, status in ((None, 401), ("pr_x", 401), (tokens["auditor"], 403)):
        answer = guarded.client(token).post(f"/access/v1/{path}", json={}, headers=headers)
        assert (problem(answer)["status"], answer.headers["x-request-id"]) == (status, "1")
    assert guarded.client().get("/.well-known/authzen-configuration").status_code == 200


def test_each_of_several_evaluations_counts_for_the_rate(
    guarded: Service, tokens: dict[str, str]
) -> None:
    ada = guarded.client(tokens["ada"])
    body = {**use("small"), "evaluations": [{}] * 15}
    assert len(several(ada, body)) == 15
    answer = ada.post("/access/v1/evaluations", json=body)
    assert problem(answer)["status"] == 429
    assert "retry-after" in answer.headers
