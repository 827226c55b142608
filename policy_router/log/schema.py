"""The published shape of a line of the log, made from the definitions that the code uses.

``schemas/log.schema.json`` is what :func:`log_schema` returns; a test holds the file to it.
"""

from __future__ import annotations

from typing import Any

from policy_router.decision.schema import described, published, record_schema
from policy_router.log.entry import MOST_TAGS, PARTS, TRACE, LogEntry
from policy_router.log.used_policy import Annotation, RuleFile

_HAS = "A line of this kind has:"


def log_schema() -> dict[str, Any]:
    """Return the JSON Schema of a line of the log; it holds that of a record."""
    record = record_schema()
    definitions = {**described(LogEntry, RuleFile, Annotation), **record.pop("definitions")}
    main = definitions.pop("LogEntry")
    for key in ("$schema", "$id"):
        del record[key]
    text = main["properties"]["record"]["description"]
    main["properties"]["record"] = {"$ref": "#/definitions/DecisionRecord", "description": text}
    main["properties"]["seq"]["minimum"] = 1
    main["properties"]["prev"]["pattern"] = "^[0-9a-f]{64}$"
    main["properties"]["trace"]["pattern"] = f"^{TRACE}$"
    main["properties"]["tags"]["maxItems"] = MOST_TAGS
    main["oneOf"] = [
        {"properties": {"kind": {"const": kind.value, "description": _HAS}}, "required": parts}
        for kind, parts in PARTS.items()
    ]
    definitions["DecisionRecord"] = record
    return published("log", main, definitions, title="policy-router log line")
