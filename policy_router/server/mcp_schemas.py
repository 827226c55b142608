"""Descriptions of the MCP tools for a client: when to use which, arguments and answers.

A model pays for each word of it with every call, so the shapes of arguments are short.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from msgspec import Struct

from policy_router.decision.record import Decision
from policy_router.decision.schema import described, request_schema
from policy_router.domain import Policy
from policy_router.parameters import KNOWN
from policy_router.server.auditing import ExplainBody

VERIFIED: Final = ("caller", "parent", "budget", "facts")
"""The sections of a request that an agent does not state."""
INSTRUCTIONS: Final = (
    "policy-router decides which language model a delegated task runs on. Before you start a"
    " sub-agent, call `decide` with what you know of its task, and run it on the target that is"
    " answered; if that fails, on the fallbacks in order. Wish for a model only if the task needs"
    " it: `menu` lists what you may ask for. If a decision is refused, the error lists what is"
    " permitted: ask for one of these, or for none, or report the refusal."
)
_NOISE: Final = frozenset({"maxLength", "maxItems", "minimum", "maximum", "default", "title"})
_PARAMETERS: Final = {
    "description": f"Parameters of the model call: {', '.join(KNOWN)}, or others with a limit.",
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean"]},
}
_AS_BEFORE: Final = {"type": "object", "description": "As for `decide`."}
_ERROR: Final = {
    "description": "Why there is no other answer.",
    "type": "object",
    "properties": {
        "code": {"description": "Tells errors apart.", "type": "string"},
        "message": {"description": "What is wrong.", "type": "string"},
        "path": {"description": "The place in the arguments.", "type": "string"},
        "help": {"description": "What to do about it.", "type": "string"},
        "permitted": {
            "description": "Of a refusal: the names that may be asked for.",
            "type": "array",
            "items": {"type": "string"},
        },
    },
    "required": ["code", "message"],
}
_ENTRY: Final = {
    "type": "object",
    "properties": {
        "name": {"description": "What to ask for.", "type": "string"},
        "model": {"type": "string"},
        "provider": {"description": "null is the parent's.", "type": ["string", "null"]},
        "strengths": {"type": "array", "items": {"type": "string"}},
        "price": {
            "description": "US dollars per million tokens.",
            "type": "object",
            "properties": {name: {"type": ["number", "null"]} for name in ("input", "output")},
        },
    },
    "required": ["name", "model"],
}


class Offer(Struct, frozen=True):
    """What a client is told of a tool.

    Attributes:
        role: the role that it needs.
        title: its title.
        text: when to use it.
    """

    role: str
    title: str
    text: str


OFFERS: Final[Mapping[str, Offer]] = {
    "decide": Offer(
        "agent",
        "Decide the model of a task",
        "Decide which model a task runs on. Call it once for each task, before you delegate it."
        " Describe the task in `task`; leave out `model` unless you need a certain one.",
    ),
    "menu": Offer(
        "agent",
        "List the models",
        "List the models that you may ask for, with prices and strengths. With the arguments of"
        " `decide`: only those that are permitted for that task.",
    ),
    "explain": Offer(
        "auditor",
        "Explain a decision",
        "Explain a decision step by step. Give exactly one of `decision_id`, `request` and"
        " `record`; `why_not` asks why that name was not selected.",
    ),
}


DELEGATE: Final = "delegate_task"
"""The tool that calls models; it is offered where the service may spend money."""


def request_arguments(
    policy: Policy, sections: Collection[str], *, is_short: bool
) -> dict[str, Any]:
    """Return the shape of a request.

    Args:
        policy: its closed sets are the values that may be given.
        sections: the sections that may be stated.
        is_short: leave out what is in the sections.
    """
    shapes = {key: it for key, it in request_schema()["properties"].items() if key in sections}
    if is_short:
        properties: dict[str, Any] = dict.fromkeys(shapes, _AS_BEFORE)
    else:
        properties = _short(shapes)
        _close(policy, properties)
    return {"type": "object", "properties": properties, "additionalProperties": False}


def explain_arguments() -> dict[str, Any]:
    """Return the shape of what is to be explained."""
    return dict(_short(described(ExplainBody)["ExplainBody"]))


def _close(policy: Policy, properties: dict[str, Any]) -> None:
    """Write the closed sets of a policy into the shape of a request."""
    for path, closed in policy.closed.items():
        section, _, key = path.partition(".")
        if section in properties and not closed.drops:
            shape = properties[section]["properties"][key]
            shape.get("items", shape)["enum"] = list(closed.values)


def _short(schema: Any) -> Any:
    """Leave out of a shape what a model has no need of: each call pays for every word."""
    if not isinstance(schema, dict):
        return schema
    short = {key: _short(it) for key, it in schema.items() if key not in _NOISE}
    return {**short, "parameters": _PARAMETERS} if "parameters" in short else short


def _output(
    properties: dict[str, Any], definitions: Mapping[str, Any], *required: str
) -> dict[str, Any]:
    """Return the shape of an answer, or of an error."""
    return {
        "type": "object",
        "properties": {**properties, "error": _ERROR},
        "anyOf": [{"required": list(required)}, {"required": ["error"]}],
        "definitions": definitions,
    }


OUTPUTS: Final = {
    "decide": _output(
        {
            "decision_id": {"description": "Names the decision in the log.", "type": "string"},
            "decision": {"$ref": "#/definitions/Decision"},
            "warnings": {"type": "array", "items": {"$ref": "#/definitions/DecisionWarning"}},
        },
        described(Decision),
        *("decision_id", "decision"),
    ),
    "menu": _output(
        {
            "restricted": {"description": "Whether there is a list.", "type": "boolean"},
            "entries": {"type": ["array", "null"], "items": _ENTRY},
        },
        {},
        *("restricted", "entries"),
    ),
    "explain": _output(
        {
            "text": {"description": "The explanation.", "type": "string"},
            "record": {"description": "The decision record.", "type": "object"},
            "why_not": {"type": "object"},
            "entries": {"type": "array"},
        },
        {},
        *("text", "record"),
    ),
}
