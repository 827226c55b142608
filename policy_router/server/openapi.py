"""The service as OpenAPI 3.1 describes it, made from the types that decode what it is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct

from policy_router.decision.schema import described, record_schema, request_schema
from policy_router.delegation.tool import FORMATS
from policy_router.server.administering import CheckBody
from policy_router.server.asking import LONGEST_BODY, SESSION, TAGS
from policy_router.server.auditing import ExplainBody, WindowBody
from policy_router.server.deciding import MOST_REQUESTS, BatchBody
from policy_router.server.evaluations import TYPES as ACCESS_TYPES
from policy_router.server.gateway.models import AUTO
from policy_router.server.index_questions import FILTERS
from policy_router.server.plans import ReportBody
from policy_router.version import VERSION

_REF: Final = "#/components/schemas/"
_TEXT: Final = {"type": "string"}
_ANY: Final[dict[str, Any]] = {"type": "object"}
_MARKS: Final = {
    SESSION.decode(): "The session of the decisions, for the log; a host states it.",
    TAGS.decode(): "Up to eight words of the host's own for the log, with commas between them.",
}
_BODIES: Final = (BatchBody, ExplainBody, WindowBody, CheckBody, ReportBody, *ACCESS_TYPES)


class Operation(Struct, frozen=True):
    """What a route takes and answers.

    Attributes:
        summary: what it does.
        role: what a credential has to be; None needs none.
        answer: the schema of the answer.
        body: the name of the schema of the body; None where there is none.
        query: the parameters of the address, with their schemas.
        type: the content type of the answer.
        takes_parent: whether the header is read that names the decision of the agent itself.
        needs_body: whether a body has to be there.
        problem: the schema of its problems.
        takes_facts: whether the header is read that has more of the request.
        is_logged: whether its decisions are logged, with what headers say of them.
    """

    summary: str
    role: str | None
    answer: Mapping[str, Any]
    body: str | None = None
    query: Mapping[str, Any] = {}
    type: str = "application/json"
    takes_parent: bool = False
    needs_body: bool = True
    takes_facts: bool = False
    problem: str = "Problem"
    is_logged: bool = False


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"{_REF}{name}"}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _call(api: str, problem: str = "OpenAIProblem") -> Operation:
    """Return the call of a model."""
    summary = f"Forward a model call to the target that the policy decides ({api})."
    return Operation(
        summary,
        "agent",
        _ANY,
        "ModelCall",
        takes_parent=True,
        takes_facts=True,
        problem=problem,
        is_logged=True,
    )


_FLAG: Final = {"type": "string", "enum": ["true", "false"]}
_LINES: Final = {"type": "array", "items": _ANY}
_WINDOW: Final = {"since": _TEXT, "until": _TEXT}
_LIMIT: Final = {"type": "integer", "minimum": 1, "maximum": 1000, "default": 50}
_MENU: Final = _object(restricted={"type": "boolean"}, entries={"type": ["array", "null"]})
_CHECKED: Final = {"type": "object", "required": ["diagnostics", "errors", "warnings"]}
OPERATIONS: Final[dict[tuple[str, str], Operation]] = {
    ("/v1/decide", "POST"): Operation(
        "Decide one request. A refusal is an answer like any other.",
        "agent",
        _ref("Decided"),
        "Request",
        {"explain": _FLAG},
        takes_parent=True,
        is_logged=True,
    ),
    ("/v1/decide/batch", "POST"): Operation(
        "Decide several requests, in order.",
        "agent",
        _object(decisions={"type": "array", "items": _ANY}),
        "BatchBody",
        takes_parent=True,
        is_logged=True,
    ),
    ("/v1/menu", "GET"): Operation("List what the caller may ask for.", "agent", _MENU),
    ("/v1/menu", "POST"): Operation(
        "List what a request may ask for.",
        "agent",
        _MENU,
        "Request",
        takes_parent=True,
        needs_body=False,
    ),
    ("/v1/tool", "POST"): Operation(
        "Return the definition of delegate_task for an agent's model.",
        "agent",
        _ANY,
        "Request",
        {"format": {"type": "string", "enum": [*FORMATS], "default": "openai"}, "strict": _FLAG},
        takes_parent=True,
        needs_body=False,
    ),
    ("/v1/explain", "POST"): Operation(
        "Say why a decision came out as it did.", "auditor", _ANY, "ExplainBody"
    ),
    ("/v1/decisions", "GET"): Operation(
        "List decisions of the log, the newest first.",
        "auditor",
        _object(decisions=_LINES, cursor={"type": ["string", "null"]}),
        query={
            **dict.fromkeys(FILTERS, _TEXT),
            **_WINDOW,
            "limit": _LIMIT,
            "cursor": _TEXT,
        },
    ),
    ("/v1/decisions/{id}", "GET"): Operation(
        "Show a decision, what came of it, and what its child decided.",
        "auditor",
        _object(lines=_LINES, children=_LINES),
    ),
    ("/v1/replay", "POST"): Operation(
        "Make decisions of the log again: progress, then the report, one JSON object a line.",
        "auditor",
        _ANY,
        "WindowBody",
        type="application/x-ndjson",
        needs_body=False,
    ),
    ("/v1/what-if", "POST"): Operation(
        "Decide requests of the log by another policy: progress, then the report.",
        "auditor",
        _ANY,
        "WindowBody",
        type="application/x-ndjson",
    ),
    ("/v1/policy", "GET"): Operation("Tell which policy decides.", "admin", _ANY),
    ("/v1/policy/check", "POST"): Operation(
        "Find what is wrong with a policy.", "admin", _CHECKED, "CheckBody"
    ),
    ("/v1/policy/reload", "POST"): Operation(
        "Load the policy again.", "admin", _object(outcome=_TEXT)
    ),
    ("/v1/plan", "POST"): Operation(
        "Decide a call of delegate_task whole, for a host that runs the children itself.",
        "agent",
        _object(tasks=_LINES),
        "Arguments",
        takes_parent=True,
        takes_facts=True,
        is_logged=True,
    ),
    ("/v1/executions", "POST"): Operation(
        "Report what came of a decision, once for each attempt.",
        "agent",
        _object(decision_id=_TEXT, attempt={"type": "integer"}),
        "ReportBody",
    ),
    ("/v1/models", "GET"): Operation(
        "List what the caller may ask for, in the form of OpenAI's API.",
        "agent",
        _object(object=_TEXT, data=_LINES),
        takes_parent=True,
        problem="OpenAIProblem",
    ),
    ("/v1/chat/completions", "POST"): _call("Chat Completions"),
    ("/v1/responses", "POST"): _call("Responses"),
    ("/v1/messages", "POST"): _call("Anthropic's Messages", "AnthropicProblem"),
    ("/access/v1/evaluation", "POST"): Operation(
        "Evaluate whether something is allowed (AuthZEN 1.0). A denial is an answer, too.",
        "agent",
        _ref("Evaluated"),
        "Evaluation",
        takes_parent=True,
        is_logged=True,
    ),
    ("/access/v1/evaluations", "POST"): Operation(
        "Make several evaluations, in order (AuthZEN 1.0).",
        "agent",
        {
            "anyOf": [
                _object(evaluations={"type": "array", "items": _ref("Evaluated")}),
                {**_ref("Evaluated"), "description": "Where there is no list of evaluations."},
            ]
        },
        "Evaluations",
        takes_parent=True,
        is_logged=True,
    ),
    ("/access/v1/search/resource", "POST"): Operation(
        "List the resources whose evaluation would be true (AuthZEN 1.0).",
        "agent",
        _object(results={"type": "array", "items": _ref("Resource")}),
        "Search",
        takes_parent=True,
    ),
    ("/.well-known/authzen-configuration", "GET"): Operation(
        "Name what is offered of AuthZEN.", None, _object(policy_decision_point=_TEXT)
    ),
    ("/livez", "GET"): Operation("Say that the process runs.", None, _TEXT, type="text/plain"),
    ("/readyz", "GET"): Operation("Say that it can decide.", None, _TEXT, type="text/plain"),
    ("/metrics", "GET"): Operation(
        "Return what is counted, for Prometheus.", "auditor", _TEXT, type="text/plain"
    ),
    ("/openapi.json", "GET"): Operation("Return this document.", None, _ANY),
}
"""What each path answers; a test holds this to the routes that there are."""


def document() -> bytes:
    """Return the document, JSON."""
    paths: dict[str, dict[str, Any]] = {}
    for (path, method), operation in OPERATIONS.items():
        paths.setdefault(path, {})[method.lower()] = _operation(path, operation)
    made = {
        "openapi": "3.1.0",
        "info": {
            "title": "policy-router",
            "version": VERSION,
            "description": "Decides which language model a delegated task runs on, and says why.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}],
    }
    return msgspec.json.encode(made)


def _operation(path: str, operation: Operation) -> dict[str, Any]:
    needs = "no credential" if operation.role is None else f"the role {operation.role}"
    answer = {"description": "Done.", "content": {operation.type: {"schema": operation.answer}}}
    is_usual = operation.problem == "Problem"
    kind = "application/problem+json" if is_usual else "application/json"
    says = "A problem (RFC 9457)." if is_usual else "A problem, as the API of the call has it."
    problem = {kind: {"schema": _ref(operation.problem)}}
    described: dict[str, Any] = {
        "summary": operation.summary,
        "description": f"It needs {needs}.",
        "parameters": list(_parameters(path, operation)),
        "responses": {
            "200": answer,
            "default": {"description": says, "content": problem},
        },
    }
    if operation.body is not None:
        content = {"application/json": {"schema": _ref(operation.body)}}
        described["requestBody"] = {"required": operation.needs_body, "content": content}
    if operation.role is None:
        described["security"] = []
    return described


def _parameters(path: str, operation: Operation) -> Any:
    if "{id}" in path:
        yield {"name": "id", "in": "path", "required": True, "schema": _TEXT}
    for name, schema in operation.query.items():
        yield {"name": name, "in": "query", "schema": schema}
    if operation.takes_parent:
        text = "The id of the decision that the agent itself runs by."
        yield {
            "name": "policy-router-parent",
            "in": "header",
            "description": text,
            "schema": _TEXT,
        }
    if operation.is_logged:
        for name, text in _MARKS.items():
            yield {"name": name, "in": "header", "description": text, "schema": _TEXT}
    if operation.takes_facts:
        text = "More of the request: its sections as JSON."
        yield {"name": "policy-router-facts", "in": "header", "description": text, "schema": _TEXT}


def _schemas() -> dict[str, Any]:
    """Return the shapes of what is asked and answered."""
    record = record_schema()
    schemas: dict[str, Any] = {**record.pop("definitions"), "DecisionRecord": record}
    schemas["Request"] = request_schema()
    for body in _BODIES:
        schemas |= described(body)
    for schema in schemas.values():
        for key in ("$schema", "$id"):
            schema.pop(key, None)
    schemas["BatchBody"]["properties"]["requests"] |= {
        "items": _ref("Request"),
        "maxItems": MOST_REQUESTS,
    }
    explain = schemas["ExplainBody"]["properties"]
    explain["request"] = {**_ref("Request"), "description": explain["request"]["description"]}
    explain["record"] = {
        **_ref("DecisionRecord"),
        "description": explain["record"]["description"],
    }
    schemas["Decided"] = _object(decision_id=_TEXT, record=_ref("DecisionRecord"))
    model = f"A name, `{AUTO}` where none is asked for, or `policy:KIND` for a kind of task."
    schemas["ModelCall"] = {
        **_object(model={**_TEXT, "description": model}),
        "description": "A model call of any client: what is not described here passes as it is.",
    }
    schemas["ModelCall"]["properties"] |= {
        "stream": {"type": "boolean"},
        "policy_router": {**_ANY, "description": "More of the request: its sections."},
    }
    schemas["Arguments"] = {**_ANY, "description": "The arguments of `delegate_task`."}
    said = _object(message=_TEXT, type=_TEXT, code=_TEXT)
    said["properties"] |= {
        "param": {"type": ["string", "null"]},
        "decision_id": _TEXT,
        "permitted": {"type": "array", "items": _TEXT},
    }
    schemas["OpenAIProblem"] = _object(error=said)
    schemas["AnthropicProblem"] = _object(type={"const": "error"}, error=said)
    schemas["Problem"] = {
        **_object(type=_TEXT, title=_TEXT, status={"type": "integer"}, code=_TEXT, detail=_TEXT),
        "description": f"Why there is no other answer. A body has at most {LONGEST_BODY:,} bytes.",
    }
    text = json.dumps(schemas).replace("#/definitions/", _REF)
    moved: dict[str, Any] = json.loads(text)
    return moved
