"""The published shape of a suite of policy tests.

``schemas/policy-test.schema.json`` is what :func:`suite_schema` returns; a test holds the file to
it. The parts of a request are those of ``schemas/request.schema.json``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from policy_router.decision.record import ReasonCode
from policy_router.decision.schema import published, request_schema
from policy_router.domain import Level

MAX_COMBINATIONS: Final = 1_000
"""The most tests that one matrix makes."""
MAX_TESTS: Final = 10_000
"""The most tests of a suite, those of its matrices counted."""

REFUSALS: Final = tuple(
    code.value
    for code in (
        ReasonCode.OUTSIDE_POOL,
        ReasonCode.NOT_ALLOWED,
        ReasonCode.FORBIDDEN,
        ReasonCode.LACKS_CAPABILITY,
        ReasonCode.CONTEXT_TOO_SMALL,
        ReasonCode.INCOMPLETE,
        ReasonCode.PARAMETER_NOT_ALLOWED,
        ReasonCode.EVALUATION_ERROR,
        ReasonCode.NO_TARGET,
    )
)
"""The codes that a refusal can have."""
_CODES: Final = sorted(code.value for code in ReasonCode)

_WORD: Final[Mapping[str, Any]] = {"type": "string", "minLength": 1, "maxLength": 1_000}
_WORDS: Final[Mapping[str, Any]] = {"type": "array", "items": _WORD}
_SOME: Final[Mapping[str, Any]] = {**_WORDS, **_WORD, "type": ["string", "array"], "minItems": 1}
_TIME: Final[Mapping[str, Any]] = {**_WORD, "examples": ["2026-01-31T09:00:00Z"]}
_VALUE: Final[Mapping[str, Any]] = {"type": ["string", "number", "boolean", "null"]}


_CONDITION: Final[Mapping[str, Any]] = {"type": ["string", "boolean"], "maxLength": 4_096}
_ASSERTION: Final[Mapping[str, Any]] = {
    "id": {**_WORD, "description": "Its name."},
    "never": {**_CONDITION, "description": "A condition that is true for no decision."},
    "always": {**_CONDITION, "description": "A condition that is true for every decision."},
    "unchanged": {**_WORD, "description": "Path of a policy with the same decisions."},
    "description": {**_WORD, "description": "Its purpose."},
    "owner": {**_WORD, "description": "A contact."},
}
_LEVELS: Final = [level.value for level in Level]
_EXPECT: Final[Mapping[str, Any]] = {
    "entry": {**_WORD, "description": "The name of the selected pool entry."},
    "model": {**_WORD, "description": "The id of the selected model."},
    "provider": {**_WORD, "description": "The provider of the selected target."},
    "not_entry": {
        **_SOME,
        "description": "Entries that are neither selected nor a planned fallback.",
    },
    "not_model": {
        **_SOME,
        "description": "Models that are neither selected nor a planned fallback.",
    },
    "not_provider": {
        **_SOME,
        "description": "Providers at which nothing runs, planned fallbacks included.",
    },
    "level": {"type": "string", "enum": _LEVELS, "description": "The level that decided."},
    "rule": {**_WORD, "description": "The precedence rule that selected or refused."},
    "refused": {
        "type": "string",
        "enum": list(REFUSALS),
        "description": "The code of the refusal.",
    },
    "forbid": {**_WORD, "description": "The forbid rule for which the request is refused."},
    "message": {**_WORD, "description": "The message of the refusal."},
    "permitted": {**_WORDS, "description": "The names that a refusal permits, in order."},
    "fallbacks": {
        **_WORDS,
        "description": "The planned fallbacks, in order: names of entries.",
    },
    "parameters": {
        "description": "Parameters of the selected target; null where none is sent.",
        "type": "object",
        "minProperties": 1,
        "additionalProperties": _VALUE,
    },
    "warnings": {
        "description": "The warnings of the decision, in order; `[]` for none.",
        "type": "array",
        "items": {"$ref": "#/definitions/warning"},
    },
    "bad_request": {
        **_WORD,
        "description": "The place at which the request does not fit the policy.",
        "examples": ["$.task.kind"],
    },
}
"""What can be expected of a decision."""


def suite_schema() -> dict[str, Any]:
    """Return the JSON Schema of a suite of policy tests."""
    request = _ref("request")
    main = _mapping(
        "Tests of a policy: requests, and what is expected of the decisions.",
        {
            "policy": {
                **_WORD,
                "description": "The policy's file or folder, as seen from this file. Default: the "
                "file or folder of the same name without `_test`, or the folder of this file.",
            },
            "now": {**_TIME, "description": "The time of all decisions."},
            "requests": {
                "description": "Requests by name, for `use`.",
                "type": "object",
                "additionalProperties": request,
            },
            "assert": {
                "description": "Properties that every decision must have, besides those of the "
                "policy. Tried on each request here, and asked by `prove`.",
                "type": "array",
                "items": _ref("assertion"),
            },
            "assume": {
                "description": "Conditions that the host guarantees for every request.",
                "type": "array",
                "items": _CONDITION,
            },
            "tests": {
                "description": "The tests.",
                "type": "array",
                "minItems": 1,
                "items": _ref("test"),
            },
        },
        "tests",
    )
    definitions = {
        "request": _request(),
        "test": _test(request),
        "assertion": _mapping("One of `never`, `always` and `unchanged`.", _ASSERTION),
        "expect": _mapping("What is expected; only what is named is compared.", _EXPECT),
        "warning": {
            "description": "A warning: its code, or those of its keys that are compared.",
            "oneOf": [{"type": "string", "enum": _CODES}, _warning()],
        },
    }
    definitions["expect"]["minProperties"] = 1
    return published("policy-test", main, definitions, title="policy-router suite of tests")


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/definitions/{name}"}


def _mapping(text: str, properties: Mapping[str, Any], *required: str) -> dict[str, Any]:
    shape = {"description": text, "type": "object", "additionalProperties": False}
    return {**shape, "properties": properties, **({"required": list(required)} if required else {})}


def _request() -> dict[str, Any]:
    use = {**_WORD, "description": "In a test: one of `requests`; the other keys are put over it."}
    return _mapping("A request.", {"use": use, **request_schema()["properties"]})


def _test(request: Mapping[str, Any]) -> dict[str, Any]:
    properties = {
        "name": {**_WORD, "description": "What is tested, in words; unique in the suite."},
        "now": {**_TIME, "description": "The time of this decision."},
        "request": {**request, "description": "The request; default: nothing is given."},
        "matrix": {
            "description": "Names of the request, each with values: one test for each "
            f"combination, at most {MAX_COMBINATIONS:,}.",
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"type": "array", "minItems": 1},
            "examples": [{"task.kind": ["coding", ""], "caller.team": ["research", "ops"]}],
        },
        "expect": _ref("expect"),
        "skip": {**_WORD, "description": "Why the test is not run."},
    }
    text = "A request, and what is expected of its decision."
    return _mapping(text, properties, "name", "expect")


def _warning() -> dict[str, Any]:
    texts = {
        "rule": "The precedence rule at which it happened.",
        "entry": "The pool entry that it is about.",
        "parameter": "The parameter that it is about.",
        "forbid": "The forbid rule that it is about.",
        "by": "The precedence rule that went before.",
        "path": "The place of a value in the request.",
    }
    words = {key: {**_WORD, "description": text} for key, text in texts.items()}
    code = {"type": "string", "enum": _CODES, "description": "What happened."}
    level = {"type": "string", "enum": ["call", "task"], "description": "The level of a wish."}
    return _mapping("Those keys are compared.", {"code": code, "level": level, **words}, "code")
