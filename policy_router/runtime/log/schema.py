"""The published shape of a line of the log, made from the definitions that the code uses.

``schemas/log.schema.json`` is what :func:`log_schema` returns; a test holds the file to it.
"""

from __future__ import annotations

from typing import Any

from policy_router.decision.schema import described, published, record_schema
from policy_router.runtime.log.entry import LogEntry

_ONE_OF = [
    {"required": ["id", "record"]},
    {"required": ["id", "execution"]},
    {"required": ["gap"]},
    {"required": ["close"]},
    {"required": ["prune"]},
]
"""What a line has: one of these, by its kind."""


def log_schema() -> dict[str, Any]:
    """Return the JSON Schema of a line of the log; it holds that of a record."""
    record = record_schema()
    definitions = {**described(LogEntry), **record.pop("definitions")}
    main = definitions.pop("LogEntry")
    for key in ("$schema", "$id"):
        del record[key]
    text = main["properties"]["record"]["description"]
    main["properties"]["record"] = {"$ref": "#/definitions/DecisionRecord", "description": text}
    main["oneOf"] = _ONE_OF
    definitions["DecisionRecord"] = record
    return published("log", main, definitions, title="policy-router log line")
