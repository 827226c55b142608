"""The service is as its OpenAPI document says, and the document is made of what decodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from policy_router.server.credentials import MAY
from policy_router.server.metrics import OTHER, ROUTES
from policy_router.server.openapi import OPERATIONS, document
from tests.integration.test_service import POLICY
from tests.support.commands import in_this_process, write
from tests.support.rows import each
from tests.support.service import Service, problem

DOCUMENT: dict[str, Any] = json.loads(document())


def test_every_route_is_described() -> None:
    described = {path.replace("{id}", "") for path, _ in OPERATIONS}
    assert described == set(ROUTES) - {OTHER, "/mcp"}  # MCP describes itself


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    names = {part.partition('"')[0] for part in text.split('"#/components/schemas/')[1:]}
    assert names <= set(DOCUMENT["components"]["schemas"])
    assert "#/definitions/" not in text


def test_the_shapes_are_those_that_decode() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for name, properties in (
        ("ExplainBody", {"request", "record", "decision_id", "now", "why_not", "full"}),
        ("WindowBody", {"policy", "since", "until"}),
        ("CheckBody", {"policy"}),
        ("BatchBody", {"requests"}),
    ):
        assert set(schemas[name]["properties"]) == properties
        assert schemas[name]["additionalProperties"] is False
    assert set(schemas["Request"]["properties"]) == {
        *("call", "task", "parent", "caller", "budget", "facts")
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("openapi")
    write(made, policy_yaml=POLICY)
    return made


@pytest.fixture(scope="module")
def tokens(folder: Path) -> dict[str, str]:
    made = {}
    for role in MAY:
        words = ("token", "new", "--tokens", "tokens.jsonl", "--id", role, "--role", role)
        made[role] = in_this_process(*words, cwd=folder).out.strip()
    return made


@pytest.fixture(scope="module")
def service(folder: Path, tokens: dict[str, str]) -> Iterator[Service]:
    assert tokens
    with Service(folder, "--run", "--tokens", "tokens.jsonl", "--log", "log") as made:
        yield made


@pytest.mark.slow
@each(("path", "method"), OPERATIONS)
def test_a_route_needs_the_role_that_the_document_names(
    service: Service, tokens: dict[str, str], path: str, method: str
) -> None:
    operation = OPERATIONS[path, method]
    place = path.replace("{id}", "x")
    nobody = service.client().request(method, place)
    assert nobody.status_code == (200 if operation.role is None else 401)
    for role, token in tokens.items():
        answer = service.client(token).request(method, place)
        is_let_in = operation.role is None or operation.role in MAY[role]
        assert (answer.status_code != 403) == is_let_in
        if answer.status_code >= 400:
            said = problem(answer) if operation.problem == "Problem" else answer.json()
            jsonschema.validate(said, whole(operation.problem))


@pytest.mark.slow
def test_what_is_answered_has_the_shape_that_the_document_says(
    service: Service, tokens: dict[str, str]
) -> None:
    client = service.client(tokens["admin"])
    assert client.get("/openapi.json").json() == DOCUMENT
    for task in ({}, {"kind": "coding"}, {"model": "gpt"}):
        jsonschema.validate(client.post("/v1/decide", json={"task": task}).json(), whole("Decided"))


def whole(name: str) -> dict[str, Any]:
    """Return a schema of the document with all that it refers to."""
    return {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
